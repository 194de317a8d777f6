"""Unknown keys: which they are, and what was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from functools import cache

from .fields import DEVICES, TASKS, shown
from .layers import Layer
from .rename import spellings, split_choice
from .schema_run import FIELDS, FREE_FORM, SECTIONS


def unknown_keys(layer: Layer) -> list[str]:
    """One sentence for each key of a layer that no document knows."""
    found = []
    for path, origin in layer.origins.items():
        base, _ = split_choice(path)
        if base in FIELDS:
            continue
        if base in SECTIONS:
            found.append(f"{origin}: expected a mapping of keys, got {shown(layer.values[path])}.")
            continue
        holder = next((base[:end] for end in range(len(base) - 1, 0, -1) if base[:end] in FIELDS), None)
        if holder is not None and holder not in FREE_FORM:
            found.append(
                f"{origin}: {'.'.join(holder)} takes one value, or values by device ({', '.join(DEVICES)}) "
                f"or task ({', '.join(TASKS)}), not a mapping with '{base[len(holder)]}'."
            )
            continue
        found.append(f"Unknown key {origin}.{hint(origin.written)}")
    return found


def hint(written: str) -> str:
    """The known key a misspelt one was probably meant to be, as a sentence to append."""
    prefix = ""
    if written.startswith("profiles.") and written.count(".") > 1:
        prefix, written = ".".join(written.split(".")[:2]) + ".", ".".join(written.split(".")[2:])
    near = nearest_key(written, known_keys())
    return f" Did you mean '{prefix}{near}'?" if near else " `--help-all` lists every key."


@cache
def known_keys() -> tuple[str, ...]:
    """Every key in every spelling, and every section."""
    keys: list[str] = []
    for path in FIELDS:
        keys += [".".join(path), *spellings(path)]
    keys += [".".join(path) for path in SECTIONS] + ["profiles", "training", "trainer.eval"]
    return tuple(dict.fromkeys(keys))


def nearest_key(written: str, known: Iterable[str]) -> str | None:
    """The nearest key: the same last word elsewhere, else the nearest in its section, else the nearest anywhere."""
    known = list(known)
    section, _, last = written.rpartition(".")
    folded = {key.casefold(): key for key in known}
    if written.casefold() in folded:
        return folded[written.casefold()]
    siblings = [key for key in known if key.rpartition(".")[0] == section]
    close = difflib.get_close_matches(written, siblings, n=1, cutoff=0.8) if siblings else []
    if close and difflib.SequenceMatcher(None, last, close[0].rpartition(".")[2]).ratio() >= 0.6:
        return close[0]
    same_word = [key for key in known if key.rpartition(".")[2] == last]
    if same_word:
        return max(same_word, key=lambda key: difflib.SequenceMatcher(None, written, key).ratio())
    close = difflib.get_close_matches(written, known, n=1, cutoff=0.7)
    return close[0] if close else None
