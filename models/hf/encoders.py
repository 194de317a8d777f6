"""What BERT and its descendants share: modules, and settings that differ in their words only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...errors import UserError
from ..config import Activation, ModelConfig, Task
from .settings import Settings, spelt

TRUNK = {
    "embeddings.word_embeddings": "embedder.tokens",
    "embeddings.position_embeddings": "embedder.positions",
    "embeddings.token_type_embeddings": "embedder.types",
    "embeddings.LayerNorm": "embedder.norm",
    "encoder.layer.{}.attention.self.query": "core.layers.{}.attn.f.q",
    "encoder.layer.{}.attention.self.key": "core.layers.{}.attn.f.k",
    "encoder.layer.{}.attention.self.value": "core.layers.{}.attn.f.v",
    "encoder.layer.{}.attention.output.dense": "core.layers.{}.attn.f.out",
    "encoder.layer.{}.attention.output.LayerNorm": "core.layers.{}.attn.norm_sum",
    "encoder.layer.{}.intermediate.dense": "core.layers.{}.ffn.f.up",
    "encoder.layer.{}.output.dense": "core.layers.{}.ffn.f.down",
    "encoder.layer.{}.output.LayerNorm": "core.layers.{}.ffn.norm_sum",
}
MASKED_LM = {
    "cls.predictions.bias": "head.out.bias",  # the decoder's, under a second name
    "cls.predictions.decoder": "head.out",
    "cls.predictions.transform.dense": "head.dense",
    "cls.predictions.transform.LayerNorm": "head.norm",
}
# Field of ModelConfig -> BERT's word for it.
WORDS = {
    "vocab_size": "vocab_size",
    "d_model": "hidden_size",
    "n_layers": "num_hidden_layers",
    "n_heads": "num_attention_heads",
    "d_ff": "intermediate_size",
    "max_seq_len": "max_position_embeddings",
    "n_token_types": "type_vocab_size",
    "norm_eps": "layer_norm_eps",
    "activation": "hidden_act",
    "residual_dropout": "hidden_dropout_prob",
    "attn_probs_dropout": "attention_probs_dropout_prob",
    "tie_embeddings": "tie_word_embeddings",
    "init_std": "initializer_range",
}
# What files that leave one out mean.
DEFAULTS: dict[str, Any] = {
    "activation": "gelu",
    "residual_dropout": 0.1,
    "attn_probs_dropout": 0.1,
    "tie_embeddings": True,
    "init_std": 0.02,
}
POST_NORM: dict[str, Any] = {
    "causal": False,
    "embed_norm": True,
    "norm_slots": ("sum",),
    "head_norm": "none",
    "qkv_bias": True,
    "out_bias": True,
    "ffn_bias": True,
}


def read_encoder(hf: Settings, words: Mapping[str, str] = WORDS, **defaults: Any) -> dict[str, Any]:
    """ModelConfig's fields below the head, by the family's words; `defaults` are for more words that may be left out.

    Raises:
        UserError: a setting is missing or not available.
    """
    hf.refuse_unless("is_decoder", False)
    hf.refuse_unless("position_embedding_type", "absolute")
    defaults = DEFAULTS | defaults
    fields = {
        field: hf.get(word, defaults[field]) if field in defaults else hf.need(word) for field, word in words.items()
    }
    fields["activation"] = hf.activation(words["activation"], defaults["activation"])
    return POST_NORM | fields | {"embed_dropout": fields["residual_dropout"]}


def need_token_types(hf: Settings, fields: Mapping[str, Any]) -> None:
    """Raises UserError where there are none: for transformers these models always have some."""
    if fields["n_token_types"] < 1:
        raise UserError(f"{hf.where}: {WORDS['n_token_types']}={fields['n_token_types']} must be at least 1")


def read_head(
    task: Task, classifier: Activation, dropout: float, token: Activation, before: float = 0.0
) -> dict[str, Any]:
    """The fields of the task's head: activations of a classifier's dense layer and of a token head's, and dropout.

    A classifier drops at `before` in front of its dense layer and at `dropout` behind it.
    """
    if task == "classification":
        return {"classifier_activation": classifier, "classifier_dropout": dropout, "head_dropout": before}
    return {} if task == "encoder" else {"head_activation": token}


def write_encoder(config: ModelConfig, words: Mapping[str, str] = WORDS) -> dict[str, Any]:
    """The inverse of read_encoder."""
    hf = {word: getattr(config, field) for field, word in words.items()}
    return hf | {words["activation"]: spelt(config.activation, "gelu")}
