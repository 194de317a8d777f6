"""Hugging Face's library `evaluate`, which this repository's evaluate.py hides."""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import PathFinder
from pathlib import Path

from ..errors import UserError


def find_evaluate_library() -> None:
    """Make `import evaluate` find Hugging Face's library, which tasks of the harness import.

    Where the repository's root is first on sys.path (a script run in it, `python -m pytest`), its evaluate.py would
    be found instead. Raises UserError where the library is not installed.
    """
    root = Path(__file__).resolve().parent.parent
    there = sys.modules.get("evaluate")
    if there is not None and Path(there.__file__ or "").resolve() != root / "evaluate.py":
        return
    spec = PathFinder.find_spec("evaluate", [place for place in sys.path if Path(place or ".").resolve() != root])
    if spec is None or spec.loader is None:
        raise UserError(
            "the library `evaluate` is not installed, which lm-evaluation-harness needs: pip install evaluate"
        )
    module = importlib.util.module_from_spec(spec)
    sys.modules["evaluate"] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules["evaluate"]
        raise
