"""Files of a repository on the Hugging Face hub: fetched once, kept in the hub's own cache, each failure one sentence.

`models/hf/hub.py` fetches checkpoints with it and `tokenizers/hub.py` tokenizers; neither knows of the other.
HF_TOKEN, HF_HOME, HF_ENDPOINT and HF_HUB_OFFLINE mean what they mean to `huggingface_hub`.
"""

from __future__ import annotations

import glob
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError, notice
from .trouble import describe

DETAILS = (
    "config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
)
"""Small files that say how a tokenizer is to be used."""
VOCABULARIES = (("tokenizer.json",), ("vocab.txt",), ("vocab.json", "merges.txt"), ("tokenizer.model",), ("spm.model",))
"""What a tokenizer is made of; the first that is there says everything, so the others need not be fetched."""
TIMEOUT = 10.0

Names = Sequence[str]
Choose = Callable[[Names, Callable[[str], Path]], list[str]]


@dataclass(frozen=True)
class Wanted:
    """What is wanted of a repository. `choose(names, read)` picks from the names of all its files those to fetch;
    `read(name)` is the path of one of them. Where something needed is missing it raises UserError: "has no ..."."""

    what: str
    choose: Choose
    near: Callable[[str], str] = lambda repo: ""  # a sentence that names the nearest known repository
    cached_first: bool = False  # ask the hub only for what is not cached


def fetch(repo: str, wanted: Wanted, revision: str | None = None) -> Path:
    """The folder that holds what is wanted of `repo` at a branch, tag or commit (None: its main branch).

    The hub is asked which commit that is, and only files that are not cached are fetched; where it cannot be asked,
    what was fetched before is used, and a note says so. Raises UserError, one sentence that says what to do.
    """
    from huggingface_hub import constants

    start = f"Failed to load {wanted.what} from HuggingFace: "
    cached = _cached(repo, revision)
    lacking = None if cached is None else _lacking(cached, wanted)
    whole = cached is not None and lacking is None
    if cached is not None and whole and (wanted.cached_first or constants.HF_HUB_OFFLINE):
        return cached
    if constants.HF_HUB_OFFLINE:
        at = f" at revision '{revision}'" if revision else ""
        state = "is not cached here" if cached is None else f"is cached here in part only (it {lacking})"
        raise UserError(
            f"{start}'{repo}'{at} {state}, and HF_HUB_OFFLINE is set: unset it, or name a folder that holds the files"
        )
    try:
        return _download(repo, wanted, revision)
    except UserError as error:
        raise UserError(f"{start}'{repo}' {error}") from None
    except Exception as error:  # the library's, the HTTP client's and the system's own ways to fail
        trouble = describe(error, repo, revision, wanted.near)
        if cached is not None and whole and trouble.passing:
            notice(f"{trouble.what}; what was fetched of '{repo}' before is used")
            return cached
        raise UserError(f"{start}{trouble.what}: {trouble.remedy}") from None


def cached(repo: str, wanted: Wanted, revision: str | None = None) -> Path | None:
    """As `fetch`, of what was fetched before only: None where that is not all of it. The hub is not asked."""
    folder = _cached(repo, revision)
    return folder if folder is not None and _lacking(folder, wanted) is None else None


def tokenizer_files(names: Names) -> list[str]:
    """Which of a repository's files its tokenizer needs; none if it has no tokenizer."""
    found = next((group for group in VOCABULARIES if all(name in names for name in group)), ())
    templates = [name for name in names if name.startswith("additional_chat_templates/") and name.endswith(".jinja")]
    return [*found, *(name for name in DETAILS if name in names), *templates]


def _download(repo: str, wanted: Wanted, revision: str | None) -> Path:
    from huggingface_hub import HfApi, hf_hub_download, snapshot_download

    info = HfApi().model_info(repo, revision=revision, timeout=TIMEOUT)

    def read(name: str) -> Path:
        return Path(hf_hub_download(repo, name, revision=info.sha, etag_timeout=TIMEOUT))

    names = wanted.choose([file.rfilename for file in info.siblings or []], read)
    patterns = [glob.escape(name) for name in names]
    return Path(snapshot_download(repo, revision=revision, allow_patterns=patterns, etag_timeout=TIMEOUT))


def _cached(repo: str, revision: str | None) -> Path | None:
    """The snapshot of the commit that a branch, tag or commit was when last heard of, if any of it is cached."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    try:
        folder = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repo, repo_type="model")
        reference = folder / "refs" / (revision or "main")
        commit = reference.read_text().strip() if reference.is_file() else revision
        snapshot = folder / "snapshots" / commit if commit else None
        return snapshot if snapshot is not None and snapshot.is_dir() else None
    except (OSError, ValueError):
        return None  # the library will say why, if it still matters


def _lacking(folder: Path, wanted: Wanted) -> str | None:
    """What a snapshot lacks of what is wanted, None if nothing. Its files are links to whole files, or lead nowhere."""
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    try:
        wanted.choose(names, lambda name: folder / name)
    except UserError as error:
        return str(error).split(":")[0]
    return None
