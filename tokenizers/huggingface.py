"""Tokenizers that come as files: a tokenizer.json, or the older vocab.json + merges.txt, vocab.txt, tokenizer.model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from ..errors import UserError
from .base import Tokenizer
from .engine import Engine

if TYPE_CHECKING:
    from tokenizers import Tokenizer as HFTokenizer

# What a special token is called where no tokenizer_config.json or special_tokens_map.json says so.
USUAL = {
    "bos": ("<s>", "<|begin_of_text|>", "<bos>", "[CLS]", "<|endoftext|>"),
    "eos": ("</s>", "<|end_of_text|>", "<eos>", "<|endoftext|>", "[SEP]"),
    "pad": ("<pad>", "[PAD]", "<|padding|>", "<|finetune_right_pad_id|>"),
    "mask": ("<mask>", "[MASK]"),
}
FILES = ("tokenizer.json", "vocab.json", "vocab.txt", "tokenizer.model", "spm.model")


class HuggingFaceTokenizer(Tokenizer):
    """A tokenizer of the `tokenizers` library; its ids are those of transformers'
    AutoTokenizer from the same files.

    As there, the text of a special token is that token. `special` maps bos, eos, pad and mask to their text.
    """

    kind = "huggingface"

    def __init__(self, inner: HFTokenizer, special: dict[str, str], name: str) -> None:
        # Files often carry the length one fine-tuning job cut and padded its texts to.
        inner.no_truncation()
        inner.no_padding()
        self._inner = inner
        self._special = special
        self._engine = Engine(inner)
        self.name = name
        self.vocab_size = 1 + max(inner.get_vocab().values())
        self.splittable = self._engine.splittable
        ids = {key: inner.token_to_id(token) for key, token in special.items()}
        self.bos_id, self.eos_id, self.pad_id = ids.get("bos"), ids.get("eos"), ids.get("pad")
        self.mask_id = ids["mask"] if "mask" in ids else inner.token_to_id("_")

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        return self._inner.encode(_valid(text), add_special_tokens=add_special_tokens).ids

    def encode_batch(self, texts: Sequence[str], add_special_tokens: bool = False) -> list[list[int]]:
        if not add_special_tokens:
            return super().encode_batch(texts)
        found = self._inner.encode_batch_fast([_valid(text) for text in texts], add_special_tokens=True)
        return [encoding.ids for encoding in found]

    def encode_arrays(self, texts: Sequence[str]) -> list[NDArray[Any]]:
        return self._engine.encode_arrays([_valid(text) for text in texts])

    def decode(self, ids: Sequence[int]) -> str:
        return self._inner.decode(list(ids), skip_special_tokens=False)

    def description(self) -> dict[str, Any]:
        return {"tokenizer": self._inner.to_str(), "special": self._special}

    def _card(self) -> dict[str, Any]:
        return {"special": self._special}

    def _save_files(self, folder: Path) -> None:
        save_files(self._inner, self._special, folder)


def save_files(inner: HFTokenizer, special: dict[str, str], folder: Path) -> None:
    """Write tokenizer.json and a tokenizer_config.json: transformers' AutoTokenizer reads the folder."""
    (folder / "tokenizer.json").write_text(inner.to_str(pretty=True), encoding="utf-8")
    config = {"tokenizer_class": "PreTrainedTokenizerFast", **{f"{key}_token": text for key, text in special.items()}}
    text = json.dumps({**config, "clean_up_tokenization_spaces": False}, indent=1, ensure_ascii=False)
    (folder / "tokenizer_config.json").write_text(text + "\n", encoding="utf-8")


def load_files(path: Path) -> HuggingFaceTokenizer:
    """The tokenizer of a file, or of a folder that holds one of `FILES`. Raises UserError for damaged ones."""
    folder = path if path.is_dir() else path.parent
    config = _settings(folder)
    if path.is_dir():
        found = next((folder / name for name in FILES if (folder / name).is_file()), None)
        if found is None:
            raise UserError(f"the folder {folder} holds no tokenizer: looked for {', '.join(FILES)}")
        path = found
    try:
        inner = _read(path, config)
    except UserError:
        raise
    except Exception as error:  # the library raises plain Exception for every kind of bad file
        raise UserError(f"{path} is no tokenizer that can be read: {error}") from None
    return HuggingFaceTokenizer(inner, special_tokens(inner, config), _name(path))


def special_tokens(inner: HFTokenizer, config: dict[str, Any]) -> dict[str, str]:
    """bos, eos, pad, mask -> the text of each that the vocabulary holds."""
    special: dict[str, str] = {}
    for key, usual in USUAL.items():
        named = config.get(f"{key}_token")
        choices = usual if named is None and f"{key}_token" not in config else [named]
        texts = [choice["content"] if isinstance(choice, dict) else choice for choice in choices]
        text = next((text for text in texts if text and inner.token_to_id(text) is not None), None)
        if text is not None:
            special[key] = text
    return special


def _name(path: Path) -> str:
    generic = path.name in FILES and path.resolve().parent.name
    return generic or path.stem


def _settings(folder: Path) -> dict[str, Any]:
    """tokenizer_config.json over special_tokens_map.json; neither need be there."""
    settings: dict[str, Any] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        path = folder / name
        if path.is_file():
            try:
                settings |= json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                raise UserError(f"cannot read {path}: {error}") from None
    return settings


def _read(path: Path, config: dict[str, Any]) -> HFTokenizer:
    from tokenizers import Tokenizer

    if path.suffix == ".model":
        from .sentencepiece_model import read_sentencepiece

        return read_sentencepiece(path, config)
    if path.name == "vocab.json":
        return _byte_level(path, path.with_name("merges.txt"), config)
    if path.suffix == ".txt":
        return _wordpiece(path, config)
    return Tokenizer.from_file(str(path))


def _byte_level(vocab: Path, merges: Path, config: dict[str, Any]) -> HFTokenizer:
    """GPT-2's two files (also RoBERTa's and OPT's): byte-level BPE."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

    if not merges.is_file():
        raise UserError(f"{vocab} needs {merges.name} beside it")
    inner = Tokenizer(models.BPE.from_file(str(vocab), str(merges)))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=bool(config.get("add_prefix_space", False)))
    inner.decoder = decoders.ByteLevel()
    named = [
        config[key] for key in ("bos_token", "eos_token", "unk_token", "pad_token", "mask_token") if config.get(key)
    ]
    texts = [token["content"] if isinstance(token, dict) else token for token in named]
    for text in dict.fromkeys(texts or ("<s>", "</s>", "<pad>", "<unk>", "<mask>", "<|endoftext|>")):
        if inner.token_to_id(text) is not None:
            # RoBERTa's mask takes the space before it along: it stands for a word with its space.
            inner.add_tokens([AddedToken(text, special=True, normalized=False, lstrip=text == "<mask>")])
    special = special_tokens(inner, config)
    bos, eos = special.get("bos"), special.get("eos")
    ids: dict[str, Any] = {text: inner.token_to_id(text) for text in special.values()}
    if str(config.get("tokenizer_class", "")).startswith("Roberta") and bos and eos:
        inner.post_processor = processors.RobertaProcessing((eos, ids[eos]), (bos, ids[bos]), add_prefix_space=False)
    elif config.get("add_bos_token") and bos:
        inner.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos}:1 $B:1", special_tokens=[(bos, ids[bos])]
        )
    return inner


def _wordpiece(path: Path, config: dict[str, Any]) -> HFTokenizer:
    """BERT's vocab.txt; lower case unless tokenizer_config.json says otherwise."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    inner = Tokenizer(models.WordPiece.from_file(str(path), unk_token="[UNK]"))
    inner.normalizer = normalizers.BertNormalizer(
        lowercase=bool(config.get("do_lower_case", True)),
        handle_chinese_chars=bool(config.get("tokenize_chinese_chars", True)),
        strip_accents=config.get("strip_accents"),
    )
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.decoder = decoders.WordPiece()
    specials = [t for t in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]") if inner.token_to_id(t) is not None]
    inner.add_special_tokens(specials)
    if "[CLS]" in specials and "[SEP]" in specials:
        inner.post_processor = processors.TemplateProcessing(
            single="[CLS]:0 $A:0 [SEP]:0",
            pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
            special_tokens=[(t, inner.token_to_id(t)) for t in ("[CLS]", "[SEP]")],
        )
    return inner


def _valid(text: str) -> str:
    """The text with lone surrogates made U+FFFD, which UTF-8 can hold."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
