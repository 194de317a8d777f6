"""What is said to a person: errors that are theirs to mend, and notes they should read."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable


class UserError(Exception):
    """Bad input. The message is one sentence: what is wrong, where (file, row, key) and what to do.

    The commands print it as `error: ...` and exit with code 1, without a stack trace.
    """


def nearest(name: object, known: Iterable[object], *, limit: int = 12) -> str:
    """A sentence to append to an unknown-name error: the nearest known name, else the known ones."""
    choices = [str(choice) for choice in known]
    by_folded = {choice.casefold(): choice for choice in choices}
    close = difflib.get_close_matches(str(name).casefold(), by_folded, n=1, cutoff=0.6)
    if close:
        return f" Did you mean '{by_folded[close[0]]}'?"
    if not choices:
        return ""
    more = f", ... ({len(choices)} in all)" if len(choices) > limit else ""
    return f" Known: {', '.join(choices[:limit])}{more}."


def notice(text: str) -> None:
    """Print `note: text` to stderr, above a progress bar if one is drawn."""
    tqdm = sys.modules.get("tqdm")
    if tqdm is None:
        print(f"note: {text}", file=sys.stderr, flush=True)
    else:
        tqdm.tqdm.write(f"note: {text}", file=sys.stderr)
