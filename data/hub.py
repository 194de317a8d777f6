"""A Hugging Face dataset by name, through `datasets`: the only corpus that may reach for the network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ..errors import UserError
from .cache import short_hash
from .corpus import Corpus, Piece
from .tables import Row, text_pieces


@dataclass(frozen=True)
class KnownText:
    """Text that goes by a short name: its id on the hub, and the configuration that is read where none is named."""

    id: str
    config: str


WIKITEXT_2 = KnownText("Salesforce/wikitext", "wikitext-2-raw-v1")
KNOWN_TEXTS = {
    "wikitext": WIKITEXT_2,
    "wikitext-2": WIKITEXT_2,
    "wikitext-103": KnownText("Salesforce/wikitext", "wikitext-103-raw-v1"),
}


def fold(name: str) -> str:
    """One spelling of a short name: `AG-News` and `ag_news` are the same data set."""
    return name.casefold().replace("-", "").replace("_", "")


_FOLDED = {fold(name): text for name, text in KNOWN_TEXTS.items()}


def known_text(name: str) -> KnownText | None:
    """What `wikitext`, `wikitext-103` and the like stand for."""
    return _FOLDED.get(fold(name))


def full_name(name: str, config: str | None = None) -> tuple[str, str | None]:
    """The id and the configuration that a short name stands for, of text or of labelled texts; any other as it is."""
    from .classification.hub import known

    text, labelled = known_text(name), known(name)
    if text is not None:
        return text.id, config or text.config
    return name if labelled is None or "/" in name else labelled.id, config


class HubDataset(Corpus):
    """One split of a dataset; each row is a document, or a line of text that is `joined` or of an `article` (WikiText).

    Streamed, it is read as it arrives, nothing is stored but the token file, and its fingerprint is its name; else it
    is downloaded and kept by `datasets`. Raises UserError: not found, no network, no such split or configuration.
    """

    def __init__(
        self,
        name: str,
        config: str | None = None,
        split: str = "train",
        text_column: str | None = None,
        streaming: bool = False,
        num_proc: int | None = None,
        documents: str = "auto",
    ) -> None:
        self.name = name
        self.config, self.split, self.text_column = config, split, text_column
        self.streaming, self.num_proc = streaming, num_proc
        is_wikitext = fold(name.rpartition("/")[2]) == "wikitext"  # whose rows are looked at
        self.documents_are = documents if documents != "auto" or is_wikitext else "row"

    @cached_property
    def _dataset(self) -> Any:
        import datasets
        from datasets.exceptions import DatasetNotFoundError

        go_offline_if_need_be()
        workers: dict[str, Any] = {} if self.streaming or self.num_proc is None else {"num_proc": self.num_proc}
        here = "no file or folder here is called so, and as a Hugging Face dataset"
        try:
            return datasets.load_dataset(self.name, self.config, split=self.split, streaming=self.streaming, **workers)
        except (ConnectionError, FileNotFoundError) as error:
            if isinstance(error, DatasetNotFoundError):
                raise UserError(
                    f"dataset.name is '{self.name}': {here} it does not exist, or needs a login (hf auth login)"
                ) from None
            raise UserError(
                f"dataset.name is '{self.name}': {here} it is not cached and the hub cannot be reached; fetch it where "
                "there is a network, name a local file, or use dataset.name stdlib"
            ) from None
        except Exception as error:  # a missing config, an unknown split, a script: the library's own words
            raise UserError(f"the dataset {self.name} cannot be loaded: {' '.join(str(error).split())}") from None

    def _fingerprint(self) -> str:
        of_data = "streamed" if self.streaming else self._dataset._fingerprint
        how = () if self.documents_are == "row" else (self.documents_are,)
        return short_hash("hub", self.name, self.config, self.split, self.text_column, of_data, *how)

    def _pieces(self) -> Iterator[Piece]:
        return text_pieces(self._rows(), self.text_column, self.name, self.documents_are)

    def _held(self) -> Corpus | None:
        """The validation split. Streamed, the splits are not known before the network is asked for them."""
        if self.split != "train" or self.streaming or "validation" not in (self._dataset.info.splits or {}):
            return None
        settings = {"num_proc": self.num_proc, "documents": self.documents_are}
        return HubDataset(self.name, self.config, "validation", self.text_column, **settings)

    def rows(self) -> Iterator[Row]:
        """The rows, one at a time, with all their columns."""
        return self._rows()

    def _rows(self) -> Iterator[Row]:
        try:
            for number, row in enumerate(self._dataset, 1):
                yield f"row {number} of {self.name}", row
        except (ConnectionError, OSError) as error:
            raise UserError(f"the dataset {self.name} broke off while it was read ({error}): start again") from None


def go_offline_if_need_be() -> None:
    """Where the hub does not answer, spare the user half a minute of retries; what is cached still loads."""
    import requests
    from datasets import config
    from huggingface_hub import constants

    if config.HF_HUB_OFFLINE:
        return
    try:
        requests.head(constants.ENDPOINT, timeout=5)
    except requests.RequestException:
        config.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE = True
