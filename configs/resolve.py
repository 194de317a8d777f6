"""From a YAML file and a command line to one RunConfig: read, rename, parse, resolve.

The command line beats the device's profile, the profile beats the file, the file beats the defaults of the kind of run.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import UserError, nearest, notice
from ..models.start import BAG_OF_WORDS
from .architecture import is_bag_of_words, start_of
from .checks import collect, complete, impossible, missing
from .dataset import check_dataset
from .defaults import defaults_for, kind_of, task_of
from .devices import best_device, check_name, device_type
from .distillation import taught
from .entries import known_settings
from .fields import DEVICES, TASKS, is_mapping, shown
from .layers import Layer, layer_of, merge
from .not_yet import refusals
from .overrides import parse_overrides
from .parse import parse_layer, raise_all, wrong_set
from .read import read_yaml
from .registry import as_run, read_models
from .rename import canonical, split_choice
from .schedule import doubtful
from .schema_run import Path, RunConfig
from .several import Chosen, choose, narrow
from .test_mode import announcement, is_asked_for, kept_apart, shrunk
from .unknown import unknown_keys

FilePath = str | os.PathLike[str]


@dataclass
class Sources:
    """What a run is made from, each by canonical path, in rising order of precedence."""

    file: Layer = field(default_factory=Layer)
    profiles: dict[str, Layer] = field(default_factory=dict[str, Layer])
    test_mode: bool = False  # shrinks what is below the command line
    overrides: Layer = field(default_factory=Layer)
    name: str | None = None
    recommended: Layer = field(default_factory=Layer)  # for one of several models, below the file
    chosen: Layer = field(default_factory=Layer)  # its own settings, above the file

    def narrow(self, chosen: Chosen) -> None:
        """Become the sources of one of several models."""
        self.recommended, self.chosen = narrow([self.file, *self.profiles.values(), self.overrides], chosen)


def load_config(
    path: FilePath | None = None,
    overrides: list[str] | None = None,
    *,
    planning: bool = False,
    test_mode: bool = False,
    chosen: Chosen | None = None,
    resume: pathlib.Path | None = None,
    find_device: Callable[[], str] = best_device,
    usable: Callable[[str], str] = str,
) -> RunConfig:
    """Read, rename, parse and resolve a run.

    `overrides` are words of the command line (`--trainer.batch_size 4`, `dataset=stdlib`); `planning` lets through what
    --plan can compute and training cannot do yet; `test_mode` shrinks the run, as does EMOBENCH_TEST_MODE=1 in the
    environment: see test_mode.py; `resume` is the run's folder where it goes on: a checkpoint it started from is then
    not asked for again; `find_device` is what `device: auto` asks; `usable` gives the device to use for the one that is
    named (devices.usable_device where the run is to begin at once).
    With `chosen` it is the run of that one of its `models`.
    Raises UserError, naming file, line and key, for what is unknown, of a wrong type, contradictory or not available.
    """
    sources = read_sources(path, overrides or [])
    if chosen is not None:
        sources.narrow(chosen)
    sources.test_mode = is_asked_for(test_mode, resume)
    run, layer = _parse(sources, find_device, usable)
    run = resolve(run, layer, planning=planning, resume=resume)
    if sources.test_mode:
        run = kept_apart(run)
        notice(announcement(run))
    return run


def models_of(path: FilePath | None = None, overrides: list[str] | None = None) -> list[Chosen]:
    """The models that a configuration names in `models`, one after another; [] where there are none.

    Raises UserError as load_config does, for what can be told without knowing which of them is meant.
    """
    sources = read_sources(path, overrides or [])
    layer = merge(sources.file, sources.overrides)
    value = layer.tree().get("models")
    if value is None:
        return []
    try:
        return choose(read_models(value))
    except ValueError as error:
        raise UserError(f"{layer.where(('models',))}: {error}.") from None


def parse_config(
    path: FilePath | None = None, overrides: list[str] | None = None, find_device: Callable[[], str] = best_device
) -> RunConfig:
    """Read, rename and parse without resolving: every documented setting gets through, available or not."""
    return _parse(read_sources(path, overrides or []), find_device)[0]


def read_sources(path: FilePath | None, overrides: list[str]) -> Sources:
    """Read and rename a file and the command line. Raises UserError, for unknown keys in any profile too."""
    sources = Sources(overrides=parse_overrides(overrides))
    if path is not None:
        content, lines = read_yaml(path)
        raw = as_run(content)
        if not is_mapping(raw) or not raw:
            what = "is empty" if not content else f"is no mapping of keys but {shown(content)}"
            raise UserError(f"{path} {what}: write `section:` and its keys below.")

        def place(written: Path) -> str:
            line = next((lines[written[:end]] for end in range(len(written), 0, -1) if written[:end] in lines), None)
            return f"{path}, line {line}" if line else str(path)

        profiles = raw.pop("profiles", None)
        sources.file = canonical(raw, place)
        sources.profiles = _profiles(profiles, place)
        sources.name = pathlib.Path(path).name.partition(".")[0]
    raise_all([one for layer in (sources.file, *sources.profiles.values()) for one in unknown_keys(layer)])
    return sources


def resolve(run: RunConfig, layer: Layer, *, planning: bool = False, resume: pathlib.Path | None = None) -> RunConfig:
    """Complete a parsed run and refuse what cannot be honoured. `layer` says where each setting was written."""
    raise_all(refusals(run, layer, planning))
    if choose(run.models):
        raise UserError(f"{layer.where(('models',))}: each of them is a run of its own: load one as `chosen`.")
    if is_bag_of_words(run):
        return _words_only(run, layer)
    if not layer.gives(("model",)):
        raise UserError(
            "no model is named: --model NAME (see --list-models), or --config FILE with a `model:` section."
        )
    raise_all(missing(run))
    start = start_of(run, resume)
    run = complete(run, start)
    raise_all(impossible(run, layer, start))
    for doubt in doubtful(run):
        notice(doubt)
    return run


def _words_only(run: RunConfig, layer: Layer) -> RunConfig:
    """A run of the bag of words: nothing but its data has to be right."""
    from ..data.classification.kind import is_labelled

    if run.dataset.format not in (None, "classification") or not is_labelled(run.dataset):
        where = layer.where(("dataset", "name"))
        raise UserError(f"{where}: {run.model.base_model} tells classes apart: name labelled texts, such as imdb.")
    output = run.output if run.output.run_name else run.output.model_copy(update={"run_name": BAG_OF_WORDS})
    dataset = run.dataset.model_copy(update={"format": "classification"})
    run = run.model_copy(update={"dataset": dataset, "output": output})
    found: list[str] = []
    check_dataset(run, None, collect(found, layer))
    raise_all(found)
    return run


def _profiles(raw: Any, place: Callable[[Path], str]) -> dict[str, Layer]:
    if raw is None:
        return {}
    if not is_mapping(raw):
        raise UserError(f"profiles ({place(('profiles',))}): expected a mapping by device, got {shown(raw)}.")
    profiles: dict[str, Layer] = {}
    for device, settings in raw.items():
        where = f"profiles.{device} ({place(('profiles', device))})"
        if device.casefold() not in DEVICES:
            raise UserError(f"Unknown device {where}.{nearest(device, DEVICES)}")
        if settings is not None and not is_mapping(settings):
            raise UserError(f"{where}: expected a mapping of settings, got {shown(settings)}.")
        profile = canonical(settings or {}, place, ("profiles", device))
        if ("general", "device") in profile.values:
            raise UserError(f"{profile.where(('general', 'device'))}: a profile cannot choose the device it is for.")
        profiles[device.casefold()] = profile
    return profiles


def _parse(
    sources: Sources, find_device: Callable[[], str], usable: Callable[[str], str] = str
) -> tuple[RunConfig, Layer]:
    """Check the types of everything, on every device that has a profile, and take this run's values."""
    device = usable(_device(sources, find_device))
    for other in sources.profiles:
        if other != device_type(device):
            _parse_for(sources, other)
    return _parse_for(sources, device)


def _parse_for(sources: Sources, device: str) -> tuple[RunConfig, Layer]:
    profile = sources.profiles.get(device_type(device), Layer())
    written = merge(sources.recommended, sources.file, profile, sources.chosen, sources.overrides)
    written = _as_seen_by(written, device_type(device), DEVICES)
    made = taught(written)
    written = merge(made, written)
    task = task_of(written)
    written = _as_seen_by(written, task, TASKS)
    kind = kind_of(written)
    settings = {"output.run_name": sources.name, **defaults_for(kind, task, written)}
    defaults = layer_of(settings, f"default of a {kind} run")
    several = merge(defaults, known_settings(written), sources.recommended)
    shrinking = layer_of(shrunk(written) if sources.test_mode else {}, "test mode")
    layer = merge(several, made, sources.file, profile, sources.chosen, shrinking, sources.overrides)
    run = parse_layer(merge(layer, layer_of({"general.device": device}, "general.device")), device_type(device), task)
    raise_all(wrong_set(written))
    return _with_a_floor(run, written), layer


def _as_seen_by(layer: Layer, mine: str, words: Sequence[str]) -> Layer:
    """A layer with the values of one of the devices, or of the tasks, in place of those of each.

    Where it has none for this one it keeps the others, which parsing refuses.
    """
    taken = Layer()
    paths = {path: split_choice(path) for path in layer.values}
    answered = {
        (base, tuple(word for word in choice if word != mine)) for base, choice in paths.values() if mine in choice
    }
    for path, (base, choice) in paths.items():
        rest = tuple(word for word in choice if word not in words)
        if rest == choice or mine in choice:
            taken.put(base + rest, layer.values[path], layer.origins[path])
        elif (base, rest) not in answered:
            taken.put(path, layer.values[path], layer.origins[path])
    return taken


def _with_a_floor(run: RunConfig, written: Layer) -> RunConfig:
    """A default floor of the learning rate is no higher than the rate itself."""
    optimizer = run.trainer.optimizer
    if optimizer.min_lr <= optimizer.lr or written.gives(("trainer", "optimizer", "min_lr")):
        return run
    optimizer = optimizer.model_copy(update={"min_lr": optimizer.lr})
    return run.model_copy(update={"trainer": run.trainer.model_copy(update={"optimizer": optimizer})})


def _device(sources: Sources, find_device: Callable[[], str]) -> str:
    layer, path = merge(sources.file, sources.overrides), ("general", "device")
    if not layer.below(path):
        return find_device()
    name = check_name(layer.values.get(path), str(layer.where(path)))
    return find_device() if name == "auto" else name
