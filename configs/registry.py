"""Entries of a model registry (`models.yaml`) and what a run's `models:` may say."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from ..errors import UserError, nearest
from .fields import (
    Flag,
    Number,
    Positive,
    PositiveNumber,
    Share,
    Strict,
    Text,
    is_list,
    is_mapping,
    key,
    message_of,
    shown,
    spelled,
)
from .read import Lines, parse_yaml

TaskWord = Annotated[Literal["classification", "language-modeling"], spelled(language_modeling="language-modeling")]
PositiveByTask = Positive | dict[TaskWord, Positive]
NumberByTask = PositiveNumber | dict[TaskWord, PositiveNumber]
FlagByTask = Flag | dict[TaskWord, Flag]
Architecture = Annotated[
    Literal["encoder-only", "decoder-only"], spelled(encoder_only="encoder-only", decoder_only="decoder-only")
]


class RegistryLora(Strict):
    """LoRA settings that suit a model."""

    rank: Positive = key(8, "rank of the adapters: 4 below 50M parameters, 8 up to 1B, 16 above")
    alpha: PositiveNumber = key(16.0, "scale times rank, typically 2 x rank")
    dropout: Share = key(0.05, "dropout on the adapters' input")
    target_modules: list[Text] = key(None, "linear layers that get an adapter, in the checkpoint's names", factory=list)


class Memory(Strict):
    """Estimated memory, as text with a unit: `3GB`."""

    cuda_4bit: Text | None = key(None, "on CUDA with 4-bit weights")
    mps_fp32: Text | None = key(None, "on Apple silicon in fp32")
    cpu: Text | None = key(None, "on a CPU in fp32")


class RegistryEntry(Strict):
    """One model: who publishes it, how large it is and which settings suit it."""

    name: Text | None = key(None, "Hugging Face model id; also `model_name` and `pretrained_model`")
    alias: Text | None = key(None, "short name for the command line")
    size_params: Text | None = key(None, "number of parameters with a unit: `66M`, `1.1B`")
    architecture: Architecture | None = key(None, "`encoder-only` or `decoder-only`")
    lora: RegistryLora | None = key(None, "LoRA settings that suit it")
    recommended_batch_size: dict[Literal["cuda", "mps", "cpu"], Positive] | None = key(None, "batch size by device")
    memory_requirements: Memory | None = key(None, "estimated memory")
    type: Text | None = key(None, "`transformer`, or a baseline that is none")
    tokenizer_name: Text | None = key(None, "its tokenizer; default: the model's own")
    num_labels: Positive | None = key(None, "classes of the data it is trained on; default: they are counted")
    max_length: PositiveByTask | None = key(None, "longest sequence in tokens, or one for each task")
    batch_size: PositiveByTask | None = key(None, "batch size, or one for each task")
    learning_rate: NumberByTask | None = key(None, "learning rate, or one for each task")
    num_epochs: NumberByTask | None = key(None, "passes over the training data, or a number for each task")
    gradient_accumulation_steps: PositiveByTask | None = key(None, "forward passes in one optimizer step, likewise")
    gradient_checkpointing: FlagByTask | None = key(None, "compute activations again instead of keeping them, likewise")
    use_cache: Flag | None = key(None, "keep keys and values: false, training has no use for them")

    @model_validator(mode="before")
    @classmethod
    def _other_spellings(cls, data: Any) -> Any:
        """`pretrained_model` or `model_name` is the id, a `name` beside it the alias; `target_modules` is LoRA's."""
        if not is_mapping(data):
            return data
        entry = dict(data)
        lora: Any = entry.get("lora") or {}
        if "target_modules" in entry and is_mapping(lora):  # the guide's tables give them without the block around
            entry["lora"] = {**lora, "target_modules": entry.pop("target_modules")}
        for spelling in ("pretrained_model", "model_name"):
            if spelling in entry:
                if "name" in entry:
                    entry.setdefault("alias", entry.pop("name"))
                entry["name"] = entry.pop(spelling)
        return entry


class ModelSelection(Strict):
    """Which of the models are trained, one after another."""

    selected_models: list[Text] = key(None, "aliases or ids", factory=list)


class MemoryOptimization(Strict):
    """What to do for models of one family when memory is short."""

    gradient_checkpointing: Flag = key(False, "compute activations again instead of keeping them")
    use_cache: Flag = key(False, "keep keys and values; of no use in training")
    max_memory_usage: Annotated[Number, Field(gt=0, le=1)] = key(0.9, "share of the device's memory that may be used")
    batch_size_auto_adjust: Flag = key(True, "cut a batch that does not fit in two")
    min_batch_size: Positive = key(1, "but not below this")


class ModelsSection(Strict):
    """Several models, described in the run's own file."""

    transformer_models: dict[str, RegistryEntry] = key(None, "entries by id", factory=dict)
    model_selection: ModelSelection | None = key(None, "which of them are trained")
    memory_optimization: dict[str, MemoryOptimization] = key(None, "settings by family", factory=dict)


S = TypeVar("S", bound=Strict)


def check(cls: type[S], value: Any, where: str) -> S:
    """Parse a value as a registry section. Raises UserError naming the path of what is wrong in it, below `where`."""
    try:
        return cls.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(part) for part in first["loc"] if "[" not in str(part))
        if first["type"] != "extra_forbidden":
            raise UserError(f"{where}: {path + ': ' if path else ''}{message_of(first)}.") from None
        known = _keys_at(cls, [str(part) for part in first["loc"][:-1]])
        raise UserError(f"{where}: unknown key {path}.{nearest(first['loc'][-1], known)}") from None


def read_models(value: Any) -> Any:
    """The `models:` of a run: a list of names or entries, or a section that describes and selects models."""
    try:
        if is_mapping(value):
            return check(ModelsSection, value, "models")
        if is_list(value):
            return [
                item if isinstance(item, str) else check(RegistryEntry, item, f"models[{index}]")
                for index, item in enumerate(value)
            ]
    except UserError as error:
        raise ValueError(str(error).rstrip(".")) from None
    if value is None or isinstance(value, ModelsSection):
        return value
    raise ValueError(f"expected a list of models, got {shown(value)}")


def as_run(raw: Any) -> Any:
    """A bare list of entries, or one entry, as the `models:` of a run; anything else as it is."""
    if is_list(raw) and all(is_mapping(item) for item in raw):
        return {"models": raw}
    entry_keys = {*RegistryEntry.model_fields, "pretrained_model", "model_name", "target_modules"}
    return {"models": [raw]} if is_mapping(raw) and raw and raw.keys() <= entry_keys else raw


Models = Annotated[list[RegistryEntry | Text] | ModelsSection | None, BeforeValidator(read_models)]


def parse_registry(text: str, name: str) -> list[RegistryEntry]:
    """The entries of a registry: `models:` with a list, a bare list, or one entry. Raises UserError, with the line."""
    raw, lines = parse_yaml(text, name)
    value = as_run(raw)
    if not is_mapping(value) or value.keys() != {"models"} or not is_list(value["models"]):
        raise UserError(f"{name}: expected `models:` and a list of entries, got {shown(raw)}.")
    return [check(RegistryEntry, item, _place(name, lines, index)) for index, item in enumerate(value["models"])]


def _place(name: str, lines: Lines, index: int) -> str:
    below = [line for path, line in lines.items() if str(index) in path[:2]]
    return f"{name}, line {min(below)}: entry {index + 1}" if below else f"{name}: entry {index + 1}"


def _keys_at(cls: type[Strict], location: list[str]) -> list[str]:
    """The keys of the section at a location: through mappings and lists, whose keys are free."""
    for part in location:
        field = cls.model_fields.get(part)
        found = _sections_in(field.annotation) if field else []
        cls = found[0] if found else cls
    return list(cls.model_fields)


def _sections_in(annotation: Any) -> list[type[Strict]]:
    if isinstance(annotation, type) and issubclass(annotation, Strict):
        return [annotation]
    return [section for argument in get_args(annotation) for section in _sections_in(argument)]
