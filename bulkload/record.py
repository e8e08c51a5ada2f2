"""One installation on its way, and how its way ends."""

from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

from bulkload.installation import push_channels
from bulkload.source import Broken, Datum, Place


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


class Origin:
    """The source object that records came from: the source's number in the run, what it is, and where it begins.

    `is_buried` says that it is among the dead letters.
    """

    __slots__ = ("datum", "is_buried", "place", "source")

    def __init__(self, source: int, datum: Datum, place: Place) -> None:
        self.source = source
        self.datum = datum
        self.place = place
        self.is_buried = False

    def __repr__(self) -> str:
        return f"<Origin {self.source}:{self.place.offset}>"

    @property
    def size(self) -> int:
        """Bytes that it holds, roughly."""
        datum = self.datum
        if isinstance(datum, Broken):
            return len(datum.text)
        return sum(map(len, datum.values())) if isinstance(datum, dict) else len(datum)


class Carried:
    """What goes to the hub until it settles, and how its tries went so far.

    `id` is its own among all that is on its way, `size` the bytes that it holds in memory. `attempts` counts those that
    used one up. `began` is when its first request left by the loop's clock, moved on by the time in which it waited for
    the hub and not for its own sake. `quota_refusals` counts the answers that the namespace is full, `refusals` the
    other throttles that came while others were accepted. `is_renewed` says that a token was refused for it and signed
    anew, `has_failed` that the next request for it is sent because the last one came to nothing; `is_suspect` that it
    failed while the hub worked on others, `failed_at` how many it had worked on and failed when this one failed last;
    `is_stale` that a connection turned out to have been closed when it was sent. Of its last request `left` is when it
    left, and `token` what it bore.
    """

    __slots__ = (
        "_paused_at",
        "attempts",
        "began",
        "failed_at",
        "has_failed",
        "id",
        "is_renewed",
        "is_stale",
        "is_suspect",
        "left",
        "quota_refusals",
        "refusals",
        "size",
        "token",
    )

    def __init__(self, id: str, size: int) -> None:  # noqa: A002
        self.id = id
        self.size = size
        self.attempts = 0
        self.quota_refusals = 0
        self.refusals = 0
        self.has_failed = False
        self.is_renewed = False
        self.is_suspect = False
        self.is_stale = False
        self.left = 0.0
        self.token = ""
        self.failed_at: tuple[int, int] | None = None
        self.began: float | None = None
        self._paused_at: float | None = None

    @property
    def secrets(self) -> Sequence[str]:
        """The personal data in it: what stays out of messages, logs and ledgers, the longest first."""
        return ()

    def start(self, now: float) -> None:
        """A request for it leaves."""
        self.left = now
        if self.began is None:
            self.began = now
        elif self._paused_at is not None:
            self.began += max(0.0, now - self._paused_at)
        self._paused_at = None

    def pause(self, at: float) -> None:
        """From then until its next request its time does not run: it waits for the hub, and not for its own sake."""
        self._paused_at = at


class Record(Carried):
    """An installation between its source and its settlement.

    `origin` is the source object it came from, `position` its ordinal among the records of that source.
    """

    __slots__ = ("body", "origin", "position")

    def __init__(self, origin: Origin, position: int, id: str, body: bytes) -> None:  # noqa: A002
        # As Carried does, written out: 0.21 us for a record instead of 0.29.
        self.id = id
        self.size = len(body) if body is origin.datum else len(body) + origin.size
        self.attempts = self.quota_refusals = self.refusals = 0
        self.has_failed = self.is_renewed = self.is_suspect = self.is_stale = False
        self.left = 0.0
        self.token = ""
        self.failed_at = self.began = self._paused_at = None
        self.origin = origin
        self.position = position
        self.body = body

    @property
    def secrets(self) -> Sequence[str]:
        """Its push channels."""
        return push_channels(self.body)

    def __repr__(self) -> str:
        return f"<Record {self.origin.source}:{self.position} {self.id}>"


class Settlement(NamedTuple):
    """A record's end. `latency` is the last request's, `settled_at` is Unix time; both in seconds.

    `place`, where its source object begins, is kept for what settled badly.
    """

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
    place: Place | None = None
