"""A folder as a repository on the Hugging Face hub; each failure one sentence.

HF_TOKEN, HF_ENDPOINT and HF_HUB_OFFLINE mean what they mean to `huggingface_hub`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import UserError
from . import DETAILS, TIMEOUT, VOCABULARIES, trouble

CARD = "README.md"
LOGIN = "set HF_TOKEN to one that may write, or run `hf auth login`"

# What an earlier upload may have left: other weights, or files that say how to read them.
STALE = (
    "*.safetensors",
    "*.index.json",
    "*model*.bin",
    "adapter_*",
    "generator/*",
    "generation_config.json",
    *DETAILS,
    *(name for group in VOCABULARIES for name in group),
)


def check_upload(repo: str, what: str, *, given: bool) -> None:
    """What can be told before anything is done, without the hub: a token, a name, no HF_HUB_OFFLINE.

    `given` says that output.hub_model_id names the repository; else it has the run's name.
    Raises UserError that begins with `what`, which asks for the upload.
    """
    from huggingface_hub import constants, get_token
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    if constants.HF_HUB_OFFLINE:
        raise UserError(f"{what}: HF_HUB_OFFLINE is set, so nothing can be uploaded: unset it, or leave {what} out")
    if not get_token():
        raise UserError(f"{what}: no token is set, and the hub takes nothing without: {LOGIN}")
    try:
        if not repo.isascii():  # earlier versions of the library let it through
            raise HFValidationError
        validate_repo_id(repo)
    except HFValidationError:
        if given:
            raise UserError(f"output.hub_model_id {repo!r} is no name of a repository: write user/model") from None
        raise UserError(
            f"{what}: the run's name {repo!r} is none that a repository can have (at most 96 of a-z, A-Z, 0-9, '-', "
            "'_' and '.', no '--' and no '..'): name one, user/model, in output.hub_model_id"
        ) from None


def open_repository(repo: str, *, private: bool, given: bool) -> tuple[str, str]:
    """Create a repository. -> its name with the owner's, and its address

    One that is there already is taken, as visible as it is, if its name was `given`. Without an owner it is the
    token's owner's.

    Raises:
        UserError: no permission, no connection, or a repository of that name that was not asked for.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    with _in_a_sentence(repo):
        try:
            made = HfApi().create_repo(repo, private=private, exist_ok=given, repo_type="model")
        except HfHubHTTPError as error:
            if given or _status(error) != 409:
                raise
            raise UserError(
                "you have a repository of that name already: name it in output.hub_model_id (USER/"
                f"{repo.rpartition('/')[2]}) if it is to be written to, else another"
            ) from None
    return made.repo_id, str(made)


def read_card(repo: str) -> str:
    """The card of a repository as it is there; "" where it has none. Raises UserError as `upload` does."""
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

    with _in_a_sentence(repo):
        response = get_session().get(hf_hub_url(repo, CARD), headers=build_hf_headers(), timeout=TIMEOUT)
        if response.status_code == 404:
            return ""
        hf_raise_for_status(response)
        return response.content.decode("utf-8", "replace")


def upload(folder: Path, repo: str, *, message: str = "Upload") -> None:
    """Put the folder's files into a repository; what an earlier model left there goes, all else stays.

    Raises:
        UserError: no permission, no connection, no room; nothing of the folder is changed.
    """
    from huggingface_hub import HfApi

    with _in_a_sentence(repo):
        HfApi().upload_folder(
            repo_id=repo, folder_path=folder, commit_message=message, repo_type="model", delete_patterns=list(STALE)
        )


@contextmanager
def _in_a_sentence(repo: str) -> Iterator[None]:
    """The library's, the HTTP client's and the system's own ways to fail as UserError."""
    try:
        yield
    except Exception as error:
        said = str(error) if isinstance(error, UserError) else sentence(error, repo)
        raise UserError(f"'{repo}' was not uploaded: {said}") from None


def sentence(error: Exception, repo: str) -> str:
    """What the hub, the network or the disk meant, and what to do."""
    for cause in trouble._causes(error):
        if said := _of_the_hub(cause, repo) or _of_the_network(cause) or _of_the_disk(cause):
            return said
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _status(error: BaseException) -> int | None:
    """The HTTP status that the hub answered with."""
    from huggingface_hub.errors import HfHubHTTPError

    response = error.response if isinstance(error, HfHubHTTPError) else None
    return None if response is None else response.status_code


def _of_the_hub(error: BaseException, repo: str) -> str | None:
    """Its own words where it has some: a 403 may be the token's, the namespace's or a full store's."""
    status = _status(error)
    if status is None:
        return None
    words = " ".join((getattr(error, "server_message", None) or "").split()).rstrip(".")
    if status == 401:
        return f"the hub does not accept your token (401): {LOGIN}"
    if status == 403 and not words:
        return f"your token may not write there (403): {LOGIN}, or name a repository of your own in output.hub_model_id"
    if status == 404:
        return f"there is no repository '{repo}' that your token may write to (404): check the name and the token"
    if status == 429:
        return "the hub asks for fewer requests (429): wait some minutes"
    if status >= 500:
        return f"the hub has an error of its own ({status}{f', {words}' if words else ''}): try again later"
    return f"the hub refuses it ({status}): {words or ' '.join(str(error).split())}"


def _of_the_network(error: BaseException) -> str | None:
    from huggingface_hub import constants

    name = type(error).__name__
    if "Timeout" in name:
        return "the hub did not answer in time: try again"
    if name in trouble.UNREACHABLE or isinstance(error, ConnectionRefusedError):
        return f"the hub cannot be reached at {constants.ENDPOINT}: check the network and the proxy"
    if name in trouble.BROKEN_OFF or name == "WriteError" or isinstance(error, ConnectionError):
        return "the upload broke off: try again"
    return None


def _of_the_disk(error: BaseException) -> str | None:
    if not isinstance(error, OSError) or error.errno is None:
        return None
    return f"{error.filename or 'a file of it'} cannot be read ({error.strerror})"
