"""From layers of settings to one RunConfig: merge, parse, complete, refuse.

The command line beats the device's profile, the profile beats the file, the file beats the defaults of the kind of run.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from ..errors import UserError, nearest
from .checks import complete, impossible, missing
from .defaults import TEST_MODE, defaults_for, kind_of, layer_of, task_of
from .devices import best_device, check_name, device_type
from .fields import DEVICES, message_of
from .not_yet import refusals
from .overrides import parse_overrides
from .read import read_yaml
from .rename import Layer, canonical
from .schema_run import FIELDS, Path, RunConfig
from .unknown import problems

# Of each pair a run gives one: setting one in a higher layer replaces the other of a lower layer.
ALTERNATIVES = (
    ("trainer.max_iters", "trainer.epochs"),
    ("trainer.warmup_iters", "trainer.warmup_ratio"),
    ("trainer.gradient_accumulation_steps", "trainer.effective_batch_size"),
)


@dataclass
class Sources:
    """What a run is made from, each with canonical paths: the file, its profiles by device, the command line."""

    file: Layer = field(default_factory=Layer)
    profiles: dict[str, Layer] = field(default_factory=dict)
    overrides: Layer = field(default_factory=Layer)


def load_config(
    path: str | os.PathLike[str] | None = None,
    overrides: list[str] | None = None,
    *,
    planning: bool = False,
    find_device: Callable[[], str] = best_device,
) -> RunConfig:
    """Read, rename, parse and resolve a run.

    `overrides` are command-line words (`--trainer.batch_size 4`, `model=...`); `planning` lets through what --plan can
    compute but training cannot do yet; `find_device` is what `device: auto` asks.
    Raises UserError, naming file, line and key, for whatever is unknown, of the wrong type, contradictory or not available.
    """
    sources = read_sources(path, overrides or [])
    run, layer = parse(sources, find_device)
    return resolve(run, layer, planning=planning)


def read_sources(path: str | os.PathLike[str] | None, overrides: list[str]) -> Sources:
    """Read and rename a file and the command line; unknown keys are an error, in every profile too."""
    sources = Sources(overrides=parse_overrides(overrides))
    if path is not None:
        raw, lines = read_yaml(path)

        def place(written: Path) -> str:
            line = next((lines[written[:end]] for end in range(len(written), 0, -1) if written[:end] in lines), None)
            return f"{path}, line {line}" if line else str(path)

        profiles = raw.pop("profiles", None) or {}
        if not isinstance(profiles, dict):
            raise UserError(f"profiles ({place(('profiles',))}): expected a mapping by device, got {profiles!r}.")
        sources.file = canonical(raw, place)
        for device, settings in profiles.items():
            where = f"profiles.{device} ({place(('profiles', device))})"
            if device.casefold() not in DEVICES:
                raise UserError(f"Unknown device {where}.{nearest(device, DEVICES)}")
            if not isinstance(settings, dict | None):
                raise UserError(f"{where}: expected a mapping of settings, got {settings!r}.")
            profile = canonical(settings or {}, place, ("profiles", device))
            if ("general", "device") in profile.values:
                raise UserError(
                    f"{profile.origins['general', 'device']}: a profile cannot choose the device it is for."
                )
            sources.profiles[device.casefold()] = profile
    for layer in (sources.file, *sources.profiles.values(), sources.overrides):
        _raise(problems(layer))
    return sources


def parse(sources: Sources, find_device: Callable[[], str] = best_device) -> tuple[RunConfig, Layer]:
    """Check the types of everything, on every device that has a profile, and choose this run's values."""
    device = _device(sources, find_device)
    for other in sources.profiles:
        if other != device_type(device):
            _parse_for(sources, other)
    return _parse_for(sources, device)


def resolve(run: RunConfig, layer: Layer, *, planning: bool = False) -> RunConfig:
    """Complete a parsed run and refuse what cannot be honoured. `layer` says where each setting was written."""
    _raise(refusals(run, layer, planning))
    _raise(missing(run))
    run = complete(run)
    _raise(impossible(run, layer))
    return run


def _device(sources: Sources, find_device: Callable[[], str]) -> str:
    path = ("general", "device")
    given = sources.overrides.values.get(path, sources.file.values.get(path))
    name = check_name(given) if isinstance(given, str) else "auto"
    return find_device() if name == "auto" else name


def _parse_for(sources: Sources, device: str) -> tuple[RunConfig, Layer]:
    written = merge(sources.file, sources.profiles.get(device_type(device), Layer()), sources.overrides)
    kind, task = kind_of(written), task_of(written)
    below = defaults_for(kind, task, str(written.values.get(("dataset", "name"), "")))
    test_mode = (
        written.values.get(("general", "test_mode")) in (True, "true") or os.environ.get("EMOBENCH_TEST_MODE") == "1"
    )
    shrink = layer_of(TEST_MODE, "test mode") if test_mode else Layer()
    layer = merge(below, sources.file, sources.profiles.get(device_type(device), Layer()), shrink, sources.overrides)
    values = {**layer.values, ("general", "device"): device}
    if test_mode:
        values["general", "test_mode"] = True
    try:
        run = RunConfig.model_validate(_tree(values), context={"device": device_type(device), "task": task})
    except ValidationError as error:
        _raise(_type_problems(error, layer))
        raise AssertionError("a validation error without errors") from error
    _raise([*_written_twice(layer), *_wrong_set(run, written)])
    return run, layer


def merge(*layers: Layer) -> Layer:
    """Later layers win, key by key; a value replaces values by device or task and the other way round."""
    merged = Layer()
    for layer in layers:
        for path, value in layer.values.items():
            for other in [known for known in merged.values if known != path and _overlap(known, path)]:
                del merged.values[other], merged.origins[other]
            merged.values[path], merged.origins[path] = value, layer.origins[path]
        for pair in ALTERNATIVES:
            paths = [tuple(name.split(".")) for name in pair]
            given = [_first_below(layer, path) for path in paths]
            for path, here, there in ((paths[0], *given), (paths[1], *reversed(given))):
                if here is None and there is not None:
                    for known in [known for known in merged.values if known[: len(path)] == path]:
                        del merged.values[known], merged.origins[known]
    return merged


def _overlap(one: Path, other: Path) -> bool:
    shorter = min(len(one), len(other))
    return one[:shorter] == other[:shorter]


def _first_below(layer: Layer, path: Path) -> Path | None:
    """The first path of a layer at or below `path` that holds a value."""
    return next(
        (known for known in layer.values if known[: len(path)] == path and layer.values[known] is not None), None
    )


def _tree(values: dict[Path, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, value in values.items():
        below = tree
        for name in path[:-1]:
            below = below.setdefault(name, {})
        below[path[-1]] = value
    return tree


def _type_problems(error: ValidationError, layer: Layer) -> list[str]:
    found: dict[Path, str] = {}
    for detail in error.errors():
        location = tuple(str(part) for part in detail["loc"])
        path = next((location[:end] for end in range(len(location), 0, -1) if location[:end] in FIELDS), location)
        origin = next((where for known, where in layer.origins.items() if known[: len(path)] == path), ".".join(path))
        inside = (
            "" if len(location) == len(path) else ".".join(part for part in location[len(path) :] if "[" not in part)
        )
        message = f"{origin}: {inside + ': ' if inside and path == ('models',) else ''}{message_of(detail)}."
        if detail["type"] == "literal_error":
            message += nearest(detail["input"], _options(detail)).replace(" Known:", " It is one of:") if False else ""
        found.setdefault(path, message)
    return list(found.values())


def _options(detail: Any) -> list[str]:
    return str(detail["ctx"]["expected"]).replace("'", "").replace(" or ", ", ").split(", ")


def _written_twice(layer: Layer) -> list[str]:
    found: list[str] = []
    for pair in ALTERNATIVES[:2]:
        given = [_first_below(layer, tuple(name.split("."))) for name in pair]
        if given[0] is not None and given[1] is not None:
            found.append(
                f"{layer.origins[given[0]]} and {layer.origins[given[1]]}: a run gives one of the two, not both."
            )
    return found


def _wrong_set(run: RunConfig, written: Layer) -> list[str]:
    """Keys of an architecture beside a checkpoint, or of a checkpoint beside an architecture."""
    from .schema_model import ARCHITECTURE_KEYS, CHECKPOINT_KEYS

    if run.model.core_model_type == "hf_core":
        return []
    given = {
        path[1]: origin
        for path, origin in written.origins.items()
        if path[0] == "model" and written.values[path] is not None
    }
    if "base_model" in given:
        return [
            f"{given[name]}: model.base_model is a checkpoint and brings its own; leave one of the two out."
            for name in given
            if name in ARCHITECTURE_KEYS
        ]
    found = [
        f"{given[name]}: this is a setting of a checkpoint; name one in model.base_model or leave it out."
        for name in given
        if name in CHECKPOINT_KEYS
    ]
    if "freeze_core" in given:
        found.append(
            f"Unknown key {given['freeze_core']}: there is a core to freeze only under core_model_type: hf_core."
        )
    return found


def _raise(found: list[str]) -> None:
    """Raise UserError with all problems, one a line."""
    if len(found) == 1:
        raise UserError(found[0])
    if found:
        raise UserError("\n".join([f"{len(found)} problems in the configuration:", *(f"  - {one}" for one in found)]))
