"""Where attention can never take a flash kernel of torch's. Needs no torch: a configuration is checked by it."""

from __future__ import annotations

from .config import ModelConfig

_WIDEST = 256  # of a head, on CUDA
_DTYPES = ("fp16", "bf16")  # on CUDA


def why_no_flash(
    config: ModelConfig,
    device: str,
    dtype: str | None = None,
    *,
    dropout: float | None = None,
    context: int | None = None,
    packed: bool = False,
) -> str | None:
    """Half a sentence on why no step of training can take a flash kernel; None where one can.

    Args:
        device: its type: cpu, cuda, mps.
        dtype: of the products, fp32, bf16 or fp16; None: not known.
        dropout: the least there will be on attention's probabilities; None: the model's own.
        context: tokens of a row; None: not known.
        packed: every row has several documents, kept apart by a mask.

    On a CPU any mask will do, and no dropout; on CUDA dropout, and no mask but the causal one.
    """
    if config.positions == "relative":
        return "attention with relative positions adds two terms to every score, which no flash kernel does"
    if config.attn_softcap is not None:
        return f"the model caps its attention scores at {config.attn_softcap:g}, which no flash kernel of torch's does"
    if device == "cpu":
        rate = config.attn_probs_dropout if dropout is None else dropout
        if rate > 0:
            return f"the model drops attention's probabilities (rate {rate:g}), which the flash kernel on a CPU cannot"
        return None
    if device != "cuda":
        return f"torch has no flash kernel for {device}"
    if dtype is not None and dtype not in _DTYPES:
        return f"on CUDA flash kernels multiply in bf16 or fp16, not in {dtype} (trainer.mixed_precision)"
    if config.head_dim > _WIDEST:
        return f"heads are {config.head_dim} wide, and flash kernels on CUDA take up to {_WIDEST}"
    if packed:
        return "documents packed into a row (trainer.datasampling) need a mask, and flash kernels on CUDA take none"
    kinds = {config.layer_kind(i) for i in range(config.n_layers)}
    if kinds == {"local"} and config.window is not None and context is not None and config.window < context:
        return (
            f"every layer has a window of {config.window} tokens in rows of {context}, which needs a mask, and flash "
            "kernels on CUDA take none"
        )
    return None
