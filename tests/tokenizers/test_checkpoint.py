"""Tokenizers from a checkpoint's directory, whatever files it has, as transformers reads them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from alike import both, check_alike, check_batches, check_ids, check_special
from groundup.errors import UserError
from groundup.tokenizers.load import load_tokenizer
from transformers import PreTrainedTokenizerFast

Make = Callable[..., Path]
FIXTURES = Path(__file__).with_name("fixtures")

END = {"content": "</s>", "single_word": False, "lstrip": False, "rstrip": False, "normalized": True}
OPT = {"bos_token": END, "eos_token": END, "unk_token": END, "pad_token": {**END, "content": "<pad>"}}
CHAT = ["<|im_start|>", "<|im_end|>"]


@pytest.fixture
def make(tmp_path: Path, shared: Path) -> Make:
    """make("bert-base-uncased/vocab.txt", config={...}) -> a folder with a copy of that file and a config.json."""

    def build(*files: str, **contents: Any) -> Path:
        for file in files:
            shutil.copy(shared / "tokenizers" / file, tmp_path)
        for name, content in contents.items():
            (tmp_path / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
        return tmp_path

    return build


def roberta_s_files(shared: Path, folder: Path) -> None:
    """vocab.json and merges.txt, as they were before tokenizer.json held them."""
    model = json.loads((shared / "tokenizers/roberta/tokenizer.json").read_text(encoding="utf-8"))["model"]
    (folder / "vocab.json").write_text(json.dumps(model["vocab"]))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(model["merges"]) + "\n", encoding="utf-8")


# --- with a tokenizer.json ---------------------------------------------------------------------------------------


def test_gpt2_with_a_pad_token_of_its_own(make: Make, texts: list[str]) -> None:
    """A token that the vocabulary lacks is added behind it; the sides are the configuration's."""
    settings = {"pad_token": "[PAD]", "padding_side": "left", "truncation_side": "left", "model_max_length": 1024}
    folder = make("gpt2/tokenizer.json", config={"model_type": "gpt2"}, tokenizer_config=settings)
    check_alike(folder, texts[:200])
    ours = load_tokenizer(folder)
    assert (ours.pad_id, ours.vocab_size, ours.max_length) == (50257, 50258, 1024)
    assert ours.batch(["a", "a b"]).attention_mask.tolist() == [[0, 1], [1, 1]]


def test_pythia(make: Make, texts: list[str]) -> None:
    settings = {"tokenizer_class": "GPTNeoXTokenizer", "add_bos_token": False, "unk_token": "<|endoftext|>"}
    folder = make("pythia/tokenizer.json", config={"model_type": "gpt_neox"}, tokenizer_config=settings)
    check_alike(folder, texts[:200])


def test_added_and_extra_tokens(make: Make, texts: list[str]) -> None:
    added = {str(50257 + i): {"content": text, "special": text in CHAT} for i, text in enumerate([*CHAT, "<tool>"])}
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "added_tokens_decoder": added, "eos_token": CHAT[1]}
    settings |= {"additional_special_tokens": ["<extra>"], "image_token": "<image>"}
    folder = make("gpt2/tokenizer.json", tokenizer_config=settings)
    odd = ["<|im_start|>hi<|im_end|>", "a <tool> b<extra><image> c", *texts[:50]]
    ours, theirs = both(folder)
    check_ids(ours, theirs, odd)
    assert ours.eos_id == theirs.eos_token_id == 50258
    assert ours.vocab_size == len(theirs) == 50262


def test_the_settings_say_how_a_token_is_found(make: Make) -> None:
    """tokenizer.json takes no space along with the token, added_tokens_decoder the one before it."""
    token = {"content": "<|endoftext|>", "lstrip": True, "normalized": False, "special": True}
    ours, theirs = both(make("gpt2/tokenizer.json", tokenizer_config={"added_tokens_decoder": {"50256": token}}))
    assert ours.encode("a  <|endoftext|> b") == theirs("a  <|endoftext|> b").input_ids == [64, 50256, 275]


def test_the_file_counts_where_transformers_5_makes_the_class_anew(make: Make, shared: Path) -> None:
    """SmolLM2's tokenizer.json takes digits one by one. Its class, GPT2Tokenizer, does not know of that."""
    content = json.loads((shared / "tokenizers/gpt2/tokenizer.json").read_text(encoding="utf-8"))
    words = [{"type": "Digits", "individual_digits": True}, content["pre_tokenizer"]]
    content["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": words}
    config, settings = {"model_type": "llama"}, {"tokenizer_class": "GPT2Tokenizer"}
    folder = make(tokenizer=content, config=config, tokenizer_config=settings)
    theirs = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    ours = load_tokenizer(folder)
    assert ours.encode("in 12345") == theirs("in 12345").input_ids
    assert ours.decode([ours.encode("in 12345")[-1]]) == "5"


def test_a_bos_that_the_template_does_not_have(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    settings = {"bos_token": "<|endoftext|>", "add_bos_token": True, "add_eos_token": False}
    ours, theirs = both(make("gpt2/tokenizer.json", tokenizer_config=settings))
    assert ours.encode("a", add_special_tokens=True) == theirs("a").input_ids == [64]
    said = capsys.readouterr().err
    assert "tokenizer_config.json says add_bos_token: true, and the template of tokenizer.json does otherwise" in said
    assert "add_eos_token" not in said


# --- without one -------------------------------------------------------------------------------------------------

NO_ACCENTS = {"do_lower_case": True, "strip_accents": False, "tokenize_chinese_chars": False}


@pytest.mark.parametrize(
    ("model_type", "settings"),
    [
        ("bert", {"do_lower_case": True, "model_max_length": 512}),
        ("bert", {"do_lower_case": False, "tokenizer_class": "BertTokenizerFast"}),
        ("bert", NO_ACCENTS),
        ("electra", {"clean_up_tokenization_spaces": True}),
        ("distilbert", {"tokenizer_class": "DistilBertTokenizer"}),
    ],
)
def test_vocab_txt(make: Make, texts: list[str], model_type: str, settings: dict[str, Any]) -> None:
    files = {"config": {"model_type": model_type}, "tokenizer_config": settings}
    check_alike(make("bert-base-uncased/vocab.txt", **files), texts[:200])


def test_vocab_txt_alone_is_lower_case_bert(make: Make, shared: Path, texts: list[str]) -> None:
    folder = make("bert-base-uncased/vocab.txt")
    expected = load_tokenizer(shared / "tokenizers/bert-base-uncased").encode_batch(texts, add_special_tokens=True)
    for source in (folder, folder / "vocab.txt"):
        assert load_tokenizer(source).encode_batch(texts, add_special_tokens=True) == expected
    assert load_tokenizer(folder).token_types


def test_opt(make: Make, texts: list[str]) -> None:
    """</s> before every text."""
    settings = {**OPT, "pad_token": "<pad>", "add_bos_token": True, "tokenizer_class": "GPT2Tokenizer"}
    files = {"config": {"model_type": "opt"}, "tokenizer_config": settings, "special_tokens_map": OPT}
    folder = make("opt/vocab.json", "opt/merges.txt", **files)
    check_alike(folder, texts[:200])
    ours = load_tokenizer(folder)
    assert ours.encode("a", add_special_tokens=True) == [2, 102]
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        (folder / name).unlink()
    plain = load_tokenizer(folder)  # the family's defaults
    assert plain.encode_batch(texts, add_special_tokens=True) == ours.encode_batch(texts, add_special_tokens=True)


def test_roberta(make: Make, shared: Path, texts: list[str]) -> None:
    """A text begins with a space where the settings say so."""
    settings = {"tokenizer_class": "RobertaTokenizer", "add_prefix_space": True, "model_max_length": 512}
    files = {"config": {"model_type": "roberta"}, "tokenizer_config": settings}
    folder = make("roberta/special_tokens_map.json", **files)
    roberta_s_files(shared, folder)
    check_alike(folder, texts[:200])
    (folder / "tokenizer_config.json").unlink()
    ours, expected = load_tokenizer(folder), load_tokenizer(shared / "tokenizers/roberta")
    assert ours.encode_batch(texts, add_special_tokens=True) == expected.encode_batch(texts, add_special_tokens=True)


@pytest.mark.parametrize(
    ("model_type", "settings"),
    [
        ("qwen2", {"tokenizer_class": "Qwen2Tokenizer", "bos_token": None, "eos_token": CHAT[1]}),
        ("gpt_neox", {"tokenizer_class": "GPTNeoXTokenizer"}),
        ("gpt2", {"add_bos_token": True, "add_eos_token": True, "add_prefix_space": True}),
    ],
)
def test_vocab_and_merges(make: Make, texts: list[str], model_type: str, settings: dict[str, Any]) -> None:
    settings = {**settings, "additional_special_tokens": CHAT}
    added = {"<x>": 50265, "zzz": 50266, CHAT[0]: 50267}
    files = {"config": {"model_type": model_type}, "tokenizer_config": settings, "added_tokens": added}
    check_alike(make("opt/vocab.json", "opt/merges.txt", **files), [*texts[:200], "<x> a zzz<|im_start|>b <|im_end|>"])


def test_older_files_that_differ(make: Make) -> None:
    """special_tokens_map.json goes before tokenizer_config.json. An added token is found in any case, as other words of
    this vocabulary are, and a special one as it is written."""
    settings = {"sep_token": "[PAD]", "additional_special_tokens": ["[E]"]}
    special = {"sep_token": "[MASK]", "mask_token": {**END, "content": "[CLS]"}}
    files = {"config": {"model_type": "bert"}, "special_tokens_map": special, "tokenizer_config": settings}
    folder = make("bert-base-uncased/vocab.txt", **files, added_tokens={"NewTok": 30522, "[E]": 30523})
    ours, theirs = both(folder)
    check_ids(ours, theirs, ["a newtok NEWTOK NewTok b", "a [e] [E] b", "[MASK] [SEP]"])
    check_special(ours, theirs)
    assert (ours.sep_id, ours.mask_id) == (103, 101)


def test_deberta_s_spm_model(tmp_path: Path, texts: list[str]) -> None:
    """As transformers, but for the characters that only sentencepiece replaces: what the model was trained with."""
    pytest.importorskip("sentencepiece", reason="transformers reads spm.model with sentencepiece")
    shutil.copy(FIXTURES / "unigram.model", tmp_path / "spm.model")
    (tmp_path / "config.json").write_text('{"model_type": "deberta-v2"}')
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false, "vocab_type": "spm"}')
    replaced = "½ﬁ\u00a0\u3000Ａ…\u200b①㍿\r"
    plain = [text for text in texts if not any(character in text for character in replaced)]
    ours, theirs = both(tmp_path)
    check_ids(ours, theirs, plain)
    check_special(ours, theirs)
    check_batches(ours, theirs, plain[20:])
    assert ours.encode("ﬁ", True) == ours.encode("fi", True) != theirs("ﬁ").input_ids


def test_gemma_s_tokenizer_model(tmp_path: Path, texts: list[str]) -> None:
    pytest.importorskip("sentencepiece", reason="transformers reads tokenizer.model with sentencepiece")
    shutil.copy(FIXTURES / "gemma.model", tmp_path / "tokenizer.model")
    (tmp_path / "config.json").write_text('{"model_type": "gemma2"}')
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "GemmaTokenizer", "add_bos_token": true}')
    check_alike(tmp_path, texts)


def test_llama_s_tokenizer_model(make: Make, texts: list[str]) -> None:
    """sentencepiece's ids. transformers 5.23 takes a space away before text that begins with one, and joins runs of
    spaces before what follows them: elsewhere it gives the same."""
    pytest.importorskip("sentencepiece", reason="transformers reads tokenizer.model with sentencepiece")
    settings = {"tokenizer_class": "LlamaTokenizer", "legacy": False, "add_bos_token": True, "model_max_length": 2048}
    ours, theirs = both(make("llama2/tokenizer.model", config={"model_type": "llama"}, tokenizer_config=settings))
    plain = [text for text in texts if not text.startswith(" ") and not any(t in text for t in ("  ", "<s>", "<unk>"))]
    assert len(plain) > 400
    check_ids(ours, theirs, plain)
    check_special(ours, theirs)
    check_batches(ours, theirs, plain[20:])
    assert ours.encode("a", add_special_tokens=True) == [1, 263]


# --- what is wrong -----------------------------------------------------------------------------------------------


def refused(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        load_tokenizer(folder)
    said = str(caught.value)
    assert "\n" not in said
    assert str(folder) in said
    return said.replace(str(folder), "DIR")


def test_damaged_and_empty(tmp_path: Path) -> None:
    files = "tokenizer.json, vocab.json, vocab.txt, tokenizer.model, spm.model"
    assert refused(tmp_path) == f"the folder DIR holds no tokenizer: looked for {files}; put one there"
    (tmp_path / "merges.txt").write_text("a b\n")
    assert "holds no tokenizer" in refused(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"model": ')
    assert refused(tmp_path).startswith("DIR/tokenizer.json is no tokenizer that can be read (EOF while parsing")
    (tmp_path / "tokenizer_config.json").write_text("{")
    assert refused(tmp_path).startswith("cannot read DIR/tokenizer_config.json (")
    (tmp_path / "tokenizer_config.json").write_text("[]")
    assert refused(tmp_path) == "DIR/tokenizer_config.json is no mapping of settings: fetch it again"


def test_vocab_without_merges_and_a_vocabulary_of_another_class(make: Make) -> None:
    folder = make("opt/vocab.json")
    assert refused(folder) == "DIR/vocab.json needs merges.txt beside it: fetch both, or a tokenizer.json"
    (folder / "config.json").write_text('{"model_type": "bert"}')
    said = (
        "DIR is of the class BertTokenizer, which is made of vocab.txt, and holds only vocab.json: fetch vocab.txt or"
    )
    assert refused(folder).startswith(said)


def test_a_class_that_is_not_known(make: Make) -> None:
    folder = make("bert-base-uncased/vocab.txt", tokenizer_config={"tokenizer_class": "BartTokenizer"})
    said = refused(folder)
    assert said.startswith("DIR has no tokenizer.json, and the class BartTokenizer that its settings name needs one:")
    assert said.endswith("Did you mean 'BertTokenizer'?")
    shutil.copy(FIXTURES / "unigram.model", folder)
    with pytest.raises(UserError, match=r"is no file of a tokenizer: name one of tokenizer\.json, "):
        load_tokenizer(Path(__file__))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"do_lower_case": "yes"}, "do_lower_case is 'yes', must be true or false"),
        ({"padding_side": "up"}, "padding_side is 'up', must be left or right"),
        ({"cls_token": 5}, "cls_token is 5, must be a text or name its content"),
        (
            {"added_tokens_decoder": {"9": {"content": "newtoken"}}},
            "settings give the added token 'newtoken' the id 9, and after the vocabulary it would get 30522",
        ),
    ],
)
def test_settings_that_cannot_be_meant(make: Make, settings: dict[str, Any], said: str) -> None:
    assert said in refused(make("bert-base-uncased/vocab.txt", tokenizer_config=settings))


def test_chat_templates(make: Make) -> None:
    folder = make("bert-base-uncased/vocab.txt", tokenizer_config={"chat_template": "{{ a }}"})
    assert load_tokenizer(folder).chat_template == "{{ a }}"
    several = [{"name": "default", "template": "{{ b }}"}, {"name": "rag", "template": "{{ c }}"}]
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": several}))
    assert load_tokenizer(folder).chat_template == {"default": "{{ b }}", "rag": "{{ c }}"}
    (folder / "chat_template.jinja").write_text("{{ d }}")
    assert load_tokenizer(folder).chat_template == "{{ d }}"
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates/tool.jinja").write_text("{{ e }}")
    assert load_tokenizer(folder).chat_template == {"default": "{{ d }}", "tool": "{{ e }}"}
