"""models/cache.py"""

from __future__ import annotations

import pytest
import torch
from groundup.errors import UserError
from groundup.models.cache import KVCache, LayerCache


def test_appends_in_buffers_made_once() -> None:
    cache = LayerCache(6)
    keys, values = torch.randn(2, 3, 6, 4), torch.randn(2, 3, 6, 4)
    pointers = set()
    for start, end in ((0, 3), (3, 4), (4, 6)):
        k, v = cache.append(keys[:, :, start:end], values[:, :, start:end])
        assert torch.equal(k, keys[:, :, :end])
        assert torch.equal(v, values[:, :, :end])
        assert cache.length == end
        pointers.add((k.data_ptr(), v.data_ptr()))
    assert len(pointers) == 1
    with pytest.raises(UserError, match="the cache holds 6 tokens, 7 were given"):
        cache.append(keys[:, :, :1], values[:, :, :1])


def test_a_cache_for_each_layer_is_filled_by_the_model(build) -> None:
    model, cache = build(), KVCache(2, 20)
    ids = torch.randint(0, 37, (2, 9))
    with torch.no_grad():
        model(ids[:, :5], cache=cache)
        assert cache.length == 5
        logits = model(ids[:, 5:], cache=cache)
    assert [layer.length for layer in cache.layers] == [9, 9]
    torch.testing.assert_close(logits, model(ids)[:, 5:], atol=1e-5, rtol=1e-5)
    cache.clear()
    assert cache.length == 0
    with torch.no_grad():
        torch.testing.assert_close(model(ids, cache=cache), model(ids))


def test_every_way_of_cutting_a_text(decoder) -> None:
    """Token by token and in pieces, with one row padded on the left: the logits of the whole text."""
    ids = torch.randint(0, 37, (2, 14))  # 14: on one side of longrope's 16
    mask = torch.ones(2, 14, dtype=torch.long)
    mask[1, :3] = 0
    with torch.no_grad():
        for given in (None, mask):
            whole = decoder(ids, given)
            for cuts in ((1, 2, 3, 14), (8, 9, 14), (5, 14)):
                cache, pieces, start = KVCache(decoder.config.n_layers, 14), [], 0
                for end in cuts:
                    upto = None if given is None else given[:, :end]
                    pieces.append(decoder(ids[:, start:end], upto, cache=cache))
                    start = end
                real = mask.bool() if given is not None else torch.ones_like(mask).bool()
                torch.testing.assert_close(torch.cat(pieces, 1)[real], whole[real], atol=2e-5, rtol=1e-4)
