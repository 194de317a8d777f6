"""What a configuration costs, worked out on paper: parameters, and floating-point operations a token. No torch."""

from __future__ import annotations

from .config import ModelConfig, Norm, Task


def count_parameters(config: ModelConfig, task: Task = "causal_lm", num_labels: int = 0) -> int:
    """How many numbers build_model(config, task, num_labels) holds, without building it."""
    c = config
    attention_in = _linear(c.d_model, c.n_heads * c.head_dim, c.qkv_bias)
    attention_in += 2 * _linear(c.d_model, c.n_kv_heads * c.head_dim, c.qkv_bias)
    attention_in += 2 * _norm(c, c.head_dim, c.norm) if c.qk_norm else 0
    attention_out = _linear(c.n_heads * c.head_dim, c.d_model, c.out_bias)
    ffn = _linear(c.d_model, c.d_ff, c.ffn_bias) * (2 if c.gated else 1) + _linear(c.d_ff, c.d_model, c.ffn_bias)
    norms = len(c.norm_slots) * (_norm(c, c.d_model, c.attn_norm) + _norm(c, c.d_model, c.ffn_norm))
    blocks = c.n_layers * (attention_in + norms)
    blocks += attention_out * (1 if c.share_attn_out else c.n_layers)
    blocks += ffn * (1 if c.share_ffn else c.n_layers)
    if c.positions == "relative":
        blocks += 2 * c.relative_buckets * c.d_model + _norm(c, c.d_model, c.norm)
    return _embedder(c) + blocks + _norm(c, c.d_model, c.head_norm) + _head(c, task, num_labels)


def flops_per_token(config: ModelConfig, context: int | None = None, training: bool = True) -> int:
    """Floating-point operations a token of a causal language model, in texts of `context` tokens.

    Two for each weight that multiplies the token, and 4 H D S a layer for its scores with S tokens and their weighted
    sum, S being the whole context (or the window), as PaLM counts it (arXiv 2204.02311, appendix B). A backward pass
    costs twice a forward: `training` multiplies by 3.
    """
    c, context = config, context or config.max_seq_len
    heads = (2 * c.n_heads + 2 * c.n_kv_heads) * c.head_dim  # q and out, k and v
    weights = c.n_layers * (c.d_model * heads + c.d_model * c.d_ff * (3 if c.gated else 2))
    if c.d_embed != c.d_model:  # into the core, and out of it again to a tied head
        weights += c.d_embed * c.d_model * (2 if c.tie_embeddings else 1)
    weights += (c.d_embed if c.tie_embeddings else c.d_model) * c.vocab_size
    attended = 0
    for layer in range(c.n_layers):
        attended += min(context, c.window) if c.layer_kind(layer) == "local" and c.window else context
    attention = 4 * c.n_heads * c.head_dim * attended
    if c.positions == "relative":  # scores with 2N buckets, both ways
        attention += c.n_layers * 8 * c.n_heads * c.head_dim * c.relative_buckets
    return (2 * weights + attention) * (3 if training else 1)


def _embedder(c: ModelConfig) -> int:
    rows = c.vocab_size + c.n_token_types
    rows += c.max_seq_len + c.position_offset if c.positions == "learned" else 0
    norm = _norm(c, c.d_embed, c.norm) if c.embed_norm else 0
    project = _linear(c.d_embed, c.d_model, True) if c.d_embed != c.d_model else 0
    return rows * c.d_embed + norm + project


def _head(c: ModelConfig, task: Task, num_labels: int) -> int:
    if task == "causal_lm":
        if not c.tie_embeddings:
            return _linear(c.d_model, c.vocab_size, c.head_bias)
        return (c.d_model * c.d_embed if c.d_embed != c.d_model else 0) + (c.vocab_size if c.head_bias else 0)
    if task == "masked_lm":
        out = c.vocab_size if c.tie_embeddings else _linear(c.d_embed, c.vocab_size, True)
        return _linear(c.d_model, c.d_embed, True) + _norm(c, c.d_embed, c.norm) + out
    if task == "replaced_token":
        return _linear(c.d_model, c.d_model, True) + _linear(c.d_model, 1, True)
    if task == "classification":
        dense = _linear(c.d_model, c.d_model, True) if c.classifier_activation else 0
        return dense + _linear(c.d_model, num_labels, c.classifier_activation is not None)
    return 0


def _linear(fan_in: int, fan_out: int, bias: bool) -> int:
    return fan_in * fan_out + (fan_out if bias else 0)


def _norm(c: ModelConfig, width: int, kind: Norm) -> int:
    return width * {"layernorm": 2 if c.norm_bias else 1, "rmsnorm": 1, "none": 0}[kind]
