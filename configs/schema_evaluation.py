"""What `evaluation:` (also `trainer.eval:`) may say."""

from __future__ import annotations

from typing import Annotated, Literal

from ..evaluation.tasks.table import TASK_NAMES
from .fields import Flag, Natural, Positive, Section, Text, key, spelled


class Evaluation(Section):
    """What is measured while training."""

    do_eval: Flag = key(True, "evaluate during training at all")
    strategy: Annotated[Literal["steps", "epoch", "no"], spelled(epochs="epoch", step="steps", none="no")] = key(
        "steps", "evaluate every `interval` steps, after each `epoch`, or `no`"
    )
    interval: Positive = key(2000, "steps between two evaluations: held-out loss and a sample of text")
    batch_size: Positive | None = key(
        None, "sequences in one forward pass of an evaluation; default: trainer.batch_size"
    )
    max_batches: Positive | None = key(
        50,
        "batches of held-out rows in one evaluation, spread evenly; null: all of them; default of a classifier: null",
    )
    patience: Positive | None = key(
        None,
        "evaluations in a row without a better held-out loss, or `metric_for_best_model`, after which the run ends; "
        "null: it makes all its steps",
    )
    metric_for_best_model: (
        Annotated[
            Literal["loss", "accuracy", "macro_f1"], spelled(eval_loss="loss", eval_accuracy="accuracy", f1="macro_f1")
        ]
        | None
    ) = key(
        None,
        "which held-out number chooses the checkpoint `best`, the one that is exported: the lowest `loss`, or of a "
        "classifier the highest `accuracy` or `macro_f1`, of equal ones the lowest loss; default: `loss`, and "
        "`macro_f1` where trainer.class_weights are given",
    )
    dataset_loss_eval_iters: Positive = key(
        1000, "steps between two measurements of the held-out loss, besides `interval`"
    )
    measure_gap: Flag = key(
        False,
        "measure the loss of as many training rows at each evaluation too, in the same way: the gap between the two is "
        "how far the model overfits",
    )
    text_modeling_eval: Flag = key(
        True,
        "measure text modelling without regard to the tokenizer: how a causal model goes on with held-out text, byte "
        "by byte",
    )
    mcq_benchmarks: list[Text] = key(None, "multiple-choice benchmarks: " + ", ".join(TASK_NAMES), factory=list)
    benchmarks: list[Text] = key(
        None,
        "suites: `lm-evaluation-harness`, `domain-specific-eval`, `human-eval`, or a benchmark's name",
        factory=list,
    )
    harness_tasks: list[Text] = key(
        None, "tasks of lm-evaluation-harness that the benchmark `lm-evaluation-harness` stands for", factory=list
    )
    benchmark_data: dict[str, Text] = key(
        None,
        "file or folder of a benchmark's rows by its name: `{domain-specific-eval: my.jsonl, hellaswag: data/}`; "
        "default: from the hub",
        factory=dict,
    )
    allow_code_execution: Flag = key(
        False, "run the code that the model writes for `human-eval`, each program in a process that can only compute"
    )
    num_samples: Positive = key(1000, "questions of each benchmark; of text modelling no more than 128 passages")
    sample_prompt: Text | None = key(
        None, "text that the printed sample continues; default: the beginning of a held-out document"
    )
    sample_tokens: Natural = key(100, "length of the printed sample in tokens; 0: none")

    @property
    def takes_place(self) -> bool:
        """Whether a run measures anything as it trains."""
        return self.do_eval and self.strategy != "no"
