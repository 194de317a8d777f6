"""What can go wrong between here and the hub, as a sentence that says what to do."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass

# What the HTTP clients of `huggingface_hub` (requests before its version 1, httpx since) call it.
UNREACHABLE = frozenset({"ConnectError", "ConnectionError", "ProxyError", "SSLError", "OfflineModeIsEnabled"})
BROKEN_OFF = frozenset({"RemoteProtocolError", "ReadError", "ChunkedEncodingError", "IncompleteRead", "ProtocolError"})


@dataclass(frozen=True)
class Trouble:
    """What is wrong and what to do. `passing`: a copy that was fetched earlier is as good as it was."""

    what: str
    remedy: str
    passing: bool = True


def describe(error: BaseException, repo: str, revision: str | None, near: Callable[[str], str]) -> Trouble:
    """What `huggingface_hub` meant when it raised `error` on being asked for `repo`."""
    for cause in _causes(error):
        trouble = _of_the_hub(cause, repo, revision, near) or _of_the_network(cause, repo) or _of_the_disk(cause)
        if trouble is not None:
            return trouble
    return Trouble(f"'{repo}' could not be fetched ({type(error).__name__})", " ".join(str(error).split()))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error, what caused it, what caused that: the library wraps what the network or the disk said."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _of_the_hub(error: BaseException, repo: str, revision: str | None, near: Callable[[str], str]) -> Trouble | None:
    from huggingface_hub import constants, errors, get_token

    site = constants.ENDPOINT
    login = "set HF_TOKEN, or run `hf auth login`"
    if isinstance(error, errors.GatedRepoError):
        return Trouble(f"'{repo}' is gated and {_token()}", f"accept its terms at {site}/{repo}, then {login}")
    if isinstance(error, errors.RepositoryNotFoundError) or (_status(error) == 401 and not get_token()):
        what = f"there is no repository '{repo}', or it is private and {_token()}"
        hint = near(repo)
        return Trouble(what, f"check the spelling, or {login}{'.' if hint else ''}{hint}")
    if isinstance(error, errors.RevisionNotFoundError):
        what = f"'{repo}' has no branch, tag or commit '{revision}'"
        return Trouble(what, f"pick one at {site}/{repo}/tree/main, or leave the revision out", passing=False)
    if isinstance(error, errors.HFValidationError):
        return Trouble(f"'{repo}' is no name of a repository", "it is written organisation/name", passing=False)
    status = _status(error)
    if status is None:
        return None
    if status == 401:
        return Trouble("the hub does not accept your token (401)", f"make one at {site}/settings/tokens and {login}")
    if status == 403:
        return Trouble(f"the hub refuses access to '{repo}' (403)", f"ask its owner for access, or {login}")
    if status == 404:
        return Trouble(f"a file of '{repo}' is not there any more (404)", "try again", passing=False)
    if status == 429:
        return Trouble("the hub asks for fewer requests (429)", "wait some minutes, or set HF_TOKEN to be allowed more")
    return Trouble(f"the hub answered with an error of its own ({status})", "try again later")


def _status(error: BaseException) -> int | None:
    """The HTTP status that the hub answered with."""
    from huggingface_hub.errors import HfHubHTTPError

    response = error.response if isinstance(error, HfHubHTTPError) else None
    return None if response is None else response.status_code


def _token() -> str:
    from huggingface_hub import get_token

    return "your token may not read it" if get_token() else "no token is set"


def _of_the_network(error: BaseException, repo: str) -> Trouble | None:
    from huggingface_hub import constants

    name = type(error).__name__
    if "Timeout" in name:
        return Trouble(
            "the hub did not answer in time",
            "try again, on a slow line with HF_HUB_DOWNLOAD_TIMEOUT and HF_HUB_ETAG_TIMEOUT set to more seconds",
        )
    if name in UNREACHABLE or isinstance(error, ConnectionRefusedError | socket.gaierror):
        return Trouble(
            f"the hub cannot be reached at {constants.ENDPOINT}",
            f"'{repo}' is not cached here, so check the network and the proxy, or fetch the files elsewhere and name "
            "their folder",
        )
    cut = isinstance(error, OSError) and "onsistency check failed" in str(error)
    if name in BROKEN_OFF or cut or isinstance(error, ConnectionError):
        return Trouble(
            f"the download of '{repo}' broke off",
            "run it again (files that arrived whole are kept, no part of one is used)",
        )
    return None


def _of_the_disk(error: BaseException) -> Trouble | None:
    from huggingface_hub import constants

    if not isinstance(error, OSError) or error.errno is None:
        return None
    cache = constants.HF_HUB_CACHE
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Trouble(f"the disk is full that holds the cache at {cache}", "free some space, or set HF_HOME elsewhere")
    what = f"the cache at {cache} cannot be used ({error.strerror})"
    return Trouble(what, "set HF_HOME to a folder that you can write to", passing=False)
