"""A finished run as a repository on the hub: what is uploaded, and its card."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from ..configs.architecture import is_bag_of_words
from ..configs.overrides import parse_overrides
from ..configs.resolve import parse_config
from ..configs.schema import RunConfig
from ..configs.schema_general import Output
from ..errors import UserError
from ..hub.upload import CARD, check_upload, open_repository, read_card, upload
from ..models.hf.export import describe
from ..models.lora import adapters
from ..models.lora.config import CONFIG as ADAPTER_CONFIG
from ..models.model import Model
from ..models.saved import read_state
from .card import licence_of, model_card
from .export import export_run
from .folder import RunFolder, find_run, safe_name, write_text
from .load import find_checkpoint, run_tokenizer
from .resume import LATEST, folder_of

ASKED, PUSH = "output.push_to_hub", "--push"
_REPOSITORY, _PRIVATE, _WHERE = ("output", "hub_model_id"), ("output", "hub_private"), ("output", "output_dir")


def check(run: RunConfig) -> None:
    """Refuse an upload that cannot be, before the run begins. Raises UserError."""
    if run.output.push_to_hub:
        _check_name(run, ASKED)


def check_model(run: RunConfig, model: Model) -> None:
    """Refuse to upload a model that no family of Hugging Face has, before it is trained. Raises UserError."""
    if run.output.push_to_hub and not adapters(model):
        try:
            describe(model)
        except UserError as error:
            raise UserError(f"{ASKED}: {error}; or set it to false") from None


def publish(run: RunConfig, folder: RunFolder) -> str | None:
    """Upload the run's best checkpoint with a model card, where the configuration asks for it. -> its address

    Of a run with LoRA that is its adapter folder in PEFT's format, of any other the model as transformers reads it;
    with the tokenizer either way. What is uploaded is left in `upload/` of the run's folder.

    Raises:
        UserError: the hub or the disk refuses; the run itself is whole.
    """
    return _publish(run.output, folder, ASKED) if run.output.push_to_hub else None


def push(where: str, overrides: list[str]) -> str:
    """`publish`, later: of a run's folder, or the `latest`, by its own configuration. -> its address

    Raises:
        UserError: there is no such run, it has nothing to upload, or as of `publish`; a setting of anything else.
    """
    given = parse_overrides(overrides)
    for path in given.values:
        if path not in (_REPOSITORY, _PRIVATE) and (path, where) != (_WHERE, LATEST):
            taken = f"{'.'.join(_REPOSITORY)} and {'.'.join(_PRIVATE)}"
            raise UserError(f"{PUSH} uploads what was trained: it takes {taken}, leave {'.'.join(path)} out")
    root = find_run(where, Path(str(given.values.get(_WHERE) or Output().output_dir)).expanduser(), PUSH)
    run = parse_config(root / "config.yaml", overrides)
    _check_name(run, PUSH)
    if is_bag_of_words(run):
        raise UserError(f"{PUSH} {root}: {run.model.base_model} is no network, so there is no model to upload")
    return _publish(run.output, folder_of(root, run), PUSH)


def gather(checkpoint: Path, target: Path) -> None:
    """Write what is uploaded, but for its card, into `target`, which is made anew. Raises UserError."""
    adapter = checkpoint / "adapter"
    try:
        if target.exists():
            shutil.rmtree(target)
        if adapter.is_dir():
            shutil.copytree(adapter, target)
    except OSError as error:
        reason = error.args[0][0][2] if isinstance(error, shutil.Error) else error.strerror or error
        raise UserError(f"cannot write {target} ({reason}): free some space, or mend its permissions") from None
    if adapter.is_dir():
        run_tokenizer(checkpoint).save_hf(target)
    else:
        export_run(checkpoint, target)


def _check_name(run: RunConfig, what: str) -> None:
    check_upload(_name(run.output), what, given=run.output.hub_model_id is not None)


def _name(output: Output) -> str:
    """What the repository is called: as is said, else as the run's folder is."""
    return output.hub_model_id or safe_name(output.run_name or "run")


def _publish(output: Output, folder: RunFolder, asked: str) -> str:
    target, results = folder.root / "upload", _results(folder)
    checkpoint = find_checkpoint(folder.weights if folder.weights.is_dir() else folder.root)
    # A repository that this run was uploaded to may be written to again.
    repo = output.hub_model_id or "/".join(str(results.get("uploaded_to") or "").split("/")[-2:])
    try:
        gather(checkpoint, target)
        card = _card(folder, results, checkpoint)
        write_text(target / CARD, card(repo or _name(output)))
        repo, address = open_repository(repo or _name(output), private=output.hub_private, given=bool(repo))
        write_text(target / CARD, card(repo, licence=licence_of(read_card(repo))))
        upload(target, repo, message=f"Run {folder.root.name}")
    except UserError as error:
        again = ["python", "train.py", PUSH, str(folder.root)]
        again += [f"output.hub_model_id={repo}"] if repo else []
        again += [] if output.hub_private else ["output.hub_private=false"]
        raise UserError(
            f"{asked}: {error}; the run is whole in {folder.root}, and `{shlex.join(again)}` tries again"
        ) from None
    print(f"uploaded: {address}", file=sys.stderr)
    folder.write_json(folder.results, results | {"uploaded_to": address})
    return address


def _results(folder: RunFolder) -> dict[str, Any]:
    path = folder.results
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        resume = f"python train.py --resume {shlex.quote(str(folder.root))}"
        raise UserError(f"{folder.root}: it has no {path.name}, so the run has not ended: {resume}") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}): resume the run, which writes it anew") from None


def _card(folder: RunFolder, results: dict[str, Any], checkpoint: Path) -> Callable[..., str]:
    """`model_card` of the run: what is left to say is for which repository, and the licence that it has."""
    config, step = yaml.safe_load(folder.config.read_text(encoding="utf-8")), read_state(checkpoint)["step"]
    path, base = checkpoint / "adapter" / ADAPTER_CONFIG, None
    if path.is_file():
        base = json.loads(path.read_text(encoding="utf-8"))["base_model_name_or_path"]
    return partial(model_card, results, config, step=step, adapter_of=base)
