"""Measure a model: python evaluate.py --model RUN_DIR. `--help` says what else it can do."""

from __future__ import annotations

import sys

try:
    from groundup.evaluation.command import main
except ModuleNotFoundError as missing:
    sys.exit(f"error: the package '{missing.name}' is not installed here: run `make train`, or `pip install -e .`")

if __name__ == "__main__":
    sys.exit(main())
