"""Fine-tuning steps of Llama-like models: tokens/s and peak memory beside transformers + peft (+ bitsandbytes).

    lora    frozen weights in bf16, adapters of rank 16 on every Linear but the head, in fp32
    qlora   the same on weights in NF4, doubly quantised
    full    every weight trains: weights in fp32, products in bf16 by autocast

    ours    Trainer's own step on add_lora and quantize_model: the loss in chunks, clip, fused AdamW; on a CPU
            it keeps freed memory for the next step, see models/memory.py
    peer    LlamaForCausalLM or Qwen2ForCausalLM with labels, peft's LoRA, bitsandbytes' Linear4bit computing in bf16,
            loss.backward(), clip_grad_norm_, torch's AdamW; without prepare_model_for_kbit_training, whose
            fp32 embeddings and norms would take more of both time and memory

A step is forward and backward of a batch of random ids, clip at norm 1, AdamW; no gradient checkpointing. Each system
has a process of its own, and both are stepped in turn: medians over the rounds. On a CUDA device, if there is one, the
shapes are those of released models; on a CPU they are small:

    cpu     llama        width 1024,  8 layers, 16 heads of 4 groups, ffn 2816, vocabulary 32,000, batch 4 x 256
            qwen-tied    width  768,  6 layers, 12 heads of 2 groups, ffn 3072, vocabulary 50,304, tied head, 4 x 256
            narrow-deep  width  384, 24 layers,  6 heads of 2 groups, ffn 1024, vocabulary 16,384, 8 x 128
    cuda    tinyllama    TinyLlama 1.1B, batch 8 x 512
            qwen-1.5b    Qwen2.5-1.5B, batch 8 x 512
            llama3-8b    Llama 3 8B, batch 4 x 512 (no full: its AdamW alone takes 128 GB)

Peak memory is taken over whole steps, models being made and the optimizer's state there: on CUDA max_memory_allocated;
on a CPU `tensors`, the bytes of all tensors alive at once, counted after each operation of a step (what an operation
takes and frees within itself is not seen), and `resident`, the most that the process held in the measured steps above
what it held before the model was made. Both count weights, optimizer and workspaces.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from peak import forget_peak, peak_tensors
from report import GIB, Worker, answer_requests, environment, parser, peak_memory, publish, table

if TYPE_CHECKING:
    import torch

SYSTEMS, METHODS = ("ours", "peer"), ("lora", "qlora", "full")
RANK, ALPHA, LEARNING_RATE = 16, 32, 1e-4

IMPORTS = {  # what is in memory before the model is made
    "ours": ("groundup.trainers.trainer", "groundup.models.lora", "groundup.models.quant"),
    "peer": ("peft", "bitsandbytes", "transformers.models.llama.modeling_llama"),
}

Step = Callable[[], float]  # one training step -> its loss


class Shape(NamedTuple):
    """The sizes of one model and of its batch."""

    width: int
    layers: int
    heads: int
    groups: int
    ffn: int
    vocabulary: int
    tied: bool  # as in Qwen2: a tied head and biases on q, k and v
    batch: int
    context: int
    methods: tuple[str, ...] = METHODS


CPU = {
    "llama": Shape(1024, 8, 16, 4, 2816, 32_000, False, 4, 256),
    "qwen-tied": Shape(768, 6, 12, 2, 3072, 50_304, True, 4, 256),
    "narrow-deep": Shape(384, 24, 6, 2, 1024, 16_384, False, 8, 128),
}
CUDA = {
    "tinyllama": Shape(2048, 22, 32, 4, 5632, 32_000, False, 8, 512),
    "qwen-1.5b": Shape(1536, 28, 12, 2, 8960, 151_936, True, 8, 512),
    "llama3-8b": Shape(4096, 32, 32, 8, 14_336, 128_256, False, 4, 512, ("lora", "qlora")),
}
QUICK = {"quick": Shape(64, 2, 4, 2, 192, 512, False, 2, 16)}
SHAPES = CPU | CUDA | QUICK


# --- what is measured: one process each -------------------------------------------------------------------------


def our_step(shape: Shape, method: str, device: torch.device) -> Step:
    """Trainer's own step."""
    import torch
    from groundup.data.sampling import Batch
    from groundup.models.config import ModelConfig
    from groundup.models.lora import add_lora
    from groundup.models.model import build_model
    from groundup.models.quant import quantize_model
    from groundup.trainers.losses import chunk_tokens
    from groundup.trainers.optimizers import build_adamw, parameter_groups
    from groundup.trainers.precision import build_precision
    from groundup.trainers.settings import Settings
    from groundup.trainers.trainer import Trainer

    config = ModelConfig(
        vocab_size=shape.vocabulary,
        d_model=shape.width,
        n_layers=shape.layers,
        n_heads=shape.heads,
        n_kv_heads=shape.groups,
        d_ff=shape.ffn,
        max_seq_len=shape.context,
        positions="rope",
        norm="rmsnorm",
        qkv_bias=shape.tied,
        activation="silu",
        gated=True,
        tie_embeddings=shape.tied,
    )
    model = build_model(config, device=device, dtype=torch.float32 if method == "full" else torch.bfloat16, seed=0)
    if method == "qlora":
        quantize_model(model, "nf4", double_quant=True)
    if method != "full":
        add_lora(model, RANK, ALPHA, target_modules="all-linear", seed=0)
    model.train()
    settings = Settings(
        max_iters=1000,
        accumulation=1,
        grad_clip=1.0,
        chunk=chunk_tokens(shape.vocabulary, torch.bfloat16),
        label_smoothing=0.0,
        log_interval=1000,
        eval_intervals=(),
        checkpoint_interval=1000,
        max_nonfinite_steps=10,
        keep_checkpoints=0,
        seed=0,
        compile=False,
    )
    nothing = cast(Any, None)  # a step uses no data, no folder, no trackers and no held-out text
    trainer = Trainer(
        model=model,
        optimizer=build_adamw(parameter_groups(model, 0.0), lr=LEARNING_RATE, betas=(0.9, 0.999), eps=1e-8),
        precision=build_precision("bf16", device),
        train=nothing,
        heldout=nothing,
        learning_rate=nothing,
        dropout=None,
        settings=settings,
        folder=nothing,
        trackers=nothing,
        bytes_per_token=None,
    )
    ids = batches(shape, device)

    def step() -> float:
        tokens = next(ids)
        window = [Batch(tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous())]
        return trainer._update(window, model.hidden_states)[0]

    return step


def peer_step(shape: Shape, method: str, device: torch.device) -> Step:
    """transformers' model, peft's adapters, bitsandbytes' Linears, and the loop of their documentation."""
    import torch
    import transformers

    sizes = {
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.width,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.groups,
        "intermediate_size": shape.ffn,
        "max_position_embeddings": shape.context,
        "tie_word_embeddings": shape.tied,
        "use_cache": False,
    }
    torch.manual_seed(0)
    family = transformers.Qwen2Config if shape.tied else transformers.LlamaConfig
    kind = transformers.Qwen2ForCausalLM if shape.tied else transformers.LlamaForCausalLM
    with device:
        model: Any = kind(family(**sizes)).to(torch.float32 if method == "full" else torch.bfloat16)
    if method == "qlora":
        _pack_theirs(model, device)
    if method != "full":
        import peft

        adapters = peft.LoraConfig(
            r=RANK, lora_alpha=ALPHA, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM"
        )
        model = peft.get_peft_model(model, adapters)
    model.train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=LEARNING_RATE, weight_decay=0.0)
    ids = batches(shape, device)

    def step() -> float:
        tokens = next(ids)[:, :-1]
        with torch.autocast(device.type, torch.bfloat16) if method == "full" else nullcontext():
            loss = model(input_ids=tokens, labels=tokens).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    return step


def _pack_theirs(model: Any, device: torch.device) -> None:
    """Every Linear but the head becomes bitsandbytes' Linear4bit, as from_pretrained makes it."""
    import bitsandbytes as bnb
    import torch
    from torch import nn

    for name, linear in list(model.named_modules()):
        if not isinstance(linear, nn.Linear) or name == "lm_head":
            continue
        sizes = (linear.in_features, linear.out_features, linear.bias is not None)
        packed = bnb.nn.Linear4bit(*sizes, torch.bfloat16, compress_statistics=True, quant_type="nf4", device="meta")
        weight = linear.weight.data.cpu()
        packed.weight = bnb.nn.Params4bit(weight, requires_grad=False, compress_statistics=True, quant_type="nf4")
        packed.bias = linear.bias
        model.set_submodule(name, packed.to(device))  # packs
    model.is_loaded_in_4bit = True


def batches(shape: Shape, device: torch.device) -> Any:
    """Random ids, the same for both: (B, T + 1), endless."""
    import torch

    generator = torch.Generator().manual_seed(0)
    while True:
        yield torch.randint(shape.vocabulary, (shape.batch, shape.context + 1), generator=generator).to(device)


# --- measuring ---------------------------------------------------------------------------------------------------


def measure(arguments: argparse.Namespace) -> None:
    """Answer requests: "step", or "memory" of one more step."""
    import torch

    shape, device = SHAPES[arguments.shape], torch.device(arguments.device)
    build = {"ours": our_step, "peer": peer_step}[arguments.measure]
    state: dict[str, Any] = {}

    def start() -> Step:
        import importlib

        for module in IMPORTS[arguments.measure]:
            importlib.import_module(module)
        state["before"] = peak_memory()
        state["step"] = step = build(shape, arguments.method, device)
        forget_peak(device)
        return step

    def answer(request: str) -> dict[str, Any]:
        step = state.get("step") or start()
        if request == "memory" and device.type == "cuda":
            return {"allocated_gib": torch.cuda.max_memory_allocated() / GIB}
        if request == "memory":
            return {"resident_gib": peak_memory() - state["before"], "tensors_gib": peak_tensors(step) / GIB}
        started = time.perf_counter()
        loss = step()  # ends with .item(), which waits for the device
        return {"seconds": time.perf_counter() - started, "loss": loss}

    answer_requests(answer)


# --- the run -----------------------------------------------------------------------------------------------------


def run_pair(arguments: argparse.Namespace, name: str, method: str) -> list[dict[str, Any]]:
    """Both systems on one shape, warmed up, then in turn."""
    words = [f"--shape={name}", f"--method={method}", f"--device={arguments.device}"]
    workers = {system: Worker(__file__, f"--measure={system}", *words) for system in arguments.systems}
    seconds: dict[str, list[float]] = {system: [] for system in workers}
    losses: dict[str, float] = {}
    for number in range(-arguments.warmup, arguments.rounds):
        for system, worker in workers.items():
            answer = worker.ask("step")
            losses.setdefault(system, answer["loss"])
            if number >= 0:
                seconds[system].append(answer["seconds"])
    results = []
    for system, worker in workers.items():
        result = {"shape": name, "method": method, "system": system, "seconds": seconds[system]}
        results.append(result | {"first_loss": losses[system]} | worker.ask("memory"))
        worker.close()
    return results


def rows_of(results: list[dict[str, Any]]) -> list[dict[str, object]]:
    """A line a system, method and shape; ratios above 1 say ours is faster."""
    rates = {
        (r["shape"], r["method"], r["system"]): SHAPES[r["shape"]].batch
        * SHAPES[r["shape"]].context
        / statistics.median(r["seconds"])
        for r in results
    }
    rows = []
    for r in results:
        shape, method, system = key = (r["shape"], r["method"], r["system"])
        base = rates.get((shape, method, "peer"))
        memory = {name: r[f"{name}_gib"] for name in ("tensors", "resident", "allocated") if f"{name}_gib" in r}
        rows.append(
            {
                "shape": shape,
                "method": method,
                "system": system,
                "tokens/s": rates[key],
                "x peer": rates[key] / base if base and system == "ours" else None,
                **{f"{name} GiB": value for name, value in memory.items()},
                "first loss": r["first_loss"],
            }
        )
    return rows


def main() -> None:
    """Parse, measure, report."""
    options = parser(__doc__)
    options.add_argument("--device", help="cpu or cuda (default: cuda where there is one)")
    options.add_argument("--shapes", nargs="+", choices=[*CPU, *CUDA], help="default: those of the device")
    options.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    options.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    options.add_argument("--rounds", type=int, default=9, help="measured steps of each (default 9)")
    options.add_argument("--warmup", type=int, default=2, help="steps before that (default 2)")
    options.add_argument("--measure", choices=SYSTEMS, help=argparse.SUPPRESS)
    options.add_argument("--shape", choices=SHAPES, help=argparse.SUPPRESS)
    options.add_argument("--method", choices=METHODS, help=argparse.SUPPRESS)
    arguments = options.parse_args()
    if arguments.measure:
        measure(arguments)
        return
    import torch

    arguments.device = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
    shapes = arguments.shapes or list(CUDA if arguments.device.startswith("cuda") else CPU)
    if arguments.quick:
        shapes, arguments.rounds, arguments.warmup = list(QUICK), 2, 1
    results: list[dict[str, Any]] = []
    for name in shapes:
        for method in [method for method in SHAPES[name].methods if method in arguments.methods]:
            results += run_pair(arguments, name, method)
            print(table(rows_of(results)[-len(arguments.systems) :]), file=sys.stderr)
    rows = rows_of(results)
    sizes = {name: SHAPES[name]._asdict() for name in shapes}
    data = {
        "environment": environment("transformers", "peft", "bitsandbytes"),
        "device": arguments.device,
        "shapes": sizes,
        "rank": RANK,
        "results": results,
        "table": rows,
    }
    notes = f"{arguments.rounds} steps of each, in turn; medians. bf16, rank {RANK} on every Linear but the head."
    publish(arguments, "finetune_memory", "Fine-tuning steps: LoRA, QLoRA, full", data, [notes, table(rows)])


if __name__ == "__main__":
    main()
