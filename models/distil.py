"""A smaller model out of a larger one: some of its layers, all that is around them (DistilBERT, arXiv 1910.01108)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..errors import UserError
from .config import LayerKind, ModelConfig

if TYPE_CHECKING:
    from .model import Model

EVERY_OTHER = "every_other"


def chosen_layers(choice: str | Sequence[int], n_layers: int, where: str = "layers") -> tuple[int, ...]:
    """The numbers of the layers that a student takes: `every_other` is 0, 2, 4 ... of `n_layers`.

    DistilGPT2 was made of 0, 2, 4, 7, 9, 11 of GPT-2's twelve: a list says that.

    Raises:
        UserError: there is no such layer, one is named twice or out of order, or none is left out.
    """
    if isinstance(choice, str):
        if n_layers < 2:
            raise UserError(f"{where}: a model of {n_layers} layer has no other to leave out")
        return tuple(range(0, n_layers, 2))
    layers = tuple(choice)
    if not layers:
        raise UserError(f"{where}: a student has one layer at least: name some of 0 to {n_layers - 1}")
    if wrong := [layer for layer in layers if not 0 <= layer < n_layers]:
        raise UserError(f"{where}: there is no layer {wrong[0]}: the model has 0 to {n_layers - 1}")
    if list(layers) != sorted(set(layers)):
        raise UserError(f"{where}: {list(layers)} names a layer twice or out of order: write them rising")
    return layers


def student_config(config: ModelConfig, layers: Sequence[int]) -> ModelConfig:
    """The same architecture of these layers, each with the kind of attention it had."""
    from .hf.windows import shortest

    kinds: list[LayerKind] = [config.layer_kind(layer) for layer in layers]
    if "local" not in kinds:  # nothing is left that a window, or rope of its own, would be for
        return replace(config, n_layers=len(kinds), layer_pattern=("global",), window=None, rope_local=None)
    return replace(config, n_layers=len(kinds), layer_pattern=shortest(kinds))


def student_of(teacher: Model, layers: Sequence[int]) -> Model:
    """A model of the teacher's layers `layers`, its embedder, norms and head: copies, on its device, in its dtype.

    It comes from where the teacher does, so that save_pretrained writes the same family, with the depth it has.
    """
    from .heads import labels_of
    from .hf.loader import WithoutInit
    from .model import Model

    config, tokens = student_config(teacher.config, layers), teacher.embedder.tokens.weight
    places = {str(layer): str(i) for i, layer in enumerate(layers)}
    weights = {}
    for name, tensor in teacher.state_dict().items():
        if not name.startswith("core.layers."):
            weights[name] = tensor
            continue
        _, _, layer, rest = name.split(".", 3)
        if layer in places:
            weights[f"core.layers.{places[layer]}.{rest}"] = tensor
    with tokens.device, WithoutInit():
        student = Model(config, teacher.task, labels_of(teacher.head)).to(tokens.dtype)
    student.load_state_dict(weights)
    student.origin = teacher.origin
    return student.train(teacher.training)
