"""Multiple-choice tasks: declarations (`table.py`), rows from the hub or local files, prompts, few-shot examples."""

from __future__ import annotations

from .question import Question, find_task, find_tasks, load_questions
from .task import Task

__all__ = ["Question", "Task", "find_task", "find_tasks", "load_questions"]
