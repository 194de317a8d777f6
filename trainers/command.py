"""The command `python train.py`, also installed as `groundup-train`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ..errors import UserError


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, check, and do what was asked. Bad input is one line on stderr and exit code 1."""
    try:
        return _main(sys.argv[1:] if argv is None else list(argv))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; nothing was changed since the last checkpoint", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the output went to a `head` that has seen enough
        return 141


def _main(argv: list[str]) -> int:
    raise NotImplementedError
