"""How much of a model trains and in how many bytes the rest is held, counted on a model without weights."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from ..models.config import ModelConfig, Task
from .costs import FP32
from .methods import lora_settings, method_of, packing_of
from .schema_fine_tuning import FineTuning
from .schema_run import RunConfig

if TYPE_CHECKING:
    from ..models.model import Model


@dataclass(frozen=True)
class Portion:
    """What a method of fine-tuning leaves of a model's costs."""

    trained: int  # parameters that train, in fp32
    added: int  # of these, adapters that the model does not have by itself
    frozen: int  # parameters that do not, in the dtype of the products
    packed: int  # parameters in 4 or 8 bits
    packed_bytes: int
    unpacked: int  # of the largest matrix that is unpacked, for as long as it is multiplied
    note: str

    def weights(self, half: bool) -> float:
        """Bytes of all of them."""
        return self.trained * FP32 + self.frozen * (2 if half else FP32) + self.packed_bytes


def portion(run: RunConfig, config: ModelConfig, task: Task) -> Portion | None:
    """None for a run that trains everything, or from scratch. Raises UserError for adapters that do not fit."""
    if method_of(run) == "full":
        return None
    from ..models.hf.loader import on_paper
    from ..models.lora import add_lora
    from ..models.quant.packed import PackedLinear

    model = on_paper(config, task)
    whole = model.num_parameters()
    chosen, note = _chosen(run, model) if method_of(run) == "spectrum" else (None, "")
    packing = packing_of(run)
    if packing is not None:
        packing.sparing(chosen or ()).apply(model)
    lora = lora_settings(run)
    if lora is not None:
        add_lora(model, **lora)
    if method_of(run) == "head":
        model.requires_grad_(False)
        model.head.requires_grad_(True)
    layers = [m for m in model.modules() if isinstance(m, PackedLinear)]
    packed = sum(m.in_features * m.out_features for m in layers)
    if chosen is not None:
        trained = sum(p.numel() for name in chosen for p in model.get_submodule(name).parameters())
    else:
        trained = model.num_parameters(trainable_only=True)
    total = model.num_parameters()
    return Portion(
        trained=trained,
        added=total - whole,
        frozen=total - trained - packed,
        packed=packed,
        packed_bytes=sum(m.nbytes() for m in layers),
        unpacked=max((m.in_features * m.out_features for m in layers), default=0),
        note=note or f"{trained:,} of {total:,} parameters train ({trained / total:.2%})",
    )


def best_of(count: int, threshold: float) -> int:
    """How many of so many matrices of a kind are above a percentile of their signal, rounded down."""
    return math.floor(count * (1 - threshold) + 1e-9)  # 10 x (1 - 0.9) is 0.99999


def _chosen(run: RunConfig, model: Model) -> tuple[list[str], str]:
    """As many Linears of each kind as Spectrum will choose; which ones is known once their weights are looked at."""
    settings = cast(FineTuning, run.fine_tuning).spectrum
    blocks = [
        (int(name.split(".")[2]), name)
        for name, module in model.named_modules()
        if name.startswith("core.layers.") and hasattr(module, "in_features")
    ]
    if settings.layers_to_finetune != "auto":
        layers = set(settings.layers_to_finetune)
        return [name for layer, name in blocks if layer in layers], ""
    kinds = Counter(name.split(".", 3)[3] for _, name in blocks)
    left = {kind: best_of(count, settings.snr_threshold) for kind, count in kinds.items()}
    chosen: list[str] = []
    for _, name in blocks:
        kind = name.split(".", 3)[3]
        if left[kind] > 0:
            left[kind] -= 1
            chosen.append(name)
    share = f"the best {1 - settings.snr_threshold:.0%} of each kind of matrix train"
    return chosen, f"{share}: which ones is known once their weights are scored"
