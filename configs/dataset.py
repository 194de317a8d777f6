"""What the `dataset:` section defaults to, and what goes with neither its kind of data nor the place it lies in."""

from __future__ import annotations

from pathlib import Path

from ..data.classification.docstrings import NAME as DOCSTRINGS
from ..data.classification.hub import known
from ..data.corpus import STDLIB, is_hub_id, misspelt
from ..data.hub import known_text
from ..data.instruct.formats import CONVERSATIONS
from ..data.tables import is_table, read_rows
from ..errors import UserError
from ..models.start import Start
from .fields import shown
from .from_checkpoint import Refuse
from .not_yet import value_at
from .schema_data import Dataset
from .schema_run import FIELDS, RunConfig

TEXT, LABELLED, INSTRUCTIONS = "text", "labelled texts", "instructions"
# Which kinds of data read a key. For any other it has to be at its default, which a saved configuration writes out too.
_READ_BY: dict[str, tuple[str, ...]] = {
    "dataset.streaming": (TEXT, INSTRUCTIONS),
    "dataset.text_column": (TEXT, LABELLED),
    "dataset.documents": (TEXT,),
    "dataset.stride": (TEXT,),
    "dataset.test_path": (LABELLED,),
    "dataset.label_column": (LABELLED,),
    "dataset.text_pair_column": (LABELLED,),
    "dataset.random_crop": (LABELLED,),
    "dataset.template": (INSTRUCTIONS,),
    "dataset.lang": (INSTRUCTIONS,),
    "dataset.preprocessing": (INSTRUCTIONS,),
    "dataset.on_overflow": (LABELLED, INSTRUCTIONS),
    "dataset.on_bad_row": (LABELLED, INSTRUCTIONS),
    "evaluation.metric_for_best_model": (LABELLED,),
    "trainer.class_weights": (LABELLED,),
}
_NOTHING = {  # the default once, and saved so; or what any data has
    "dataset.on_overflow": "error",
    "dataset.on_bad_row": "error",
    "evaluation.metric_for_best_model": "loss",
}
_WIKITEXT_ROWS = 1024, 512  # tokens of a row, and from one to the next
_OF_THE_HUB = ("config", "split", "streaming", "num_proc")
_COLUMNS = ("text_column", "label_column", "text_pair_column")


def kind_of_data(run: RunConfig) -> str:
    """Which of the three kinds a run reads."""
    return {None: TEXT, "classification": LABELLED}.get(run.dataset.format, INSTRUCTIONS)


def complete_dataset(run: RunConfig) -> RunConfig:
    """`text` is what no format means, once it is settled that labels are not looked for; WikiText has its recipe.

    That is the GPT-2 document's: a row of 1024 tokens begins half a row after the one before.
    """
    if run.dataset.format == "text":
        run = run.model_copy(update={"dataset": run.dataset.model_copy(update={"format": None})})
    row, stride = _WIKITEXT_ROWS
    is_recipe = (
        kind_of_data(run) == TEXT and run.trainer.loss_fn == "cross_entropy" and run.trainer.max_seq_length == row
    )
    if not is_recipe or known_text(run.dataset.name) is None or _lies_here(run.dataset):
        return run
    dataset, trainer = run.dataset, run.trainer
    if "datasampling" not in trainer.model_fields_set:
        trainer = trainer.model_copy(update={"datasampling": "packed"})
    if "stride" not in dataset.model_fields_set and trainer.datasampling != "standard":
        dataset = dataset.model_copy(update={"stride": stride})
    return run.model_copy(update={"dataset": dataset, "trainer": trainer})


def check_dataset(run: RunConfig, start: Start | None, refuse: Refuse) -> None:
    """Refuse what cannot be read, and what would be read past."""
    dataset, kind = run.dataset, kind_of_data(run)
    _check_source(dataset, kind, refuse)
    _check_readers(run, kind, refuse)
    if dataset.stride is not None and kind == TEXT:
        _overlap(run, dataset.stride, refuse)
    if run.evaluation.takes_place and not _holds_out(dataset, kind):
        refuse("dataset.val_fraction", "0 holds nothing out to evaluate on: set evaluation.do_eval to false as well")
    if kind != INSTRUCTIONS:
        return
    causal = start.config.causal if start is not None else run.model.attn.attn_type == "causal"
    if not causal:
        refuse("dataset.format", "answers are written by a decoder, and this model is an encoder")
    elif run.trainer.loss_fn != "cross_entropy":
        refuse("trainer.loss_fn", "instructions are learned as the next token: use cross_entropy")
    if dataset.format == "custom" and dataset.template is None:
        refuse("dataset.format", "custom rows are read by a template: give dataset.template")
    if dataset.format != "custom" and dataset.template is not None:
        refuse("dataset.template", f"it reads custom rows, and the format is {dataset.format}: leave it out")


def _check_source(dataset: Dataset, kind: str, refuse: Refuse) -> None:
    """The name, alone and beside train_path, and what a table of instructions would be read as."""
    name = dataset.name
    if kind == TEXT and (form := _format_of(dataset)):
        refuse(
            "dataset.name" if dataset.train_path is None else "dataset.train_path",
            f"{dataset.train_path or name} holds instructions: set dataset.format to {form}, or name a column of text "
            "in dataset.text_column",
        )
    if dataset.train_path is not None:
        if name != FIELDS["dataset", "name"].default:
            refuse(
                "dataset.name",
                f"'{name}' is one data set and dataset.train_path, '{dataset.train_path}', another, which alone would "
                "be read: leave one of them out",
            )
        return
    is_here = Path(name).expanduser().exists()
    if not is_here and (meant := misspelt(name)):
        refuse("dataset.name", f"'{name}': {meant}")
    if name == STDLIB and kind == LABELLED and not is_here:
        refuse("dataset.name", f"{STDLIB} is text without classes: {DOCSTRINGS} has some, or name labelled texts")
    if name == DOCSTRINGS and kind == TEXT:
        refuse("dataset.name", f"{DOCSTRINGS} are texts with a class, for a classifier: as text name {STDLIB}")


def _format_of(dataset: Dataset) -> str | None:
    """The format of instructions that the first row of a table has; None where the column of text is named."""
    path = Path(dataset.train_path or dataset.name).expanduser()
    if dataset.text_column is not None or not path.is_file() or not is_table(path):
        return None
    try:
        _, row = next(read_rows(path))
    except (UserError, StopIteration):  # what is wrong with it is told when it is read
        return None
    if {"instruction", "output"} <= row.keys():
        return "alpaca"
    return "sharegpt" if any(isinstance(row.get(name), list) for name in CONVERSATIONS) else None


def _check_readers(run: RunConfig, kind: str, refuse: Refuse) -> None:
    """Settings of another kind of data, of the hub for what lies here, and of tables for what has its own columns."""
    dataset = run.dataset
    for path, kinds in _READ_BY.items():
        if kind not in kinds and _is_given(run, path):
            refuse(path, _instead(path, kind, kinds))
    here = _lies_here(dataset)
    for name in _OF_THE_HUB:
        path = f"dataset.{name}"
        if here and kind in _READ_BY.get(path, (kind,)) and _is_given(run, path):
            source = dataset.train_path or dataset.name
            refuse(path, f"this is for datasets of the hub, and {source} lies on this machine: leave it out")
    if dataset.name == DOCSTRINGS and kind == LABELLED and dataset.train_path is None:
        for name in _COLUMNS:
            if _is_given(run, f"dataset.{name}"):
                refuse(f"dataset.{name}", f"{DOCSTRINGS} has columns of its own: leave it out")


def _is_given(run: RunConfig, path: str) -> bool:
    return value_at(run, path) not in (_default_of(path), _NOTHING.get(path))


def _default_of(path: str) -> object:
    field = FIELDS.get(tuple(path.split(".")))  # none for a section that may be null
    return None if field is None else field.default


def _instead(path: str, kind: str, kinds: tuple[str, ...]) -> str:
    """What to do about a key that this kind of data does not read."""
    known = f"this is for {' and '.join(kinds)}"
    if kind == TEXT:
        remedy = "set dataset.format to classification" if kinds == (LABELLED,) else "give dataset.format"
        return f"{known}: {remedy}, or leave it out"
    return f"{known}, and the data are {kind}: leave it out, or {shown(_default_of(path))}"


def _lies_here(dataset: Dataset) -> bool:
    """Whether the data is a file or folder, there or not, or comes with Python."""
    name = dataset.name
    if dataset.train_path is not None or name in (STDLIB, DOCSTRINGS) or Path(name).expanduser().exists():
        return True
    return not is_hub_id(name)


def _holds_out(dataset: Dataset, kind: str) -> bool:
    """Whether there is something to evaluate on: a share, a file, or the split of a known data set."""
    if dataset.val_fraction != 0 or dataset.eval_path or (kind == LABELLED and dataset.test_path):
        return True
    is_known = known(dataset.name) is not None and dataset.split == FIELDS["dataset", "split"].default
    return kind == LABELLED and is_known and not _lies_here(dataset)


def _overlap(run: RunConfig, stride: int, refuse: Refuse) -> None:
    """Rows that begin every `stride` tokens."""
    context = run.trainer.max_seq_length or run.model.context_window
    if run.trainer.datasampling == "standard":
        refuse("dataset.stride", "random crops have no order: set trainer.datasampling to packed or sequential")
    elif stride > context:
        refuse("dataset.stride", f"{stride} would leave out text between rows of {context} tokens: at most {context}")
