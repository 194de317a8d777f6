"""What a run measures while it trains: the tasks of its `evaluation:` section, without disturbing the training.

The functions are those that evaluate.py calls, in the precision that the run trains in: a checkpoint measured later
gives the same numbers, up to the rounding of mixed precision.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from ..configs.schema_evaluation import Evaluation
from ..models.dropout import without_dropout
from ..models.model import Model
from ..tokenizers.base import Tokenizer
from ..trainers.checkpoint import random_states, restore_random_states
from .benchmarks import files_of, tasks_of
from .registry import EvalContext, Numbers, task_function

if TYPE_CHECKING:
    from ..configs.schema import RunConfig

TEXT_MODELING = "text_modeling"


def run_tasks(
    model: Model,
    tokenizer: Tokenizer,
    evaluation: Evaluation,
    *,
    texts: Callable[[], Iterable[str]] | None = None,
    run: RunConfig | None = None,
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, Numbers] | None:
    """Measure a model that is being trained. Modes, gradients and the state of every generator are as before.

    Args:
        texts: gives the held-out documents, for text modelling; None, or a model that does not write: it is left out.
        autocast: the context of forward passes.
        stop: asked between tasks; True abandons the evaluation.

    Returns:
        Numbers by task; None if it was abandoned.

    Raises:
        UserError: what the tasks raise: no data, a model that cannot do them.
    """
    from .text_modeling import text_modeling
    from .writing import writes

    data, results = files_of(evaluation), {}
    with undisturbed(model), autocast():
        if texts is not None and evaluation.text_modeling_eval and writes(model):
            if stop():
                return None
            size = min(4 * (evaluation.batch_size or 8), 32)  # passages are short
            results[TEXT_MODELING] = dict(
                text_modeling(model, tokenizer, texts(), num_samples=evaluation.num_samples, batch_size=size)
            )
        for name in tasks_of(evaluation):
            if stop():
                return None
            context = EvalContext(
                name,
                data=data.get(name),
                limit=evaluation.num_samples,
                batch_size=evaluation.batch_size,
                allow_code_execution=evaluation.allow_code_execution,
                progress=False,
                name="the model",
                run=run,
            )
            results[name] = task_function(name)(model, tokenizer, context)
    return results


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
