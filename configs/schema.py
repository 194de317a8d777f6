"""What a YAML may say (RunConfig and its sections) and how to read one (load_config)."""

from .resolve import load_config, parse_config
from .schema_data import Dataset, Preprocessing
from .schema_distillation import Distillation
from .schema_evaluation import Evaluation
from .schema_fine_tuning import FineTuning, Lora, Quantization, Spectrum
from .schema_general import Distributed, General, Logging, Output, Paths
from .schema_model import Attention, FeedForward, Initialization, Model
from .schema_run import RunConfig
from .schema_trainer import DropoutSchedule, Optimizer, Trainer

__all__ = [
    "Attention",
    "Dataset",
    "Distillation",
    "Distributed",
    "DropoutSchedule",
    "Evaluation",
    "FeedForward",
    "FineTuning",
    "General",
    "Initialization",
    "Logging",
    "Lora",
    "Model",
    "Optimizer",
    "Output",
    "Paths",
    "Preprocessing",
    "Quantization",
    "RunConfig",
    "Spectrum",
    "Trainer",
    "load_config",
    "parse_config",
]
