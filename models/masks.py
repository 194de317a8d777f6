"""Who may attend to whom: boolean masks, True where a query may see a key.

None stands for the two cases that need no T x T tensor: everything is allowed, or plain causal attention over the
input itself, which scaled_dot_product_attention knows as is_causal.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .config import ModelConfig


def build_masks(
    config: ModelConfig,
    n_queries: int,
    past: int,
    device: torch.device,
    attention_mask: Tensor | None = None,
    segment_ids: Tensor | None = None,
) -> dict[str, Tensor | None]:
    """One mask for each kind of layer, (1 or B, 1, T, S) or None, with S = past + T.

    attention_mask (B, S) has 1 on real tokens, segment_ids (B, T) number packed documents.
    """
    n_keys = past + n_queries
    windows = {"global": None, "local": config.window}
    kinds = sorted(set(config.layer_pattern))
    every_row = None
    masks: dict[str, Tensor | None] = {}
    for kind in kinds:
        window = windows[kind]
        if window is not None and window >= n_keys:
            window = None
        plain = attention_mask is None and segment_ids is None and window is None
        if plain and (not config.causal or past == 0 or n_queries == 1):
            masks[kind] = None
            continue
        if every_row is None:
            distance = _distance(n_queries, n_keys, device)  # (T, S)
            every_row = _visible(config.causal, distance, attention_mask, segment_ids)  # (1 or B, 1, T, S)
        masks[kind] = every_row if window is None else every_row & (_distance(n_queries, n_keys, device).abs() < window)
    return masks


def _distance(n_queries: int, n_keys: int, device: torch.device) -> Tensor:
    """(T, S): how far back from each query each key lies. The queries are the last T of the keys."""
    index = torch.arange(n_keys, device=device)
    return index[n_keys - n_queries :, None] - index


def _visible(causal: bool, distance: Tensor, attention_mask: Tensor | None, segment_ids: Tensor | None) -> Tensor:
    """Everything but the window, (1 or B, 1, T, S)."""
    visible = distance >= 0 if causal else torch.ones_like(distance, dtype=torch.bool)
    visible = visible[None, None]  # (1, 1, T, S)
    if attention_mask is not None:
        visible = visible & attention_mask.bool()[:, None, None, :]  # (B, 1, T, S)
    if segment_ids is not None:
        visible = visible & (segment_ids[:, None, :, None] == segment_ids[:, None, None, :])  # (B, 1, T, T)
    if attention_mask is not None:
        visible = visible | (distance == 0)  # padding sees itself: a row without any key would be NaN
    return visible
