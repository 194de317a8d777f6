"""transformers' tokenizer classes: what each makes of a vocabulary that comes without a tokenizer.json."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError
from .batch import Side
from .engine import QWEN
from .sentencepiece_model import SPACE, add_pieces, build, model_of, read
from .settings import GENERIC, Settings

if TYPE_CHECKING:
    from tokenizers import Tokenizer as HFTokenizer

Special = Mapping[str, str]


@dataclass(frozen=True)
class TokenizerClass:
    """What a class is made of and adds. `special` are its published special tokens, by name."""

    file: str
    read: Callable[[Path, Settings], HFTokenizer]
    special: Special = field(default_factory=dict)
    template: Callable[[HFTokenizer, Special, Settings], None] = lambda inner, special, settings: None
    token_types: bool = False
    padding_side: Side = "right"


def by_name(settings: Settings) -> tuple[str | None, TokenizerClass | None]:
    """The name of a checkpoint's class, by its settings or model_type, and what is known of it; None where unknown."""
    name = settings.class_name or BY_MODEL_TYPE.get(str(settings.model_type))
    if name is None or name in GENERIC:
        return None, None
    kind = CLASSES.get(name)
    if kind is _GPT2 and settings.model_type == "opt":
        return name, OPT
    return name, replace(kind, token_types=False) if kind and settings.model_type == "distilbert" else kind


def by_file(path: Path) -> TokenizerClass:
    """The class that a bare file is read with: a file says what it is, but not which special tokens are meant."""
    if path.suffix == ".txt":
        return CLASSES["BertTokenizer"]
    if path.suffix == ".model":
        return TokenizerClass(path.name, _sentencepiece, template=_bos_unless_told)
    return TokenizerClass(path.name, _byte_level, template=_bos_if_told)


# --- vocabularies ------------------------------------------------------------------------------------------------


def _wordpiece(path: Path, settings: Settings) -> HFTokenizer:
    """BERT's vocab.txt, one token a line; lower case unless the settings say otherwise."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    unknown = settings.special("unk", "[UNK]")
    inner = Tokenizer(models.WordPiece.from_file(str(path), unk_token=unknown.content if unknown else "[UNK]"))
    inner.normalizer = normalizers.BertNormalizer(
        lowercase=settings.flag("do_lower_case", True),
        handle_chinese_chars=settings.flag("tokenize_chinese_chars", True),
        strip_accents=settings.flag("strip_accents", None),
    )
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.decoder = decoders.WordPiece()
    return inner


def _byte_level(path: Path, settings: Settings) -> HFTokenizer:
    """GPT-2's vocab.json and the merges.txt beside it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    merges = path.with_name("merges.txt")
    if not merges.is_file():
        raise UserError(f"{path} needs {merges.name} beside it: fetch both, or a tokenizer.json")
    inner = Tokenizer(models.BPE.from_file(str(path), str(merges)))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=settings.flag("add_prefix_space", False))
    inner.decoder = decoders.ByteLevel()
    return inner


def _neox(path: Path, settings: Settings) -> HFTokenizer:
    from tokenizers import normalizers

    inner = _byte_level(path, settings)
    inner.normalizer = normalizers.NFC()
    return inner


def _qwen(path: Path, settings: Settings) -> HFTokenizer:
    from tokenizers import Regex, pre_tokenizers

    inner = _neox(path, settings)
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN), behavior="isolated"),
            pre_tokenizers.ByteLevel(settings.flag("add_prefix_space", False), use_regex=False),
        ]
    )
    return inner


def _sentencepiece(path: Path, settings: Settings) -> HFTokenizer:
    """Llama's and Gemma's tokenizer.model, as sentencepiece reads it."""
    model = read(path)
    return build(replace(model, dummy_prefix=settings.flag("add_prefix_space", model.dummy_prefix)))


def _deberta(path: Path, settings: Settings) -> HFTokenizer:
    """DeBERTa-v3's spm.model, its characters replaced and its spaces collapsed as sentencepiece does."""
    from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers

    model = read(path)
    inner = Tokenizer(model_of(model))
    lower = [normalizers.Lowercase()] if settings.flag("do_lower_case", False) else []
    replaced = [normalizers.Precompiled(model.charsmap)] if model.charsmap else []
    spaces = [normalizers.Replace(Regex("^ +| +$"), ""), normalizers.Replace(Regex(" {2,}"), " ")]
    inner.normalizer = normalizers.Sequence([*lower, *replaced, *spaces])
    words = [pre_tokenizers.Punctuation("isolated")] if settings.flag("split_by_punct", False) else []
    scheme = "always" if settings.flag("add_prefix_space", True) else "first"
    inner.pre_tokenizer = pre_tokenizers.Sequence([*words, pre_tokenizers.Metaspace(SPACE, prepend_scheme=scheme)])
    inner.decoder = decoders.Metaspace(SPACE, prepend_scheme=scheme)
    add_pieces(inner, model)
    return inner


# --- templates ---------------------------------------------------------------------------------------------------


def _cls_and_sep(inner: HFTokenizer, special: Special, settings: Settings) -> None:
    from tokenizers import processors

    if "cls" in special and "sep" in special:
        cls, sep = special["cls"], special["sep"]
        inner.post_processor = processors.TemplateProcessing(
            single=f"{cls}:0 $A:0 {sep}:0",
            pair=f"{cls}:0 $A:0 {sep}:0 $B:1 {sep}:1",
            special_tokens=[_with_id(inner, token) for token in (cls, sep)],
        )


def _roberta_s(inner: HFTokenizer, special: Special, settings: Settings) -> None:
    from tokenizers import processors

    if "cls" in special and "sep" in special:
        inner.post_processor = processors.RobertaProcessing(
            _with_id(inner, special["sep"]), _with_id(inner, special["cls"]), trim_offsets=True, add_prefix_space=False
        )


def _bos_and_eos(inner: HFTokenizer, special: Special, bos: bool, eos: bool) -> None:
    from tokenizers import processors

    before = [special["bos"]] if bos and "bos" in special else []
    after = [special["eos"]] if eos and "eos" in special else []
    if before or after:
        first = [*(f"{token}:0" for token in before), "$A:0", *(f"{token}:0" for token in after)]
        second = [*(f"{token}:1" for token in before), "$B:1", *(f"{token}:1" for token in after)]
        inner.post_processor = processors.TemplateProcessing(
            single=first,
            pair=[*first, *second],
            special_tokens=[_with_id(inner, token) for token in dict.fromkeys([*before, *after])],
        )


def _bos_if_told(inner: HFTokenizer, special: Special, settings: Settings) -> None:
    _bos_and_eos(inner, special, settings.flag("add_bos_token", False), settings.flag("add_eos_token", False))


def _bos_unless_told(inner: HFTokenizer, special: Special, settings: Settings) -> None:
    _bos_and_eos(inner, special, settings.flag("add_bos_token", True), settings.flag("add_eos_token", False))


def _with_id(inner: HFTokenizer, token: str) -> tuple[str, int]:
    found = inner.token_to_id(token)
    assert found is not None, token  # special tokens that a vocabulary lacked have been added to it
    return token, found


# --- the classes -------------------------------------------------------------------------------------------------

_BERT_S: Special = {"unk": "[UNK]", "sep": "[SEP]", "pad": "[PAD]", "cls": "[CLS]", "mask": "[MASK]"}
_GPT2_S: Special = dict.fromkeys(("bos", "eos", "unk"), "<|endoftext|>")
_LLAMA_S: Special = {"bos": "<s>", "eos": "</s>", "unk": "<unk>"}
_ROBERTA_S: Special = {**_LLAMA_S, "sep": "</s>", "pad": "<pad>", "cls": "<s>", "mask": "<mask>"}
_GEMMA_S: Special = {"bos": "<bos>", "eos": "<eos>", "unk": "<unk>", "pad": "<pad>", "mask": "<mask>"}

_BERT = TokenizerClass("vocab.txt", _wordpiece, _BERT_S, _cls_and_sep, token_types=True)
_GPT2 = TokenizerClass("vocab.json", _byte_level, _GPT2_S, _bos_if_told)
_LLAMA = TokenizerClass("tokenizer.model", _sentencepiece, _LLAMA_S, _bos_unless_told, padding_side="left")

CLASSES: dict[str, TokenizerClass] = {
    "BertTokenizer": _BERT,
    "DistilBertTokenizer": replace(_BERT, token_types=False),
    "ElectraTokenizer": _BERT,
    "RobertaTokenizer": replace(_GPT2, special=_ROBERTA_S, template=_roberta_s),
    "GPT2Tokenizer": _GPT2,
    "GPTNeoXTokenizer": replace(_GPT2, read=_neox, special={**_GPT2_S, "pad": "<|padding|>"}),
    "Qwen2Tokenizer": replace(_GPT2, read=_qwen, special=dict.fromkeys(("eos", "unk", "pad"), "<|endoftext|>")),
    "LlamaTokenizer": _LLAMA,
    "GemmaTokenizer": replace(_LLAMA, special=_GEMMA_S),
    "DebertaV2Tokenizer": TokenizerClass(
        "spm.model", _deberta, {"bos": "[CLS]", "eos": "[SEP]", **_BERT_S}, _cls_and_sep, token_types=True
    ),
}
OPT = replace(
    _GPT2, special={**dict.fromkeys(("bos", "eos", "unk"), "</s>"), "pad": "<pad>"}, template=_bos_unless_told
)
"""OPT names GPT-2's class, and begins each text with </s>."""
BY_MODEL_TYPE = {
    "bert": "BertTokenizer",
    "distilbert": "DistilBertTokenizer",
    "electra": "ElectraTokenizer",
    "roberta": "RobertaTokenizer",
    "gpt2": "GPT2Tokenizer",
    "opt": "GPT2Tokenizer",
    "gpt_neox": "GPTNeoXTokenizer",
    "qwen2": "Qwen2Tokenizer",
    "qwen3": "Qwen2Tokenizer",
    "gemma2": "GemmaTokenizer",
    "gemma3": "GemmaTokenizer",
    "gemma3_text": "GemmaTokenizer",
    "deberta-v2": "DebertaV2Tokenizer",
}
