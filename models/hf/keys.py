"""A checkpoint's keys under the names that the family's tables use."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import cast

from ..config import Task
from .families import Family
from .rows import KINDS, Row, expand

# Buffers that older files hold: masks, rotary frequencies, 0 1 2 3 ...
BUFFERS = re.compile(
    r"(^|\.)(attn|attention)\.(masked_)?bias$|rotary_emb\.inv_freq$|(^|\.)embeddings\.(position|token_type)_ids$"
)
LEGACY = {".gamma": ".weight", ".beta": ".bias"}  # LayerNorms of the first BERTs
NOTHING = ("(?!)", "")  # a pattern that fits no key


class Keys:
    """`found[key of the tables]` are the file's keys for it, mostly one; `unknown` and `left_out` are the others."""

    def __init__(self, family: Family, n_layers: int, keys: Iterable[str]) -> None:
        self.family, self.n_layers = family, n_layers
        heads = {task: expand(head.names, n_layers) for task, head in family.HEADS.items()}
        self._known = set(expand(family.NAMES, n_layers)).union(*heads.values(), *extras(family).values())
        self.found: dict[str, list[str]] = {}
        self.unknown: list[str] = []
        self.left_out: list[str] = []
        pattern, self.what_is_left_out = cast("tuple[str, str]", getattr(family, "LEFT_OUT", NOTHING))
        for key in keys:
            name = self._name(key)
            if re.search(pattern, key):
                self.left_out.append(key)
            elif self._is_known(name):
                self.found.setdefault(name, []).append(key)
            elif not BUFFERS.search(key):
                self.unknown.append(key)

    def heads(self) -> list[Task]:
        """The tasks whose last layer is among the keys."""
        return [task for task in self.family.HEADS if self._outputs(task) & self.found.keys()]

    def output(self, task: Task) -> str | None:
        """The file's key of the weight that gives a task's answers, if it is there."""
        for name in self._outputs(task):
            if name.endswith(".weight") and name in self.found:
                return self.found[name][0]
        return None

    def _outputs(self, task: Task) -> set[str]:
        names = self.family.HEADS[task].names
        rows = {key: row for key, row in expand(names, self.n_layers).items() if row.parts[0].startswith("head.out")}
        return {name for key in rows for name in (key, f"{key}.weight", f"{key}.bias")}

    def _name(self, key: str) -> str:
        """The key as the tables have it: today's endings and beginnings, the prefix put before it where it lacks."""
        for old, new in LEGACY.items():
            if key.endswith(old):
                key = key.removesuffix(old) + new
        renamed: Mapping[str, str] = getattr(self.family, "RENAMED", {})
        for old, new in renamed.items():
            if key.startswith(old):
                key = new + key.removeprefix(old)
                break
        with_prefix = self.family.PREFIX + key
        return with_prefix if not self._is_known(key) and self._is_known(with_prefix) else key

    def _is_known(self, key: str) -> bool:
        module, _, kind = key.rpartition(".")
        return key in self._known or (module in self._known and kind in KINDS)


def extras(family: Family) -> Mapping[str, tuple[str, ...]]:
    """For each class the modules that it has and our model does not use."""
    return getattr(family, "EXTRAS", {})


def task_rows(family: Family, task: Task, n_layers: int) -> dict[str, Row]:
    """Every row of a family's model for a task."""
    return expand({**family.NAMES, **family.HEADS[task].names}, n_layers)
