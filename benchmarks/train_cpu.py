"""A training step of GPT-2 small on a CPU: this toolkit, nanoGPT's model and transformers' GPT2LMHeadModel.

Each system has a process of its own; the processes are stepped in turn, round after round, and medians over the rounds
are reported. A step is what each system's own training does: forward and backward of --batch rows of --context tokens,
clip at norm 1, AdamW.

    groundup       configs/gpt2_small.yaml, Trainer's own step: the loss in chunks, clip, fused AdamW
    nanogpt        model.py of the checkout that --nanogpt names, autocast, loss.backward(), clip_grad_norm_ and the
                   AdamW of its configure_optimizers(), as its train.py does them
    transformers   GPT2LMHeadModel with labels, autocast, loss.backward(), clip_grad_norm_, torch's AdamW
    matmuls        the matrix products of one step (of the fused shapes, forward and both gradients) into
                   preallocated outputs, and nothing else: what this machine's library can do

All have the same sizes, no dropout, and weights in fp32; bf16 is autocast. Peak memory is the most each
system's process held up to its last step; of it 16 bytes a parameter (weight, gradient, two moments) nobody can avoid.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from report import GIB, ROOT, Worker, answer_requests, environment, parser, peak_memory, publish, table

Step = Callable[[], float]  # one training step -> its loss
SYSTEMS = ("groundup", "nanogpt", "transformers", "matmuls")
VOCABULARY, CONTEXT_WINDOW, WIDTH, LAYERS, HEADS = 50_257, 1024, 768, 12, 12


# --- what is measured: one process each -------------------------------------------------------------------------


def batches(arguments: argparse.Namespace) -> Any:
    """Random ids, the same for every system: (B, T + 1), endless."""
    import torch

    generator = torch.Generator().manual_seed(0)
    while True:
        yield torch.randint(arguments.vocabulary, (arguments.batch, arguments.context + 1), generator=generator)


def groundup_step(arguments: argparse.Namespace) -> Step:
    """The Trainer's own step on a model that configs/gpt2_small.yaml describes."""
    import torch
    from groundup.configs.architecture import architecture
    from groundup.configs.schema import load_config
    from groundup.data.sampling import Batch
    from groundup.models.model import build_model
    from groundup.trainers.optimizers import build_adamw, parameter_groups
    from groundup.trainers.precision import build_precision
    from groundup.trainers.run import plan_steps
    from groundup.trainers.trainer import Trainer

    precision = {"fp32": "no", "bf16": "bf16"}[arguments.precision]
    sizes = [f"model.num_layers={arguments.layers}", f"model.vocab_size={arguments.vocabulary}"]
    overrides = [*sizes, "general.device=cpu", f"trainer.mixed_precision={precision}"]
    run = load_config(ROOT / "configs" / "gpt2_small.yaml", overrides)
    model = build_model(architecture(run, arguments.vocabulary), seed=0)
    options = run.trainer.optimizer
    optimizer = build_adamw(
        parameter_groups(model, options.weight_decay),
        lr=options.lr,
        betas=(options.beta1, options.beta2),
        eps=options.eps,
    )
    settings, learning_rate = plan_steps(run, 1000, arguments.vocabulary)
    nothing = cast(Any, None)  # a step uses no folder, no trackers and no held-out text
    trainer = Trainer(
        model=model,
        optimizer=optimizer,
        precision=build_precision(precision, torch.device("cpu")),
        train=nothing,
        heldout=nothing,
        learning_rate=learning_rate,
        dropout=None,
        settings=settings,
        folder=nothing,
        trackers=nothing,
        bytes_per_token=None,
    )
    model.train()
    ids = batches(arguments)

    def step() -> float:
        tokens = next(ids)
        window = [Batch(tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous())]
        return trainer._update(window, model.hidden_states)[0]

    return step


def nanogpt_step(arguments: argparse.Namespace) -> Step:
    """nanoGPT's GPT with its own optimizer."""
    path = arguments.nanogpt / "model.py"
    spec = importlib.util.spec_from_file_location("nanogpt_model", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise SystemExit(f"error: {path} does not exist; --nanogpt names a checkout of nanoGPT")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclass looks itself up
    spec.loader.exec_module(module)
    config = module.GPTConfig(
        block_size=CONTEXT_WINDOW,
        vocab_size=arguments.vocabulary,
        n_layer=arguments.layers,
        n_head=HEADS,
        n_embd=WIDTH,
        dropout=0.0,
        bias=True,
    )
    model = module.GPT(config)
    optimizer = model.configure_optimizers(0.1, 6e-4, (0.9, 0.95), "cpu")
    return _plain_step(arguments, model, optimizer, lambda x, y: model(x, y)[1])


def transformers_step(arguments: argparse.Namespace) -> Step:
    """GPT2LMHeadModel as its documentation trains it; it shifts the labels itself."""
    import torch
    import transformers

    config = transformers.GPT2Config(
        vocab_size=arguments.vocabulary,
        n_layer=arguments.layers,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        use_cache=False,
    )
    model = transformers.GPT2LMHeadModel(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=6e-4, betas=(0.9, 0.95), weight_decay=0.1)
    return _plain_step(arguments, model, optimizer, lambda x, y: model(input_ids=x, labels=x).loss)


def _plain_step(arguments: argparse.Namespace, model: Any, optimizer: Any, loss_of: Callable[[Any, Any], Any]) -> Step:
    """The loop of nanoGPT's train.py, without gradient accumulation: (B, T) ids and (B, T) targets to an update."""
    import torch

    ids = batches(arguments)
    is_bf16 = arguments.precision == "bf16"

    def step() -> float:
        tokens = next(ids)
        with torch.autocast("cpu", torch.bfloat16) if is_bf16 else contextlib.nullcontext():
            loss = loss_of(tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    return step


def matmuls_step(arguments: argparse.Namespace) -> Step:
    """Every matrix product of a step: y = x w^T, dx = dy w, dw = dy^T x, for each Linear and the head."""
    import torch

    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[arguments.precision]
    rows = arguments.batch * arguments.context
    shapes = [(*shape, arguments.layers) for shape in _block_shapes()] + [(WIDTH, arguments.vocabulary, 1)]
    products: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor, int]] = []
    for n_in, n_out, times in shapes:
        x, w = torch.randn(rows, n_in).to(dtype), torch.randn(n_out, n_in).to(dtype)
        y = torch.empty(rows, n_out, dtype=dtype)
        dx, dw = torch.empty_like(x), torch.empty_like(w)
        products += [(x, w.mT, y, times), (y, w, dx, times), (y.mT, x, dw, times)]

    def step() -> float:
        for a, b, out, times in products:
            for _ in range(times):
                torch.mm(a, b, out=out)
        return 0.0

    return step


def _block_shapes() -> list[tuple[int, int]]:
    """(in, out) of a block's Linears, q, k and v as one."""
    return [(WIDTH, 3 * WIDTH), (WIDTH, WIDTH), (WIDTH, 4 * WIDTH), (4 * WIDTH, WIDTH)]


def measure(arguments: argparse.Namespace) -> None:
    """Answer requests for steps; the process's memory grows to its peak in the first two."""
    build = {
        "groundup": groundup_step,
        "nanogpt": nanogpt_step,
        "transformers": transformers_step,
        "matmuls": matmuls_step,
    }
    step: Step | None = None

    def answer(request: str) -> dict[str, float]:
        nonlocal step
        if step is None:
            step = build[arguments.measure](arguments)
        if request == "peak":
            return {"peak_gib": peak_memory()}
        started = time.perf_counter()
        loss = step()
        return {"seconds": time.perf_counter() - started, "loss": loss}

    answer_requests(answer)


# --- the run -----------------------------------------------------------------------------------------------------


def run_round_robin(arguments: argparse.Namespace, precision: str) -> list[dict[str, Any]]:
    """Warm each system up, then step them in turn."""
    words = [f"--{key}={getattr(arguments, key)}" for key in ("batch", "context", "layers", "vocabulary")]
    words += [f"--precision={precision}"] + ([f"--nanogpt={arguments.nanogpt}"] if arguments.nanogpt else [])
    workers = {name: Worker(__file__, f"--measure={name}", *words) for name in arguments.systems}
    seconds: dict[str, list[float]] = {name: [] for name in workers}
    losses: dict[str, float] = {}
    for number in range(-arguments.warmup, arguments.rounds):
        for name, worker in workers.items():
            answer = worker.ask("step")
            losses.setdefault(name, answer["loss"])
            if number >= 0:
                seconds[name].append(answer["seconds"])
        print(f"{precision}: round {number + 1 + arguments.warmup} done", file=sys.stderr)
    results = []
    for name, worker in workers.items():
        peak = worker.ask("peak")["peak_gib"] if name != "matmuls" else None
        worker.close()
        result = {"system": name, "precision": precision, "seconds": seconds[name], "peak_gib": peak}
        results.append(result | {"first_loss": losses[name] if name != "matmuls" else None})
    return results


def rows_of(results: list[dict[str, Any]], tokens: int, flops: float) -> list[dict[str, object]]:
    """A line a system and precision. The ratio is to nanoGPT, where it was run."""
    rates = {(r["system"], r["precision"]): tokens / statistics.median(r["seconds"]) for r in results}
    rows = []
    for result in results:
        precision, rate = result["precision"], rates[result["system"], result["precision"]]
        base, best = rates.get(("nanogpt", precision)), rates.get(("matmuls", precision))
        is_matmuls = result["system"] == "matmuls"
        rows.append(
            {
                "system": result["system"],
                "precision": precision,
                "tokens/s": rate,
                "best round": tokens / min(result["seconds"]),
                "x nanoGPT": rate / base if base and not is_matmuls else None,
                "% of matmuls alone": 100 * rate / best if best else None,
                "GFLOP/s": flops / tokens * rate / 1e9 if is_matmuls else None,
                "peak GiB": result["peak_gib"],
                "first loss": result["first_loss"],
            }
        )
    return rows


def main() -> None:
    """Parse, measure, report."""
    options = parser(__doc__)
    options.add_argument("--nanogpt", type=Path, metavar="CHECKOUT", help="without it nanoGPT is left out")
    options.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    options.add_argument("--precisions", nargs="+", choices=("fp32", "bf16"), default=["fp32", "bf16"])
    options.add_argument("--rounds", type=int, default=9, help="measured steps of each system (default 9)")
    options.add_argument("--warmup", type=int, default=2, help="steps before that (default 2)")
    options.add_argument("--batch", type=int, default=4)
    options.add_argument("--context", type=int, default=256)
    options.add_argument("--layers", type=int, default=LAYERS, help=argparse.SUPPRESS)
    options.add_argument("--vocabulary", type=int, default=VOCABULARY, help=argparse.SUPPRESS)
    options.add_argument("--measure", choices=SYSTEMS, help=argparse.SUPPRESS)
    options.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help=argparse.SUPPRESS)
    arguments = options.parse_args()
    if arguments.measure:
        measure(arguments)
        return
    if arguments.quick:
        arguments.layers, arguments.vocabulary, arguments.batch, arguments.context = 1, 1000, 2, 32
        arguments.rounds, arguments.warmup = 2, 1
    if arguments.nanogpt is None:
        arguments.systems = [name for name in arguments.systems if name != "nanogpt"]
    elif not (arguments.nanogpt / "model.py").is_file():
        raise SystemExit(f"error: {arguments.nanogpt / 'model.py'} does not exist; --nanogpt names a nanoGPT checkout")

    tokens = arguments.batch * arguments.context
    weights = arguments.layers * sum(a * b for a, b in _block_shapes()) + WIDTH * arguments.vocabulary
    flops = 6.0 * weights * tokens
    results = [r for precision in arguments.precisions for r in run_round_robin(arguments, precision)]
    rows = rows_of(results, tokens, flops)
    biases_and_norms = 13 * WIDTH * arguments.layers + 2 * WIDTH
    floor = 16 * (weights + CONTEXT_WINDOW * WIDTH + biases_and_norms) / GIB
    data = {
        "environment": environment("transformers"),
        "batch": arguments.batch,
        "context": arguments.context,
        "layers": arguments.layers,
        "vocabulary": arguments.vocabulary,
        "state_gib": floor,
        "results": results,
        "table": rows,
    }
    notes = (
        f"{arguments.rounds} rounds of one step of {arguments.batch} x {arguments.context} tokens, in turn; medians. "
        f"Weights, gradients and AdamW's moments are {floor:.2f} GiB of every peak. `matmuls` is this machine's own "
        "rate on the matrix products of the step."
    )
    publish(arguments, "train_cpu", "GPT-2 small, training step on a CPU", data, [notes, table(rows)])


if __name__ == "__main__":
    main()
