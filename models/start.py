"""What a run starts from: where the weights of `model.base_model` lie, and their architecture. No torch here."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ..errors import UserError, nearest
from .config import ModelConfig, Task

if TYPE_CHECKING:
    from ..configs.registry import RegistryEntry

CONFIG, STATE, ADAPTER = "config.json", "state.json", "adapter_config.json"
BAG_OF_WORDS = "bag-of-words-tfidf"  # a model by name that is not one of ours: evaluation/baseline.py
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True)
class Start:
    """A checkpoint, described without reading its weights.

    `place` is a folder, or an id on the hub. `own` says that the folder is a checkpoint of a run of ours. `task` is
    what language modelling means for it: the next token for a decoder, a masked one for an encoder. `hf` is its
    config.json.
    """

    name: str
    place: Path | str
    config: ModelConfig
    task: Task
    own: bool = False
    entry: RegistryEntry | None = None
    hf: Mapping[str, Any] | None = None
    resumed: bool = False  # the run itself: its own last checkpoint, not what it started from
    layers: tuple[int, ...] | None = None  # those of it that the model is made of; `config` has no others
    adapter: Path | None = None  # PEFT's folder, which goes on the weights in `place`
    on_base: bool = False  # a checkpoint of ours that holds no more than what trained, on weights that lie elsewhere


def find_start(source: str | Path) -> Start:
    """A directory with config.json, a run's folder or checkpoint, a name of the registry, or a hub id.

    The config.json of a registry model is known here; that of another hub id is fetched.
    Raises UserError: there is no such thing, or its architecture is not available here.
    """
    text, path = str(source), Path(source).expanduser()
    if path.is_dir():
        checkpoint = own_checkpoint(path)
        if checkpoint is not None:
            return _own(text, checkpoint)
        if (path / ADAPTER).is_file():
            return _adapter(path)
        if (path / CONFIG).is_file():
            return _described(_plain_name(path), path.resolve(), _typed(path), str(path / CONFIG))
    from .hf.shapes import known_shape
    from .registry import lookup, not_found

    entry = lookup(text)
    if entry is not None and entry.name:
        shape = known_shape(entry.name) or fetch_config(entry.name)
        return _described(entry.alias or entry.name.rpartition("/")[2], entry.name, shape, entry.name, entry)
    if path.exists():
        what = f"holds neither a {CONFIG} nor a run's checkpoint" if path.is_dir() else "is a file"
        raise UserError(f"{text} {what}: name a folder with {CONFIG} and weights, or a run's folder")
    if text.casefold() == BAG_OF_WORDS:
        raise UserError(f"{BAG_OF_WORDS} is no network: train.py fits it on labelled texts, and nothing is loaded")
    if not _HUB_ID.fullmatch(text):
        is_path = "/" in text or text.startswith((".", "~"))
        raise UserError(f"there is no folder {text}{_beside(path)}" if is_path else not_found(text))
    return _described(text.rpartition("/")[2], text, fetch_config(text), text)


def resumed_start(folder: Path) -> Start:
    """The checkpoint from which a run goes on. Raises UserError where it has none."""
    checkpoint = own_checkpoint(folder)
    if checkpoint is None:
        raise UserError(f"{folder}: the run has no checkpoint yet")
    return replace(_own(folder.name, checkpoint), resumed=True)


def own_checkpoint(folder: Path) -> Path | None:
    """The best checkpoint of a run's folder or of its weights folder, else the last; a checkpoint is its own."""
    for weights in (folder, folder / "train" / "weights"):
        steps = sorted(weights.glob("step_*"), reverse=True)
        for candidate in (weights, weights / "best", weights / "last", *steps):
            if (candidate / STATE).is_file():
                return candidate.resolve()
    return None


def fetch_config(repository: str) -> dict[str, Any]:
    """The config.json of a hub id, from the hub's cache or the hub. Raises UserError, one sentence on what to do."""
    from ..hub import Wanted, fetch

    return _read(fetch(repository, Wanted("model", _only_config, cached_first=True)) / CONFIG)


def _only_config(names: Sequence[str], read: Callable[[str], Path]) -> list[str]:
    if CONFIG not in names:
        raise UserError(f"has no {CONFIG}: name the repository of a checkpoint for transformers")
    return [CONFIG]


def objective(hf: Mapping[str, Any], where: str = CONFIG) -> Task:
    """What language modelling means for the family of a config.json: the next token, or a masked one.

    Raises UserError for a family that is not known here.
    """
    from .hf.families import family_of

    return "causal_lm" if "causal_lm" in family_of(hf, where).HEADS else "masked_lm"


def _described(
    name: str, place: Path | str, hf: Mapping[str, Any], where: str, entry: RegistryEntry | None = None
) -> Start:
    from .hf.families import model_config

    task = objective(hf, where)
    return Start(name, place, model_config(hf, task, where), task, entry=entry, hf=hf)


def _own(name: str, checkpoint: Path) -> Start:
    state = _read(checkpoint / STATE)
    if not isinstance(state.get("model_config"), dict) or "task" not in state:
        raise UserError(f"{checkpoint / STATE}: says neither task nor model_config: it is not a run's checkpoint")
    config = ModelConfig.from_dict(state["model_config"])
    plain = _plain_name(checkpoint.parents[3] if checkpoint.parent.name == "weights" else checkpoint)
    return Start(plain or name, checkpoint, config, cast(Task, state["task"]), own=True, on_base="base" in state)


def _adapter(folder: Path) -> Start:
    """The base that an adapter of PEFT's names, with the adapter."""
    base = _read(folder / ADAPTER).get("base_model_name_or_path")
    if not base:
        raise UserError(f"{folder / ADAPTER}: base_model_name_or_path is missing: it says what the adapter goes on")
    try:
        start = find_start(base)
    except UserError as error:
        raise UserError(f"{folder} is an adapter, and what it goes on is not there: {error}") from None
    return replace(start, name=_plain_name(folder), adapter=folder.resolve())


def _typed(folder: Path) -> dict[str, Any]:
    """The config.json of a folder; where it does not name its family, the names of the tensors do."""
    hf = _read(folder / CONFIG)
    if "model_type" not in hf:
        from .hf.loader import recognise
        from .hf.weights import Weights

        hf["model_type"] = recognise(Weights(folder), str(folder / CONFIG))
    return hf


def _read(path: Path) -> dict[str, Any]:
    try:
        value: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: expected a mapping of settings")
    return cast("dict[str, Any]", value)


def _plain_name(path: Path) -> str:
    return path.resolve().name


def _beside(path: Path) -> str:
    """The folder that was probably meant, as the end of a sentence."""
    if not path.parent.is_dir():
        return ""
    near = nearest(path.name, [other.name for other in path.parent.iterdir() if other.is_dir()])
    return f".{near}" if near.startswith(" Did") else ""
