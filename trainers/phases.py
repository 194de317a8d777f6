"""Two phases of fine-tuning: the head alone, then everything. What trains is a function of the step.

The optimizer holds every parameter from the start, so its state has the same names in both phases and a run resumes on
either side. In the first a parameter of the trunk has no gradient, and AdamW passes over what has none: its moments and
the count of its updates begin with the second.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import nn

from ..errors import UserError, notice
from ..models.model import Model


def head_parameters(model: Model) -> list[str]:
    """The names of the head's parameters; of a tied table that is also its matrix, the name it has in the embedder.

    Raises UserError where there is no head.
    """
    of_head = {id(p) for p in model.head.parameters()}
    if not of_head:
        raise UserError("this model has no head to train")
    if model.is_tied:
        notice("the head's matrix is the token embedding as well: so that trains too")
    return [name for name, p in model.named_parameters() if id(p) in of_head]


@dataclass
class HeadFirst:
    """For `steps` steps the head alone, from then on all that trained when this was made."""

    model: Model
    steps: int
    trunk: list[nn.Parameter] = field(init=False)

    def __post_init__(self) -> None:
        head = set(head_parameters(self.model))
        self.trunk = [p for name, p in self.model.named_parameters() if p.requires_grad and name not in head]

    def set(self, step: int) -> None:
        """Let train what does in step number `step`, counted from 0."""
        on = step >= self.steps
        if self.trunk and self.trunk[0].requires_grad != on:
            for parameter in self.trunk:
                parameter.requires_grad_(on)
