"""Who may attend to whom: boolean masks, True where a query may see a key.

None stands for the cases that need no T x S tensor: everything is visible, or plain causal attention within the input,
which scaled_dot_product_attention knows as is_causal.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .config import LayerKind, ModelConfig


def build_masks(
    config: ModelConfig,
    n_queries: int,
    past: int,
    device: torch.device,
    attention_mask: Tensor | None = None,
    segment_ids: Tensor | None = None,
) -> dict[LayerKind, Tensor | None]:
    """One mask for each kind of layer: (1 or B, 1, T, S) with S = past + T, or None.

    attention_mask (B, S) has 1 on real tokens, segment_ids (B, T) number the packed documents.
    """
    windows: dict[LayerKind, int | None] = {"global": None, "local": config.window}
    return {
        kind: build_mask(config.causal, windows[kind], n_queries, past, device, attention_mask, segment_ids)
        for kind in windows
        if kind in config.layer_pattern
    }


def build_mask(
    causal: bool,
    window: int | None,
    n_queries: int,
    past: int,
    device: torch.device,
    attention_mask: Tensor | None,
    segment_ids: Tensor | None,
) -> Tensor | None:
    """The mask of one kind of layer. A window counts the query itself: a key is seen if q - k < window."""
    n_keys = past + n_queries
    has_band = window is not None and window < n_keys
    # One query, or queries that are all the keys there are: what None means to Attention.is_causal.
    if attention_mask is None and segment_ids is None and not has_band and (not causal or past == 0 or n_queries == 1):
        return None
    index = torch.arange(n_keys, device=device)
    distance = index[past:, None] - index  # (T, S), query - key
    visible = distance >= 0 if causal else torch.ones_like(distance, dtype=torch.bool)
    if window is not None:
        visible = visible & (distance.abs() < window)
    visible = visible[None, None]  # (1, 1, T, S)
    if segment_ids is not None:
        visible = visible & (segment_ids[:, None, :, None] == segment_ids[:, None, None, :])  # (B, 1, T, T)
    if attention_mask is not None:
        visible = visible & attention_mask.bool()[:, None, None, :]  # (B, 1, T, S)
        visible = visible | (distance == 0)  # padding sees itself: a row without any key would be NaN
    return visible
