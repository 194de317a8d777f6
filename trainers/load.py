"""A trained model back from a run's folder."""

from __future__ import annotations

from pathlib import Path

from ..errors import UserError
from ..models.config import ModelConfig
from ..models.model import Model, build_model
from ..tokenizers.base import Tokenizer
from ..tokenizers.load import load_tokenizer
from .checkpoint import STATE, latest_checkpoint, load_weights, read_state
from .folder import RunFolder


def find_checkpoint(source: str | Path) -> Path:
    """The best checkpoint of a run's folder, else its last; a checkpoint is its own.

    Raises:
        UserError: there is none.
    """
    path = Path(source)
    weights = RunFolder(path).weights
    for candidate in (path, weights / "best", latest_checkpoint(weights)):
        if candidate is not None and (candidate / STATE).is_file():
            return candidate.resolve()
    raise UserError(f"{path}: no checkpoint in it; give a run's folder or one of its train/weights/step_N folders")


def load_run(source: str | Path, device: str = "cpu") -> tuple[Model, Tokenizer]:
    """The model, in eval mode, and the tokenizer of a run's folder or one of its checkpoints.

    Raises:
        UserError: there is no checkpoint, or it is damaged.
    """
    checkpoint = find_checkpoint(source)
    state = read_state(checkpoint)
    model = build_model(ModelConfig.from_dict(state["model_config"]), task=state["task"], device=device)
    load_weights(checkpoint, model)
    return model.eval(), load_tokenizer(_tokenizer_of(checkpoint, state["tokenizer"]))


def _tokenizer_of(checkpoint: Path, recorded: str) -> Path:
    """The run's tokenizer folder, also after the run was moved."""
    for parent in checkpoint.parents[:4]:
        if (parent / "tokenizer").is_dir():
            return parent / "tokenizer"
    return Path(recorded)
