"""DeBERTa-v3: BERT with relative positions alone, in log buckets, read by the projections of the content."""

from __future__ import annotations

from typing import Any

from ...errors import UserError
from ..config import ModelConfig, Task
from .encoders import MASKED_LM, TRUNK, read_encoder, read_head, write_encoder
from .families import Head
from .settings import Settings

MODEL_TYPES = ("deberta-v2",)
PREFIX = "deberta."
NAMES = {PREFIX + theirs + ("_proj" if ".self." in theirs else ""): ours for theirs, ours in TRUNK.items()}
del NAMES["deberta.embeddings.position_embeddings"]
NAMES |= {"deberta.encoder.rel_embeddings": "core.relative", "deberta.encoder.LayerNorm": "core.relative_norm"}
RENAMED = {  # as Microsoft's files, and transformers with legacy=false, call the same head
    "lm_predictions.lm_head.bias": "cls.predictions.bias",
    "lm_predictions.lm_head.dense.": "cls.predictions.transform.dense.",
    "lm_predictions.lm_head.LayerNorm.": "cls.predictions.transform.LayerNorm.",
}
WRITTEN = {"legacy": True}
LEFT_OUT = (  # in Microsoft's files
    r"^mask_predictions\.|embeddings\.position_embeddings\.",
    "what only pretraining needed (mask_predictions, position_embeddings)",
)
CLASSIFIER = {"pooler.dense": "head.dense", "classifier": "head.out"}
HEADS: dict[Task, Head] = {
    "masked_lm": Head(("DebertaV2ForMaskedLM",), MASKED_LM),
    "classification": Head(("DebertaV2ForSequenceClassification",), CLASSIFIER),
    "encoder": Head(("DebertaV2Model",), {}),
}
# What makes it a v3. Each is published, and what transformers takes where it is left out is another model.
VERSION_3: dict[str, Any] = {
    "relative_attention": True,
    "position_biased_input": False,
    "share_att_key": True,
    "norm_rel_ebd": "layer_norm",
}


def config(hf: Settings, task: Task) -> ModelConfig:
    hf.get("legacy", True)  # how the head's modules are named
    for key, value in VERSION_3.items():
        hf.need(key)
        hf.refuse_unless(key, value)
    kinds = hf.need("pos_att_type")
    if sorted(kinds.lower().split("|") if isinstance(kinds, str) else kinds) != ["c2p", "p2c"]:
        raise UserError(f"{hf.where}: pos_att_type={kinds!r} is not available here, only 'p2c|c2p'")
    fields = read_encoder(hf)
    width, span = fields["d_model"], hf.get("max_relative_positions", -1)
    others = {"embedding_size": width, "pooler_hidden_size": width, "conv_kernel_size": 0}
    for key, value in (others | {"attention_head_size": width // fields["n_heads"]}).items():
        hf.refuse_unless(key, value)
    fields |= {"positions": "relative", "relative_buckets": hf.need("position_buckets")}
    fields["relative_span"] = span if span > 0 else fields["max_seq_len"]
    dropout, before = hf.get("cls_dropout", fields["residual_dropout"]), hf.get("pooler_dropout", 0.0)
    pooler = hf.activation("pooler_hidden_act", "gelu")
    return ModelConfig(**fields, **read_head(task, pooler, dropout, fields["activation"], before))


def to_hf(config: ModelConfig) -> dict[str, Any]:
    return {
        "model_type": "deberta-v2",
        **write_encoder(config),
        **VERSION_3,
        "pos_att_type": ["p2c", "c2p"],
        "position_buckets": config.relative_buckets,
        "max_relative_positions": config.relative_span,
        "pooler_hidden_size": config.d_model,
        "pooler_hidden_act": config.classifier_activation or "gelu",
        "pooler_dropout": config.head_dropout,
        "cls_dropout": config.classifier_dropout,
    }
