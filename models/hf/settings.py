"""config.json, read strictly: what is needed and missing, or given and not to be had, is an error with its key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from ...errors import UserError, nearest
from ..config import Activation

# Their names. gelu_new and gelu_fast round differently from gelu_pytorch_tanh, and say the same.
ACTIVATIONS: dict[str, Activation] = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_accurate": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_python_tanh": "gelu_tanh",
    "relu": "relu",
    "leaky_relu": "leakyrelu",
    "silu": "silu",
    "swish": "silu",
    "tanh": "tanh",
    "sigmoid": "sigmoid",
    "linear": "none",
}

# What says nothing about the maths of a forward pass.
_HARMLESS = """
    architectures model_type transformers_version torch_dtype dtype use_bfloat16 auto_map tokenizer_class
    bos_token_id eos_token_id pad_token_id cls_token_id sep_token_id mask_token_id unk_token_id decoder_start_token_id
    id2label label2id num_labels problem_type finetuning_task task_specific_params use_cache cache_implementation
    gradient_checkpointing output_attentions output_hidden_states return_dict use_return_dict output_past torchscript
    attn_implementation chunk_size_feed_forward pretraining_tp prefix n_ctx
    sinusoidal_pos_embds is_llama_config transformers.js_config
    boi_token_index eoi_token_index image_token_index mm_tokens_per_image vision_config use_flash_attn
    max_length min_length do_sample early_stopping num_beams temperature top_k top_p repetition_penalty length_penalty
    no_repeat_ngram_size bad_words_ids num_return_sequences remove_invalid_values suppress_tokens max_new_tokens
"""
HARMLESS = frozenset(_HARMLESS.split())


class Settings:
    """The keys of one config.json. `where` names it in errors; `read` are the keys that were asked for."""

    def __init__(self, values: Mapping[str, Any], where: str = "config.json") -> None:
        self.values, self.where = dict(values), where
        self.read: set[str] = set()

    def need(self, key: str) -> Any:
        """The value of `key`. Raises UserError where it is missing or null: the model would be another without it."""
        value = self.get(key, None)
        if value is None:
            raise UserError(f"{self.where}: '{key}' is missing, and without it the model would be another: add it")
        return value

    def given(self, key: str) -> Any:
        """The value of `key`, which may be null but must be there: null says "none", absence says nothing."""
        return self.need(key) if key not in self.values else self.get(key, None)

    def get(self, key: str, default: Any) -> Any:
        """The value of `key`, or what the family's published files mean where they leave it out (or null)."""
        self.read.add(key)
        value = self.values.get(key)
        return default if value is None else value

    def activation(self, key: str, default: str | None = None) -> Activation:
        """Our name of the activation under `key`."""
        name = self.need(key) if default is None else self.get(key, default)
        if name not in ACTIVATIONS:
            raise UserError(f"{self.where}: {key}={name!r} is not known.{nearest(name, ACTIVATIONS)}")
        return ACTIVATIONS[name]

    def refuse_unless(self, key: str, *allowed: Any) -> None:
        """Raises UserError where `key` has a value that changes the maths in a way we do not have.

        Missing or null is as good as the first of `allowed`.
        """
        value = self.get(key, allowed[0])
        if value not in allowed:
            known = " or ".join(repr(choice) for choice in allowed)
            raise UserError(f"{self.where}: {key}={value!r} is not available here, only {known}")

    def agreed(self, what: str, *values: Any) -> Any:
        """The one value that several keys give for the same thing (null: none), None if none does."""
        distinct = list(dict.fromkeys(value for value in values if value is not None))
        if len(distinct) > 1:
            raise UserError(f"{self.where}: {what} is given twice, as {distinct[0]} and as {distinct[1]}: keep one")
        return distinct[0] if distinct else None

    def mapping(self, key: str) -> dict[str, Any]:
        """The mapping under `key`, empty where there is none."""
        value = self.get(key, {})
        if not isinstance(value, dict):
            raise UserError(f"{self.where}: '{key}' is {value!r}, must be a mapping")
        return cast("dict[str, Any]", value)

    def unread(self) -> list[str]:
        """Keys that nobody asked for and that could matter: neither empty nor known to be harmless."""
        asked, empty = self.read | HARMLESS, (None, False, [], {}, "")
        others = {key: value for key, value in self.values.items() if key not in asked and value not in empty}
        return sorted(key for key in others if not key.startswith(("_", "summary_")))


def spelt(activation: Activation, preferred: str) -> str:
    """Their name for our activation: `preferred` if it means the same, else the first."""
    if ACTIVATIONS.get(preferred) == activation:
        return preferred
    return next((theirs for theirs, ours in ACTIVATIONS.items() if ours == activation), activation)
