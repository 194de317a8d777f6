"""Adapters put on a model and taken off again: which of its Linears get one, and what trains from then on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple, cast, get_args

import torch
from torch import Tensor, nn

from ...errors import UserError, nearest
from ..hf.rows import Row
from ..model import Model
from .layer import Adapted, Down, LoRA, adapters, init_down, n_outputs
from .names import Group, Names

Bias = Literal["none", "all", "lora_only"]
Variant = Literal["lora", "rslora", "dora"]


class ParameterCounts(NamedTuple):
    """Numbers that a model holds; one packed into 4 bits counts as one."""

    trainable: int
    all: int

    def __str__(self) -> str:
        return f"{self.trainable:,} of {self.all:,} parameters train ({self.trainable / self.all:.2%})"


def add_lora(
    model: Model,
    rank: int = 8,
    alpha: float = 16,
    dropout: float = 0.0,
    target_modules: str | Sequence[str] = ("q_proj", "v_proj"),
    bias: Bias = "none",
    variant: Variant = "lora",
    modules_to_save: Sequence[str] | None = None,
    seed: int | None = None,
) -> None:
    """Freeze the model and put adapters on some of its Linears; they train, and what is named beside them.

    Args:
        rank, alpha: B A is multiplied by alpha / rank; by alpha / sqrt(rank) with rslora.
        dropout: rate on what A reads, in training.
        target_modules: names in the words of the checkpoint's family (c_attn, query_key_value, qkv_proj, q_lin, ...) or
            native ones (q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj), each standing for every module
            whose path ends so; or a regular expression for whole paths; or "all-linear", every Linear but the head.
        bias: "all": every bias of the model trains too, norms' included; "lora_only": those of the chosen Linears.
        variant: see layer.py.
        modules_to_save: modules that train in full, ends of paths; a classifier's head and other new modules always do.
        seed: what A starts from; the same seed gives the same on the same kind of device. None: torch's generator.

    Adapters are fp32 whatever the model is, on its devices. Where a chosen name is one matrix of the checkpoint's and
    several Linears here, these share one A, so parameters and gradients are those of that matrix.

    Raises:
        UserError: an argument is out of range or matches nothing ("Target modules not found in model: ..."), the rank
            is larger than a matrix, or the model has adapters already.
    """
    _check(model, rank, alpha, dropout, bias, variant)
    names = Names.of(model)
    words = list(dict.fromkeys([*(modules_to_save or ()), *_new_modules(model, names)]))
    saved = names.in_full(words)
    groups = names.groups(target_modules, saved)
    modules = dict(model.named_modules())
    for group in groups:
        linears = [modules[part] for part in group]
        shape = (sum(map(n_outputs, linears)), cast(int, linears[0].in_features))
        if rank > min(shape):
            raise UserError(
                f"rank {rank} is larger than the matrix '{group[0]}', which is {shape}: at most {min(shape)}"
            )
    trained = trained_parameters(model, groups, saved.values(), bias)
    adapted = Adapted(dropout, bias, variant == "rslora", variant == "dora", words, beside=trained)
    if bias != "none" and not any(name.endswith("bias") for name in trained):
        raise UserError(f"bias='{bias}': there is no bias to train: use bias='none'")
    check_untied(model, names, saved)
    cuda = {tensor.device for tensor in model.parameters() if tensor.device.type == "cuda"}
    with torch.random.fork_rng(list(cuda), enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        weights = [
            init_down(rank, cast(int, modules[group[0]].in_features), _like(modules[group[0]])) for group in groups
        ]
    install(model, adapted, [(group, weight, alpha) for group, weight in zip(groups, weights, strict=True)])
    set_trainable(model)


def install(model: Model, adapted: Adapted, downs: Iterable[tuple[Group, Tensor, float]]) -> None:
    """Adapters with those A (r, in) and alphas, on those groups of Linears; everything is frozen."""
    modules = dict(model.named_modules())
    adapted.frozen = frozenset(name for name, parameter in model.named_parameters() if not parameter.requires_grad)
    model.requires_grad_(False)
    for group, weight, alpha in downs:
        down = Down(weight, adapted, len(group))
        for i, part in enumerate(group):
            LoRA(modules[part], down, i, alpha, adapted).attach_to(modules[part])


def set_trainable(model: Model) -> None:
    """The adapters train, and what belongs beside them."""
    for adapter in adapters(model).values():
        adapter.requires_grad_()
        for name in adapter.adapted.beside:
            model.get_parameter(name).requires_grad_()


def trained_parameters(model: Model, groups: Iterable[Group], saved: Iterable[Row], bias: str) -> frozenset[str]:
    """The names of what trains beside adapters: the modules `saved`, and biases."""
    parameters = dict(model.named_parameters(remove_duplicate=False))
    first = {id(parameter): name for name, parameter in reversed(parameters.items())}
    chosen = {f"{part}.bias" for group in groups for part in group} if bias == "lora_only" else set[str]()
    if bias == "all":
        chosen = {name for name in parameters if name.endswith(".bias")}
    holders = {part for row in saved for part in row.parts}
    chosen |= {name for name in parameters if name in holders or name.rpartition(".")[0] in holders}
    return frozenset(first[id(parameters[name])] for name in chosen if name in parameters)


def check_untied(model: Model, names: Names, saved: Iterable[str]) -> None:
    """Raises UserError where a module that is to train in full has its weight from another."""
    if not model.is_tied:
        return
    rows = names.linears | names.others
    for name in saved:
        if {"head.out", "embedder.tokens"} & set(rows[name].parts):
            raise UserError(
                f"modules_to_save: '{name}' shares its weight (head and embedding are tied), so both would change: "
                "adapt the head as a target instead, or load a checkpoint whose config.json has "
                "tie_word_embeddings=false"
            )


def remove_lora(model: Model) -> None:
    """Take the adapters off. Weights stay as they are: merged if they were, and biases and heads as they were trained.

    What could train before the adapters came can train again.

    Raises:
        UserError: there are none.
    """
    found = need_adapters(model)
    frozen = next(iter(found.values())).adapted.frozen
    for name, adapter in found.items():
        adapter.detach_from(model.get_submodule(name))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in frozen)


def need_adapters(model: nn.Module) -> dict[str, LoRA]:
    """adapters(model). Raises UserError where there are none."""
    found = adapters(model)
    if not found:
        raise UserError("the model has no adapters: add_lora or load_adapter puts some on it")
    return found


def refuse_second(model: nn.Module) -> None:
    """Raises UserError where there are adapters already."""
    found = adapters(model)
    if found:
        raise UserError(
            f"the model has adapters already (on '{next(iter(found))}'): remove_lora takes them off, merge_lora first "
            "if they are to stay in the weights"
        )


def count_parameters(model: Model) -> ParameterCounts:
    """What trains and what there is; a tied or shared weight counts once."""
    return ParameterCounts(model.num_parameters(trainable_only=True), model.num_parameters())


def _check(model: Model, rank: int, alpha: float, dropout: float, bias: str, variant: str) -> None:
    refuse_second(model)
    if isinstance(rank, bool) or not isinstance(rank, int) or rank < 1:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UserError(f"rank {rank!r}: must be a whole number of at least 1")
    if not alpha > 0:
        raise UserError(f"alpha {alpha!r}: must be above 0")
    if not 0 <= dropout < 1:
        raise UserError(f"dropout {dropout!r}: must be at least 0 and below 1")
    for what, word, known in (("bias", bias, get_args(Bias)), ("variant", variant, get_args(Variant))):
        if word not in known:
            raise UserError(f"{what} '{word}' is not known.{nearest(word, known)}")


def _new_modules(model: Model, names: Names) -> list[str]:
    """Of a classifier its head, and what else its checkpoint had not (a pooler): random, they are of no use frozen."""
    if model.task != "classification":
        return []
    new = set(model.origin.new if model.origin else ())
    drawn = [path for path, row in names.linears.items() if {f"{part}.weight" for part in row.parts} & new]
    return [*names.new_head(), *drawn]


def _like(linear: nn.Module) -> Tensor:
    """A tensor of the dtype and on the device that matter for an adapter."""
    return cast(Tensor, linear.weight)
