"""Numbers on batches, however little memory there is: where it runs out, the same rows again in smaller pieces."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from ..data.sampling import Batch
from ..errors import UserError, notice
from ..models.model import Model
from .objectives import Objective
from .out_of_memory import advice, attempt, cut, smaller

Source = Callable[[], Iterable[Batch]]


@dataclass
class Measuring:
    """Evaluations of a run's model by its objective."""

    model: Model
    objective: Objective
    mask: Callable[..., Batch] | None = None  # makes of a batch one whose targets are masked tokens
    rows: int | None = None  # at a time, once memory has run out

    def batches(self, source: Source) -> Iterator[Batch]:
        """The batches as an evaluation sees them: masked where the run masks, cut to `rows`, on the model's device."""
        device, mask = next(self.model.parameters()).device, self.mask
        masked = (batch if mask is None else mask(batch, seed=0, index=i) for i, batch in enumerate(source()))
        return cut((batch.to(device) for batch in masked), self.rows)

    def numbers(
        self, source: Source, stop: Callable[[], bool] = lambda: False, micro_batch: int | None = None
    ) -> dict[str, float] | None:
        """What the objective reports of the batches; None where `stop` abandoned it.

        Args:
            micro_batch: rows at a time that training has come down to.

        Raises:
            UserError: not even one row fits.
        """
        if micro_batch is not None:
            self.rows = micro_batch if self.rows is None else min(self.rows, micro_batch)
        failed = 0  # rows of the last batch that was begun

        known: Any = source  # how many batches it has, of some sources

        def batches() -> Iterator[Batch]:
            nonlocal failed
            total = len(known) if hasattr(known, "__len__") and self.rows is None else None
            # Only where it takes long, and somebody looks.
            for batch in tqdm(
                self.batches(source), "evaluating", total, unit="batch", leave=False, delay=5, disable=None
            ):
                failed = len(batch.input_ids)
                yield batch

        while True:
            result, said = attempt(lambda: self.objective.evaluate(batches(), stop))
            if said is None:
                return result
            rows = smaller(failed, 1)
            if rows is None:
                device = next(self.model.parameters()).device.type
                raise UserError(advice(device, f"memory ran out while one row was evaluated ({said})"))
            notice(f"memory ran out while {failed} rows were evaluated at a time: it begins again with {rows}")
            self.rows = rows
