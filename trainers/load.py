"""A trained model back from a run's folder."""

from __future__ import annotations

from pathlib import Path

from ..errors import UserError
from ..models.config import ModelConfig
from ..models.model import Model, build_model
from ..tokenizers.base import Tokenizer
from ..tokenizers.load import load_tokenizer
from .checkpoint import latest_checkpoint, load_weights, read_state
from .folder import RunFolder


def load_run(source: str | Path, device: str = "cpu") -> tuple[Model, Tokenizer]:
    """The model and its tokenizer from a run's folder (its best checkpoint, else its last) or from one checkpoint.

    Raises:
        UserError: there is no checkpoint, or it is damaged.
    """
    path = Path(source)
    weights = RunFolder(path).weights
    for candidate in (path, weights / "best", latest_checkpoint(weights)):
        if candidate is not None and (candidate / "state.json").is_file():
            state = read_state(candidate)
            model = build_model(ModelConfig.from_dict(state["model_config"]), task=state["task"], device=device)
            load_weights(candidate, model)
            return model.eval(), load_tokenizer(_tokenizer_of(candidate, state["tokenizer"]))
    raise UserError(f"{path}: no checkpoint in it; give a run's folder or one of its train/weights/step_N folders")


def _tokenizer_of(checkpoint: Path, recorded: str) -> Path:
    """The run's tokenizer folder, also after the run was moved."""
    for parent in checkpoint.resolve().parents[:4]:
        if (parent / "tokenizer").is_dir():
            return parent / "tokenizer"
    return Path(recorded)
