"""config.json read strictly."""

from __future__ import annotations

import pytest
from groundup.errors import UserError
from groundup.models.hf.settings import ACTIVATIONS, Settings, spelt

HF = Settings({"width": 3, "none": None, "zero": 0, "act": "gelu_new", "rope": {"a": 1}}, "there/config.json")


def test_need() -> None:
    assert HF.need("width") == 3
    assert HF.need("zero") == 0
    for key in ("none", "absent"):
        with pytest.raises(UserError, match=rf"there/config\.json: '{key}' is missing"):
            HF.need(key)


def test_given_takes_null_for_an_answer_and_absence_for_none() -> None:
    assert HF.given("none") is None
    assert HF.given("width") == 3
    with pytest.raises(UserError, match="'absent' is missing"):
        HF.given("absent")


def test_get() -> None:
    assert [HF.get(key, 7) for key in ("width", "none", "zero", "absent")] == [3, 7, 0, 7]


def test_activation() -> None:
    assert HF.activation("act") == "gelu_tanh"
    assert HF.activation("absent", "silu") == "silu"
    with pytest.raises(UserError, match=r"there/config\.json: act='gelu_nu' is not known. Did you mean 'gelu_new'"):
        Settings({"act": "gelu_nu"}, "there/config.json").activation("act")
    with pytest.raises(UserError, match="'absent' is missing"):
        HF.activation("absent")


def test_spelt_is_the_inverse_of_activation() -> None:
    for name, ours in ACTIVATIONS.items():
        assert spelt(ours, name) == name
        assert ACTIVATIONS[spelt(ours, "no such name")] == ours


def test_refuse_unless() -> None:
    HF.refuse_unless("width", 2, 3)
    HF.refuse_unless("absent", 5)
    HF.refuse_unless("none", 5)
    with pytest.raises(UserError, match=r"there/config\.json: width=3 is not available here, only 5 or 6"):
        HF.refuse_unless("width", 5, 6)


def test_agreed() -> None:
    assert HF.agreed("theta", None, 3, 3.0) == 3
    assert HF.agreed("theta", None) is None
    with pytest.raises(UserError, match="theta is given twice, as 3 and as 4"):
        HF.agreed("theta", 3, None, 4)


def test_mapping() -> None:
    assert HF.mapping("rope") == {"a": 1}
    assert HF.mapping("absent") == HF.mapping("none") == {}
    with pytest.raises(UserError, match="'width' is 3, must be a mapping"):
        HF.mapping("width")


def test_unread_are_settings_that_might_matter() -> None:
    hf = Settings({"a": 1, "b": 2, "c": None, "d": False, "_e": 1, "use_cache": True, "summary_type": "first"})
    assert hf.unread() == ["a", "b"]
    hf.get("a", None)
    hf.refuse_unless("b", 2)
    assert hf.unread() == []
