"""What `fine_tuning:` may say."""

from __future__ import annotations

from typing import Annotated, Literal

from .fields import WHOLE, WORD, Flag, Fraction, Natural, Positive, PositiveNumber, Section, Share, Text, key, spelled


class Lora(Section):
    """Low-rank adapters."""

    r: Positive = key(16, "rank of the adapters")
    alpha: PositiveNumber = key(32.0, "their scale is alpha / r")
    dropout: Share = key(0.05, "dropout on the adapters' input")
    target_modules: list[Text] | Text | None = key(
        None,
        "linear layers that get an adapter: names of the checkpoint's family (`c_attn`, ...) or q_proj ... down_proj; "
        "a regular expression for whole paths; or `all-linear`; default: the registry entry's, else `all-linear`",
    )
    bias: Annotated[Literal["none", "all", "lora_only"], spelled(no="none")] = key("none", "which biases train")
    use_rslora: Flag = key(False, "their scale is alpha / sqrt(r): https://arxiv.org/abs/2312.03732")
    use_dora: Flag = key(False, "their length is trained apart from their direction: https://arxiv.org/abs/2402.09353")
    modules_to_save: list[Text] | None = key(
        None, "modules that train in full beside the adapters; default: a classifier's head"
    )
    task_type: Text | None = key(None, "`CAUSAL_LM` or `SEQ_CLS`, as PEFT writes it")


class Spectrum(Section):
    """Training the layers whose weights hold the most signal."""

    snr_threshold: Fraction = key(0.5, "percentile of the signal-to-noise ratio; higher: fewer layers")
    layers_to_finetune: Annotated[Literal["auto"], WORD] | list[Natural] = key(
        "auto", "`auto` or a list of layer indices"
    )


class Quantization(Section):
    """Frozen weights in few bits."""

    bits: Annotated[Literal[4, 8], WHOLE] = key(4, "4 or 8")
    bnb_4bit_compute_dtype: Annotated[Literal["bfloat16", "float16"], spelled(bf16="bfloat16", fp16="float16")] = key(
        "bfloat16", "precision of the products"
    )
    bnb_4bit_quant_type: Annotated[Literal["nf4", "fp4"], WORD] = key("nf4", "the sixteen values of a 4-bit weight")
    bnb_4bit_use_double_quant: Flag = key(True, "quantise the scales as well")
    block_size: Annotated[Literal[32, 64, 128, 256, 512, 1024, 2048, 4096], WHOLE] = key(
        64, "4-bit weights that share a scale"
    )
    skip_modules: list[Text] | None = key(
        None,
        "modules that stay as they are, by our names for them or the last parts of these; `*` is anything; "
        "default: [embedder, head], as in QLoRA",
    )


class FineTuning(Section):
    """How a checkpoint's weights are changed."""

    method: Annotated[Literal["full", "head", "lora", "qlora", "spectrum"], WORD] = key(
        "full", "what is trained: everything, the head alone, adapters, adapters on packed weights, the best layers"
    )
    lora: Lora = key(None, "for `lora` and `qlora`", factory=Lora)
    spectrum: Spectrum = key(None, "for `spectrum`", factory=Spectrum)
    quantization: Quantization = key(None, "for `qlora`", factory=Quantization)
