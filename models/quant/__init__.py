"""Weights in 4 and 8 bits: how they are packed, and the layers that compute with them.

Names are imported where they are first used; importing this package imports no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .int8 import QuantizedInt8, dequantize_int8, quantize_int8
    from .linear import Linear4bit, Linear8bit
    from .nf4 import Quantized4bit, dequantize_4bit, quantize_4bit
    from .replace import Packing, quantize_model

__all__ = [
    "Linear4bit",
    "Linear8bit",
    "Packing",
    "Quantized4bit",
    "QuantizedInt8",
    "dequantize_4bit",
    "dequantize_int8",
    "quantize_4bit",
    "quantize_int8",
    "quantize_model",
]

_HOMES = {
    "Linear4bit": "linear",
    "Linear8bit": "linear",
    "Packing": "replace",
    "Quantized4bit": "nf4",
    "QuantizedInt8": "int8",
    "dequantize_4bit": "nf4",
    "dequantize_int8": "int8",
    "quantize_4bit": "nf4",
    "quantize_int8": "int8",
    "quantize_model": "replace",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
