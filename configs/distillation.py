"""What a student is made of where the run does not say, and what cannot be learned from a teacher."""

from __future__ import annotations

from ..errors import UserError
from ..models.distil import EVERY_OTHER
from ..models.start import Start, find_start
from .from_checkpoint import Refuse, check_tokenizer
from .layers import Layer, layer_of
from .schema_model import ARCHITECTURE_KEYS
from .schema_run import RunConfig

_BASE, _LAYERS, _TEACHER = ("model", "base_model"), ("distillation", "layers"), ("distillation", "teacher")


def taught(written: Layer) -> Layer:
    """The settings of a student that is made of its teacher: base_model and every other layer, where nothing is said.

    A model that the run describes itself is made of nothing else.
    """
    teacher, base = written.values.get(_TEACHER), written.values.get(_BASE)
    if teacher is None or any(written.gives(("model", name)) for name in ARCHITECTURE_KEYS):
        return Layer()
    made = {} if base is not None else {".".join(_BASE): teacher}
    if base in (None, teacher) and not written.gives(_LAYERS):
        made[".".join(_LAYERS)] = EVERY_OTHER
    return layer_of(made, "distillation.teacher")


def check(run: RunConfig, start: Start | None, refuse: Refuse) -> None:
    """Refuse what a student could not learn. The widths are of configurations; tokenizers are compared when loaded."""
    d = run.distillation
    if d is None:
        return
    if d.teacher is None:
        refuse("distillation.teacher", "name the model that is learned from, or leave distillation out")
        return
    if run.fine_tuning is not None and run.fine_tuning.method != "full":
        refuse("fine_tuning.method", "a student is trained whole: leave it out, or distillation")
    if run.trainer.loss_fn not in ("cross_entropy", "masked_lm"):
        refuse("trainer.loss_fn", "a teacher tells tokens or classes: use cross_entropy or masked_lm")
    if not (d.alpha_soft or d.alpha_cosine):
        refuse("distillation.alpha_soft", "0, as alpha_cosine is: nothing would be learned from the teacher")
    if run.trainer.label_smoothing and not d.alpha_hard:
        refuse(
            "trainer.label_smoothing",
            "it smooths the hard loss, which distillation.alpha_hard 0 leaves out: set it to 0",
        )
    if run.trainer.class_weights is not None:
        refuse("trainer.class_weights", "a student learns its teacher's answers, of every row alike: leave it out")
    if d.tokenizer is not None:
        check_tokenizer("distillation.tokenizer", d.tokenizer, refuse)
    if start is None and d.layers is not None:
        refuse("distillation.layers", "they are of a checkpoint: name it in model.base_model, or leave them out")
    if run.model.core_model_type == "hf_core" and d.layers is not None:
        refuse("distillation.layers", "hf_core takes all blocks of a checkpoint: leave them out")
    try:
        teacher = find_start(d.teacher)
    except UserError as error:
        refuse("distillation.teacher", str(error))
        return
    _fits(run, start, teacher, refuse)


def _fits(run: RunConfig, start: Start | None, teacher: Start, refuse: Refuse) -> None:
    """What the two have in common: the objective, the length of a row, the width for the cosine.

    Which classes a classifier tells apart is seen when it is loaded.
    """
    d, key = run.distillation, "distillation.teacher"
    assert d is not None
    causal = start.config.causal if start is not None else run.model.attn.attn_type == "causal"
    width = start.config.d_model if start is not None else run.model.hidden_dim
    context = run.trainer.max_seq_length or run.model.context_window
    theirs = teacher.config
    told = {"causal_lm": "guesses the next token", "masked_lm": "guesses masked tokens"}.get(teacher.task)
    if run.dataset.format == "classification":
        if not _is_classifier(teacher):
            refuse(
                key,
                f"{teacher.name} {told or 'has no classes'}, and the student learns classes: name a classifier, or set "
                "dataset.format to text",
            )
    elif theirs.causal != causal or teacher.task != ("causal_lm" if causal else "masked_lm"):
        refuse(key, f"{teacher.name} {told or 'guesses no tokens'}, which is not what the student learns")
    if theirs.positions == "learned" and context > theirs.max_seq_len:
        refuse("trainer.max_seq_length", f"{context}, and {teacher.name} has {theirs.max_seq_len} positions: no more")
    if d.alpha_cosine and theirs.d_model != width:
        refuse(
            "distillation.alpha_cosine",
            f"the hidden states of {teacher.name} are {theirs.d_model} wide and the student's {width}, so there is no "
            "angle between them: set it to 0",
        )


def _is_classifier(teacher: Start) -> bool:
    """Whether it has a classifier's head, or does not say; the registry's models have none."""
    if teacher.own:
        return teacher.task == "classification"
    named = (teacher.hf or {}).get("architectures")
    return teacher.entry is None if named is None else any("SequenceClassification" in str(name) for name in named)
