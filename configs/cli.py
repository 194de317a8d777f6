"""The command line of train.py: which words are flags, which are settings, and what --help says."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ..errors import UserError, nearest
from ..models.start import Start
from .docs import default_of
from .schema_run import FIELDS, RunConfig
from .several import model_sets
from .unknown import hint

Action = Literal["train", "validate", "plan", "list-models", "export", "help", "help-all"]

FLAGS = {
    "--validate": "check the configuration and exit",
    "--plan": "print parameters, FLOPs, memory by part and the expected duration, and exit",
    "--list-models": "the models that are known by name: id, parameters, family, batch sizes, memory",
    "--test-mode": "a few steps on little data, to see that everything runs",
    "--help": "this page",
    "--help-all": "every key with its type, default and meaning",
}
OPTIONS = {
    "--config": ("FILE", "the run to make"),
    "--resume": ("RUN|latest", "go on with a run's folder from its last checkpoint, as if it had never stopped"),
    "--export": (
        "RUN",
        "write a run's best model, or a checkpoint's, as a Hugging Face directory, adapters merged",
    ),
    "--output": ("DIR", "where --export writes"),
    "--dtype": ("WORD", "what --export rounds to: fp32, bf16, fp16; default: what the model is held in"),
}
SHORT_FORMS = ("model", "models", "dataset", "device", "init")  # keys without a section

USAGE = """\
Train a transformer as a YAML file says.

  python train.py --config FILE [--section.key VALUE | section.key=VALUE ...] [--validate | --plan]
  python train.py --model NAME --dataset NAME [--init random] [--section.key VALUE ...]
  python train.py --models NAME NAME ... --dataset NAME [--section.key VALUE ...]
  python train.py --resume RUN_DIR|latest [--section.key VALUE ...]
  python train.py --export RUN_DIR --output DIR [--dtype WORD]

  python train.py --config configs/quickstart.yaml
  python train.py --config configs/gpt2_small.yaml --trainer.max_iters 50 --trainer.optimizer.lr 3e-4
  python train.py --config configs/gpt2_small.yaml --plan
  python train.py --config configs/quickstart.yaml dataset.name=my_text.txt output.run_name=mine
  python train.py --model gpt2 --dataset my_text.txt
  python train.py --models ultra-fast RoBERTa-base --dataset imdb
  python train.py --model BERT-tiny --init random --dataset stdlib --plan
  python train.py --resume latest

A value on the command line beats the file's profile for the device, which beats the rest of the file. `null` is null;
lists are [a,b], a,b or, after --key, a b. Keys are never abbreviated, and a key nobody knows is an error."""

MAIN_KEYS = {
    "A checkpoint": ("model.base_model", "model.init", "model.tokenizer"),
    "A model from scratch": (
        "model.num_layers",
        "model.hidden_dim",
        "model.context_window",
        "model.attn.num_kv_heads",
        "model.ffn.ffn_dim",
        "model.positional_encoding_type",
        "model.tokenizer_type",
        "model.vocab_size",
    ),
    "The text": ("dataset.name", "dataset.text_column", "dataset.val_fraction", "dataset.streaming"),
    "Training": (
        "trainer.max_iters",
        "trainer.batch_size",
        "trainer.gradient_accumulation_steps",
        "trainer.warmup_iters",
        "trainer.optimizer.lr",
        "trainer.mixed_precision",
        "trainer.compile",
        "trainer.gradient_checkpointing",
        "trainer.checkpoint_interval",
    ),
    "Evaluation": ("evaluation.interval", "evaluation.max_batches", "evaluation.sample_prompt"),
    "The rest": (
        "general.seed",
        "general.device",
        "general.logging.tensorboard_log",
        "output.output_dir",
        "output.run_name",
    ),
}


WIDTH = 120


@dataclass(frozen=True)
class Command:
    """What the words of a command line ask for. `overrides` go to load_config as they are."""

    action: Action
    config: str | None = None
    resume: str | None = None
    test_mode: bool = False
    overrides: list[str] = field(default_factory=list[str])
    export: tuple[str, str, str | None] | None = None  # a run, where to, and in which dtype


def parse(argv: list[str]) -> Command:
    """Sort the words of a command line. Raises UserError for a flag nobody knows, or one without its value."""
    values: dict[str, str] = {}
    flags: set[str] = set()
    overrides: list[str] = []
    words = list(argv)
    while words:
        word = words.pop(0)
        name, equals, value = word.partition("=")
        if word in FLAGS or word == "-h":
            flags.add("--help" if word == "-h" else word)
        elif name in OPTIONS:
            if not equals:
                value = words.pop(0) if words and not words[0].startswith("--") else ""
            if not value:
                raise UserError(f"{name} needs a value: {name} {OPTIONS[name][0]}.")
            if values.setdefault(name, value) != value:
                raise UserError(f"{name} is given twice, as {values[name]} and {value}.")
        elif name in FLAGS:
            raise UserError(f"{name} takes no value: leave '={value}' out.")
        elif word.startswith("-") and "." not in name and name.removeprefix("--") not in SHORT_FORMS:
            raise UserError(f"Unknown option {name}.{_meant(name)}")
        elif not equals and not word.startswith("--"):
            raise UserError(_stray(word))
        else:
            overrides.append(word)
            if not equals:  # its value, and for a list its values: see overrides.py
                while words and not words[0].startswith("--") and words[0] != "-h":
                    if "=" in words[0] and overrides[-1] != word:
                        break
                    overrides.append(words.pop(0))
    if "--export" in values:
        return Command("export", export=_export(values, flags, overrides))
    if unused := [name for name in ("--output", "--dtype") if name in values]:
        raise UserError(f"{unused[0]} is for --export RUN: leave it out.")
    action = _action(flags, anything=bool(values or overrides))
    return Command(action, values.get("--config"), values.get("--resume"), "--test-mode" in flags, overrides)


def _action(flags: set[str], anything: bool) -> Action:
    chosen = [flag for flag in ("--help-all", "--help", "--list-models", "--validate", "--plan") if flag in flags]
    if {"--validate", "--plan"} <= flags:
        raise UserError(
            "--validate and --plan each print something and exit: give one of them (--plan validates first)."
        )
    actions: dict[str, Action] = {
        "--help-all": "help-all",
        "--help": "help",
        "--list-models": "list-models",
        "--validate": "validate",
        "--plan": "plan",
    }
    if chosen:
        return actions[chosen[0]]
    return "train" if anything else "help"


def _export(values: dict[str, str], flags: set[str], overrides: list[str]) -> tuple[str, str, str | None]:
    others = [name for name in (*values, *flags, *overrides) if name not in ("--export", "--output", "--dtype")]
    if others:
        raise UserError(f"--export writes a model and exits: leave {others[0]} out.")
    if "--output" not in values:
        raise UserError("--export needs --output DIR: the folder to write.")
    return values["--export"], values["--output"], values.get("--dtype")


def _meant(name: str) -> str:
    """What an unknown option was probably meant to be: a flag, else a key."""
    near = nearest(name, [*FLAGS, *OPTIONS, *(f"--{word}" for word in SHORT_FORMS)])
    return near if near.startswith(" Did") else hint(name.lstrip("-"))


def _stray(word: str) -> str:
    if word.endswith((".yaml", ".yml")):
        return f"Cannot place '{word}': a configuration file is named with --config {word}."
    return f"Cannot place '{word}' on the command line: settings are --section.key VALUE or section.key=VALUE."


def help_text() -> str:
    """Usage, examples and the main keys with their defaults."""
    lines = [USAGE, ""]
    lines += [f"  {f'{name} {value}':<22}{meaning}" for name, (value, meaning) in OPTIONS.items()]
    lines += [f"  {flag:<22}{meaning}" for flag, meaning in FLAGS.items()]
    lines += ["", "Sets of models, for --models"]
    lines += [f"  {name:<22}{one.what}" for name, one in model_sets().items()]
    for title, keys in MAIN_KEYS.items():
        lines += ["", f"{title:<40}default"]
        for key in keys:
            info = FIELDS[tuple(key.split("."))]
            text = f"  {key:<38}{default_of(info):<10}{info.description.replace('`', '')}"
            lines.append(text if len(text) <= WIDTH else text[: WIDTH - 4].rpartition(" ")[0] + " ...")
    lines += ["", "Every key: --help-all, or docs/configuration.md. Ready-made files: configs/*.yaml."]
    return "\n".join(lines)


def summary(run: RunConfig, start: Start | None = None) -> str:
    """A run in one line, for --validate; `start` is the checkpoint it starts from."""
    model, trainer = run.model, run.trainer
    layers, width = (start.config.n_layers, start.config.d_model) if start else (model.num_layers, model.hidden_dim)
    name = "" if start is None else f"{start.name}{', random weights' if model.init == 'random' else ''}: "
    length = f"{trainer.max_iters:,} steps" if trainer.max_iters else f"{trainer.epochs:g} epochs"
    return (
        f"{name}{layers} layers of width {width} on {run.dataset.name}, {length} of "
        f"{trainer.effective_batch_size} x {trainer.max_seq_length} tokens, {run.general.device}"
    )
