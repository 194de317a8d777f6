"""What `dataset:` may say."""

from __future__ import annotations

from typing import Annotated, Literal

from .fields import WORD, Flag, Fraction, Positive, Section, Share, Text, key, spelled


class Preprocessing(Section):
    """How instructions become tokens."""

    add_eos_token: Flag | None = key(
        None,
        "end every answer that the template leaves without a stop token with the end-of-text token; default: true "
        "where no chat template is used",
    )
    add_bos_token: Flag | None = key(
        None,
        "begin every example with the beginning-of-text token, unless its template already does; default: true where "
        "no chat template is used and the tokenizer begins any text with it",
    )
    use_chat_template: Flag | None = key(
        None,
        "render conversations with the tokenizer's own template; default: where it has one. Without, alpaca rows take "
        "alpaca's own prompt, other conversations a heading (`### User:`) and a paragraph a message",
    )
    chat_template: Text | None = key(
        None, "another template: the name of one that the tokenizer has, the path of a file, or the Jinja itself"
    )


class Template(Section):
    """How a row of a `custom` data set is read, in Jinja over its columns: prompt and completion, or messages."""

    prompt: Text | None = key(None, "what is asked, as text: `Question: {{ question }}\\nAnswer:`")
    completion: Text | None = key(None, "the answer to it, which is trained: `{{ answer }}`")
    messages: list[dict[str, Text]] | Text | None = key(
        None, "a list of messages, each a `role` and its `content`; or one text that gives such a list as JSON"
    )


class Dataset(Section):
    """What the model reads; `dataset: imdb` is short for `dataset: {name: imdb}`."""

    name: Text = key(
        "stdlib",
        "`stdlib` (the source text of Python's own standard library, on every machine), the path of a file or folder "
        "(txt, jsonl, csv, parquet), a short name (`wikitext`, `wikitext-103`; with classes `stdlib-docstrings`, "
        "`imdb`, `ag_news`, `sst2`, `amazon`, `yelp`), or a Hugging Face dataset id",
    )
    config: Text | None = key(
        None, "configuration (subset) of a Hugging Face dataset; default of `wikitext`: `wikitext-2-raw-v1`"
    )
    split: Text = key("train", "split of a Hugging Face dataset")
    text_column: Text | None = key(
        None, "column that holds the text; default: `text`, or the only text column there is"
    )
    streaming: Flag = key(False, "read a Hugging Face dataset as it arrives instead of downloading it first")
    documents: Annotated[Literal["auto", "file", "blank_line", "line", "article", "joined"], WORD] = key(
        "auto",
        "how text falls into documents: a `file` is one, or split at every `blank_line`, `line` or WikiText `article`; "
        "a row of a table is one, or a line of an `article`, or of one text, `joined`; `auto`: a file, a row, of "
        "WikiText an article",
    )
    val_fraction: Share | None = key(
        None,
        "share of the documents held out for evaluation, where neither eval_path is given nor the data has a split of "
        "its own for it; 0: no text is held out. Default: 0.05; of labelled texts with a test split and no validation "
        "split nothing, as its test rows are evaluated on: a share that is given leaves these for the end",
    )
    stride: Positive | None = key(
        None,
        "tokens from the beginning of one row of text to that of the next: rows of trainer.max_seq_length overlap, and "
        "each token is a target once, in the row where more comes before it; default: rows do not overlap, but 512 for "
        "`wikitext` in rows of 1024, packed, as in the GPT-2 document. Not with datasampling `standard`",
    )
    max_documents: Positive | None = key(None, "read no more documents than this")
    num_proc: Positive | None = key(None, "processes that prepare a Hugging Face dataset; default: one")

    format: (
        Annotated[
            Literal["alpaca", "sharegpt", "oasst", "custom", "classification", "text"],
            spelled(share_gpt="sharegpt"),
        ]
        | None
    ) = key(
        None,
        "format of an instruction data set, or `classification` for texts with a class, which a checkpoint's run finds "
        "out by itself: by the data set's name, a column or folders of labels; `text`: nothing but text, whatever the "
        "labels beside it",
    )
    train_path: Text | None = key(
        None, "file or folder to train on, of text, instructions or labelled texts: in place of `name`"
    )
    eval_path: Text | None = key(None, "file or folder to evaluate on, likewise")
    test_path: Text | None = key(None, "file of labelled texts kept for the end")
    label_column: Text | None = key(
        None, "column of the class; default: `label`, `sentiment`, `stars` and the like; without a header its number"
    )
    text_pair_column: Text | None = key(None, "column of a second text, read after the first")
    random_crop: Fraction | None = key(
        None,
        "each epoch shows a random stretch of every labelled text, of at least this share of it; of longer ones than "
        "trainer.max_seq_length one that fits",
    )
    template: Template | None = key(None, "how a row of the format `custom` is read")
    lang: Text | None = key(None, "the language of the trees to take of an oasst data set; default: all")
    on_overflow: Annotated[Literal["error", "truncate", "drop"], WORD] | None = key(
        None,
        "what becomes of an instruction or a labelled text longer than trainer.max_seq_length; default: `error` for "
        "instructions, `truncate` for labelled texts",
    )
    on_bad_row: Annotated[Literal["error", "drop"], WORD] | None = key(
        None,
        "what becomes of an instruction or a labelled text that cannot be used: empty texts, roles out of order, no "
        "label, nothing to train on; default: `error`, for labelled texts of the hub `drop`",
    )
    preprocessing: Preprocessing | None = key(None, "how instructions become tokens")
