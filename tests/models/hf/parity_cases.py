# ruff: noqa: C408 (settings read better as keywords)
"""The models that parity with transformers is shown on: every family and head, tiny, with what is special to each.

Only sizes are made up; the rest is as published: GPT-NeoX turns a quarter of each head, Qwen2 has biases on q, k and v
only, Gemma's scale is not that of its heads. Rates of dropout are different numbers, so that none can pass for another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

V = 99  # vocabulary


@dataclass(frozen=True)
class Case:
    """A class of transformers and the settings that make it tiny."""

    family: str  # the module in models/hf
    architecture: str
    settings: dict[str, Any]
    task: str


SIZES = dict(vocab_size=V, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=72)
SIZES |= dict(max_position_embeddings=64, pad_token_id=0, bos_token_id=None, eos_token_id=None)
LLAMA = SIZES | dict(num_key_value_heads=2, attention_dropout=0.15, rms_norm_eps=1e-5, tie_word_embeddings=False)
TIED = dict(tie_word_embeddings=True)


def rope(**parameters: Any) -> dict[str, Any]:
    """Rotary settings as transformers 5 spells them."""
    return dict(rope_parameters=dict(rope_type="default", rope_theta=10_000.0) | parameters)


GPT2 = dict(vocab_size=V, n_embd=32, n_layer=3, n_head=4, n_inner=72, n_positions=64, pad_token_id=0)
GPT2 |= dict(embd_pdrop=0.1, attn_pdrop=0.15, resid_pdrop=0.2, bos_token_id=None, eos_token_id=None)
NEOX = SIZES | dict(hidden_dropout=0.1, attention_dropout=0.15, tie_word_embeddings=False)
NEOX |= rope(rope_theta=5_000.0, partial_rotary_factor=0.25)
OPT = dict(vocab_size=V, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, ffn_dim=72, word_embed_proj_dim=32)
OPT |= dict(max_position_embeddings=64, dropout=0.1, attention_dropout=0.15, pad_token_id=1, bos_token_id=None)
LLAMA3 = dict(rope_type="llama3", rope_theta=500_000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0)
QWEN2 = LLAMA | TIED | rope(rope_theta=1e6) | dict(rms_norm_eps=1e-6)
QWEN2 |= dict(use_sliding_window=False, sliding_window=4, max_window_layers=1)  # the window is there, and off
QWEN3 = QWEN2 | dict(head_dim=16)
PHI3 = LLAMA | dict(embd_pdrop=0.0, resid_pdrop=0.1, original_max_position_embeddings=64)
LONGROPE = dict(rope_type="longrope", short_factor=[1.0, 1.1, 1.2, 1.3], long_factor=[1.0, 2.0, 4.0, 8.0])
PHI3_LONG = PHI3 | dict(original_max_position_embeddings=16, sliding_window=None)
ORIGINAL = dict(original_max_position_embeddings=16, factor=4.0)
PHI3_LONG |= rope(**LONGROPE, **ORIGINAL)
GEMMA = LLAMA | TIED | dict(head_dim=16, query_pre_attn_scalar=24, sliding_window=5, rms_norm_eps=1e-6)
GEMMA2 = GEMMA | dict(attn_logit_softcapping=3.0, final_logit_softcapping=2.0)  # low enough to bend what is here
GEMMA3_ROPE = dict(
    sliding_attention=dict(rope_type="default", rope_theta=100.0),
    full_attention=dict(rope_type="linear", rope_theta=10_000.0, factor=8.0),
)
GEMMA3 = GEMMA | dict(rope_parameters=GEMMA3_ROPE, num_hidden_layers=4)
GEMMA3 |= dict(layer_types=["sliding_attention", "sliding_attention", "full_attention", "sliding_attention"])
GEMMA3_1B = GEMMA | dict(num_hidden_layers=7)  # five local layers to a global one, a theta each: all by default

STARCODER2 = SIZES | TIED | dict(num_key_value_heads=2, norm_epsilon=1e-5, use_bias=True, sliding_window=5)
STARCODER2 |= dict(attention_dropout=0.15, embedding_dropout=0.1, residual_dropout=0.2)

BERT = SIZES | dict(type_vocab_size=2, layer_norm_eps=1e-12, hidden_dropout_prob=0.1, classifier_dropout=0.2)
BERT |= dict(attention_probs_dropout_prob=0.15)
ROBERTA = BERT | dict(type_vocab_size=1, layer_norm_eps=1e-5, pad_token_id=1, max_position_embeddings=66)
DISTILBERT = dict(vocab_size=V, dim=32, n_layers=3, n_heads=4, hidden_dim=72, max_position_embeddings=64)
DISTILBERT |= dict(dropout=0.1, attention_dropout=0.15, seq_classif_dropout=0.2)
ELECTRA = BERT | dict(embedding_size=16)
DEBERTA = {key: value for key, value in BERT.items() if key != "classifier_dropout"}
DEBERTA |= dict(type_vocab_size=0, layer_norm_eps=1e-7, relative_attention=True, position_buckets=8)
DEBERTA |= dict(max_relative_positions=-1, norm_rel_ebd="layer_norm", share_att_key=True, position_biased_input=False)
DEBERTA |= dict(pos_att_type=["p2c", "c2p"], pooler_hidden_size=32, pooler_dropout=0.25, cls_dropout=0.2)


def causal(family: str, architecture: str, settings: dict[str, Any]) -> Case:
    return Case(family, architecture + "ForCausalLM", settings, "causal_lm")


def classifier(family: str, architecture: str, settings: dict[str, Any]) -> Case:
    settings = settings | dict(num_labels=3)
    return Case(family, architecture + "ForSequenceClassification", settings, "classification")


def masked(family: str, architecture: str, settings: dict[str, Any]) -> Case:
    return Case(family, architecture + "ForMaskedLM", settings, "masked_lm")


def bare(family: str, architecture: str, settings: dict[str, Any]) -> Case:
    return Case(family, architecture + "Model", settings, "encoder")


CASES: dict[str, Case] = {
    "gpt2": Case("gpt2", "GPT2LMHeadModel", GPT2, "causal_lm"),
    "gpt2-untied": Case("gpt2", "GPT2LMHeadModel", GPT2 | dict(n_inner=None, tie_word_embeddings=False), "causal_lm"),
    "gpt2-classifier": classifier("gpt2", "GPT2", GPT2),
    "gpt2-bare": bare("gpt2", "GPT2", GPT2),
    "gpt_neox": causal("gpt_neox", "GPTNeoX", NEOX),
    "gpt_neox-sequential": causal("gpt_neox", "GPTNeoX", NEOX | dict(use_parallel_residual=False)),
    "gpt_neox-classifier": classifier("gpt_neox", "GPTNeoX", NEOX),
    "gpt_neox-bare": bare("gpt_neox", "GPTNeoX", NEOX),
    "opt": causal("opt", "OPT", OPT),
    "opt-classifier": classifier("opt", "OPT", OPT),
    "opt-bare": bare("opt", "OPT", OPT),
    "llama": causal("llama", "Llama", LLAMA),
    "llama-scaled": causal("llama", "Llama", LLAMA | TIED | rope(**LLAMA3, original_max_position_embeddings=16)),
    "llama-one-key": causal("llama", "Llama", LLAMA | dict(num_key_value_heads=1)),
    "llama-linear": causal("llama", "Llama", LLAMA | rope(rope_type="linear", factor=4.0)),
    "llama-biased": causal("llama", "Llama", LLAMA | dict(attention_bias=True, mlp_bias=True, head_dim=10)),
    "llama-ungrouped": causal("llama", "Llama", LLAMA | dict(num_key_value_heads=4)),
    "llama-classifier": classifier("llama", "Llama", LLAMA),
    "llama-bare": bare("llama", "Llama", LLAMA),
    "mistral": causal("mistral", "Mistral", LLAMA | dict(sliding_window=5)),
    "mistral-global": causal("mistral", "Mistral", LLAMA | dict(sliding_window=None, head_dim=10)),
    "mistral-classifier": classifier("mistral", "Mistral", LLAMA | dict(sliding_window=5)),
    "mistral-bare": bare("mistral", "Mistral", LLAMA | dict(sliding_window=5)),
    "qwen2": causal("qwen2", "Qwen2", QWEN2),
    "qwen2-untied": causal("qwen2", "Qwen2", QWEN2 | dict(tie_word_embeddings=False)),
    "qwen2-window": causal("qwen2", "Qwen2", QWEN2 | dict(use_sliding_window=True)),
    "qwen2-classifier": classifier("qwen2", "Qwen2", QWEN2),
    "qwen2-bare": bare("qwen2", "Qwen2", QWEN2),
    "qwen3": causal("qwen3", "Qwen3", QWEN3),
    "qwen3-classifier": classifier("qwen3", "Qwen3", QWEN3),
    "qwen3-bare": bare("qwen3", "Qwen3", QWEN3),
    "phi3": causal("phi3", "Phi3", PHI3 | dict(sliding_window=6)),
    "phi3-partial": causal("phi3", "Phi3", PHI3 | rope(partial_rotary_factor=0.5) | dict(sliding_window=None)),
    "phi3-longrope": causal("phi3", "Phi3", PHI3_LONG),
    "phi3-longrope-louder": causal("phi3", "Phi3", PHI3_LONG | rope(**LONGROPE, **ORIGINAL, attention_factor=1.3)),
    "phi3-classifier": classifier("phi3", "Phi3", PHI3 | dict(sliding_window=6)),
    "phi3-bare": bare("phi3", "Phi3", PHI3 | dict(sliding_window=6)),
    "gemma2": causal("gemma2", "Gemma2", GEMMA2),
    "gemma2-classifier": classifier("gemma2", "Gemma2", GEMMA2),
    "gemma2-bare": bare("gemma2", "Gemma2", GEMMA2),
    "gemma3": causal("gemma3", "Gemma3", GEMMA3),
    "gemma3-1b": causal("gemma3", "Gemma3", GEMMA3_1B),
    "gemma3-classifier": classifier("gemma3", "Gemma3Text", GEMMA3),
    "gemma3-bare": bare("gemma3", "Gemma3Text", GEMMA3),
    "starcoder2": causal("starcoder2", "Starcoder2", STARCODER2),
    "starcoder2-classifier": classifier("starcoder2", "Starcoder2", STARCODER2 | dict(use_bias=False)),
    "starcoder2-bare": bare("starcoder2", "Starcoder2", STARCODER2),
    "bert": masked("bert", "Bert", BERT),
    "bert-untied": masked("bert", "Bert", BERT | dict(tie_word_embeddings=False)),
    "bert-pretraining": Case("bert", "BertForPreTraining", BERT, "masked_lm"),
    "bert-classifier": classifier("bert", "Bert", BERT),
    "bert-bare": bare("bert", "Bert", BERT),
    "roberta": masked("roberta", "Roberta", ROBERTA),
    "roberta-classifier": classifier("roberta", "Roberta", ROBERTA | dict(classifier_dropout=None)),
    "roberta-bare": bare("roberta", "Roberta", ROBERTA),
    "distilbert": masked("distilbert", "DistilBert", DISTILBERT),
    "distilbert-classifier": classifier("distilbert", "DistilBert", DISTILBERT),
    "distilbert-bare": bare("distilbert", "DistilBert", DISTILBERT),
    "electra-generator": masked("electra", "Electra", ELECTRA),
    "electra-discriminator": Case("electra", "ElectraForPreTraining", ELECTRA, "replaced_token"),
    "electra-base": Case("electra", "ElectraForPreTraining", ELECTRA | dict(embedding_size=32), "replaced_token"),
    "electra-classifier": classifier("electra", "Electra", ELECTRA),
    "electra-bare": bare("electra", "Electra", ELECTRA),
    "deberta": masked("deberta_v2", "DebertaV2", DEBERTA),
    "deberta-classifier": classifier("deberta_v2", "DebertaV2", DEBERTA),
    "deberta-bare": bare("deberta_v2", "DebertaV2", DEBERTA),
}
