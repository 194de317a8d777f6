"""Unknown keys: which they are, and what was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from functools import cache

from .fields import DEVICES, TASKS, shown
from .layers import Layer
from .rename import spellings, split_choice
from .schema_run import FIELDS, FREE_FORM, SECTIONS


def unknown_keys(layer: Layer) -> list[str]:
    """One sentence for each key of a layer that no document knows."""
    found: list[str] = []
    for path, origin in layer.origins.items():
        base, _ = split_choice(path)
        if base in FIELDS:
            continue
        if base in SECTIONS and layer.values[path] is None:
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
    words = tuple(written.split("."))
    profile = words[:2] if words[0] == "profiles" and len(words) > 2 else ()
    base, _ = split_choice(words[len(profile) :])
    near = nearest_key(".".join(base), known_keys())
    return (
        f" Did you mean '{'.'.join((*profile, near))}'?" if near else " `python train.py --help-all` lists every key."
    )


@cache
def known_keys() -> tuple[str, ...]:
    """Every key in every spelling, and every section."""
    keys: list[str] = []
    for path in FIELDS:
        keys += [".".join(path), *spellings(path)]
    keys += [".".join(path) for path in SECTIONS] + ["profiles", "training", "trainer.eval"]
    return tuple(dict.fromkeys(keys))


def nearest_key(written: str, known: Collection[str]) -> str | None:
    """The known key whose last word is nearest, in the nearest section; without such a word the nearest section."""
    section, _, last = written.casefold().rpartition(".")
    near_words = difflib.get_close_matches(last, {key.casefold().rpartition(".")[2] for key in known}, n=5, cutoff=0.6)
    best, best_score = None, 0.0
    for key in known:
        known_section, _, known_last = key.casefold().rpartition(".")
        if known_last not in near_words:
            continue
        score = 2 * _likeness(last, known_last) + _likeness(section, known_section)
        if score > best_score:
            best, best_score = key, score
    if best is None:
        head = written.partition(".")[0]
        return next(iter(difflib.get_close_matches(head, {key.partition(".")[0] for key in known}, n=1)), None)
    return best


def _likeness(one: str, other: str) -> float:
    """From 0 to 1, 1 for equal words (also two empty ones)."""
    return difflib.SequenceMatcher(None, one, other).ratio()
