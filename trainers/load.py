"""A trained model back from a run's folder."""

from __future__ import annotations

from pathlib import Path

from ..errors import UserError
from ..models.model import Model
from ..models.saved import beside, load_saved, read_state
from ..models.start import own_checkpoint
from ..tokenizers.base import Tokenizer
from ..tokenizers.load import load_tokenizer


def find_checkpoint(source: str | Path) -> Path:
    """The best checkpoint of a run's folder, else its last; a checkpoint is its own.

    Raises:
        UserError: there is none.
    """
    checkpoint = own_checkpoint(Path(source))
    if checkpoint is None:
        raise UserError(
            f"{source}: no checkpoint in it; give a run's folder or one of its train/weights/step_N folders"
        )
    return checkpoint


def load_run(source: str | Path, device: str = "cpu") -> tuple[Model, Tokenizer]:
    """The model, in eval mode, and the tokenizer of a run's folder or one of its checkpoints.

    Raises:
        UserError: there is no checkpoint, or it is damaged.
    """
    checkpoint = find_checkpoint(source)
    return load_saved(checkpoint, device=device), run_tokenizer(checkpoint)


def run_tokenizer(checkpoint: Path) -> Tokenizer:
    """The tokenizer of the run that a checkpoint is of, also after the run was moved."""
    return load_tokenizer(beside(checkpoint, "tokenizer") or Path(read_state(checkpoint)["tokenizer"]))
