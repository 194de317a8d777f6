"""What a run measures while it trains: the tasks of its `evaluation:` section, without disturbing the training.

The functions are those that evaluate.py calls, in the precision that the run trains in: a checkpoint measured later
gives the same numbers, up to the rounding of mixed precision.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..configs.schema_evaluation import Evaluation
from ..models.dropout import without_dropout
from ..models.model import Model
from ..tokenizers.base import Tokenizer
from ..trainers.checkpoint import random_states, restore_random_states
from .benchmarks import files_of, tasks_of
from .registry import Abandoned, EvalContext, Numbers, check_task, task_function

if TYPE_CHECKING:
    from ..configs.schema import RunConfig

TEXT_MODELING = "text_modeling"


def prepare_tasks(
    model: Model,
    tokenizer: Tokenizer,
    evaluation: Evaluation,
    *,
    texts: Callable[[], Iterable[str]] | None = None,
    run: RunConfig | None = None,
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> Callable[[Callable[[], bool]], dict[str, Numbers] | None] | None:
    """What measures a model that is being trained, its questions read, and found to fit the model.

    Args:
        texts: gives the held-out documents, for text modelling; None, or a model that does not write: it is left out.
        autocast: the context of forward passes.

    Returns:
        A function of `stop`, which it asks between batches of questions, to numbers by task, or None if `stop` said
        True. Modes, gradients and the state of every generator are afterwards as before. None where nothing is to be
        measured.

    Raises:
        UserError: what the tasks raise: no data, a row in the wrong format, a model that cannot do them.
    """
    from .writing import writes

    names, data = tasks_of(evaluation), files_of(evaluation)
    texts = texts if evaluation.text_modeling_eval and writes(model) else None
    if texts is None and not names:
        return None
    shared = EvalContext(
        "",
        limit=evaluation.num_samples,
        batch_size=evaluation.batch_size,
        allow_code_execution=evaluation.allow_code_execution,
        progress=sys.stderr.isatty(),  # a log would fill with bars
        name="the model",
        run=run,
        kept={},
    )
    contexts = [replace(shared, task=name, data=data.get(name)) for name in names]
    for context in contexts:
        check_task(model, tokenizer, context)

    def measure(stop: Callable[[], bool]) -> dict[str, Numbers] | None:
        results: dict[str, Numbers] = {}
        with undisturbed(model), autocast():
            if stop():
                return None
            if texts is not None:
                results[TEXT_MODELING] = _text_modeling(model, tokenizer, evaluation, texts())
            for context in contexts:
                if stop():
                    return None
                try:
                    results[context.task] = task_function(context.task)(model, tokenizer, replace(context, stop=stop))
                except Abandoned:
                    return None
        return results

    return measure


def run_tasks(
    model: Model, tokenizer: Tokenizer, evaluation: Evaluation, *, stop: Callable[[], bool] = lambda: False, **what: Any
) -> dict[str, Numbers] | None:
    """Prepare the tasks and measure them once, see `prepare_tasks`; {} where there are none."""
    measure = prepare_tasks(model, tokenizer, evaluation, **what)
    return {} if measure is None else measure(stop)


def _text_modeling(model: Model, tokenizer: Tokenizer, evaluation: Evaluation, texts: Iterable[str]) -> Numbers:
    from .text_modeling import text_modeling

    size = min(4 * (evaluation.batch_size or 8), 32)  # passages are short
    return dict(text_modeling(model, tokenizer, texts, num_samples=evaluation.num_samples, batch_size=size))


@contextmanager
def undisturbed(model: Model) -> Iterator[None]:
    """Evaluation mode for a while; afterwards modules are in the mode and generators in the state they were in."""
    states, numpy_state, python_state = random_states(), np.random.get_state(), random.getstate()  # noqa: NPY002
    try:
        with without_dropout(model):
            yield
    finally:
        restore_random_states(states)
        np.random.set_state(numpy_state)  # noqa: NPY002
        random.setstate(python_state)
