"""A labelled data set that every machine has: the docstrings of Python's own library, the label their package.

The packages with the most docstrings are taken, the same number of each, about two thousand in all. Which they are
depends on the build of Python; for one build they are always the same rows.
"""

from __future__ import annotations

import ast
import inspect
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from ...errors import UserError
from ..files import stdlib_files
from .examples import TRAIN, Example, Labelled

NAME = "stdlib-docstrings"
FEWEST, MOST = 4, 8  # packages
SHORTEST = 20  # characters; "Return the size." could be of any package
LEAST = 100  # docstrings of a package


@cache
def stdlib_docstrings() -> Labelled:
    """The data set. Raises UserError where this Python has no sources of its library."""
    by_package: dict[str, list[Example]] = {}
    seen: set[str] = set()
    for path in stdlib_files():
        package = _package(path)
        if package is None:
            continue
        for line, text in _docstrings(path):
            if len(text) >= SHORTEST and text not in seen:
                seen.add(text)
                by_package.setdefault(package, []).append(Example(text, package, f"{path}:{line}"))
    largest = sorted(by_package, key=lambda package: (-len(by_package[package]), package))[:MOST]
    largest = [package for i, package in enumerate(largest) if i < FEWEST or len(by_package[package]) >= LEAST]
    count = min((len(by_package[package]) for package in largest), default=0)
    if len(largest) < FEWEST or count < LEAST:
        raise UserError(
            f"this Python's library has too few docstrings for {NAME} (is it stripped?): name a labelled file in "
            "dataset.name"
        )
    rows = [example for package in sorted(largest) for example in _spread(by_package[package], count)]
    return Labelled(NAME, {TRAIN: rows}, tuple(sorted(largest)))


def _package(path: Path) -> str | None:
    """The package that a source file belongs to; None for a module that lies in none."""
    root = next(parent for parent in path.parents if (parent / "asyncio").is_dir() or parent == parent.parent)
    parts = path.relative_to(root).parts
    return parts[0] if len(parts) > 1 else None


def _docstrings(path: Path) -> Iterator[tuple[int, str]]:
    """The line and the text of each docstring of a file, in its order."""
    try:
        source = path.read_text(encoding="utf-8")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except (OSError, SyntaxError, ValueError):  # lib2to3's templates, files in other encodings
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
            text = ast.get_docstring(node, clean=False)
            if text:
                yield node.body[0].lineno, inspect.cleandoc(text).strip()


def _spread(examples: list[Example], count: int) -> list[Example]:
    """`count` of them, evenly over all files of the package."""
    return [examples[i * len(examples) // count] for i in range(count)]
