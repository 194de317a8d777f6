"""A finished run as a repository on the hub: what is uploaded, and its card."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import yaml

from ..configs.schema import RunConfig
from ..errors import UserError
from ..hub.upload import check_upload, upload
from ..models.hf.export import describe
from ..models.lora import adapters
from ..models.model import Model
from ..models.saved import read_state
from .card import model_card
from .export import export_run
from .folder import RunFolder, write_text
from .load import find_checkpoint, run_tokenizer

ASKED = "output.push_to_hub"


def check(run: RunConfig) -> None:
    """Refuse an upload that cannot be, before the run begins. Raises UserError."""
    if run.output.push_to_hub:
        check_upload(run.output.hub_model_id, ASKED)


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
        UserError: the hub refuses, or no family of Hugging Face has such a model; the run itself is whole.
    """
    if not run.output.push_to_hub:
        return None
    repo, target = run.output.hub_model_id or folder.root.parent.name, folder.root / "upload"
    try:
        gather(folder, target, repo)
        address = upload(target, repo, private=run.output.hub_private, message=f"Run {folder.root.name}")
    except UserError as error:
        again = f"; `hf upload {repo} {target}` tries again" if (target / "README.md").is_file() else ""
        raise UserError(f"{ASKED}: {error}; the run is whole in {folder.root}{again}") from None
    results = json.loads(folder.results.read_text(encoding="utf-8"))
    folder.write_json(folder.results, results | {"uploaded_to": address})
    print(f"uploaded: {address}", file=sys.stderr)
    return address


def gather(folder: RunFolder, target: Path, repo: str) -> None:
    """Write what is uploaded into `target`, which is made anew."""
    shutil.rmtree(target, ignore_errors=True)
    checkpoint = find_checkpoint(folder.weights if folder.weights.is_dir() else folder.root)
    adapter = (checkpoint / "adapter").is_dir()
    if adapter:
        shutil.copytree(checkpoint / "adapter", target)
        run_tokenizer(checkpoint).save_hf(target)
    else:
        export_run(checkpoint, target)
    results = json.loads(folder.results.read_text(encoding="utf-8"))
    config = yaml.safe_load(folder.config.read_text(encoding="utf-8"))
    step = read_state(checkpoint)["step"]
    write_text(target / "README.md", model_card(results, config, repo, adapter=adapter, step=step))
