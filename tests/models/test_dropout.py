"""models/dropout.py"""

from __future__ import annotations

from groundup.models.dropout import Dropout, without_dropout
from torch import nn


def test_takes_its_rate_from_its_field(tiny) -> None:
    config = tiny(embed_dropout=0.1, head_dropout=0.3)
    assert Dropout(config, "embed_dropout").p == 0.1
    assert Dropout(config, "head_dropout").p == 0.3
    assert Dropout(0.2, "lora_dropout").p == 0.2


def test_without_dropout_gives_each_module_its_mode_back() -> None:
    frozen, trained = nn.Dropout(0.5).eval(), nn.Dropout(0.5)
    model = nn.Sequential(frozen, trained)
    model.training = True
    try:
        with without_dropout(model):
            assert [m.training for m in (model, frozen, trained)] == [False, False, False]
            raise InterruptedError
    except InterruptedError:
        assert [m.training for m in (model, frozen, trained)] == [True, False, True]
