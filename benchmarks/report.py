"""What the benchmarks share: the machine they ran on, their tables and files, a process for each thing measured."""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
GIB = 2**30


def parser(doc: str | None) -> argparse.ArgumentParser:
    """A parser whose --help is the script's docstring, with the options all benchmarks have."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--quick", action="store_true", help="small sizes: shows that it works, measures nothing")
    made.add_argument(
        "--output",
        nargs="?",
        type=Path,
        const=RESULTS,
        metavar="FOLDER",
        help="write NAME.json and NAME.md there (without FOLDER: benchmarks/results)",
    )
    return made


# --- the machine -------------------------------------------------------------------------------------------------


def environment(*packages: str) -> dict[str, Any]:
    """Date, machine, versions of Python, torch and `packages`, and the commit of this checkout."""
    import torch

    versions = {"python": platform.python_version(), "torch": torch.__version__}
    for package in packages:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    machine: dict[str, Any] = {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB, 1),
    }
    if torch.cuda.is_available():
        machine["gpu"] = torch.cuda.get_device_name()
    return {"date": time.strftime("%Y-%m-%d"), "machine": machine, "versions": versions, "commit": _commit()}


def _cpu_model() -> str:
    """The processor's name, and which of its instructions decide how fast bf16 is."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    fields = dict(part.split(":", 1) for part in text.split("\n\n")[0].splitlines() if ":" in part)
    fields = {key.strip(): value.strip() for key, value in fields.items()}
    flags = fields.get("flags", "").split()
    fast = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in flags]
    return f"{fields.get('model name', platform.machine())}, {' '.join(fast) or 'no vector extensions'}"


def _commit() -> str:
    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "--short=10", "HEAD") + (" with uncommitted changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


# --- results -----------------------------------------------------------------------------------------------------


def table(rows: Sequence[dict[str, object]]) -> str:
    """Rows of equal keys as a Markdown table that can be read as it stands; numbers to the right."""
    header = list(rows[0])
    cells = [header, *[[_shown(row[key]) for key in header] for row in rows]]
    widths = [max(len(line[i]) for line in cells) for i in range(len(header))]
    right = [any(isinstance(row[key], (int, float)) for row in rows) for key in header]

    def line(words: Sequence[str]) -> str:
        padded = [w.rjust(n) if r else w.ljust(n) for w, n, r in zip(words, widths, right, strict=True)]
        return f"| {' | '.join(padded)} |"

    rule = "|".join("-" * (n + 1) + (":" if r else "-") for n, r in zip(widths, right, strict=True))
    return "\n".join([line(header), f"|{rule}|", *map(line, cells[1:])])


def _shown(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) else str(value)
    if math.isfinite(value) and value != 0 and abs(value) < 1e-3:
        return f"{value:.1e}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"


def publish(arguments: argparse.Namespace, name: str, title: str, data: dict[str, Any], sections: list[str]) -> None:
    """Print the sections; with --output write `data` as NAME.json and the sections as NAME.md."""
    where = data["environment"]
    machine, versions = where["machine"], where["versions"]
    about = [
        f"{where['date']}, commit {where['commit']}. {machine['cpu']}; {machine['cores']} cores, "
        f"{machine['threads']} threads, {machine['memory_gib']} GiB"
        + (f"; {machine['gpu']}" if "gpu" in machine else "")
        + f". {', '.join(f'{package} {version}' for package, version in versions.items())}."
    ]
    if arguments.quick:
        about.append("**--quick: sizes too small to mean anything.**")
    text = "\n\n".join([f"## {title}", *about, *sections]) + "\n"
    print(text)
    if arguments.output is not None:
        arguments.output.mkdir(parents=True, exist_ok=True)
        (arguments.output / f"{name}.json").write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
        (arguments.output / f"{name}.md").write_text(text, encoding="utf-8")
        print(f"written to {arguments.output / name}.json and .md", file=sys.stderr)


# --- processes ---------------------------------------------------------------------------------------------------


def peak_memory() -> float:
    """The most memory this process has had at once, in GiB."""
    import resource

    with contextlib.suppress(OSError):  # Linux: ru_maxrss would count what a large parent had before exec
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        return int(status.split("VmHWM:")[1].split()[0]) * 1024 / GIB
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kilobytes elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / GIB


class Worker:
    """This script again, in a process of its own that answers one JSON line for each JSON line it is sent.

    A process for each thing measured keeps their peak memory apart, and lets several be stepped in turn, so that
    whatever else the machine does falls on all of them alike.
    """

    def __init__(self, script: str, *words: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, script, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, request: object) -> dict[str, Any]:
        """Send a request and wait for its answer; SystemExit if the process died."""
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps(request), file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline() if self.process.stdout else ""
        if not answer:
            raise SystemExit(f"error: a measured process ended with code {self.process.wait()}: {self.process.args}")
        return json.loads(answer)

    def close(self) -> None:
        """End the process."""
        if self.process.stdin:
            self.process.stdin.close()
        self.process.wait()


def answer_requests(answer: Any) -> None:
    """The other end of Worker: `answer(request)` for each line of stdin, until it is closed.

    What the measured code prints goes to stderr, so that stdout carries nothing but answers.
    """
    out, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), file=out, flush=True)
