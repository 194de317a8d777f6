"""RoBERTa and DistilRoBERTa: BERT whose positions count the ids that are no padding."""

from __future__ import annotations

from typing import Any

from ..config import ModelConfig, Task
from .encoders import TRUNK, need_token_types, read_encoder, read_head, write_encoder
from .families import Head
from .settings import Settings

MODEL_TYPES = ("roberta",)
PREFIX = "roberta."
NAMES = {PREFIX + theirs: ours for theirs, ours in TRUNK.items()}
MASKED_LM = {
    "lm_head.bias": "head.out.bias",  # the decoder's, under a second name
    "lm_head.decoder": "head.out",
    "lm_head.dense": "head.dense",
    "lm_head.layer_norm": "head.norm",
}
CLASSIFIER = {"classifier.dense": "head.dense", "classifier.out_proj": "head.out"}
HEADS: dict[Task, Head] = {
    "masked_lm": Head(("RobertaForMaskedLM",), MASKED_LM),
    "classification": Head(("RobertaForSequenceClassification",), CLASSIFIER),
    "encoder": Head(("RobertaModel",), {}),
}
EXTRAS = {"RobertaModel": ("roberta.pooler.dense",)}


def config(hf: Settings, task: Task) -> ModelConfig:
    fields = read_encoder(hf)
    need_token_types(hf, fields)
    pad = hf.get("pad_token_id", 1)
    fields |= {"pad_token_id": pad, "position_offset": pad + 1}  # padding has the row of its own id, text those after
    fields["max_seq_len"] -= pad + 1
    dropout = hf.get("classifier_dropout", fields["residual_dropout"])
    return ModelConfig(**fields, **read_head(task, "tanh", dropout, "gelu", before=dropout))


def to_hf(config: ModelConfig) -> dict[str, Any]:
    rows = config.max_seq_len + config.position_offset
    hf = {"model_type": "roberta", **write_encoder(config), "pad_token_id": config.pad_token_id}
    return hf | {"max_position_embeddings": rows, "classifier_dropout": config.classifier_dropout}
