"""adapter_config.json, as PEFT writes and reads it: what it may say here, and what is refused by name."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from ...errors import UserError, nearest
from .names import shortest

CONFIG = "adapter_config.json"
BIAS_WORDS = ("none", "all", "lora_only")

# What says nothing about the numbers: where it came from, how A began, and details of settings that are refused.
_SILENT = {
    "auto_mapping",
    "base_model_name_or_path",
    "fan_in_fan_out",  # how the base stores its matrix; A and B are the same either way
    "inference_mode",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "task_type",
    "eva_config",
}
_READ = {
    "alpha_pattern",
    "bias",
    "exclude_modules",
    "init_lora_weights",
    "layers_pattern",
    "layers_to_transform",
    "lora_alpha",
    "lora_dropout",
    "modules_to_save",
    "peft_type",
    "r",
    "rank_pattern",
    "target_modules",
    "use_dora",
    "use_rslora",
}
_BEGINNINGS = (True, False, "gaussian", "eva", "orthogonal")  # of A and B that leave the base weights as they are


@dataclass
class AdapterConfig:
    """The settings of an adapter file that there are here."""

    rank: int
    alpha: float
    dropout: float = 0.0
    bias: str = "none"
    rslora: bool = False
    dora: bool = False
    targets: str | list[str] = field(default_factory=list[str])
    saved: list[str] = field(default_factory=list[str])
    ranks: dict[str, int] = field(default_factory=dict[str, int])  # rank_pattern: the end of a path, or a pattern of it
    alphas: dict[str, float] = field(default_factory=dict[str, float])
    whole: bool = True  # every module that matches has an adapter: none is excluded by other settings
    where: str = CONFIG

    def rank_of(self, path: str) -> int:
        """The rank of a module's adapter."""
        return self.ranks.get(self._key(self.ranks, path), self.rank)

    def alpha_of(self, path: str) -> float:
        """The alpha of a module's adapter."""
        return self.alphas.get(self._key(self.alphas, path), self.alpha)

    @staticmethod
    def _key(patterns: Mapping[str, object], path: str) -> str:
        return next((key for key in patterns if re.match(rf"(.*\.)?({key})$", path)), path)


def read_config(directory: Path) -> AdapterConfig:
    """adapter_config.json of a directory.

    Raises:
        UserError: it is missing or damaged, of another method than LoRA, or says something that is not available.
    """
    path = directory / CONFIG
    if not directory.is_dir():
        raise UserError(f"{directory}: no such directory: an adapter is a folder with {CONFIG}")
    try:
        said: object = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{directory}: no {CONFIG} in it, so it is no adapter") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}): fetch or save the adapter again") from None
    if not isinstance(said, dict):
        raise UserError(f"{path}: must be a mapping of settings: fetch or save the adapter again")
    values = cast("dict[str, Any]", said)
    _refuse(values, str(path))
    try:
        return AdapterConfig(
            rank=int(values["r"]),
            alpha=float(values["lora_alpha"]),
            dropout=float(values.get("lora_dropout") or 0.0),
            bias=values.get("bias") or "none",
            rslora=bool(values.get("use_rslora")),
            dora=bool(values.get("use_dora")),
            targets=values.get("target_modules") or [],
            saved=list(values.get("modules_to_save") or []),
            ranks={key: int(value) for key, value in (values.get("rank_pattern") or {}).items()},
            alphas={key: float(value) for key, value in (values.get("alpha_pattern") or {}).items()},
            whole=values.get("layers_to_transform") is None and not values.get("exclude_modules"),
            where=str(path),
        )
    except KeyError as error:
        raise UserError(f"{path}: {error} is missing: fetch or save the adapter again") from None
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}): fetch or save the adapter again") from None


def _refuse(values: Mapping[str, Any], where: str) -> None:
    """Whatever would change the numbers, and is not available."""
    kind = values.get("peft_type")
    if kind != "LORA":
        raise UserError(f"{where}: peft_type={kind!r} is not available here, only 'LORA'")
    if values.get("bias", "none") not in (None, *BIAS_WORDS):
        raise UserError(f"{where}: bias '{values['bias']}' is not known.{nearest(values['bias'], BIAS_WORDS)}")
    start = values.get("init_lora_weights", True)
    if start not in _BEGINNINGS:
        raise UserError(
            f"{where}: init_lora_weights={start!r} changes the base weights too, which is not available here: save the "
            "adapter with PEFT as one for the unchanged model (path_initial_model_for_weight_conversion)"
        )
    for key, value in values.items():
        if key not in _SILENT | _READ and value:
            raise UserError(f"{where}: {key}={value!r} is not available here")


def write_config(config: AdapterConfig, path: Path, *, base: str | None, task_type: str | None, columns: bool) -> None:
    """Write it as PEFT does. `columns`: the base stores its matrices (in, out), as GPT-2's class does."""
    values = {
        "peft_type": "LORA",
        "task_type": task_type,
        "base_model_name_or_path": base,
        "revision": None,
        "inference_mode": True,
        "init_lora_weights": True,
        "r": config.rank,
        "lora_alpha": _plain(config.alpha),
        "lora_dropout": config.dropout,
        "bias": config.bias,
        "use_rslora": config.rslora,
        "use_dora": config.dora,
        "target_modules": config.targets,
        "modules_to_save": config.saved or None,
        "rank_pattern": config.ranks,
        "alpha_pattern": {key: _plain(value) for key, value in config.alphas.items()},
        "fan_in_fan_out": columns,
    }
    path.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def patterns(values: Mapping[str, float]) -> tuple[float, dict[str, float]]:
    """The commonest of the values by path, and for the others the ends of their paths: rank_pattern, alpha_pattern."""
    usual = Counter(values.values()).most_common(1)[0][0]
    others: dict[str, float] = {}
    for value in dict.fromkeys(values.values()):
        if value != usual:
            chosen = [path for path in values if values[path] == value]
            others |= dict.fromkeys(shortest(chosen, values), value)
    return usual, others


def _plain(number: float) -> float | int:
    return int(number) if number == int(number) else number
