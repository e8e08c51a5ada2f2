"""Measuring a session: latencies, rates by the second, and what limits them."""

import math
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from operator import mul

from bulkload.ledger import Sample
from bulkload.ledger.ledger import now
from bulkload.pace import Constraint
from bulkload.upload import Requests

# Buckets grow by 2 %: a percentile is within 1 % of the truth, from a microsecond to hours in under 1,200 buckets.
_GROWTH = math.log(1.02)
_SHORTEST = 1e-6

# A second in which this part of the processor was busy is limited by it, where it is not by a cap or the hub.
BUSY = 0.85


class Latencies:
    """How long requests took, in seconds, in constant memory."""

    def __init__(self) -> None:
        self._buckets: Counter[int] = Counter()
        self.count = 0
        self.max = 0.0

    def __repr__(self) -> str:
        return f"<Latencies of {self.count} requests>"

    def add(self, seconds: Sequence[float]) -> None:
        """Count some latencies: 0.13 us for each. numpy takes 0.05, and 0.1 to 0.2 s of every start."""
        if not seconds:
            return
        longest = max(seconds)
        self.max = max(self.max, longest)
        if min(seconds) < _SHORTEST:
            seconds = [max(one, _SHORTEST) for one in seconds]
        self._buckets.update(map(math.floor, map(mul, map(math.log, seconds), repeat(1 / _GROWTH))))
        self.count += len(seconds)

    def merge(self, other: "Latencies") -> None:
        """Count what another counted."""
        self._buckets.update(other._buckets)  # noqa: SLF001 - of this class
        self.count += other.count
        self.max = max(self.max, other.max)

    def percentile(self, percent: float) -> float | None:
        """The latency that `percent` of the requests stayed within; None where there was none."""
        if not self.count:
            return None
        wanted = math.ceil(self.count * percent / 100)
        for bucket in sorted(self._buckets):
            wanted -= self._buckets[bucket]
            if wanted <= 0:
                return min(math.exp((bucket + 0.5) * _GROWTH), self.max)
        return self.max


@dataclass(frozen=True, slots=True)
class Progress:
    """A run at this moment. `rate` is requests per second in the last second.

    Sizes are in bytes, those of a retry in records.
    """

    settled: int
    accepted: int
    failed: int
    throttled: int
    in_flight: int
    rate: float
    consumed: int
    size: int | None
    elapsed: float
    p50: float | None
    p99: float | None

    def __str__(self) -> str:
        parts = [f"{self.accepted:,} accepted"]
        if self.failed:
            parts.append(f"{self.failed:,} failed")
        if self.throttled:
            parts.append(f"{self.throttled:,} throttled")
        parts.append(f"{self.rate:,.0f}/s")
        return ", ".join(parts)

    @property
    def at_length(self) -> str:
        """The same, and what tells more in a log."""
        return f"{self}, {self.in_flight} in flight"


class Meter:
    """Follows a session second by second."""

    def __init__(self) -> None:
        self.latencies = Latencies()
        self.peak = 0.0
        self.rate = 0.0
        self.last: Sample | None = None
        self._news: list[float] = []
        self.start()
        self._before = Requests()
        self._limits: Counter[str] = Counter()
        self._held: dict[Constraint, float] = {}

    def __repr__(self) -> str:
        return f"<Meter {self.rate:.0f}/s, {self.limited_by}>"

    def start(self, processor: float = 0.0) -> None:
        """The session begins, after so many seconds of CPU: what came before it is not counted."""
        self._started = self._at = time.monotonic()
        self._processor = processor

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self._started

    @property
    def limited_by(self) -> str | None:
        """What limited most of the session's seconds."""
        return self._limits.most_common(1)[0][0] if self._limits else None

    def add(self, latencies: Iterable[float]) -> None:
        """So long requests took."""
        self._news += latencies

    def sample(
        self, requests: Requests, *, held: Mapping[Constraint, float], processor: float, is_reading: bool
    ) -> Sample:
        """Close a second, in which `requests` grew to what it is now; `processor` is the CPU time so far in seconds."""
        at = time.monotonic()
        second = Latencies()
        second.add(self._news)
        self.latencies.merge(second)
        self._news.clear()
        seconds = max(at - self._at, 1e-9)
        before = self._before
        sent = requests.sent - before.sent
        throttled = requests.throttled - before.throttled
        self.rate = sent / seconds
        # A short last slice tells nothing of a peak.
        if seconds > 0.5 or not self.peak:
            self.peak = max(self.peak, self.rate)
        busy = (processor - self._processor) / seconds
        within = {one: seconds - self._held.get(one, 0.0) for one, seconds in held.items()}
        if sent or any(within.values()):
            # Before anybody could send, nothing was limited.
            self._limits[self._limit(within, busy=busy, is_reading=is_reading)] += 1
        self._held = dict(held)
        self.last = Sample(
            at=now(),
            accepted=requests.accepted - before.accepted,
            throttled=throttled,
            failed=requests.failed - before.failed,
            rate=round(self.rate, 3),
            p50=second.percentile(50),
            p99=second.percentile(99),
        )
        self._at, self._processor = at, processor
        self._before = replace(requests)
        return self.last

    def _limit(self, held: Mapping[Constraint, float], *, busy: float, is_reading: bool) -> str:
        """What kept requests back for most of a second."""
        longest = max(held.values(), default=0.0)
        constraint = next(one for one, seconds in held.items() if seconds == longest) if longest else None
        if constraint in ("cap", "throttling"):
            return constraint
        if busy >= BUSY:
            return "processor"
        return "reader" if constraint == "nothing to send" and is_reading else "hub latency"
