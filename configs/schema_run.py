"""RunConfig: everything a run is made of, in one checked object."""

from __future__ import annotations

from typing import Any

import yaml
from pydantic import model_validator

from .fields import Section, Strict, is_mapping, key
from .registry import Models
from .schema_data import Dataset
from .schema_distillation import Distillation
from .schema_evaluation import Evaluation
from .schema_fine_tuning import FineTuning
from .schema_general import Distributed, General, Output
from .schema_model import ARCHITECTURE_KEYS, CHECKPOINT_KEYS, CORE_KEYS, Model
from .schema_trainer import Trainer

Path = tuple[str, ...]
_ALWAYS_SAVED = {"do_eval", "strategy", "interval", "max_batches", "dataset_loss_eval_iters", "text_modeling_eval"}


class RunConfig(Strict):
    """One run. Made by `load_config`, which leaves no value by device or task and no required key unset."""

    model: Model = key(None, "what is trained", factory=Model)
    fine_tuning: FineTuning | None = key(None, "how a checkpoint's weights are changed")
    distillation: Distillation | None = key(None, "a larger model that is learned from")
    trainer: Trainer = key(None, "how the weights are found", factory=Trainer)
    dataset: Dataset = key(None, "what the model reads", factory=Dataset)
    evaluation: Evaluation = key(None, "what is measured while training", factory=Evaluation)
    distributed: Distributed = key(None, "more than one process", factory=Distributed)
    output: Output = key(None, "where results go", factory=Output)
    general: General = key(None, "seed, device, logging, paths", factory=General)
    models: Models = key(None, "several models, trained one after another: a list of names, or entries of a registry")

    @model_validator(mode="before")
    @classmethod
    def _saved_before(cls, values: Any) -> Any:
        """A run's own configuration from when 0.05 of the rows was a default that could not be told from a choice."""
        if not is_mapping(values) or not is_mapping(values.get("dataset")) or not is_mapping(values.get("evaluation")):
            return values
        dataset, evaluation = values["dataset"], values["evaluation"]
        is_of_then = evaluation.keys() >= _ALWAYS_SAVED and "metric_for_best_model" not in evaluation
        if not is_of_then or dataset.get("val_fraction") != 0.05:
            return values
        return {**values, "dataset": {**dataset, "val_fraction": None}}

    def to_dict(self) -> dict[str, Any]:
        """The settings that matter to this run, as plain values; `load_config` reads them back to an equal run."""
        values = self.model_dump(mode="json", warnings=False)
        if self.model.core_model_type == "hf_core":
            other = CORE_KEYS
        else:
            other = ARCHITECTURE_KEYS if self.model.base_model else CHECKPOINT_KEYS
        for name in other:
            values["model"].pop(name, None)
        if (
            self.model.core_model_type == "hf_core"
        ):  # what is null follows from the core, and may have no null of its own
            values["model"] = {name: value for name, value in values["model"].items() if value is not None}
        del values["trainer"]["effective_batch_size"]  # follows from the batch size and the accumulation
        for name in ("batch_size", "gradient_accumulation_steps", "loss_fn"):
            if values["trainer"][name] is None:  # the bag of words has none, and they have no null
                del values["trainer"][name]
        for name in ("fine_tuning", "distillation", "models"):
            if values[name] is None:
                del values[name]
        return values

    def to_yaml(self) -> str:
        """`to_dict` as YAML: a valid configuration."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True, width=100)


def _section_of(annotation: Any) -> type[Section] | None:
    """The Section in `Section` or `Section | None`."""
    for candidate in (annotation, *getattr(annotation, "__args__", ())):
        if isinstance(candidate, type) and issubclass(candidate, Section):
            return candidate
    return None


def _walk(model: type[Strict], prefix: Path, leaves: dict[Path, Any], sections: dict[Path, type[Section]]) -> None:
    for name, field in model.model_fields.items():
        section = _section_of(field.annotation)
        if section is None:
            leaves[(*prefix, name)] = field
        else:
            sections[(*prefix, name)] = section
            _walk(section, (*prefix, name), leaves, sections)


FIELDS: dict[Path, Any] = {}  # pydantic's FieldInfo of every key that holds a value
SECTIONS: dict[Path, type[Section]] = {}
_walk(RunConfig, (), FIELDS, SECTIONS)
OPTIONAL = {
    ("fine_tuning",),
    ("distillation",),
    ("trainer", "dropout_schedule"),
    ("dataset", "preprocessing"),
    ("dataset", "template"),
}  # sections that may be null
FREE_FORM = {path for path, field in FIELDS.items() if path == ("models",) or "dict" in str(field.annotation)}
