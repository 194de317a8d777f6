"""From a checked configuration to a finished run: builds each part and hands them to the Trainer."""

from __future__ import annotations

import math
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from ..configs.architecture import architecture, is_bag_of_words, start_of
from ..configs.methods import method_of
from ..configs.schema import RunConfig
from ..data.classification.load import ClassificationData
from ..errors import UserError
from ..evaluation.during import prepare_tasks
from ..models.flash import flash_use, use_flash_attention
from ..models.kernels import use_kernels
from ..models.model import Model
from ..models.saved import empty_model, keep_origin, read_state
from ..models.start import Start
from ..tokenizers.base import Tokenizer
from ..tokenizers.load import load_tokenizer
from .analysis import Analysis
from .bag_of_words import fit_words
from .checkpoint import latest_checkpoint, remove_partial
from .class_weights import weights_of_classes
from .classifier import classifier, measure_baseline
from .distillation import comparison
from .folder import RunFolder, new_run_folder, write_text
from .initial import initial_model, initial_tokenizer
from .layer_rates import describe_factors, layer_factors
from .losses import chunk_tokens
from .metrics import Trackers
from .on_base import adapter_writer, build_on_base
from .optimizers import build_optimizer, parameter_groups
from .out_of_memory import advice, is_out_of_memory, memory_limit
from .phases import HeadFirst
from .precision import DTYPES, Precision, build_precision
from .progress import duration
from .publish import check as check_upload
from .publish import check_model, publish
from .reading import Reading, context_of, read_data
from .replaced_tokens import discriminator, replaced_tokens
from .report import announce, versions, write_results
from .results import bag_of_words, headline
from .resume import keep_config
from .schedules import DropoutSchedule, LearningRate
from .teacher import learn_classes, learn_from_teacher
from .trainer import Settings, Trainer


def train(run: RunConfig, resume: Path | None = None, opened: Callable[[Path], None] = lambda root: None) -> int:
    """Train as the configuration says, in a new folder or on from the last checkpoint of `resume`.

    `opened` is told the folder before anything is done in it.

    Returns:
        The exit code: 0, or 128 + the number of the signal that ended the run early.

    Raises:
        UserError: bad data, an unwritable folder, a checkpoint that does not fit, a loss that is not finite.
    """
    if is_bag_of_words(run):
        return fit_words(run, opened)
    check_upload(run)
    device = torch.device(run.general.device)
    _prepare(run.general.seed, device, run.trainer.deterministic)
    folder, checkpoint = _open_folder(run, resume)
    opened(folder.root)
    try:
        with _in_a_sentence(run, device, folder):
            with memory_limit(run.trainer.max_memory_usage, device):
                trainer, reading, analysis = _build(run, device, folder, checkpoint)
                check_model(run, trainer.model)
                announce(run, trainer, reading, folder, checkpoint)
                try:
                    interrupt, failure = trainer.fit(), None
                except UserError as error:
                    interrupt, failure = None, error
            if failure is not None:
                with suppress(Exception):  # what ended the run is to be said, whatever more its page runs into
                    write_results(run, trainer, reading, folder, analysis, finished=False, error=str(failure))
                raise failure
            results = write_results(run, trainer, reading, folder, analysis, finished=not interrupt)
    finally:
        folder.close_metrics()
    trainer.trackers.close()
    if interrupt:
        print(
            f"\nstopped by {interrupt.received.name if interrupt.received else 'a signal'} after step "
            f"{trainer.progressed.step:,} of {trainer.settings.max_iters:,}; go on with\n"
            f"    python train.py --resume {folder.root}",
            file=sys.stderr,
        )
        return interrupt.exit_code
    print(f"done in {duration(trainer.progressed.seconds)}: {folder.report}", file=sys.stderr)
    if run.model.use_flash_attention is True:
        print(flash_use(trainer.model), file=sys.stderr)
    if "distillation" in results:
        print(comparison(results["distillation"]), file=sys.stderr)
    if said := _last_words(results):
        print(said, file=sys.stderr)
    publish(run, folder)
    return 0


def _last_words(results: dict[str, Any]) -> str:
    """The numbers of the checkpoint that is used: of a classifier its accuracy, beside that of the words alone."""
    what, numbers = headline(results)
    split = what.replace(" ", "-")
    if not numbers:
        return ""
    which = (
        f", of the best checkpoint, step {results['best']['step']:,}" if "heldout" in (results["best"] or {}) else ""
    )
    loss = "not finite" if numbers["loss"] is None else f"{numbers['loss']:.4f}"
    if "accuracy" not in numbers:
        return f"{split} loss {loss}{which}"
    words = bag_of_words(results, what)
    beside = f", the bag of words {words['accuracy']:.4f}" if "accuracy" in words else ""
    return f"{split} loss {loss}, accuracy {numbers['accuracy']:.4f}{beside}{which}"


@contextmanager
def _in_a_sentence(run: RunConfig, device: torch.device, folder: RunFolder) -> Iterator[None]:
    """Memory and disks that give out, said as what they are. Raises UserError."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        said = str(error).partition("\n")[0][:100] or type(error).__name__
        what = f"memory ran out before a step could be made, or while one was saved ({said})"
        raise UserError(advice(device.type, what, checkpointing=run.trainer.gradient_checkpointing)) from error
    except BrokenPipeError:
        raise  # whoever read the output has seen enough
    except OSError as error:
        what = f"{error.filename or folder.root}: {(error.strerror or str(error)).lower()}"
        on = f"; then go on with --resume {folder.root}" if latest_checkpoint(folder.weights) else ""
        raise UserError(f"{what}: free space, or set output.output_dir elsewhere{on}") from error


# --- building ----------------------------------------------------------------------------------------------------


def _build(
    run: RunConfig, device: torch.device, folder: RunFolder, checkpoint: Path | None
) -> tuple[Trainer, Reading, Analysis]:
    start = start_of(run, folder.root if checkpoint else None)
    tokenizer = initial_tokenizer(run, start) if checkpoint is None else load_tokenizer(folder.tokenizer)
    reading = read_data(run, tokenizer, start)
    model, rest = _model(run, start, tokenizer, device, folder, checkpoint, reading.classes)
    config = model.config
    model.gradient_checkpointing = run.trainer.gradient_checkpointing
    head_first = _head_first(run, model, reading.train.batches_per_epoch)
    use_kernels(model, run.model.use_liger_kernels)
    use_flash_attention(model, run.model.use_flash_attention, dropout=0.0)  # the configuration knows its dropout
    settings, learning_rate = plan_steps(run, reading.train.batches_per_epoch, config.vocab_size)
    precision = build_precision(run.trainer.mixed_precision, device)
    options = run.trainer.optimizer
    factors = layer_factors(model, options.layer_factors, options.layer_decay)
    groups = parameter_groups(model, options.weight_decay, factors)
    if set(factors.values()) != {1.0}:
        print(describe_factors(groups), file=sys.stderr)
    optimizer = build_optimizer(
        options.name,
        groups,
        lr=options.lr,
        betas=(options.beta1, options.beta2),
        eps=options.eps,
        correct_bias=options.correct_bias,
    )
    folder.open_metrics(read_state(checkpoint)["step"] if checkpoint else None)
    data = reading.classes
    classes = learn_classes(run, model, tokenizer, precision, data) if data is not None else None
    objective = classes or replaced_tokens(run, model, precision, settings)
    objective = objective or learn_from_teacher(run, model, tokenizer, precision, settings, reading.bytes_per_token)
    analysis = Analysis(folder, model, tokenizer, reading, classes, pictures=run.output.plots)
    trainer = Trainer(
        model=model,
        optimizer=optimizer,
        precision=precision,
        train=reading.train,
        heldout=reading.heldout,
        learning_rate=learning_rate,
        dropout=_dropout(run, settings.max_iters),
        settings=settings,
        head_first=head_first,
        folder=folder,
        trackers=_trackers(run, folder, read_state(checkpoint)["step"] if checkpoint else None),
        bytes_per_token=reading.bytes_per_token,
        mask=reading.mask,
        sample=reading.writer(run, model, tokenizer),
        tasks=_tasks(run, model, tokenizer, reading, precision),
        objective=objective,
        measured=analysis.measured,
        describe={
            "task": model.task,
            "config": run.to_dict(),
            "model_config": config.to_dict(),
            "tokenizer": str(folder.tokenizer.resolve()),
            "versions": versions(),
            **rest,
        },
        also_save=adapter_writer(model, rest["base"]["source"]) if rest.get("lora") else lambda folder: None,
    )
    if checkpoint is not None:
        trainer.restore(checkpoint)
        keep_config(run, folder, trainer.progressed.step)
        if trainer.progressed.step < settings.max_iters:  # what was said of the finished model is no longer so
            shutil.rmtree(folder.test, ignore_errors=True)
    else:
        tokenizer.save(folder.tokenizer)
        write_text(folder.config, run.to_yaml())
    return trainer, reading, analysis


def _model(
    run: RunConfig,
    start: Start | None,
    tokenizer: Tokenizer,
    device: torch.device,
    folder: RunFolder,
    checkpoint: Path | None,
    classes: ClassificationData | None,
) -> tuple[Model, dict[str, Any]]:
    """The model before its next step, and what state.json says of where it came from.

    Of a run that goes on, the trained weights are yet to be read.
    """
    if checkpoint is not None:
        state = read_state(checkpoint)
        rest = {
            key: state[key]
            for key in ("origin", "base", "lora", "num_labels", "label_names", "generator")
            if key in state
        }
        model = empty_model(checkpoint, state, device, architecture(run, tokenizer.vocab_size, start))
        if run.model.freeze_core:
            model.core.requires_grad_(False)
        return model, rest
    labels: dict[str, Any] = {}
    if classes is not None:
        labels = {"num_labels": classes.num_labels, "label_names": list(classes.label_names)}
        if run.evaluation.do_eval and classes.heldout:
            size, few = run.evaluation.batch_size or run.trainer.batch_size, run.evaluation.max_batches
            weights = weights_of_classes(run.trainer.class_weights, classes.train_classes, classes.label_names)
            measure_baseline(classes, folder, run.general.seed, most=few and few * size, class_weights=weights)
    if start is not None and method_of(run) != "full":
        config = architecture(run, tokenizer.vocab_size, start)
        on_base = build_on_base(run, start, config, device, folder, classes)
        return on_base.model, {"origin": keep_origin(on_base.model, folder.origin), **on_base.state, **labels}
    if start is not None and classes is not None:
        names, seed, random = classes.label_names, run.general.seed, run.model.init == "random"
        model = classifier(start, names, device=device, seed=seed, random=random, pad_id=classes.pad_id)
        return model, {"origin": keep_origin(model, folder.origin), **labels}
    model = initial_model(run, start, tokenizer, device)
    if model.task == "replaced_token":
        generator = discriminator(run, model).config.to_dict()
        return model, {"origin": keep_origin(model, folder.origin), "generator": generator}
    return model, {"origin": keep_origin(model, folder.origin)}


def plan_steps(run: RunConfig, batches_per_epoch: int, vocab_size: int) -> tuple[Settings, LearningRate]:
    """Steps, intervals and the learning rate, once the length of an epoch is known."""
    t, e = run.trainer, run.evaluation
    steps_per_epoch = max(1, math.ceil(batches_per_epoch / t.gradient_accumulation_steps))
    max_iters = t.max_iters or math.ceil((t.epochs or 1) * steps_per_epoch)
    warmup = t.warmup_iters if t.warmup_iters is not None else round((t.warmup_ratio or 0) * max_iters)
    falls = t.decay_lr and not t.lr_scheduler.startswith("constant")
    if falls and t.lr_decay_iters is not None and warmup > t.lr_decay_iters:
        raise UserError(
            f"trainer.lr_decay_iters: the rate would rise for {warmup:,} steps and has to be at its lowest after "
            f"{t.lr_decay_iters:,}: raise it, or lower trainer.warmup_ratio"
        )
    shape = t.lr_scheduler if t.decay_lr or t.lr_scheduler == "constant" else "constant_with_warmup"
    learning_rate = LearningRate(t.optimizer.lr, t.optimizer.min_lr, warmup, t.lr_decay_iters or max_iters, shape)
    if not e.takes_place:
        intervals: tuple[int, ...] = ()
    elif e.strategy == "epoch":
        intervals = (steps_per_epoch,)
    else:
        intervals = (e.interval, e.dataset_loss_eval_iters)
    chunk = chunk_tokens(vocab_size, DTYPES[t.mixed_precision], t.loss_chunk_tokens)
    if run.model.use_liger_kernels and t.loss_chunk_tokens is None:
        chunk = min(chunk, math.ceil(t.batch_size * context_of(run) / 4))
    return Settings(
        max_iters=max_iters,
        accumulation=t.gradient_accumulation_steps,
        grad_clip=t.optimizer.grad_clip,
        chunk=chunk,
        label_smoothing=t.label_smoothing,
        log_interval=t.log_interval,
        eval_intervals=intervals,
        checkpoint_interval=t.checkpoint_interval,
        max_nonfinite_steps=t.max_nonfinite_steps,
        keep_checkpoints=run.output.save_total_limit or 0,
        seed=run.general.seed,
        compile=t.compile,
        # Crops at random places have no end; all else is seen once an epoch, whose last window may be short.
        batches_per_epoch=None if run.dataset.format is None and t.datasampling == "standard" else batches_per_epoch,
        min_batch_size=t.min_batch_size,
        batch_size_auto_adjust=t.batch_size_auto_adjust,
        task_intervals=intervals[:1],  # dataset_loss_eval_iters is of the loss alone
        measure_gap=e.measure_gap,
        patience=e.patience,
        metric=e.metric_for_best_model or "loss",
    ), learning_rate


def _tasks(run: RunConfig, model: Model, tokenizer: Tokenizer, reading: Reading, precision: Precision) -> Any:
    """A function that measures the tasks of the configuration; None where it names none, or never evaluates."""
    if not run.evaluation.takes_place:
        return None
    return prepare_tasks(model, tokenizer, run.evaluation, texts=reading.texts, run=run, autocast=precision.autocast)


def _head_first(run: RunConfig, model: Model, batches_per_epoch: int) -> HeadFirst | None:
    """The phase before the trunk trains; None for a run that has none."""
    if not run.trainer.head_first_epochs:
        return None
    settings, _ = plan_steps(run, batches_per_epoch, model.config.vocab_size)
    steps = round(run.trainer.head_first_epochs * math.ceil(batches_per_epoch / settings.accumulation))
    if steps >= settings.max_iters:
        raise UserError(
            f"trainer.head_first_epochs: {run.trainer.head_first_epochs:g} epochs are {steps:,} steps, and the run has "
            f"{settings.max_iters:,} in all: raise max_iters or epochs, or take fine_tuning.method head"
        )
    return HeadFirst(model, steps)


def _dropout(run: RunConfig, max_iters: int) -> DropoutSchedule | None:
    d = run.trainer.dropout_schedule
    if d is None:
        return None
    return DropoutSchedule(d.name, d.start, d.end, d.start_iter, d.end_iter or max_iters, d.cycles)


def _trackers(run: RunConfig, folder: RunFolder, resume_step: int | None) -> Trackers:
    log = run.general.logging
    name = log.wandb_run_name or "/".join(folder.root.parts[-2:])
    return Trackers(
        folder.root,
        tensorboard=log.tensorboard_log,
        wandb=log.wandb_log,
        project=log.wandb_project,
        name=name,
        config=run.to_dict(),
        resume_step=resume_step,
    )


def _open_folder(run: RunConfig, resume: Path | None) -> tuple[RunFolder, Path | None]:
    """The run's folder, and the checkpoint to go on from."""
    paths = run.general.paths
    weights, tests = (Path(place) if place else None for place in (paths.checkpoint_dir, paths.eval_dir))
    if resume is None:
        return new_run_folder(Path(run.output.output_dir), run.output.run_name or "run", weights, tests), None
    own = Path(resume.parent.name) / resume.name
    folder = RunFolder(resume, weights and weights / own, tests and tests / own)
    remove_partial(folder.weights)
    checkpoint = latest_checkpoint(folder.weights)
    if checkpoint is None:
        raise UserError(f"{resume}: the run has no checkpoint yet; start it again with --config {folder.config}")
    return folder, checkpoint


def _prepare(seed: int, device: torch.device, deterministic: bool) -> None:
    torch.manual_seed(seed)
    if device.type == "cuda":
        torch.use_deterministic_algorithms(deterministic, warn_only=True)
        torch.set_float32_matmul_precision("high")
