"""How many requests to have in flight: as many as raise the rate, by Little's law.

What is in flight is the rate times the latency. More than that waits in a queue, the hub's or our own, and shows as
latency: so the limit grows while the latency stays what it was with few requests, and half of it is tried when the
latency has doubled. Does the latency stay, it is the hub's own, and the limit was right.
"""

from statistics import median

# A round ends after so many answers, and not before so many seconds or one latency.
ANSWERS = 20
SECONDS = 0.05

# The first limit, and the least.
FIRST = 40
LEAST = 32

# Growth from one round to the next, while the latency is within this of the best.
GROWTH = 1.5
CALM = 1.5

# From here on half of the limit is tried; it stays when the latency falls to this part of what it was.
QUEUED = 2.0
SHORTER = 0.8


class Concurrency:
    """The limit of requests in flight, never more than `most`."""

    def __init__(self, most: int, now: float) -> None:
        self.limit = min(FIRST, most)
        self._most = most
        self._best: float | None = None
        self._latencies: list[float] = []
        self._began = now
        self._counts_from = now
        self._is_bound = False
        # While half of a limit is tried: the limit, and its latency.
        self._tried: tuple[int, float] | None = None

    def __repr__(self) -> str:
        return f"<Concurrency {self.limit} of {self._most}>"

    def bind(self) -> None:
        """The limit kept a request back."""
        self._is_bound = True

    def answered(self, left: float, now: float, number: int, latency: float) -> None:
        """The hub answered so many requests that had left then, after so many seconds."""
        if left < self._counts_from:
            return
        self._latencies.extend([latency] * number)
        seconds = now - self._began
        if len(self._latencies) >= ANSWERS and seconds >= SECONDS:
            latency = median(self._latencies)
            if seconds >= latency:
                self._conclude(latency, now)

    def _conclude(self, latency: float, now: float) -> None:
        best = self._best = latency if self._best is None else min(self._best, latency)
        is_bound = self._is_bound
        if self._tried is not None:
            self._decide(*self._tried, latency, now)
        elif is_bound and latency > best * QUEUED and self.limit > LEAST:
            self._tried = (self.limit, latency)
            self._set(max(LEAST, self.limit // 2), now)
        elif is_bound and latency <= best * CALM:
            self._set(min(self._most, int(self.limit * GROWTH) + 1), now, is_more=True)
        self._latencies.clear()
        self._began = now
        self._is_bound = False

    def _decide(self, before: int, latency_before: float, latency: float, now: float) -> None:
        """Keep the half of a limit that was tried, or go back."""
        self._tried = None
        if latency > latency_before * SHORTER:
            self._best = latency
            self._set(before, now, is_more=True)

    def _set(self, limit: int, now: float, *, is_more: bool = False) -> None:
        self.limit = limit
        if not is_more:
            # What left under the old limit has its latency.
            self._counts_from = now
