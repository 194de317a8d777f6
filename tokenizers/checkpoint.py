"""The tokenizer of a checkpoint: from the files in its directory to the ids that transformers gives.

A tokenizer.json says everything of how text becomes ids and is read as it stands. Without one, the class that
tokenizer_config.json or config.json names is made of the vocabulary that is there (classes.py); a vocabulary that lies
alone is read as what it looks like.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError, nearest, notice
from .classes import CLASSES, TokenizerClass, by_file, by_name
from .huggingface import HuggingFaceTokenizer, Manner
from .settings import CONFIG, NAMED, Settings, read_settings

if TYPE_CHECKING:
    from tokenizers import AddedToken
    from tokenizers import Tokenizer as HFTokenizer

JSON = "tokenizer.json"
FILES = (JSON, "vocab.json", "vocab.txt", "tokenizer.model", "spm.model")
# What a special token is called where nothing names it and no class is known: of each, the first that is there.
USUAL = {
    "bos": ("<s>", "<|begin_of_text|>", "<bos>", "<|endoftext|>"),
    "eos": ("</s>", "<|end_of_text|>", "<eos>", "<|endoftext|>"),
    "unk": ("<unk>", "[UNK]"),
    "sep": ("[SEP]",),
    "pad": ("<pad>", "[PAD]", "<|padding|>", "<|finetune_right_pad_id|>"),
    "cls": ("[CLS]",),
    "mask": ("<mask>", "[MASK]"),
}


def load_files(path: Path) -> HuggingFaceTokenizer:
    """The tokenizer of a file, or of a folder that holds one of `FILES`.

    Raises UserError where there is none, for a damaged one, and for a class that needs a tokenizer.json and has none.
    """
    settings = read_settings(path if path.is_dir() else path.parent)
    name, kind = by_name(settings)
    if path.is_dir():
        path = _file(path, name, kind)
    elif not path.name.endswith((".json", ".txt", ".model")):
        raise UserError(
            f"{path} is no file of a tokenizer: name one of {', '.join(FILES)}, or the folder that holds it"
        )
    try:
        if path.suffix == ".json" and path.name != "vocab.json":
            inner = _tokenizer_json(path)
            special = _add_special(inner, settings, kind, bare=False)
            _compare(inner, special, settings)
        else:
            made_of = kind or by_file(path)
            inner = made_of.read(path, settings)
            special = _add_special(inner, settings, made_of if made_of.special else None, bare=True)
            made_of.template(inner, special, settings)
    except UserError:
        raise
    except Exception as error:  # the library raises plain Exception for every kind of bad file
        said = " ".join(str(error).split())
        raise UserError(f"{path} is no tokenizer that can be read ({said}): fetch it again") from None
    generic = path.name in FILES and path.resolve().parent.name
    return HuggingFaceTokenizer(inner, special, generic or path.stem, _manner(inner, special, settings, kind))


def _file(folder: Path, name: str | None, kind: TokenizerClass | None) -> Path:
    if (folder / JSON).is_file():
        return folder / JSON
    there = [file for file in FILES if (folder / file).is_file()]
    if name is not None and kind is None:
        raise UserError(
            f"{folder} has no {JSON}, and the class {name} that its settings name needs one: write it by "
            f"(AutoTokenizer.from_pretrained(...).save_pretrained(...)).{nearest(name, CLASSES)}"
        )
    if kind is not None and there and kind.file not in there:
        raise UserError(
            f"{folder} is of the class {name}, which is made of {kind.file}, and holds only {', '.join(there)}: fetch "
            f"{kind.file} or {JSON}"
        )
    if not there:
        raise UserError(f"the folder {folder} holds no tokenizer: looked for {', '.join(FILES)}; put one there")
    return folder / (kind.file if kind is not None else there[0])


def _tokenizer_json(path: Path) -> HFTokenizer:
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(path))


def _add_special(inner: HFTokenizer, settings: Settings, kind: TokenizerClass | None, bare: bool) -> dict[str, str]:
    """Make tokens of what the settings add, and return the special ones by name. `bare`: without tokenizer.json."""
    there = {token.content: token for token in inner.get_added_tokens_decoder().values()}
    for index, token in settings.added.items():
        if repr(token) != repr(there.get(token.content)):
            inner.add_tokens([token])
        if inner.token_to_id(token.content) != index:
            raise UserError(
                f"{settings.folder}: its settings give the added token '{token.content}' the id {index}, and after the "
                f"vocabulary it would get {inner.token_to_id(token.content)}: fetch the tokenizer.json, which has both"
            )
        there[token.content] = token
    special: dict[str, str] = {}
    tokens: list[AddedToken] = []
    for key in NAMED:
        usual = next((text for text in USUAL[key] if inner.token_to_id(text) is not None), None)
        token = settings.special(key, kind.special.get(key) if kind else usual)
        if token is not None:
            special[key] = token.content
            tokens.append(token)
    for token in (*tokens, *settings.extra()):
        known = there.get(token.content)
        if known is None or (bare and token.special and not known.special):
            inner.add_tokens([token])  # of two that are spelt alike the last one counts
    return special


def _compare(inner: HFTokenizer, special: dict[str, str], settings: Settings) -> None:
    """Say so where tokenizer_config.json and the template of tokenizer.json differ on whether a bos or eos is added."""
    added = inner.encode("", add_special_tokens=True).tokens
    for key, place in (("bos", added[:1]), ("eos", added[-1:])):
        told = settings.values.get(f"add_{key}_token")
        if isinstance(told, bool) and key in special and told != (special[key] in place):
            notice(
                f"{settings.folder / CONFIG} says add_{key}_token: {str(told).lower()}, and the template of {JSON} "
                "does otherwise: the template counts"
            )


def _manner(inner: HFTokenizer, special: dict[str, str], settings: Settings, kind: TokenizerClass | None) -> Manner:
    named = settings.values.get("model_input_names")
    if isinstance(named, list):
        types = "token_type_ids" in named
    elif kind is not None:
        types = kind.token_types
    else:  # a template with a class and a separator, and a second text that it tells from the first
        types = {"cls", "sep"} <= set(special) and 1 in inner.encode("a", "a").type_ids
    return Manner(
        max_length=settings.max_length,
        padding_side=settings.side("padding_side", kind.padding_side if kind else "right"),
        truncation_side=settings.side("truncation_side", "right"),
        token_types=types,
        clean_up=settings.flag("clean_up_tokenization_spaces", False),
        split_special=settings.flag("split_special_tokens", False),
        chat_template=settings.chat_template,
    )
