"""Every multiple-choice task, a declaration each. Cheap to import: the configuration reads the names from here."""

from __future__ import annotations

from . import prompts
from .task import Hub, Record, Task

BOTH = ("acc", "acc_norm")


def _subject(row: Record) -> str:
    return row["subject"]


def _paradigm(row: Record) -> str:
    return row["UID"]


ARC_EASY = Hub("allenai/ai2_arc", "test", "ARC-Easy", shots="train")
HELLASWAG = Hub("Rowan/hellaswag", "validation", shots="train")
WINOGRANDE = Hub("allenai/winogrande", "validation", "winogrande_xl", shots="train")
TRUTHFUL_QA = Hub("truthfulqa/truthful_qa", "validation", "multiple_choice")

_TASKS = (
    Task("winogrande", WINOGRANDE, "winogrande", prompts.winogrande, harness="winogrande"),
    Task("hellaswag", HELLASWAG, "hellaswag", prompts.hellaswag, BOTH, harness="hellaswag"),
    Task("arc_easy", ARC_EASY, "arc", prompts.arc, BOTH, harness="arc_easy"),
    Task(
        "arc_challenge",
        Hub("allenai/ai2_arc", "test", "ARC-Challenge", shots="train"),
        "arc",
        prompts.arc,
        BOTH,
        harness="arc_challenge",
    ),
    Task(
        "mmlu",
        Hub("cais/mmlu", "test", "all", shots="dev"),
        "mmlu",
        prompts.mmlu,
        shots="first",
        n_shot=5,
        group=_subject,
        description=prompts.mmlu_description,
        harness="mmlu",
    ),
    Task(
        "blimp",
        Hub("nyu-mll/blimp", "train", "*"),
        "blimp",
        prompts.blimp,
        shots="none",
        group=_paradigm,
        harness="blimp",
    ),
    Task(
        "truthful_qa_mc1", TRUTHFUL_QA, "truthful_qa", prompts.truthful_qa_mc1, shots="none", harness="truthfulqa_mc1"
    ),
    Task(
        "truthful_qa_mc2",
        TRUTHFUL_QA,
        "truthful_qa",
        prompts.truthful_qa_mc2,
        ("mc2",),
        shots="none",
        harness="truthfulqa_mc2",
    ),
    Task("piqa", Hub("baber/piqa", "validation", shots="train"), "piqa", prompts.piqa, BOTH, harness="piqa"),
    Task("race_middle", Hub("ehovy/race", "test", "middle", shots="train"), "race", prompts.race),
    Task("race_high", Hub("EleutherAI/race", "test", "high"), "race", prompts.race, harness="race"),
    Task(
        "boolq",
        Hub("aps/super_glue", "validation", "boolq", shots="train"),
        "boolq",
        prompts.boolq,
        harness="boolq",
    ),
    Task(
        "openbook_qa_closed",
        Hub("allenai/openbookqa", "test", "main", shots="train"),
        "openbook_qa",
        prompts.openbook_closed,
        BOTH,
        harness="openbookqa",
    ),
    Task(
        "openbook_qa_open",
        Hub("allenai/openbookqa", "test", "additional", shots="train"),
        "openbook_qa_with_fact",
        prompts.openbook_open,
        BOTH,
    ),
    Task("copa", Hub("aps/super_glue", "validation", "copa", shots="train"), "copa", prompts.copa, harness="copa"),
    Task(
        "commonsense_qa",
        Hub("tau/commonsense_qa", "validation", shots="train"),
        "commonsense_qa",
        prompts.commonsense_qa,
        harness="commonsense_qa",
    ),
    Task("stlm_eval_arc_easy", ARC_EASY, "arc", prompts.plain_arc, BOTH),
    Task("stlm_eval_hellaswag", HELLASWAG, "hellaswag", prompts.plain_hellaswag, BOTH),
    Task("stlm_eval_truthful_qa", TRUTHFUL_QA, "truthful_qa", prompts.plain_truthful_qa),
    Task("stlm_eval_winogrande", WINOGRANDE, "winogrande", prompts.plain_winogrande, BOTH),
)

TASKS = {task.name: task for task in _TASKS}
SUITES = {"truthful_qa": ("truthful_qa_mc1", "truthful_qa_mc2")}
"""Names that mean several tasks."""
TASK_NAMES = (*TASKS, *SUITES)
"""Every name that a configuration or a command may use."""
