"""Labelled rows that cannot be used: all are counted, the first is named, and they are refused or left out."""

from __future__ import annotations

from ...errors import UserError, notice

POLICIES = ("error", "drop")


class BadRows:
    """The bad ones among `rows` rows: whoever reads rows counts them in `rows` and tells the bad ones to `add`.

    `remedy` is what a person is to do about them where they are not dropped.
    """

    def __init__(self, drop: bool, remedy: str = "mend them, or set dataset.on_bad_row to drop") -> None:
        self.drop, self.remedy = drop, remedy
        self.rows = self.bad = 0
        self.first: str | None = None

    @classmethod
    def of(cls, dataset: object, default: str = "error") -> BadRows:
        """As `dataset.on_bad_row` says, `default` where it says nothing. Raises UserError for another word."""
        policy = getattr(dataset, "on_bad_row", None) or default
        if policy not in POLICIES:
            raise UserError(f"dataset.on_bad_row is '{policy}', and one of {', '.join(POLICIES)} is wanted")
        return cls(policy == "drop")

    def add(self, sentence: str) -> None:
        """One more, with where it stands and what is wrong."""
        self.bad += 1
        self.first = self.first or sentence

    def settle(self, source: str) -> None:
        """Say what was left out. Raises UserError where nothing may be."""
        if self.first is None:
            return
        if not self.drop:
            raise UserError(f"{self.first}; {self.bad:,} of {self.rows:,} rows cannot be used: {self.remedy}")
        notice(f"{self.bad:,} of {self.rows:,} rows of {source} were left out; the first: {self.first}")
