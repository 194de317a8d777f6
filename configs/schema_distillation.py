"""What `distillation:` may say: a model that learns from a larger one."""

from __future__ import annotations

from typing import Annotated, Literal

from .fields import WORD, Natural, NaturalNumber, PositiveNumber, Section, Text, key


class Distillation(Section):
    """A student learns what a teacher would say: for each target token its whole distribution (soft), the token itself
    (hard) and the direction of the last hidden state (cosine), as DistilBERT did (arXiv 1910.01108). The student is
    model.base_model; left out, it is made of the teacher's own layers, or described by the keys of `model`.
    """

    teacher: Text | None = key(
        None, "the model that is learned from: what model.base_model may be, a run's folder too; it does not change"
    )
    layers: Annotated[Literal["every_other"], WORD] | list[Natural] | None = key(
        None,
        "layers of model.base_model that the student is made of: `every_other` or a list (DistilGPT2: [0, 2, 4, 7, 9, "
        "11]); default: all, and `every_other` where the student is made of its teacher. With model.init random it "
        "takes the shape only",
    )
    tokenizer: Text | None = key(
        None, "the teacher's tokenizer where none lies with it; it has to be the student's own, id for id"
    )
    temperature: PositiveNumber = key(
        2.0, "both distributions are softened by it, and the soft loss is times its square"
    )
    alpha_soft: NaturalNumber = key(5.0, "weight of the soft loss: KL(teacher, student) over the real vocabulary")
    alpha_hard: NaturalNumber = key(2.0, "weight of the hard loss: cross-entropy of the token itself")
    alpha_cosine: NaturalNumber = key(
        1.0, "weight of 1 - cos(student, teacher) of the last hidden states, which then have one width"
    )
