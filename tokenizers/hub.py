"""Tokenizer files from the Hugging Face hub, fetched once and kept in its own cache."""

from __future__ import annotations

from pathlib import Path

from ..errors import UserError

REPOSITORIES = {
    "llama_32k": "huggyllama/llama-7b",
    "mistral_32k": "mistralai/Mistral-7B-v0.1",
    "opt_50k": "facebook/opt-1.3b",
}
"""Where the named tokenizers come from."""
PATTERNS = ["tokenizer*", "special_tokens_map.json", "vocab.*", "merges.txt", "spm.model", "added_tokens.json"]


def fetch_tokenizer(repository: str, asked: str | None = None) -> Path:
    """The folder that holds a repository's tokenizer files. `asked` is the name the user gave, if another.

    Raises UserError: no network and not cached, no such repository, or one that asks for a login.
    """
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

    try:
        return Path(snapshot_download(repository, allow_patterns=PATTERNS, local_files_only=True))
    except Exception:  # not cached: whatever the library calls that
        pass
    name = f"{asked} ({repository} on the Hugging Face hub)" if asked else f"{repository} on the Hugging Face hub"
    remedy = "fetch its tokenizer.json where there is a network and give that path as model.tokenizer_type"
    if constants.HF_HUB_OFFLINE:
        raise UserError(f"the tokenizer {name} is not cached here, and HF_HUB_OFFLINE is set: unset it, or {remedy}")
    try:
        return Path(snapshot_download(repository, allow_patterns=PATTERNS, etag_timeout=5))
    except GatedRepoError:
        raise UserError(
            f"the tokenizer {name} is given out after a login only: accept its terms there and run `hf auth login`, "
            f"or {remedy}"
        ) from None
    except RepositoryNotFoundError:
        raise UserError(f"there is no {name}, or it is private: check the spelling, or run `hf auth login`") from None
    except HfHubHTTPError as error:
        raise UserError(f"the tokenizer {name} could not be fetched ({error.response.status_code}): {remedy}") from None
    except Exception:  # requests', httpx's and the library's own ways of saying that there is no network
        raise UserError(f"the tokenizer {name} is not cached here, and the hub cannot be reached: {remedy}") from None
