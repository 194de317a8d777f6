"""What the tests of evaluation share."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def lm_eval(root: Path) -> Any:
    """lm-evaluation-harness, imported so that its `import evaluate` finds the library and not evaluate.py here."""
    held = sys.path[:]
    sys.path[:] = [place for place in held if Path(place or ".").resolve() != root]
    try:
        return pytest.importorskip("lm_eval", reason="lm-evaluation-harness is not installed (pip install lm-eval)")
    finally:
        sys.path[:] = held
