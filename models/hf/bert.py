"""BERT (tiny to large) and MiniLM."""

from __future__ import annotations

from typing import Any

from ..config import ModelConfig, Task
from .encoders import MASKED_LM, TRUNK, need_token_types, read_encoder, read_head, write_encoder
from .families import Head
from .settings import Settings

MODEL_TYPES = ("bert",)
PREFIX = "bert."
NAMES = {PREFIX + theirs: ours for theirs, ours in TRUNK.items()}
CLASSIFIER = {"bert.pooler.dense": "head.dense", "classifier": "head.out"}
HEADS: dict[Task, Head] = {
    "masked_lm": Head(("BertForMaskedLM", "BertForPreTraining"), MASKED_LM),
    "classification": Head(("BertForSequenceClassification",), CLASSIFIER),
    "encoder": Head(("BertModel",), {}),
}
EXTRAS = {"BertForPreTraining": ("bert.pooler.dense", "cls.seq_relationship"), "BertModel": ("bert.pooler.dense",)}


def config(hf: Settings, task: Task) -> ModelConfig:
    # The first files, of which those of the tiny models are, give neither.
    fields = read_encoder(hf, norm_eps=1e-12, n_token_types=2)
    need_token_types(hf, fields)
    dropout = hf.get("classifier_dropout", fields["residual_dropout"])
    return ModelConfig(**fields, **read_head(task, "tanh", dropout, fields["activation"]))


def to_hf(config: ModelConfig) -> dict[str, Any]:
    return {"model_type": "bert", **write_encoder(config), "classifier_dropout": config.classifier_dropout}
