"""Parameters by part (exact) and the memory of a training step by part (an estimate), by arithmetic alone.

B batch   T tokens   C d_model   E d_embed   F d_ff   V vocab_size   H n_heads   G n_kv_heads   D head_dim   L n_layers
"""

from __future__ import annotations

from ..models.config import ModelConfig, Norm, Task

FP32 = 4  # bytes
MOMENTS = {"adamw": 2.0 * FP32, "adamw_8bit": 2.0 + 2 * FP32 / 256, "paged_adamw_8bit": 2.0 + 2 * FP32 / 256}
CHUNK_BYTES = 256 * 2**20  # of logits at once where trainer.loss_chunk_tokens is null


def parameters(config: ModelConfig, task: Task = "causal_lm") -> dict[str, int]:
    """The parameters of a language model, causal or masked, by part; what is tied or shared counts once."""
    c = config
    C, E, F, V, L = c.d_model, c.d_embed, c.d_ff, c.vocab_size, c.n_layers
    heads, kv_heads = c.n_heads * c.head_dim, c.n_kv_heads * c.head_dim
    out = heads * C + C * c.out_bias
    ffn = (3 if c.gated else 2) * C * F + ((2 if c.gated else 1) * F + C) * c.ffn_bias
    qkv = (C + c.qkv_bias) * (heads + 2 * kv_heads)
    qk_norms = 2 * _norm(c, c.norm, c.head_dim) * c.qk_norm
    slots = len(c.norm_slots)
    return {
        "token embedding": V * E,
        "position and type embeddings": (
            (c.max_seq_len + c.position_offset) * E * (c.positions == "learned")
            + c.n_token_types * E
            + (E * C + C) * (E != C)
            + _norm(c, c.norm, E) * c.embed_norm
            + (2 * c.relative_buckets * C + _norm(c, c.norm, C)) * (c.positions == "relative")
        ),
        "attention": L * (qkv + qk_norms) + out * (1 if c.share_attn_out else L),
        "feed-forward": ffn * (1 if c.share_ffn else L),
        "norms": L * slots * (_norm(c, c.attn_norm, C) + _norm(c, c.ffn_norm, C)) + _norm(c, c.head_norm, C),
        "head": (C * E * (E != C) if c.tie_embeddings else V * C) + V * c.head_bias
        if task == "causal_lm"
        else C * E + E + _norm(c, c.norm, E) + V + V * E * (not c.tie_embeddings),
    }


def _norm(config: ModelConfig, kind: Norm, width: int) -> int:
    return {"layernorm": width * (1 + config.norm_bias), "rmsnorm": width, "none": 0}[kind]


def training_memory(
    config: ModelConfig,
    batch: int,
    tokens: int,
    half: bool,
    checkpointing: bool,
    chunk: int | None,
    task: Task = "causal_lm",
    frozen: int = 0,
    moments: float = 2 * FP32,
) -> dict[str, float]:
    """Estimated bytes at the peak of a training step with AdamW, by part. `half`: matmuls run in 16 bits.

    `chunk` is the number of tokens whose logits exist at once; None: what fits CHUNK_BYTES, 0: all of them. `frozen`
    parameters have neither gradient nor moments. `moments`: the optimizer's bytes a parameter, see MOMENTS.
    """
    total = sum(parameters(config, task).values())
    width = 2 if half else FP32
    layer = batch * tokens * _layer_bytes(config, half)
    stream = batch * tokens * config.d_model * FP32
    kept = config.n_layers * stream + layer if checkpointing else config.n_layers * layer
    logits = CHUNK_BYTES if chunk is None else (chunk or batch * tokens) * config.vocab_size * width
    return {
        "weights": total * FP32,
        "gradients": (total - frozen) * FP32,
        "optimizer (two moments)": (total - frozen) * moments,
        "16-bit copies of the matrices": (total - parameters(config)["norms"]) * 2.0 if half else 0.0,
        "activations": kept + 3 * stream,
        "logits": min(logits, batch * tokens * config.vocab_size * width),
    }


def _layer_bytes(config: ModelConfig, half: bool) -> float:
    """Bytes a token that one block keeps for its backward pass."""
    c = config
    width = 2 if half else FP32
    heads, kv_heads = c.n_heads * c.head_dim, c.n_kv_heads * c.head_dim
    copies = {"layernorm": 1, "rmsnorm": 2, "none": 0}  # of its input; rmsnorm keeps the normed one too
    norms = (copies[c.attn_norm] + copies[c.ffn_norm]) * c.d_model * FP32 * len(c.norm_slots)
    inputs = c.d_model * (width * (3 + (2 if c.gated else 1)) if half else 2 * FP32)  # each Linear casts its own copy
    attention = width * (2 * heads + 2 * kv_heads) + width * heads  # q, k, v, what comes out, and that laid out anew
    feed_forward = width * c.d_ff * (4 if c.gated else 2 if c.activation != "none" else 1)
    rates = (c.attn_dropout, c.ffn_dropout, c.residual_dropout, c.residual_dropout)
    masks = sum(rate > 0 for rate in rates) * c.d_model
    return norms + inputs + attention + feed_forward + masks
