"""A run that goes on: which it is, what its command line may change, and that what it changes is kept with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..configs.fields import is_mapping, shown
from ..configs.overrides import parse_overrides
from ..configs.resolve import parse_config
from ..configs.schema import RunConfig
from ..errors import UserError
from ..models.saved import read_state
from .checkpoint import latest_checkpoint
from .folder import RunFolder, find_run, write_text

LATEST = "latest"
_MODEL = ("model", "fine_tuning", "distillation")  # what a checkpoint's weights are of
_HOW = ("model.use_flash_attention", "model.use_liger_kernels")  # the same model, computed in another way
_ALSO = ("dataset.format", "trainer.generator_size")


def resumed_run(where: str, config: str | None, overrides: list[str]) -> Path:
    """The folder of the run that `--resume` names; `latest` is looked for where the configuration writes its runs.

    Raises:
        UserError: there is no such run, or what else is said would make another of it.
    """
    given = parse_overrides(overrides)
    if given.gives(("models",)):
        raise UserError("--resume goes on with one run: leave --models out.")
    if where != LATEST and config is not None:
        raise UserError(f"--resume {where} goes on with the run's own configuration: leave --config {config} out.")
    output_dir = str(given.values.get(("output", "output_dir")) or "results")
    if config is not None:
        output_dir = parse_config(config, overrides).output.output_dir
    root = find_run(where, Path(output_dir).expanduser())
    if overrides:
        _check_changes(root, overrides)
    return root


def folder_of(root: Path, run: RunConfig) -> RunFolder:
    """The folder of a run, whose checkpoints may lie elsewhere."""
    elsewhere = run.general.paths.checkpoint_dir
    return RunFolder(root, Path(elsewhere) / root.parent.name / root.name if elsewhere else None)


def keep_config(run: RunConfig, folder: RunFolder, step: int) -> None:
    """Write what a run goes on with in place of its configuration, which is kept beside it. Nothing where it is that.

    Raises:
        UserError: the folder cannot be written.
    """
    before, now = folder.config.read_text(encoding="utf-8"), run.to_yaml()
    if before == now:
        return
    kept = folder.config.with_name(f"config.before_step_{step + 1}.yaml")
    if not kept.exists():  # else what was written since has made no step
        write_text(kept, before)
    write_text(folder.config, now)


def _check_changes(root: Path, overrides: list[str]) -> None:
    """Refuse settings that another model would have than the run's checkpoints."""
    config, layer = str(root / "config.yaml"), parse_overrides(overrides)
    run, changed = parse_config(config), parse_config(config, overrides)
    old, new = dict(_leaves(run.model_dump())), dict(_leaves(changed.model_dump()))
    differing = [name for name in dict.fromkeys([*old, *new]) if old.get(name) != new.get(name)]
    for name in differing:
        before, after = old.get(name), new.get(name)
        of_model = name.partition(".")[0] in _MODEL and name not in _HOW
        if of_model or name in _ALSO or (name == "trainer.loss_fn" and "replaced_token" in (before, after)):
            raise UserError(
                f"{layer.where(tuple(name.split('.')))}: {shown(after)}, and the run that goes on has {shown(before)}, "
                "which its checkpoints were made with: leave it out, or begin another run."
            )
    if run.dataset.format == "classification" and any(name.startswith("dataset.") for name in differing):
        _check_classes(changed, folder_of(root, run), str(layer.where(("dataset",))))


def _check_classes(run: RunConfig, folder: RunFolder, where: str) -> None:
    """Other texts have to have the classes that the head was made for."""
    from ..data.classification.load import labelled_texts

    checkpoint = latest_checkpoint(folder.weights)
    had = read_state(checkpoint).get("label_names") if checkpoint else None
    names = list(labelled_texts(run.dataset, run.general.seed)[1])
    if had is not None and names != had:
        raise UserError(
            f"{where}: its classes are {', '.join(names)}, and those of the run that goes on {', '.join(had)}: leave "
            "it out, or begin another run."
        )


def _leaves(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if is_mapping(value) and value:
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
