"""One for a namespace, shared by all who send: the cap, the adaptive rate and the concurrency as one answer."""

import math
from collections import defaultdict
from collections.abc import Mapping
from typing import Literal

from bulkload.pace.adaptive import AdaptiveRate
from bulkload.pace.block import Pauses
from bulkload.pace.cap import Cap
from bulkload.pace.concurrency import Concurrency

# What keeps the next request back: the cap, the hub's refusals, what is in flight already, that all that could be sent
# rests, that there is none, or that the rate still ramps.
Constraint = Literal["cap", "throttling", "in flight", "rests", "nothing to send", "ramp"]


# A timer for less would fire at once, again and again.
SHORTEST_DELAY = 0.001


class Pacer:
    """When the next request may leave.

    `cap` is in requests per second, of which each may leave up to `lateness` seconds after it was let; `workers` is the
    most that may be in flight. Every request is told by `leave`, and its end by one of `taken`, `throttled` and
    `failed`, with the times at which it left and ended.
    """

    def __init__(self, *, cap: float | None = None, workers: int, now: float, lateness: float = 0.0) -> None:
        self._held: defaultdict[Constraint, float] = defaultdict(float)
        self._cap = Cap(cap, lateness=lateness) if cap is not None else None
        self._rate = AdaptiveRate(now)
        self._concurrency = Concurrency(workers, now)
        self._constraint: Constraint | None = None
        self._constrained_at = now
        self._was_throttled = False
        # Seconds after which to look again, where there was no room: infinity for not before a request has ended.
        self.wait = math.inf

    def __repr__(self) -> str:
        return f"<Pacer {self._rate!r}, {self._cap or 'no cap'}, {self._concurrency!r}>"

    @property
    def ceiling(self) -> float | None:
        """What the hub takes, in requests per second; None while it has refused nothing."""
        return self._rate.ceiling

    @property
    def limit(self) -> int:
        """How many requests may be in flight."""
        return self._concurrency.limit

    def bind(self) -> None:
        """The limit of what is in flight kept a request back."""
        self._concurrency.bind()

    def room(self, now: float) -> int:
        """How many requests may leave now; with 0, `wait` tells when to look again."""
        left = self.limit - self._rate.in_flight
        if left <= 0:
            self.bind()
            return self._full("in flight", now, math.inf)
        return min(left, self.paced(now))

    def paced(self, now: float) -> int:
        """How many may leave now for all but the limit of what is in flight: whoever asks this heeds that himself."""
        rate = self._rate
        if rate.in_flight >= rate.most_in_flight:
            return self._full("throttling" if rate.is_throttled else "ramp", now, math.inf)
        if delay := rate.delay(now):
            return self._full("throttling" if rate.is_throttled else "ramp", now, delay)
        if self._cap is not None:
            delay = self._cap.delay()
            return self._full("cap", now, delay) if delay else 1
        return rate.room

    def _full(self, constraint: Constraint, now: float, wait: float) -> int:
        self.wait = max(SHORTEST_DELAY, wait)
        if constraint is not self._constraint:
            self.constrain(constraint, now)
        return 0

    def idle(self, now: float, *, is_resting: bool) -> None:
        """There is nothing to send; or, where `is_resting`, nothing yet, because records wait for their time."""
        # The hub's last refusal tells what they wait for.
        is_throttled = self._rate.is_throttled or self._was_throttled
        self.constrain(("throttling" if is_throttled else "rests") if is_resting else "nothing to send", now)

    def leave(self, number: int = 1) -> None:
        """So many requests leave, no more than there is room for."""
        if self._cap is not None:
            self._cap.leave()
        self._rate.leave(number)

    def give_back(self, number: int) -> None:
        """So many of those that were let leave did not, or nobody will ever tell how they ended."""
        self._rate.give_back(number)

    def take_again(self, number: int) -> None:
        """So many of those that were given back did leave, or may have."""
        self._rate.take_again(number)

    def taken(self, left: float, now: float, number: int = 1, *, latency: float | None = None) -> None:
        """The hub took so many requests: it accepted their records, or refused them for the records' sake.

        `latency` is how long that took, where it is not all the time since they left.
        """
        self._rate.taken(left, now, number)
        self._concurrency.answered(left, now, number, now - left if latency is None else latency)

    def throttled(self, left: float, now: float, retry_after: float | None = None, *, is_its_own: bool = False) -> None:
        """The hub refused a request for its own sake, and may have said for how many seconds.

        Where `is_its_own` it does so again and again with this record alone, which tells nothing of the others.
        """
        self._was_throttled = True
        (self._rate.failed if is_its_own else self._rate.throttled)(left, now, retry_after)

    def failed(self, left: float, now: float, retry_after: float | None = None) -> None:
        """A request came to nothing, for another reason; the hub may have said when to come back."""
        self._was_throttled = False
        self._rate.failed(left, now, retry_after)

    def block(self, now: float, pauses: Pauses) -> None:
        """From now on one request at a time leaves, after pauses, until the hub takes one."""
        self._rate.block(now, pauses)

    def held(self, now: float) -> Mapping[Constraint, float]:
        """For how many seconds each constraint kept requests back."""
        self.constrain(self._constraint, now)
        return self._held

    def constrain(self, constraint: Constraint | None, now: float) -> None:
        """From now on this keeps requests back."""
        if self._constraint is not None:
            self._held[self._constraint] += now - self._constrained_at
        self._constraint, self._constrained_at = constraint, now
