"""Entries of a model registry (`models.yaml`) and what a run's `models:` may say."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from .fields import DEVICES, TASKS, Dropout, Flag, Fraction, Positive, PositiveNumber, Strict, Text, fold, key, spelled

ByDevice = dict[Literal["cuda", "mps", "cpu"], Positive]
ByTask = dict[
    Annotated[Literal["classification", "language-modeling"], spelled(language_modeling="language-modeling")], Any
]


class RegistryLora(Strict):
    """LoRA settings that suit a model."""

    rank: Positive = key(8, "rank of the adapters: 4 below 50M parameters, 8 up to 1B, 16 above")
    alpha: PositiveNumber = key(16.0, "scale times rank, typically 2 x rank")
    dropout: Dropout = key(0.05, "dropout on the adapters' input")
    target_modules: list[Text] = key(
        None, "linear layers that get an adapter, in the checkpoint's own names", factory=list
    )


class Memory(Strict):
    """Estimated memory, as text with a unit: `3GB`."""

    cuda_4bit: Text | None = key(None, "on CUDA with 4-bit weights")
    cuda_fp32: Text | None = key(None, "on CUDA in fp32")
    mps_fp32: Text | None = key(None, "on Apple silicon in fp32")
    cpu: Text | None = key(None, "on a CPU in fp32")


class RegistryEntry(Strict):
    """One model: who publishes it, how large it is and which settings suit it."""

    name: Text | None = key(None, "Hugging Face model id")
    alias: Text | None = key(None, "short name for the command line")
    size_params: Text | None = key(None, "number of parameters with a unit: `66M`, `1.1B`")
    architecture: (
        Annotated[
            Literal["encoder-only", "decoder-only"],
            spelled(encoder_only="encoder-only", decoder_only="decoder-only"),
        ]
        | None
    ) = key(None, "`encoder-only` or `decoder-only`")
    lora: RegistryLora | None = key(None, "LoRA settings that suit it")
    recommended_batch_size: ByDevice | None = key(None, "batch size by device")
    memory_requirements: Memory | None = key(None, "estimated memory")
    type: Text | None = key(None, "`transformer`, or a baseline that is none")
    tokenizer_name: Text | None = key(None, "its tokenizer; default: the model's own")
    num_labels: Positive | None = key(None, "classes of a classification head")
    max_length: Positive | None = key(None, "longest sequence, in tokens")
    batch_size: Positive | ByTask | None = key(None, "batch size, or one for each task")
    learning_rate: PositiveNumber | ByTask | None = key(None, "learning rate, or one for each task")
    num_epochs: PositiveNumber | None = key(None, "passes over the training data")
    gradient_accumulation_steps: Positive | None = key(None, "forward passes in one optimizer step")
    gradient_checkpointing: Flag | None = key(None, "compute activations again instead of keeping them")
    use_cache: Flag | None = key(None, "keep keys and values; no use in training")

    @model_validator(mode="before")
    @classmethod
    def _other_spellings(cls, data: Any) -> Any:
        """`pretrained_model` or `model_name` is the id; beside the first, `name` is the short name."""
        if not isinstance(data, dict):
            return data
        data = dict(data)
        if "pretrained_model" in data:
            data["alias"], data["name"] = data.pop("name", None), data.pop("pretrained_model")
        if "model_name" in data:
            data.setdefault("name", data.pop("model_name"))
        return data


class ModelSelection(Strict):
    """Which of the models are trained, one after another."""

    selected_models: list[Text] = key(None, "aliases or ids", factory=list)


class MemoryOptimization(Strict):
    """What to do for models of one family when memory is short."""

    gradient_checkpointing: Flag = key(False, "compute activations again instead of keeping them")
    use_cache: Flag = key(False, "keep keys and values; no use in training")
    max_memory_usage: Fraction = key(0.9, "share of the device's memory that may be used")
    batch_size_auto_adjust: Flag = key(True, "halve a batch that does not fit")
    min_batch_size: Positive = key(1, "but not below this")


class ModelsSection(Strict):
    """Several models, described in the run's own file."""

    transformer_models: dict[str, RegistryEntry] = key(None, "entries by id", factory=dict)
    model_selection: ModelSelection | None = key(None, "which of them are trained")
    memory_optimization: dict[str, MemoryOptimization] = key(None, "settings by family", factory=dict)


class Registry(Strict):
    """A registry file: `models:` and a list of entries."""

    models: list[RegistryEntry] = Field(default_factory=list)


__all__ = ["DEVICES", "TASKS", "ModelsSection", "Registry", "RegistryEntry", "fold"]
