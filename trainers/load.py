"""A trained model back from a run's folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..errors import UserError
from ..hub import VOCABULARIES
from ..models.hf.hub import fetch_checkpoint
from ..models.hf.loader import DTYPES, heads_in, load_pretrained
from ..models.lora import load_adapter
from ..models.model import Model
from ..models.saved import beside, load_saved, read_state
from ..models.start import Start, own_checkpoint
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


def load_run(source: str | Path, device: str = "cpu", dtype: str = "fp32") -> tuple[Model, Tokenizer]:
    """The model, in eval mode, and the tokenizer of a run's folder or one of its checkpoints.

    Raises:
        UserError: there is no checkpoint, or it is damaged.
    """
    checkpoint = find_checkpoint(source)
    return load_saved(checkpoint, dtype=DTYPES[dtype], device=device), run_tokenizer(checkpoint)


def load_start(
    start: Start, device: str = "cpu", dtype: str = "fp32", *, classifier: bool = False
) -> tuple[Model, Tokenizer]:
    """The model, in eval mode, and the tokenizer of a run or of a checkpoint of Hugging Face.

    `classifier` asks for the classification head of a checkpoint of Hugging Face; a run's head is what it was trained
    with.

    Raises:
        UserError: a file is missing or damaged, or the head is not in it.
    """
    if start.adapter is not None:
        return _with_adapter(start, device, dtype)
    if start.own:
        return load_run(start.place, device, dtype)
    folder = files_of(start)
    if classifier:
        if "classification" not in heads_in(folder):
            raise UserError(f"{start.name} has no classifier: train one (train.py --model {start.name} --dataset ...)")
        return load_pretrained(folder, "classification", dtype=dtype, device=device), tokenizer_of(start)
    if start.task == "masked_lm" and start.task not in heads_in(folder):
        raise UserError(f"{start.name} has no masked-LM head: there is nothing to measure before it is trained")
    return load_pretrained(folder, start.task, dtype=dtype, device=device), tokenizer_of(start)


def _with_adapter(start: Start, device: str, dtype: str) -> tuple[Model, Tokenizer]:
    """What an adapter of PEFT's goes on, and the adapter on it; a tokenizer that lies beside it comes first."""
    assert start.adapter is not None
    model, tokenizer = load_start(replace(start, adapter=None), device, dtype)
    load_adapter(model, start.adapter)
    return model.eval(), load_tokenizer(start.adapter) if has_tokenizer(start.adapter) else tokenizer


def files_of(start: Start) -> Path:
    """Where the files of a checkpoint lie, fetched if it is one of the hub."""
    return start.place if isinstance(start.place, Path) else fetch_checkpoint(start.place)


def tokenizer_of(start: Start) -> Tokenizer:
    """The tokenizer that lies with a checkpoint. Raises UserError, saying how to name another, where there is none."""
    if start.own:
        return run_tokenizer(Path(start.place))
    folder = files_of(start)
    if not has_tokenizer(folder):
        kinds = ", ".join(" + ".join(group) for group in VOCABULARIES)
        raise UserError(f"{folder}: no tokenizer in it ({kinds}): name the one of {start.name} in model.tokenizer")
    return load_tokenizer(folder)


def has_tokenizer(folder: Path) -> bool:
    """Whether a checkpoint's folder holds the files of a tokenizer."""
    return any(all((folder / name).is_file() for name in group) for group in VOCABULARIES)


def run_tokenizer(checkpoint: Path) -> Tokenizer:
    """The tokenizer of the run that a checkpoint is of, also after the run was moved."""
    return load_tokenizer(beside(checkpoint, "tokenizer") or Path(read_state(checkpoint)["tokenizer"]))
