"""Multiple-choice tasks on a CPU: this toolkit and lm-evaluation-harness's HF backend, the same weights and questions.

A GPT-2 small with random weights and the tokenizer of GPT-2 are saved once in the Hugging Face format and loaded by
both, each in a process of its own. The harness first scores some questions of each task at every batch size of
--batches, and its fastest is taken for that task. Then both score the same requests in turn, round after round; the
fastest round of each is reported. Texts go in and log-likelihoods come out, tokenising included. They must be equal to
1e-2 (fp32, sums of up to a hundred tokens), or the run ends.

    groundup   evaluation.engine.loglikelihoods(model, tokenizer, requests)
    harness    lm_eval.models.huggingface.HFLM(...).loglikelihood(requests), transformers' default attention

The questions are read from local files: --data names a folder with hellaswag, arc, piqa, winogrande, boolq, openbookqa,
copa and blimp.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from report import Worker, answer_requests, environment, parser, publish, table

SYSTEMS = ("groundup", "harness")
TASKS = {
    "hellaswag": "hellaswag",
    "arc_easy": "arc",
    "piqa": "piqa",
    "winogrande": "winogrande",
    "boolq": "boolq/val.jsonl",
    "openbook_qa_closed": "openbookqa",
    "copa": "copa/val.jsonl",
    "blimp": "blimp",
}


def write_checkpoint(folder: Path, arguments: argparse.Namespace) -> None:
    """A GPT-2 of the asked size, weights random, beside GPT-2's tokenizer."""
    import torch
    import transformers

    torch.manual_seed(0)
    config = transformers.GPT2Config(n_layer=arguments.layers, n_embd=arguments.width, initializer_range=0.05)
    transformers.GPT2LMHeadModel(config).save_pretrained(folder)
    end = "<|endoftext|>"
    transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(arguments.tokenizer), bos_token=end, eos_token=end
    ).save_pretrained(folder)


def requests_of(task: str, data: Path, questions: int) -> list[tuple[str, str]]:
    """(context, continuation) of the first questions of a task."""
    from groundup.evaluation.tasks import find_task, load_questions

    found = load_questions(find_task(task), data / TASKS[task], questions)
    return [request for question in found for request in question.requests]


def groundup_scores(checkpoint: Path) -> Any:
    """requests, batch size (ignored: it finds its own) -> log-likelihoods"""
    from groundup.evaluation.engine import loglikelihoods
    from groundup.models import load_pretrained
    from groundup.tokenizers.load import load_tokenizer

    model, tokenizer = load_pretrained(checkpoint, dtype="fp32"), load_tokenizer(checkpoint)
    return lambda requests, batch: [one.sum for one in loglikelihoods(model, tokenizer, requests, progress=False)]


def harness_scores(checkpoint: Path) -> Any:
    """requests, batch size -> log-likelihoods"""
    from groundup.evaluation.evaluate_library import find_evaluate_library

    find_evaluate_library()
    import transformers
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    model = transformers.AutoModelForCausalLM.from_pretrained(checkpoint)
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint)

    def scores(requests: list[tuple[str, str]], batch: int) -> list[float]:
        adapter = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch, device="cpu")
        asked = [Instance("loglikelihood", {}, request, i) for i, request in enumerate(requests)]
        return [found for found, _ in adapter.loglikelihood(asked, disable_tqdm=True)]

    return scores


def measure(arguments: argparse.Namespace) -> None:
    """Answer [task, questions, batch size] with seconds and log-likelihoods."""
    build = {"groundup": groundup_scores, "harness": harness_scores}[arguments.measure]
    scores: Any = None

    def answer(request: list[Any]) -> dict[str, Any]:
        nonlocal scores
        if scores is None:
            scores = build(arguments.checkpoint)
        task, questions, batch = request
        asked = requests_of(task, arguments.data, questions)
        started = time.perf_counter()
        found = scores(asked, batch)
        return {"seconds": time.perf_counter() - started, "found": found}

    answer_requests(answer)


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """-> seconds of every round by task and system, and the batch size at which the harness was fastest."""
    with tempfile.TemporaryDirectory() as folder:
        write_checkpoint(Path(folder), arguments)
        words = [f"--data={arguments.data}", f"--checkpoint={folder}"]
        workers = {name: Worker(__file__, f"--measure={name}", *words) for name in SYSTEMS}
        results: dict[str, Any] = {}
        for task in arguments.tasks:
            tried: dict[int, float] = {}
            few = max(4, arguments.questions // 8)
            workers["harness"].ask([task, 2, arguments.batches[0]])
            workers["groundup"].ask([task, 2, 0])
            for batch in arguments.batches:
                tried[batch] = workers["harness"].ask([task, few, batch])["seconds"]
            best = min(tried, key=tried.__getitem__)
            seconds: dict[str, list[float]] = {name: [] for name in SYSTEMS}
            for _ in range(arguments.rounds):
                answers = {name: workers[name].ask([task, arguments.questions, best]) for name in SYSTEMS}
                pairs = zip(answers["groundup"]["found"], answers["harness"]["found"], strict=True)
                furthest = max(abs(a - b) for a, b in pairs)
                if furthest > 1e-2:
                    raise SystemExit(f"error: {task}: log-likelihoods differ by {furthest}")
                for name in SYSTEMS:
                    seconds[name].append(answers[name]["seconds"])
            requests = len(answers["harness"]["found"])
            results[task] = {"requests": requests, "batch": best, "tried": tried, "seconds": seconds}
            results[task]["largest_difference"] = furthest
            print(f"{task} done", file=sys.stderr)
        for worker in workers.values():
            worker.close()
    return results


def main() -> None:
    """Parse, measure, report."""
    options = parser(__doc__)
    options.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="where the questions lie")
    options.add_argument("--tokenizer", type=Path, metavar="FILE", help="GPT-2's tokenizer.json")
    options.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS))
    options.add_argument("--questions", type=int, default=200, help="of each task (default 200)")
    options.add_argument("--batches", nargs="+", type=int, default=[4, 8, 16, 32], help="tried for the harness")
    options.add_argument("--rounds", type=int, default=3, help="measured rounds (default 3)")
    options.add_argument("--layers", type=int, default=12, help=argparse.SUPPRESS)
    options.add_argument("--width", type=int, default=768, help=argparse.SUPPRESS)
    options.add_argument("--measure", choices=SYSTEMS, help=argparse.SUPPRESS)
    options.add_argument("--checkpoint", type=Path, help=argparse.SUPPRESS)
    arguments = options.parse_args()
    if arguments.quick:
        arguments.layers, arguments.width, arguments.questions, arguments.rounds = 1, 96, 8, 1
    if arguments.measure:
        measure(arguments)
        return
    if arguments.tokenizer is None:
        raise SystemExit("error: --tokenizer names GPT-2's tokenizer.json")

    report(arguments, run(arguments))


def report(arguments: argparse.Namespace, results: dict[str, Any]) -> None:
    """The table of what was measured: the fastest round of each, since whatever else the machine does slows some."""
    rows: list[dict[str, object]] = []
    total = dict.fromkeys(SYSTEMS, 0.0)
    for task, found in results.items():
        ours, theirs = (min(found["seconds"][name]) for name in SYSTEMS)
        total["groundup"], total["harness"] = total["groundup"] + ours, total["harness"] + theirs
        row = {"task": task, "requests": found["requests"], "groundup s": ours, "harness s": theirs}
        rows.append(row | {"its batch": found["batch"], "x harness": theirs / ours})
    everything = {"task": "all", "requests": sum(found["requests"] for found in results.values())}
    everything |= {"groundup s": total["groundup"], "harness s": total["harness"], "its batch": None}
    rows.append(everything | {"x harness": total["harness"] / total["groundup"]})
    data = {
        "environment": environment("lm_eval", "transformers"),
        "questions": arguments.questions,
        "layers": arguments.layers,
        "width": arguments.width,
        "results": results,
        "table": rows,
    }
    note = (
        f"A GPT-2 of {arguments.layers} layers and width {arguments.width}, fp32, random weights; the first "
        f"{arguments.questions} questions of each task, {arguments.rounds} rounds in turn, the fastest of each. The "
        "harness at the fastest batch size of those tried, task by task. Log-likelihoods agree."
    )
    publish(arguments, "evaluate_cpu", "Multiple-choice tasks on a CPU", data, [note, table(rows)])


if __name__ == "__main__":
    main()
