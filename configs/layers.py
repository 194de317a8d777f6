"""Layers of settings: what a file, a profile or the command line says, by canonical path, and where it says it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .fields import DEVICES
from .schema_run import Path

# Of each pair a run gives one: setting one in a higher layer replaces the other of a lower layer.
ALTERNATIVES: tuple[tuple[Path, Path], ...] = (
    (("trainer", "max_iters"), ("trainer", "epochs")),
    (("trainer", "warmup_iters"), ("trainer", "warmup_ratio")),
    (("trainer", "gradient_accumulation_steps"), ("trainer", "effective_batch_size")),
    (("trainer", "batch_sizes"), ("trainer", "batch_size")),
    (("trainer", "optimizer", "layer_factors"), ("trainer", "optimizer", "layer_decay")),
)


@dataclass(frozen=True)
class Origin:
    """Where a setting was written: `training.learning_rate`, `run.yaml, line 12`."""

    written: str
    place: str

    def __str__(self) -> str:
        return f"{self.written} ({self.place})"


@dataclass
class Layer:
    """Settings of one source by canonical path; values by device or task have a path each: trainer.batch_size.cuda."""

    values: dict[Path, Any] = field(default_factory=dict[Path, Any])
    origins: dict[Path, Origin] = field(default_factory=dict[Path, Origin])

    def put(self, path: Path, value: Any, origin: Origin) -> None:
        """Set a value and where it was written."""
        self.values[path], self.origins[path] = value, origin

    def remove(self, path: Path) -> None:
        """Forget what is set at or below a path."""
        for known in self.below(path):
            del self.values[known], self.origins[known]

    def below(self, path: Path) -> list[Path]:
        """The paths at or below a path."""
        return [known for known in self.values if known[: len(path)] == path]

    def gives(self, path: Path) -> bool:
        """Whether something other than null is set at or below a path."""
        return any(self.values[known] is not None for known in self.below(path))

    def where(self, path: Path) -> Origin | str:
        """Where what is at or below a path was written, else the path."""
        for known in self.below(path):
            origin, below = self.origins[known], "".join(f".{name}" for name in known[len(path) :])
            return Origin(origin.written.removesuffix(below), origin.place)
        return ".".join(path)

    def tree(self) -> dict[str, Any]:
        """The settings as nested mappings."""
        tree: dict[str, Any] = {}
        for path, value in self.values.items():
            below = tree
            for name in path[:-1]:
                below = below.setdefault(name, {})
            below[path[-1]] = value
        return tree


def overlap(one: Path, other: Path) -> bool:
    """Whether one path is at or below the other."""
    shorter = min(len(one), len(other))
    return one[:shorter] == other[:shorter]


def merge(*layers: Layer) -> Layer:
    """Later layers win, key by key; a single value replaces values by device or task."""
    merged = Layer()
    for layer in layers:
        for path, value in layer.values.items():
            for other in [known for known in merged.values if known != path and overlap(known, path)]:
                old, where = merged.values[other], merged.origins[other]
                merged.remove(other)
                if path[-1] in DEVICES and path[:-1] == other:  # the one value stays that of the other devices
                    for device in DEVICES:
                        merged.put((*other, device), old, where)
            merged.put(path, value, layer.origins[path])
        for pair in ALTERNATIVES:
            for one, other in (pair, pair[::-1]):
                if layer.gives(one) and not layer.gives(other):
                    merged.remove(other)
    return merged


def layer_of(values: dict[str, Any], place: str) -> Layer:
    """A layer of canonical paths in dotted spelling."""
    layer = Layer()
    for dotted, value in values.items():
        layer.put(tuple(dotted.split(".")), value, Origin(dotted, place))
    return layer
