"""What an upload asks before a request leaves, and tells when it has ended."""

from typing import Protocol

from bulkload.pace.block import Pauses


class Pace(Protocol):
    """A pacer, or what stands for one that is in another process. Times are those of one clock, in seconds."""

    wait: float
    """Seconds after which to look again, where there was no room: infinity for not before somebody says so."""

    def room(self, now: float) -> int:
        """How many requests may leave now; with 0, `wait` tells when to look again."""

    def leave(self, number: int = 1) -> None:
        """So many requests leave, no more than there was room for."""

    def idle(self, now: float, *, is_resting: bool) -> None:
        """There is nothing to send; or, where `is_resting`, nothing yet, because records wait for their time."""

    def taken(self, left: float, now: float, number: int = 1) -> None:
        """The hub took so many requests: it accepted their records, or refused them for the records' sake."""

    def throttled(self, left: float, now: float, retry_after: float | None = None, *, is_its_own: bool = False) -> None:
        """The hub refused a request for its own sake, and may have said for how many seconds.

        Where `is_its_own` it does so again and again with this record alone, which tells nothing of the others.
        """

    def failed(self, left: float, now: float, retry_after: float | None = None) -> None:
        """A request came to nothing, for another reason; the hub may have said when to come back."""

    def block(self, now: float, pauses: Pauses) -> None:
        """From now on one request at a time leaves, after pauses, until the hub takes one."""
