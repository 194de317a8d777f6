"""Multiple-choice tasks: declarations (`table.py`), rows from the hub or local files, prompts, few-shot examples."""

from __future__ import annotations

from .question import Question, TaskData, find_task, find_tasks, load_questions, read_task
from .table import TASK_NAMES, TASKS
from .task import Task

__all__ = [
    "TASKS",
    "TASK_NAMES",
    "Question",
    "Task",
    "TaskData",
    "find_task",
    "find_tasks",
    "load_questions",
    "read_task",
]
