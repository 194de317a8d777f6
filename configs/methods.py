"""Methods of fine-tuning: what each needs, what follows from the model, and what does not go together."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal, cast

from ..models.start import Start
from .devices import device_type
from .fields import shown
from .from_checkpoint import Refuse
from .layers import Layer
from .schema_fine_tuning import FineTuning
from .schema_run import FIELDS, RunConfig

if TYPE_CHECKING:
    from ..models.quant.replace import Packing

Method = Literal["full", "head", "lora", "qlora", "spectrum"]
Kind = Literal["nf4", "fp4", "int8"]
ALL_LINEAR = "all-linear"
_ADAPTERS = ("lora", "qlora")


def method_of(run: RunConfig) -> Method:
    """What is trained; `full` where nothing is said."""
    return run.fine_tuning.method if run.fine_tuning else "full"


def has_adapters(run: RunConfig) -> bool:
    """Whether the method is one of adapters: LoRA, on whatever base."""
    return method_of(run) in _ADAPTERS


def kind_of_weights(run: RunConfig) -> Kind | None:
    """How the frozen weights are packed; None where they are not."""
    settings = (run.fine_tuning or FineTuning()).quantization
    if run.model.load_in_8bit:
        return "int8"
    return settings.bnb_4bit_quant_type if run.model.load_in_4bit else None


def packing_of(run: RunConfig) -> Packing | None:
    """How the frozen weights are to be packed; None where they are not."""
    kind = kind_of_weights(run)
    if kind is None:
        return None
    import torch

    from ..models.quant.replace import Packing

    settings = (run.fine_tuning or FineTuning()).quantization
    skip = None if settings.skip_modules is None else tuple(settings.skip_modules)
    compute: torch.dtype = getattr(torch, settings.bnb_4bit_compute_dtype)
    if kind == "int8":
        return Packing(kind, skip, compute_dtype=compute)
    return Packing(kind, skip, settings.block_size, settings.bnb_4bit_use_double_quant, compute)


def lora_settings(run: RunConfig) -> dict[str, Any] | None:
    """What add_lora is given; None for a method without adapters."""
    if not has_adapters(run):
        return None
    lora = cast(FineTuning, run.fine_tuning).lora
    targets = lora.target_modules
    if isinstance(targets, str) and re.fullmatch(r"[\w.]+", targets) and targets != ALL_LINEAR:
        targets = [targets]  # one name, and no pattern of whole paths
    return {
        "rank": lora.r,
        "alpha": lora.alpha,
        "dropout": lora.dropout,
        "target_modules": targets,
        "bias": lora.bias,
        "variant": "dora" if lora.use_dora else "rslora" if lora.use_rslora else "lora",
        "modules_to_save": lora.modules_to_save,
    }


def complete(run: RunConfig, start: Start) -> RunConfig:
    """The adapters' settings from the registry's entry for the model, where none are given, and how many bits."""
    method = run.fine_tuning
    if method is None:
        return run
    if run.model.load_in_8bit and "bits" not in method.quantization.model_fields_set:
        method = method.model_copy(update={"quantization": method.quantization.model_copy(update={"bits": 8})})
        run = run.model_copy(update={"fine_tuning": method})
    if method.method not in _ADAPTERS:
        return run
    lora, changes = method.lora, dict[str, Any]()
    if entry := start.entry.lora if start.entry else None:
        for key, value in (("r", entry.rank), ("alpha", entry.alpha), ("dropout", entry.dropout)):
            if key not in lora.model_fields_set:
                changes[key] = value
    if lora.target_modules is None:
        changes["target_modules"] = (entry.target_modules if entry else None) or ALL_LINEAR
    lora = lora.model_copy(update=changes)
    return run.model_copy(update={"fine_tuning": method.model_copy(update={"lora": lora})})


def check(run: RunConfig, start: Start, layer: Layer, refuse: Refuse) -> None:
    """Refuse what the method cannot honour."""
    model, method = run.model, method_of(run)
    packed = "model.load_in_8bit" if model.load_in_8bit else "model.load_in_4bit"
    if model.load_in_4bit and model.load_in_8bit:
        refuse("model.load_in_8bit", "the weights are loaded in 4 bits or in 8, not in both: leave one out")
    elif (model.load_in_4bit or model.load_in_8bit) and method == "full":
        refuse(
            packed,
            "packed weights cannot be trained: set fine_tuning.method to qlora, spectrum or head, or leave this out",
        )
    _check_bits(run, layer, refuse)
    if layer.gives(("fine_tuning", "method")):
        _check_unused(run, refuse)
    if start.adapter is not None:
        refuse(
            "model.base_model",
            f"{model.base_model} is an adapter: name the model it goes on, or merge the two (groundup.models.lora)",
        )
    if start.on_base and not start.resumed:
        refuse(
            "model.base_model",
            f"{start.name} has trained a part of a model that lies elsewhere: make one of both with "
            f"`python train.py --export {model.base_model} --output DIR`, and name that",
        )
    if run.fine_tuning is None or method == "full":
        return
    if method in _ADAPTERS:
        _check_task(run, start, refuse)
        _check_adapters(run, start, refuse)
    if method == "spectrum":
        _check_layers(run, start, refuse)
    float16 = run.fine_tuning.quantization.bnb_4bit_compute_dtype == "float16"
    if float16 and kind_of_weights(run) and device_type(run.general.device) == "cpu":
        refuse(
            "fine_tuning.quantization.bnb_4bit_compute_dtype",
            "a CPU has no fast products in float16, and they overflow: use bfloat16",
        )


def _check_bits(run: RunConfig, layer: Layer, refuse: Refuse) -> None:
    model, method = run.model, method_of(run)
    bits = (run.fine_tuning or FineTuning()).quantization.bits
    says_bits = layer.gives(("fine_tuning", "quantization", "bits"))
    wanted = f"model.load_in_{bits}bit"
    if method == "qlora" and not (model.load_in_4bit or model.load_in_8bit):
        refuse(
            "fine_tuning.method",
            f"qlora trains adapters on weights in {bits} bits: set {wanted} to true, or use lora",
        )
    elif says_bits and ((model.load_in_8bit and bits == 4) or (model.load_in_4bit and bits == 8)):
        refuse("fine_tuning.quantization.bits", f"{bits} needs {wanted}, and the other is set")


def _check_unused(run: RunConfig, refuse: Refuse) -> None:
    """Settings of another method, unless they say what would hold anyway."""
    method, packed = method_of(run), kind_of_weights(run) is not None
    used = {"lora": method in _ADAPTERS, "spectrum": method == "spectrum", "quantization": packed}
    remedy = {"lora": "lora or qlora", "spectrum": "spectrum"}
    for name, is_used in used.items():
        if is_used or run.fine_tuning is None:
            continue
        section = getattr(run.fine_tuning, name)
        for key in sorted(section.model_fields_set):
            value, default = getattr(section, key), FIELDS["fine_tuning", name, key].default
            if value != default:
                why = f"with fine_tuning.method {method}: use {remedy[name]}" if name in remedy else "without "
                why += "" if name in remedy else "model.load_in_4bit or load_in_8bit: set it to true"
                refuse(f"fine_tuning.{name}.{key}", f"{shown(value)} has no effect {why}, or leave it out")
                break


def _check_task(run: RunConfig, start: Start, refuse: Refuse) -> None:
    said = cast(FineTuning, run.fine_tuning).lora.task_type
    if said is None:
        return
    is_class = run.dataset.format == "classification"
    known = {"CAUSAL_LM": start.config.causal and not is_class, "SEQ_CLS": is_class}
    if said.upper() not in known:
        refuse("fine_tuning.lora.task_type", f"{said} is not known: CAUSAL_LM or SEQ_CLS, or leave it out")
    elif not known[said.upper()]:
        what = "classification" if is_class else "language modelling"
        of = "a decoder" if start.config.causal else "an encoder"
        refuse("fine_tuning.lora.task_type", f"{said} does not fit {what} with {of}: leave it out")


def _check_adapters(run: RunConfig, start: Start, refuse: Refuse) -> None:
    """What no matrix could take. Whether the targets are there, and the rank fits each, the model on paper says."""
    lora, width = cast(FineTuning, run.fine_tuning).lora, start.config.d_model
    if lora.use_dora and lora.use_rslora:
        refuse("fine_tuning.lora.use_dora", "it and use_rslora are variants of the adapters: choose one")
    if lora.r > width:
        refuse("fine_tuning.lora.r", f"{lora.r:,}, and no matrix of {start.name} has a rank above {width:,}: no more")


def _check_layers(run: RunConfig, start: Start, refuse: Refuse) -> None:
    layers, key = (
        cast(FineTuning, run.fine_tuning).spectrum.layers_to_finetune,
        "fine_tuning.spectrum.layers_to_finetune",
    )
    if not layers:
        refuse(key, "the list is empty, so nothing would train: name layers, or use `auto`")
    elif layers != "auto" and (most := max(layers)) >= start.config.n_layers:
        refuse(key, f"there is no layer {most}: {start.name} has 0 to {start.config.n_layers - 1}")
