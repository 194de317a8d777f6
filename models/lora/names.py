"""Which of our Linears answers to which name: those of the checkpoint's family as PEFT sees them, and our own.

A name is the path of a module in the class of transformers, "transformer.h.0.attn.c_attn" or, in a bare model,
"h.0.attn.c_attn". Beside it stand native ones for each Linear of a block, whatever its family: q_proj, k_proj, v_proj,
o_proj, gate_proj, up_proj, down_proj. A model that no family describes goes by the names of its own modules.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from ...errors import UserError, nearest
from ..hf.describe import describe
from ..hf.families import Family
from ..hf.keys import Keys, extras, task_rows
from ..hf.rows import Row
from ..model import Model
from .layer import CHILD, is_linear

ALL_LINEAR = "all-linear"
NATIVE = {
    "q": "q_proj",
    "k": "k_proj",
    "v": "v_proj",
    "out": "o_proj",
    "gate": "gate_proj",
    "up": "up_proj",
    "down": "down_proj",
}
_BLOCK_LINEAR = re.compile(r"core\.layers\.\d+\.(?:attn|ffn)\.f\.(\w+)$")
HEAD = "head.out"
_WRITTEN = {"embed_out": "lm_head"}  # what GPT-NeoX's files call the head, and what transformers 5 calls its module

Group = tuple[str, ...]  # our Linears that are one matrix of the checkpoint's, so that their adapters share A


@dataclass(frozen=True)
class Names:
    """The modules of a model by the names of its family."""

    kind: Family | None  # None: there is none, and names are our own
    task: str
    n_layers: int
    linears: dict[str, Row]  # all that stand for Linears of ours
    others: dict[str, Row]  # embeddings and norms, and single parameters where a family names one
    native: dict[str, str]  # native path -> our Linear
    absent: frozenset[str]  # modules of the class that our model does without

    @classmethod
    def of(cls, model: Model) -> Names:
        """The names of a model's modules, of which transformers' class for its task has no others."""
        modules = dict(model.named_modules())
        ours = [name for name, module in modules.items() if is_linear(module) and f".{CHILD}." not in name]
        rows, kind, absent = {name: Row((name,)) for name in ours}, None, frozenset[str]()
        try:
            kind, _ = describe(model)
        except UserError:
            if model.origin is not None:
                raise
        if kind is not None:
            prefix = kind.PREFIX if model.task == "encoder" else ""
            every = dict(model.named_modules(remove_duplicate=False))
            table = task_rows(kind, model.task, model.config.n_layers)
            every |= dict(model.named_parameters(remove_duplicate=False))
            rows = {_written(name, prefix): row for name, row in table.items() if all(p in every for p in row.parts)}
            unused = {name for names in extras(kind).values() for name in names}
            absent = frozenset(_written(name, prefix) for name in unused - table.keys())
        place = {name: i for i, name in enumerate(ours)}
        linears = {name: row for name, row in rows.items() if all(part in place for part in row.parts)}
        linears = dict(sorted(linears.items(), key=lambda item: place[item[1].parts[0]]))
        others = {name: row for name, row in rows.items() if name not in linears}
        native = dict(_native(linears))
        return cls(kind, model.task, model.config.n_layers, linears, others, native, absent)

    @property
    def family(self) -> str:
        """What to call the model in a message."""
        return self.kind.MODEL_TYPES[0] if self.kind is not None else "natively built"

    @property
    def paths(self) -> set[str]:
        """Every module of the class, and every module that holds some."""
        leaves = [*self.linears, *self.others, *self.absent]
        return {".".join(path.split(".")[: i + 1]) for path in leaves for i in range(path.count(".") + 1)}

    def recognise(self, paths: Iterable[str]) -> dict[str, str | None]:
        """Names in a file -> ours for them: with or without prefix, as older classes had them. None: not known."""
        known = {*self.linears, *self.others, *self.absent}
        found: dict[str, str | None] = {path: path if path in known else None for path in paths}
        unknown = [path for path, name in found.items() if name is None]
        if self.kind is not None and unknown:
            prefix = self.kind.PREFIX if self.task == "encoder" else ""
            keys = Keys(self.kind, self.n_layers, [f"{path}.weight" for path in unknown]).found
            for key, theirs in keys.items():
                name = _written(key.removesuffix(".weight"), prefix)
                found |= {path.removesuffix(".weight"): name for path in theirs if name in known}
        return found

    # --- which Linears are meant

    def groups(self, targets: str | Sequence[str], saved: Collection[str]) -> list[Group]:
        """The Linears that `targets` names, but for those under `saved` (see in_full), in the model's order.

        A list has names, each the end of a path; a string is a regular expression for whole paths, or "all-linear".
        The family's own names come first; native ones are looked at where they do not match.

        Raises:
            UserError: nothing matches, or one of a list does not; or two name the same matrix, whole and in part.
        """
        if not targets:
            raise UserError(f"Target modules not found in model: none are given; {self._known()}")
        if isinstance(targets, str):
            chosen = self._all(saved) if targets.lower() == ALL_LINEAR else self._by_pattern(targets, saved)
        else:
            chosen = {group: word for word in targets for group in self._by_word(word, saved)}
        whole_in: dict[str, Group] = {}
        for group, word in chosen.items():
            for part in group:
                if part in whole_in:
                    raise UserError(f"target_modules: '{word}' is a part of another that is named too: leave one out")
                whole_in[part] = group
        order = {part: i for i, row in enumerate(self.linears.values()) for part in row.parts}
        return sorted(chosen, key=lambda group: order[group[0]])

    def _all(self, saved: Collection[str]) -> dict[Group, str]:
        trained = {part for name in saved for part in self.linears.get(name, Row(())).parts} | {HEAD}
        return {row.parts: path for path, row in self.linears.items() if trained.isdisjoint(row.parts)}

    def _by_pattern(self, pattern: str, saved: Collection[str]) -> dict[Group, str]:
        try:
            wanted = re.compile(pattern)
        except re.error as error:
            raise UserError(f"target_modules: '{pattern}' is not a regular expression: {error}") from None
        found = {row.parts: path for path, row in self.linears.items() if wanted.fullmatch(path) and path not in saved}
        found = found or {(ours,): path for path, ours in self.native.items() if wanted.fullmatch(path)}
        if not found:
            raise UserError(
                f"Target modules not found in model: no path is '{pattern}', which as a string is a regular "
                f"expression for whole paths such as '{next(iter(self.linears))}'; {self._known()}"
            )
        return found

    def _by_word(self, word: str, saved: Collection[str]) -> list[Group]:
        named = [path for path in self.linears if ends_with(path, word)]
        if named and all(path in saved for path in named):
            raise UserError(f"target_modules: '{word}' trains in full (modules_to_save), so it takes no adapter")
        found = [self.linears[path].parts for path in named if path not in saved]
        found = found or [(ours,) for path, ours in self.native.items() if ends_with(path, word)]
        if found:
            return found
        if any(ends_with(path, word) for path in self.others):
            raise UserError(f"target_modules: '{word}' is no Linear, and only those take adapters; {self._known()}")
        near = nearest(word, self._words(), limit=0)
        near = near if near.startswith(" Did") else ""
        raise UserError(f"Target modules not found in model: '{word}';{near} {self._known()}".replace("; Did", "; did"))

    def _words(self) -> list[str]:
        return list(dict.fromkeys(path.rpartition(".")[2] for path in (*self.linears, *self.native)))

    def _known(self) -> str:
        return f"there are {', '.join(self._words())}, and all-linear"

    # --- what trains in full

    def in_full(self, words: Iterable[str]) -> dict[str, Row]:
        """The modules that PEFT's modules_to_save names: any module whose path ends so, with all that it holds.

        Raises:
            UserError: one matches nothing.
        """
        rows, found = self.linears | self.others, dict[str, Row]()
        for word in words:
            holders = {path for path in self.paths if path.endswith(word)}
            inside = {name: row for name, row in rows.items() if _within(name, holders)}
            if not inside:
                known = dict.fromkeys(name for path in rows for name in (path.rpartition(".")[2], path))
                raise UserError(f"modules_to_save: '{word}' is no module of the model.{nearest(word, known)}")
            found |= inside
        return found

    def new_head(self) -> list[str]:
        """What a classifier trains in full: its head, where that is no part of the bare model (BERT's pooler is)."""
        prefix = self.kind.PREFIX if self.kind is not None else "core."
        if self.task != "classification":
            return []
        heads = [path for path, row in self.linears.items() if row.parts[0].startswith("head.")]
        return list(dict.fromkeys(path.split(".")[0] for path in heads if not path.startswith(prefix)))


def ends_with(path: str, word: str) -> bool:
    """Whether the last components of a path are those of `word`, as PEFT matches a list of targets."""
    return path == word or path.endswith(f".{word}")


def shortest(chosen: Collection[str], among: Collection[str]) -> list[str]:
    """The ends of paths, as short as can be, that match all of `chosen` and nothing else of `among`.

    A path that is itself the end of another one's comes with a "^" before it.
    """
    ends: dict[str, None] = {}
    counts = Counter(end for path in among for end in _ends(path))
    own = Counter(end for path in chosen for end in _ends(path))
    for path in chosen:
        ends[next((end for end in _ends(path) if counts[end] == own[end]), f"^{path}")] = None
    return [end for end in ends if not any(end != other and ends_with(end, other) for other in ends)]


def _ends(path: str) -> Iterator[str]:
    """c, b.c, a.b.c"""
    parts = path.split(".")
    for i in range(len(parts)):
        yield ".".join(parts[-1 - i :])


def _within(path: str, holders: Collection[str]) -> bool:
    return any(path == holder or path.startswith(f"{holder}.") for holder in holders)


def _native(linears: dict[str, Row]) -> Iterator[tuple[str, str]]:
    for path, row in linears.items():
        for part in row.parts:
            match = _BLOCK_LINEAR.match(part)
            if match:
                yield ".".join([*path.split(".")[:-1], NATIVE[match.group(1)]]), part


def _written(name: str, prefix: str) -> str:
    """A name of the family's table as the class has it."""
    return _WRITTEN.get(name, name).removeprefix(prefix)
