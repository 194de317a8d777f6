"""A folder as a repository on the Hugging Face hub; each failure one sentence.

HF_TOKEN, HF_ENDPOINT and HF_HUB_OFFLINE mean what they mean to `huggingface_hub`.
"""

from __future__ import annotations

from pathlib import Path

from ..errors import UserError
from .trouble import describe

LOGIN = "set HF_TOKEN to one that may write, or run `hf auth login`"


def check_upload(repo: str | None, what: str) -> None:
    """What can be told before anything is done, without the hub: a token, a name, no HF_HUB_OFFLINE.

    Raises UserError that begins with `what`, the setting that asks for the upload.
    """
    from huggingface_hub import constants, get_token
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    if constants.HF_HUB_OFFLINE:
        raise UserError(f"{what}: HF_HUB_OFFLINE is set, so nothing can be uploaded: unset it, or set {what} to false")
    if not get_token():
        raise UserError(f"{what}: no token is set, and the hub takes nothing without: {LOGIN}")
    if repo is not None:
        try:
            validate_repo_id(repo)
        except HFValidationError:
            raise UserError(f"output.hub_model_id {repo!r} is no name of a repository: write user/model") from None


def upload(folder: Path, repo: str, *, private: bool = True, message: str = "Upload") -> str:
    """Create the repository where there is none, and put the folder's files into it, in one commit. -> its address

    An existing repository keeps its visibility; `repo` without an owner is the token's owner's.

    Raises:
        UserError: no permission, no connection, a name that cannot be; nothing of the folder is changed.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        made = api.create_repo(repo, private=private, exist_ok=True, repo_type="model")
        api.upload_folder(repo_id=made.repo_id, folder_path=folder, commit_message=message, repo_type="model")
    except Exception as error:  # the library's, the HTTP client's and the system's own ways to fail
        raise UserError(f"'{repo}' was not uploaded: {_sentence(error, repo)}") from None
    return str(made)


def _sentence(error: Exception, repo: str) -> str:
    """What was meant, of an upload: `describe` speaks of downloads."""
    from huggingface_hub.errors import HfHubHTTPError

    response = error.response if isinstance(error, HfHubHTTPError) else None
    status = None if response is None else response.status_code
    if status == 401:
        return f"the hub does not accept your token (401): {LOGIN}"
    if status == 403:
        return f"your token may not write there (403): {LOGIN}, or name a repository of your own in output.hub_model_id"
    trouble = describe(error, repo, None, lambda name: "")
    if "cannot be reached" in trouble.what:
        return f"{trouble.what}: check the network and the proxy"
    return f"{trouble.what}: {trouble.remedy}"
