"""A checkpoint on the Hugging Face hub, fetched once: its configuration, its tokenizer and one set of weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from ...errors import UserError, nearest
from ...hub import Names, Wanted, fetch, tokenizer_files

WEIGHTS = ("model.safetensors", "pytorch_model.bin")
"""What weights are called, the first that is there being taken; with .index.json behind it where they are in shards."""


def fetch_checkpoint(repo: str, revision: str | None = None) -> Path:
    """The folder with the files of `repo` that make a checkpoint, at a branch, tag or commit (None: its main branch).

    config.json, generation_config.json, what the tokenizer needs, and safetensors (else .bin): nothing else is fetched,
    and of that only what is not cached. Raises UserError, one sentence that says what to do.
    """
    return fetch(repo, Wanted("model", checkpoint_files, _near), revision)


def checkpoint_files(names: Names, read: Callable[[str], Path]) -> list[str]:
    """Which of a repository's files make its checkpoint; `read` fetches the index that names the shards.

    Raises UserError, a sentence on the repository, where configuration, weights or a shard of them are missing.
    """
    if "config.json" not in names:
        raise UserError(f"has no config.json{_holds(names)}: name the repository of a checkpoint for transformers")
    small = [name for name in ("config.json", "generation_config.json") if name in names]
    return list(dict.fromkeys([*small, *tokenizer_files(names), *_weights(names, read)]))


def _weights(names: Names, read: Callable[[str], Path]) -> list[str]:
    for single in WEIGHTS:
        if single in names:
            return [single]
        index = f"{single}.index.json"
        if index in names:
            return [index, *_shards(index, names, read(index))]
    raise UserError(f"has no {' or '.join(WEIGHTS)}{_holds(names)}: name another revision, or convert what it has")


def _shards(index: str, names: Names, path: Path) -> list[str]:
    try:
        shards = sorted(set(json.loads(path.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        raise UserError(f"has a {index} that cannot be read: name another revision") from None
    missing = [shard for shard in shards if shard not in names]
    if missing:
        raise UserError(f"has no {missing[0]}, which its {index} names: name another revision")
    return shards


def _holds(names: Names) -> str:
    shown = ", ".join(sorted(names)[:5])
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f" (it holds {shown or 'nothing'}{more})"


def _near(repo: str) -> str:
    from ..registry import entries

    hint = nearest(repo, [entry.name for entry in entries() if entry.name])
    return hint if hint.startswith(" Did you mean") else ""
