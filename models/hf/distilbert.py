"""DistilBERT: BERT without token types and pooler, in other words."""

from __future__ import annotations

from typing import Any

from ..config import ModelConfig, Task
from .encoders import read_encoder, read_head, write_encoder
from .families import Head
from .settings import Settings

MODEL_TYPES = ("distilbert",)
PREFIX = "distilbert."
NAMES = {
    "distilbert.embeddings.word_embeddings": "embedder.tokens",
    "distilbert.embeddings.position_embeddings": "embedder.positions",
    "distilbert.embeddings.LayerNorm": "embedder.norm",
    "distilbert.transformer.layer.{}.attention.q_lin": "core.layers.{}.attn.f.q",
    "distilbert.transformer.layer.{}.attention.k_lin": "core.layers.{}.attn.f.k",
    "distilbert.transformer.layer.{}.attention.v_lin": "core.layers.{}.attn.f.v",
    "distilbert.transformer.layer.{}.attention.out_lin": "core.layers.{}.attn.f.out",
    "distilbert.transformer.layer.{}.sa_layer_norm": "core.layers.{}.attn.norm_sum",
    "distilbert.transformer.layer.{}.ffn.lin1": "core.layers.{}.ffn.f.up",
    "distilbert.transformer.layer.{}.ffn.lin2": "core.layers.{}.ffn.f.down",
    "distilbert.transformer.layer.{}.output_layer_norm": "core.layers.{}.ffn.norm_sum",
}
MASKED_LM = {"vocab_transform": "head.dense", "vocab_layer_norm": "head.norm", "vocab_projector": "head.out"}
CLASSIFIER = {"pre_classifier": "head.dense", "classifier": "head.out"}
HEADS: dict[Task, Head] = {
    "masked_lm": Head(("DistilBertForMaskedLM",), MASKED_LM),
    "classification": Head(("DistilBertForSequenceClassification",), CLASSIFIER),
    "encoder": Head(("DistilBertModel",), {}),
}
WORDS = {
    "vocab_size": "vocab_size",
    "d_model": "dim",
    "n_layers": "n_layers",
    "n_heads": "n_heads",
    "d_ff": "hidden_dim",
    "max_seq_len": "max_position_embeddings",
    "activation": "activation",
    "residual_dropout": "dropout",
    "attn_probs_dropout": "attention_dropout",
    "tie_embeddings": "tie_word_embeddings",
    "init_std": "initializer_range",
}
# Of a head for questions; how positions were first filled, which the weights hold; an older tie_word_embeddings.
UNUSED = ("qa_dropout", "sinusoidal_pos_embds", "tie_weights_")
FIXED: dict[str, Any] = {"norm_eps": 1e-12, "residual_dropout_on_attn": False}  # in no file


def config(hf: Settings, task: Task) -> ModelConfig:
    for key in UNUSED:
        hf.get(key, None)
    fields = read_encoder(hf, WORDS) | FIXED
    return ModelConfig(**fields, **read_head(task, "relu", hf.get("seq_classif_dropout", 0.2), fields["activation"]))


def to_hf(config: ModelConfig) -> dict[str, Any]:
    return {
        "model_type": "distilbert",
        **write_encoder(config, WORDS),
        "seq_classif_dropout": config.classifier_dropout,
    }
