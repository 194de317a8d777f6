"""ELECTRA: BERT with narrow embeddings; a generator that fills gaps, a discriminator that tells what was replaced."""

from __future__ import annotations

from typing import Any

from ..config import ModelConfig, Task
from .encoders import TRUNK, WORDS, need_token_types, read_encoder, read_head, write_encoder
from .families import Head
from .settings import Settings

MODEL_TYPES = ("electra",)
PREFIX = "electra."
NAMES = {PREFIX + theirs: ours for theirs, ours in TRUNK.items()} | {"electra.embeddings_project": "embedder.project"}
DISCRIMINATOR = {
    "discriminator_predictions.dense": "head.dense",
    "discriminator_predictions.dense_prediction": "head.out",
}
GENERATOR = {
    "generator_predictions.dense": "head.dense",
    "generator_predictions.LayerNorm": "head.norm",
    "generator_lm_head": "head.out",
}
CLASSIFIER = {"classifier.dense": "head.dense", "classifier.out_proj": "head.out"}
HEADS: dict[Task, Head] = {
    "replaced_token": Head(("ElectraForPreTraining",), DISCRIMINATOR),
    "masked_lm": Head(("ElectraForMaskedLM",), GENERATOR),
    "classification": Head(("ElectraForSequenceClassification",), CLASSIFIER),
    "encoder": Head(("ElectraModel",), {}),
}
ELECTRA_WORDS = WORDS | {"d_embed": "embedding_size"}
UNUSED = ("summary_type", "summary_use_proj", "summary_activation", "summary_last_dropout")  # of multiple choice


def config(hf: Settings, task: Task) -> ModelConfig:
    for key in UNUSED:
        hf.get(key, None)
    fields = read_encoder(hf, ELECTRA_WORDS)
    need_token_types(hf, fields)
    token = "gelu" if task == "masked_lm" else fields["activation"]  # the generator's does not follow hidden_act
    dropout = hf.get("classifier_dropout", fields["residual_dropout"])
    return ModelConfig(**fields, **read_head(task, "gelu", dropout, token, before=dropout))


def to_hf(config: ModelConfig) -> dict[str, Any]:
    hf = {"model_type": "electra", **write_encoder(config, ELECTRA_WORDS)}
    return hf | {"classifier_dropout": config.classifier_dropout}
