"""One installation on its way, and how its way ends."""

from enum import IntEnum
from typing import NamedTuple


class Outcome(IntEnum):
    """How a record ended. The numbers stand in ledgers and never change."""

    ACCEPTED = 1
    INVALID = 2
    REJECTED = 3
    EXHAUSTED = 4
    SUPERSEDED = 5

    @property
    def word(self) -> str:
        return self.name.lower()

    @property
    def is_good(self) -> bool:
        """Accepted, or replaced by a later record of the same id."""
        return self in (Outcome.ACCEPTED, Outcome.SUPERSEDED)


class Record:
    """An installation between its source and its settlement.

    `source` is the source's number in the run, `position` its ordinal among that source's records. `attempts` counts
    those that used one up. `began` is when its first request left by the loop's clock, moved on by the time in which
    it waited for the hub and not for its own sake.
    """

    __slots__ = ("_paused_at", "attempts", "began", "body", "id", "position", "source")

    def __init__(self, source: int, position: int, id: str, body: bytes) -> None:  # noqa: A002
        self.source = source
        self.position = position
        self.id = id
        self.body = body
        self.attempts = 0
        self.began: float | None = None
        self._paused_at: float | None = None

    def start(self, now: float) -> None:
        """A request for it leaves."""
        if self.began is None:
            self.began = now
        elif self._paused_at is not None:
            self.began += now - self._paused_at
        self._paused_at = None

    def pause(self, now: float) -> None:
        """From now until its next request its time does not run: the hub throttles, or is gone."""
        self._paused_at = now

    def __repr__(self) -> str:
        return f"<Record {self.source}:{self.position} {self.id}>"


class Settlement(NamedTuple):
    """A record's end. `latency` is the last request's, `settled_at` is Unix time; both in seconds."""

    source: int
    position: int
    installation_id: str | None
    outcome: Outcome
    status: int | None
    attempts: int
    latency: float | None
    settled_at: float
    detail: str | None = None
    tracking_id: str | None = None
