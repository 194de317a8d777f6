"""What a run will cost, before it costs it: parameters, FLOPs, tokens, memory by part, disk, time."""

from __future__ import annotations

import time
from dataclasses import dataclass

from ..models.config import ModelConfig
from ..models.flops import flops_per_token
from ..models.hf.families import model_config
from ..models.start import Start
from .architecture import architecture, start_of, task_of
from .costs import FP32, MOMENTS, parameters, training_memory
from .devices import device_type
from .portion import portion
from .schema_run import RunConfig

VOCABULARIES = {
    "byte": 257,
    "gpt2": 50_257,
    "p50k_base": 50_281,
    "cl100k_base": 100_277,
    "o200k_base": 200_019,
    "llama_32k": 32_000,
    "mistral_32k": 32_000,
    "opt_50k": 50_265,
}
ASSUMED_CHARACTERS = 128
ASSUMED_RATES = {"cuda": 300e12, "mps": 5e12, "cpu": 100e9}  # FLOP/s where nothing can be measured
CORE_PARTS = ("attention", "feed-forward", "norms")
ASSUMED_SHARE = 0.7  # of the matmul rate that a whole training step reaches


@dataclass(frozen=True)
class Plan:
    """The figures of a plan, and what was assumed for them."""

    parameters: dict[str, int]
    flops_per_token: float
    tokens_per_step: int
    steps: int | None  # None: an epoch's length is known once the text is tokenised
    memory: dict[str, float]
    disk: float
    rate: float  # FLOP/s of matmuls
    rate_source: str
    seconds: float | None
    notes: tuple[str, ...]

    def __str__(self) -> str:
        return _table(self)


def plan(run: RunConfig, rate: float | None = None, start: Start | None = None) -> Plan:
    """The costs of a resolved run. `rate` is what measure_rate found; None: a rate is assumed for the device.

    `start` is the checkpoint it starts from, where it is known already.
    """
    notes: list[str] = []
    start = start or start_of(run)
    config = architecture(run, vocabulary(run, notes, start), start)
    task = task_of(run, start)
    if task == "classification" and start is not None and start.hf is not None:
        config = model_config(start.hf, task, start.name)  # with its pooler, if it has one
    trainer, evaluation = run.trainer, run.evaluation
    tokens = trainer.max_seq_length or run.model.context_window
    half = trainer.mixed_precision != "no"
    per_step = trainer.batch_size * trainer.gradient_accumulation_steps * tokens
    forward = float(flops_per_token(config, tokens, training=False))
    if trainer.loss_fn != "cross_entropy":  # only the masked tokens reach the head
        width = config.d_embed if config.tie_embeddings else config.d_model
        forward -= (1 - trainer.mask_ratio) * 2 * width * config.vocab_size
    part = portion(run, config, task)
    times = 3 if part is None else 2  # forward, and as much again for each of the gradients; frozen weights have none
    flops = forward * (times + trainer.gradient_checkpointing)
    count = parameters(config, task)
    frozen = sum(count[part] for part in CORE_PARTS) if run.model.freeze_core else 0
    if frozen:
        notes.append(f"the core's {frozen:,} parameters are frozen: they have neither gradient nor moments")
    moments = MOMENTS[trainer.optimizer.name]
    paged = trainer.optimizer.name == "paged_adamw_8bit" and device_type(run.general.device) == "cuda"
    trained = part.trained if part else sum(count.values()) - frozen
    if part is not None:
        notes.append(part.note)
        count |= {"adapters": part.added}
    if paged:
        held = moments * trained
        notes.append(f"the optimizer's moments, {_bytes(held)}, lie in the host's memory, not in the GPU's")
    memory = training_memory(
        config,
        trainer.batch_size,
        tokens,
        half,
        trainer.gradient_checkpointing,
        trainer.loss_chunk_tokens,
        task,
        frozen,
        0.0 if paged else moments,
    )
    if part is not None:
        memory |= {
            "weights": part.weights(half),
            "gradients": part.trained * FP32,
            "optimizer (two moments)": 0.0 if paged else part.trained * moments,
            "16-bit copies of the matrices": part.trained * 2.0 if half else 0.0,
            "a matrix unpacked": part.unpacked * (2.0 if half else FP32),
        }
    source = "measured"
    if rate is None:
        kind = device_type(run.general.device)
        rate, source = ASSUMED_RATES[kind], f"assumed for {kind}"
    seconds = None
    if trainer.max_iters:
        work = trainer.max_iters * per_step * flops
        if evaluation.do_eval and evaluation.strategy == "steps" and evaluation.max_batches:
            batch = evaluation.batch_size or trainer.batch_size
            every = min(evaluation.interval, evaluation.dataset_loss_eval_iters)
            times = trainer.max_iters // every + 2
            work += times * evaluation.max_batches * batch * tokens * forward
        seconds = work / (rate * ASSUMED_SHARE)
    else:
        notes.append(f"{trainer.epochs:g} epochs are as many steps as the text is long: unknown until it is tokenised")
    kept = (run.output.save_total_limit or 1) + 2  # beside `last` and `best`
    return Plan(
        parameters=count,
        flops_per_token=flops,
        tokens_per_step=per_step,
        steps=trainer.max_iters,
        memory={part: size for part, size in memory.items() if size},
        disk=kept * (FP32 + moments) * (trained if part else sum(count.values())),
        rate=rate,
        rate_source=source,
        seconds=seconds,
        notes=tuple(notes),
    )


def vocabulary(run: RunConfig, notes: list[str], start: Start | None = None) -> int:
    """The tokenizer's size as far as it is known without the text; what is assumed is added to `notes`."""
    model = run.model
    if start is not None and model.core_model_type != "hf_core":
        return start.config.vocab_size
    if model.tokenizer_type in VOCABULARIES:
        return VOCABULARIES[model.tokenizer_type]
    if model.vocab_size is not None:
        return model.vocab_size
    if model.tokenizer_type == "char":
        notes.append(f"{ASSUMED_CHARACTERS} different characters are assumed")
        return ASSUMED_CHARACTERS
    from ..tokenizers.load import load_tokenizer

    return load_tokenizer(model.tokenizer_type).vocab_size


def measure_rate(run: RunConfig, seconds: float = 0.5, start: Start | None = None) -> float | None:
    """FLOP/s of this machine in a matmul of the run's own shape and precision; None where the device is not here."""
    import torch

    start = start or start_of(run)
    inner, outer = _widths(run, start.config if start else None)

    kind = device_type(run.general.device)
    if (kind == "cuda" and not torch.cuda.is_available()) or (kind == "mps" and not torch.backends.mps.is_available()):
        return None
    dtype = {"no": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[run.trainer.mixed_precision]
    rows = min(run.trainer.batch_size * (run.trainer.max_seq_length or run.model.context_window), 8192)
    x = torch.randn(rows, inner, device=run.general.device, dtype=dtype)
    weight = torch.randn(inner, outer, device=run.general.device, dtype=dtype)

    def products(times: int) -> float:
        started = time.perf_counter()
        y = x @ weight
        for _ in range(times - 1):
            y = x @ weight
        y[0, 0].item()  # waits for the device
        return time.perf_counter() - started

    products(2)
    once = products(1)
    times = max(1, int(seconds / max(once, 1e-6)))
    return times * 2.0 * rows * inner * outer / products(times)


def _widths(run: RunConfig, config: ModelConfig | None) -> tuple[int, int]:
    return (config.d_model, config.d_ff) if config else (run.model.hidden_dim, run.model.ffn.ffn_dim)


def _table(plan: Plan) -> str:
    lines = ["parameters"]
    lines += [f"  {part:<34}{count:>16,}" for part, count in plan.parameters.items() if count]
    lines += [f"  {'in all':<34}{sum(plan.parameters.values()):>16,}", "memory at the peak of a step (estimated)"]
    lines += [f"  {part:<34}{_bytes(size):>16}" for part, size in plan.memory.items()]
    lines += [f"  {'in all':<34}{_bytes(sum(plan.memory.values())):>16}", "the run"]
    rows = {
        "FLOPs a token, forward and backward": f"{plan.flops_per_token:.3g}",
        "tokens a step": f"{plan.tokens_per_step:,}",
    }
    if plan.steps:
        rows |= {"steps": f"{plan.steps:,}", "tokens in all": f"{plan.steps * plan.tokens_per_step:,}"}
    rows["checkpoints on disk, at most"] = _bytes(plan.disk)
    rows[f"matmul rate, {plan.rate_source}"] = f"{plan.rate / 1e9:,.0f} GFLOP/s"
    if plan.seconds is not None:
        rows[f"time, at {ASSUMED_SHARE:.0%} of that rate"] = duration(plan.seconds)
    lines += [f"  {name:<34} {value:>15}" for name, value in rows.items()]
    return "\n".join([*lines, *(f"note: {note}" for note in plan.notes)])


def _bytes(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.3g} TB"


def duration(seconds: float) -> str:
    """`95 s`, `12 min`, `5.5 h`, `3.2 days`."""
    for limit, divisor, unit in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            value = seconds / divisor
            return f"{value:.0f} {unit}" if value >= 10 or unit == "s" else f"{value:.1f} {unit}"
    return f"{seconds / 86_400:,.1f} days"
