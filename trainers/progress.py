"""What a person sees while a run goes on: a bar in a terminal, lines in a log file."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass

import torch
from tqdm import tqdm

try:
    import resource
except ImportError:  # Windows
    resource = None


def duration(seconds: float) -> str:
    """65 -> '1:05', 3700 -> '1:01:40'."""
    minutes, seconds = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


@dataclass
class Interval:
    """Sums since the last logged line; evaluation and checkpoints are outside its seconds."""

    steps: int = 0
    losses: float = 0.0
    finite: int = 0
    tokens: int = 0
    seconds: float = 0.0
    samples: int = 0

    def add(self, loss: float, tokens: int, seconds: float, samples: int = 0) -> None:
        """One step."""
        self.samples += samples
        self.steps, self.tokens, self.seconds = self.steps + 1, self.tokens + tokens, self.seconds + seconds
        if math.isfinite(loss):
            self.losses, self.finite = self.losses + loss, self.finite + 1

    @property
    def loss(self) -> float:
        """Mean over the steps whose loss was finite; NaN if none was."""
        return self.losses / self.finite if self.finite else math.nan

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / max(self.seconds, 1e-9)

    @property
    def samples_per_second(self) -> float:
        """Rows of the batches, a second."""
        return self.samples / max(self.seconds, 1e-9)


def memory(device_type: str) -> dict[str, float]:
    """Peak memory so far: of the process, and of the accelerator if one is used. GiB."""
    peak = {}
    if resource is not None:
        scale = 2**30 if sys.platform == "darwin" else 2**20  # bytes there, kilobytes elsewhere
        peak["peak_memory_gib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale, 3)
    if device_type == "cuda":
        peak["peak_gpu_memory_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 3)
    return peak


class Progress:
    """Shows loss, learning rate, tokens a second and the time left."""

    def __init__(self, start: int, total: int):
        self.total, self.is_terminal = total, sys.stderr.isatty()
        self.bar = tqdm(
            total=total, initial=start, unit="step", dynamic_ncols=True, disable=not self.is_terminal, smoothing=0.1
        )

    def update(self, step: int, loss: float | None, tokens_per_second: float) -> None:
        """`step` updates are done."""
        if self.is_terminal:
            if loss is not None:
                self.bar.set_postfix_str(f"loss {loss:.3f}, {tokens_per_second:,.0f} tok/s", refresh=False)
            self.bar.update(step - self.bar.n)

    def log(self, step: int, loss: float, lr: float, tokens_per_second: float, seconds_left: float) -> None:
        """A line a logging interval where there is no terminal to draw a bar in."""
        if not self.is_terminal:
            self.say(
                f"step {step:,}/{self.total:,}  loss {loss:.4f}  lr {lr:.2e}  {tokens_per_second:,.0f} tokens/s  "
                f"{duration(seconds_left)} left"
            )

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        tqdm.write(text, file=sys.stderr)
        sys.stderr.flush()

    def close(self) -> None:
        self.bar.close()
