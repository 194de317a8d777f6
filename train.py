"""Train a model: python train.py --config configs/gpt2_small.yaml. `--help` says what else it can do."""

from __future__ import annotations

import sys

from groundup.configs.cli import main

if __name__ == "__main__":
    sys.exit(main())
