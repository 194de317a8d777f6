"""What `dataset:` may say."""

from __future__ import annotations

from typing import Annotated, Literal

from .fields import WORD, Flag, Positive, Section, Share, Text, key, spelled


class Preprocessing(Section):
    """How instructions become tokens."""

    add_eos_token: Flag | None = key(None, "end every example with the end-of-text token")
    add_bos_token: Flag | None = key(None, "begin every example with the beginning-of-text token")
    use_chat_template: Flag | None = key(None, "render conversations with the tokenizer's own template")


class Dataset(Section):
    """What the model reads; `dataset: imdb` is short for `dataset: {name: imdb}`."""

    name: Text = key(
        "stdlib",
        "`stdlib` (the source text of Python's own standard library, on every machine), the path of a file or folder "
        "(txt, jsonl, csv, parquet), or a Hugging Face dataset id",
    )
    config: Text | None = key(None, "configuration (subset) of a Hugging Face dataset")
    split: Text = key("train", "split of a Hugging Face dataset")
    text_column: Text | None = key(
        None, "column that holds the text; default: `text`, or the only text column there is"
    )
    streaming: Flag = key(False, "read a Hugging Face dataset as it arrives instead of downloading it first")
    documents: Annotated[Literal["auto", "file", "blank_line", "line"], WORD] = key(
        "auto",
        "how text files fall into documents: each `file` is one (`auto` too), or split at every `blank_line` or `line`",
    )
    val_fraction: Share = key(0.05, "share of the documents held out for evaluation")
    max_documents: Positive | None = key(None, "read no more documents than this")
    num_proc: Positive | None = key(None, "processes that prepare a Hugging Face dataset; default: one")

    format: Annotated[Literal["alpaca", "sharegpt", "oasst", "custom"], spelled(share_gpt="sharegpt")] | None = key(
        None, "format of an instruction data set"
    )
    train_path: Text | None = key(None, "file of an instruction data set to train on")
    eval_path: Text | None = key(None, "file of an instruction data set to evaluate on")
    preprocessing: Preprocessing | None = key(None, "how instructions become tokens")
