"""Automatic mixed precision: which operations run in 16 bits, and how small fp16 gradients survive."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

DTYPES = {"no": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass
class Precision:
    """Autocast for the forward pass and, in fp16 only, a loss scaler. Weights and optimizer state stay in fp32."""

    dtype: torch.dtype
    device_type: str
    scaler: torch.amp.GradScaler

    def autocast(self) -> AbstractContextManager:
        """The context of the forward pass; none in fp32."""
        if self.dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.device_type, dtype=self.dtype)

    @property
    def loss_scale(self) -> float:
        """What the loss is multiplied by before backward: 1 outside fp16."""
        return self.scaler.get_scale() if self.scaler.is_enabled() else 1.0


def build_precision(mixed_precision: str, device: torch.device) -> Precision:
    """`mixed_precision` is no, bf16 or fp16. fp32 matrix products stay fp32 on a CPU and use TF32 on CUDA."""
    scaler = torch.amp.GradScaler(device.type, enabled=mixed_precision == "fp16")
    scaler.scale(torch.zeros((), device=device))  # it makes its tensors at first use, which is not ours
    return Precision(DTYPES[mixed_precision], device.type, scaler)
