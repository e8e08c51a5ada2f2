"""A hub that goes away is told, and that it is back."""

import logging
import math

log = logging.getLogger("bulkload")

# One that comes and goes is told of no more often than this, in seconds.
TOLD_EVERY = 60.0


class Outage:
    """Since when the hub is away, None while it is not; its beginning and end are logged."""

    def __init__(self) -> None:
        self.since: float | None = None
        self._told_at = -math.inf
        self._is_told = False

    def __repr__(self) -> str:
        return f"<Outage {'over' if self.since is None else f'since {self.since:.1f}'}>"

    def length(self, now: float) -> float:
        """For how many seconds the hub is away."""
        return 0.0 if self.since is None else now - self.since

    def begin(self, now: float, words: str) -> None:
        """From now on the hub is away, for the reason given; nothing new where it was already."""
        if self.since is not None:
            return
        self.since = now
        self._is_told = now - self._told_at >= TOLD_EVERY
        if self._is_told:
            self._told_at = now
            log.warning("%s; records in hand wait, and the run goes on by itself", words)

    def end(self, now: float) -> None:
        """The hub works again."""
        if self._is_told:
            log.warning("the hub works again after %.0f s", self.length(now))
        self.since = None
