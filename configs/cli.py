"""The command line of train.py: which words are flags, which are settings, and what --help says."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ..errors import UserError, nearest
from ..models.start import BAG_OF_WORDS, Start
from .defaults import defaults_for
from .docs import default_of
from .layers import ALTERNATIVES, Layer
from .schema_model import CHECKPOINT_KEYS
from .schema_run import FIELDS, RunConfig
from .several import model_sets
from .unknown import hint

Action = Literal["train", "validate", "plan", "list-models", "export", "push", "help", "help-all"]

FLAGS = {
    "--validate": "check the configuration and exit",
    "--plan": "print parameters, FLOPs, memory by part and the expected duration, and exit",
    "--list-models": "the models that are known by name: id, parameters, family, batch sizes, memory",
    "--test-mode": "a few steps on little data, written below test-mode/, to see that everything runs",
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
    "--push": ("RUN|latest", "upload a run's best checkpoint and its card to the hub, where its end did not"),
}
SHORT_FORMS = ("model", "models", "dataset", "device", "init")  # keys without a section

USAGE = """\
Train a transformer as a YAML file, or the command line, says.

  python train.py --config FILE [--section.key VALUE | section.key=VALUE ...] [--validate | --plan]
  python train.py --model NAME --dataset NAME [--init random] [--section.key VALUE ...]
  python train.py --models NAME NAME ... --dataset NAME [--section.key VALUE ...]
  python train.py --resume RUN_DIR|latest [--section.key VALUE ...]
  python train.py --export RUN_DIR --output DIR [--dtype WORD]
  python train.py --push RUN_DIR|latest [output.hub_model_id=USER/NAME] [output.hub_private=false]

  python train.py --config configs/quickstart.yaml                           # from scratch, with nothing to download
  python train.py --config configs/gpt2_small.yaml --trainer.max_iters 50 --plan
  python train.py --config configs/quickstart.yaml dataset.name=my_text.txt output.run_name=mine
  python train.py --model gpt2 --dataset my_text.txt --fine_tuning.method lora   # without it everything trains
  python train.py --model RoBERTa-base --dataset imdb                        # texts with a class: a classifier
  python train.py --model BERT-tiny --init random --dataset stdlib-docstrings --model.tokenizer byte   # one offline
  python train.py --models ultra-fast bag-of-words-tfidf --dataset imdb      # each in turn, then side by side
  python train.py --distillation.teacher GPT2-small --dataset my_text.txt    # a student of every other layer
  python train.py --resume latest
  python evaluate.py --report results                                        # all runs side by side, with plots

A value on the command line beats the file's profile for the device, which beats the rest of the file. `null` is null;
lists are [a,b], a,b or, after --key, a b. Keys are never abbreviated, and a key nobody knows is an error."""

DATA = """\
Data
  FILE, FOLDER, HUB/ID  txt, jsonl, csv, parquet: text, or labelled texts where a column or folders of labels are found
  imdb, sst2, ag_news, amazon_polarity (amazon), yelp_polarity (yelp): labelled texts of the Hugging Face hub
  wikitext, wikitext-103: text of the Hugging Face hub
  stdlib, stdlib-docstrings: text, and labelled texts, of Python's own library, which every machine has
  --dataset.format alpaca --dataset.train_path FILE: conversations; also sharegpt, oasst, custom, classification"""

MAIN_KEYS = {  # what fits on a line; the schema says the rest
    "model.base_model": "a name (--list-models), a hub id, a folder of weights or a run",
    "model.init": "pretrained: its weights; random: its shape, no download",
    "model.tokenizer": "another than its own: a name (byte, gpt2, ...) or a path",
    "model.num_layers": "blocks; configs/quickstart.yaml has all that is required",
    "model.tokenizer_type": "bpe (trained here), byte, char, gpt2, llama_32k, or a path",
    "fine_tuning.method": "head, lora, qlora (with --model.load_in_4bit true), spectrum",
    "distillation.teacher": "a larger model to learn from",
    "dataset.val_fraction": "share that is held out",
    "trainer.max_iters": "optimizer steps",
    "trainer.epochs": "or passes over the data",
    "trainer.batch_size": "sequences at a time; its own: the registry's for the device",
    "trainer.gradient_accumulation_steps": "so many times in one step; its own: to 16 sequences",
    "trainer.max_seq_length": "tokens in one sequence",
    "trainer.optimizer.lr": "highest learning rate; classifiers 2e-05, adapters 2e-04",
    "trainer.mixed_precision": "no (fp32), bf16, fp16",
    "trainer.gradient_checkpointing": "less memory, a third slower",
    "trainer.checkpoint_interval": "steps between two checkpoints",
    "evaluation.interval": "steps between two evaluations",
    "general.device": "auto, cuda, cuda:1, mps, cpu",
    "output.output_dir": "a run's folder is <output_dir>/<run_name>/<timestamp>",
    "output.run_name": "name of the model, or the file; each of --models adds its own",
    "output.push_to_hub": "upload the best checkpoint as output.hub_model_id, likewise",
}
_ITS_OWN = ("trainer.max_seq_length",)  # a checkpoint's, as is all that is required otherwise
_CHECKPOINTS = ("fine_tuning",)  # what is for them alone, besides keys of `model`


@dataclass(frozen=True)
class Command:
    """What the words of a command line ask for. `overrides` go to load_config as they are."""

    action: Action
    config: str | None = None
    resume: str | None = None
    test_mode: bool = False
    overrides: list[str] = field(default_factory=list[str])
    export: tuple[str, str, str | None] | None = None  # a run, where to, and in which dtype
    push: str | None = None  # a run


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
    if "--push" in values:
        if others := [name for name in (*values, *flags) if name != "--push"]:
            raise UserError(f"--push uploads a run and exits: leave {others[0]} out.")
        return Command("push", overrides=overrides, push=values["--push"])
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
    """Usage, examples, data, sets of models, and the main keys with their defaults."""
    lines = [USAGE, ""]
    lines += [f"  {f'{name} {value}':<22}{meaning}" for name, (value, meaning) in OPTIONS.items()]
    lines += [f"  {flag:<22}{meaning}" for flag, meaning in FLAGS.items()]
    lines += ["", DATA, "", sets_text()]
    lines += ["", f"{'Main keys and their defaults':<38}{'scratch':<9}a checkpoint"]
    for key, meaning in MAIN_KEYS.items():
        scratch, checkpoint = _defaults(key)
        lines.append(f"  {key:<36}{scratch:<9}{checkpoint:<11}{meaning}")
    lines += ["", "Every key: --help-all, or docs/configuration.md. Ready-made files: configs/*.yaml."]
    return "\n".join(lines)


def sets_text() -> str:
    """What --models takes besides names of models."""
    lines = [
        "Sets of models, for --models (the times are the model guide's, an epoch of its Amazon data on Apple silicon)"
    ]
    lines += [f"  {name:<22}{one.what}" for name, one in model_sets().items()]
    return "\n".join(
        [*lines, f"  {BAG_OF_WORDS:<22}no set, and no network: TF-IDF and logistic regression, in seconds"]
    )


def _defaults(key: str) -> tuple[str, str]:
    """A key's default in a run from scratch, and in one from a checkpoint; `-` where it is none of its keys."""
    path, given = tuple(key.split(".")), defaults_for("full", "language-modeling", Layer())
    scratch = default_of(FIELDS[path])
    if path[0] in _CHECKPOINTS or path[1] in CHECKPOINT_KEYS:
        return "-", scratch
    if key in given:
        return scratch, f"{given[key]:g}"
    instead = [".".join(other) for pair in ALTERNATIVES if path in pair for other in pair]
    if path[0] == "model" or any(other in given for other in instead):
        return scratch, "-"
    return scratch, "its own" if scratch == "required" or key in _ITS_OWN else scratch


def summary(run: RunConfig, start: Start | None = None) -> str:
    """A run in one line, for --validate; `start` is the checkpoint it starts from."""
    model, trainer = run.model, run.trainer
    layers, width = (start.config.n_layers, start.config.d_model) if start else (model.num_layers, model.hidden_dim)
    name = "" if start is None else f"{start.name}{', random weights' if model.init == 'random' else ''}: "
    length = f"{trainer.max_iters:,} steps" if trainer.max_iters else f"{trainer.epochs:g} epochs"
    return (
        f"{name}{layers} layers of width {width} on {run.dataset.train_path or run.dataset.name}, {length} of "
        f"{trainer.effective_batch_size} x {trainer.max_seq_length} tokens, {run.general.device}"
    )
