"""An uploader's pace: requests leave by leases of the coordinator, which paces the sum of all uploaders."""

import math
from collections import deque
from collections.abc import Callable

from bulkload.fleet.messages import Blocked, Event, Failed, Lease, Taken, Throttled
from bulkload.pace import Constraint, Pauses

# So much is asked for ahead that no connection is idle while the next lease is on its way: what leaves in this time, in
# seconds.
AHEAD = 0.04

# Where nothing is leased, and only this part is still in flight of what was when it was told last, it is told soon.
IDLE = 0.5

# How soon things are told, in seconds: a report costs both sides some 50 us, as much as three records. What may slow
# all others down is told at once; leases are made no more often than what is soon.
AT_ONCE = 0.0
SOON = 0.002
BY_AND_BY = 0.02

# What leaves is counted over so many seconds.
COUNTED_OVER = 0.05


class LeasedPace:
    """When the next request may leave: when it was leased, and while less are in flight than the leases' limit allows.

    The coordinator has to hear of `events`, and of so many requests that were leased and did not leave, `given_back`:
    `tell` is called when there is any of it, with how soon. `constraint` is what keeps the next request back, None
    where that is the lease.
    """

    def __init__(self, *, is_capped: bool, now: float, tell: Callable[[float], None]) -> None:
        self.wait = math.inf
        self.events: list[Event] = []
        self.given_back = 0
        self.constraint: Constraint | None = None
        # The first request leaves alone.
        self._limit = 1
        self._tell = tell
        self._leases: deque[_Leased] = deque()
        self._received = 0
        self._in_flight = 0
        # In flight when it was told last.
        self._level = 0
        self._is_capped = is_capped
        self._left = 0
        self._left_since = now
        self._rate = 0.0
        # When the leases were made by which requests left that are in flight, by the time at which they left.
        self._made_at: dict[float, list[float]] = {}
        self._now = now

    def __repr__(self) -> str:
        return f"<LeasedPace, {self.in_hand} leased, {self._in_flight} of {self._limit} in flight>"

    @property
    def in_hand(self) -> int:
        """Requests that were leased and have not left."""
        return sum(lease.number for lease in self._leases)

    def asks(self, ready: int, now: float) -> int:
        """All requests that were ever leased, and as many more as could leave soon of those that are ready."""
        seconds = now - self._left_since
        if seconds >= COUNTED_OVER:
            self._rate, self._left, self._left_since = self._left / seconds, 0, now
        # Under a cap what is asked for ahead would leave later than it was let.
        ahead = 0 if self._is_capped else int(self._rate * AHEAD)
        wanted = min(ready, max(0, self._limit - self._in_flight) + ahead)
        self._level = self._in_flight
        return self._received + max(0, wanted - self.in_hand)

    def take(self, lease: Lease, now: float) -> None:
        """So many more may leave."""
        self._limit = lease.limit
        self._received += lease.number
        if lease.number:
            self._leases.append(_Leased(lease.at, lease.number, lease.at + lease.lasts))
        self._let_lapse(now)

    def recall(self) -> None:
        """Give back what has not left."""
        if self._leases:
            self.given_back += self.in_hand
            self._leases.clear()
            self._tell(BY_AND_BY)

    def _let_lapse(self, now: float) -> None:
        while self._leases and self._leases[0].until < now:
            self.given_back += self._leases.popleft().number
            self._tell(BY_AND_BY)

    # What the upload asks and tells.

    def room(self, now: float) -> int:
        self._now = now
        self._let_lapse(now)
        if self._in_flight >= self._limit:
            self.constraint = "in flight"
            return 0
        if not self._leases:
            self.constraint = None
            if self._in_flight <= self._level * IDLE:
                # Much was answered since the coordinator heard of it last.
                self._tell(SOON)
            return 0
        return min(self._limit - self._in_flight, self._leases[0].number)

    def leave(self, number: int = 1) -> None:
        lease = self._leases[0]
        lease.number -= number
        if not lease.number:
            self._leases.popleft()
        self._in_flight += number
        self._left += number
        self._level = max(self._level, self._in_flight)
        # Of two leases whose requests left at once the first one counts.
        made_at = self._made_at.setdefault(self._now, [lease.at, 0])
        made_at[1] += number

    def idle(self, now: float, *, is_resting: bool) -> None:  # noqa: ARG002
        self.constraint = "rests" if is_resting else "nothing to send"
        # Others may use them.
        self.recall()

    def taken(self, left: float, now: float, number: int = 1) -> None:
        at, latency = self._ended(left, number), now - left
        last = self.events[-1] if self.events else None
        if type(last) is Taken and last.at == at:
            last.latency += (latency - last.latency) * number / (last.number + number)
            last.number += number
        else:
            self.events.append(Taken(at, number, latency))
            self._tell(BY_AND_BY)

    def throttled(self, left: float, now: float, retry_after: float | None = None, *, is_its_own: bool = False) -> None:  # noqa: ARG002
        self.events.append(Throttled(self._ended(left), retry_after, is_its_own))
        if is_its_own:
            self._tell(BY_AND_BY)
        else:
            self._tell(AT_ONCE)
            # They would be refused as well.
            self.recall()

    def failed(self, left: float, now: float, retry_after: float | None = None) -> None:  # noqa: ARG002
        self.events.append(Failed(self._ended(left), retry_after))
        self._tell(BY_AND_BY)

    def block(self, now: float, pauses: Pauses) -> None:  # noqa: ARG002
        self.events.append(Blocked(*pauses))
        self._tell(AT_ONCE)
        self.recall()

    def _ended(self, left: float, number: int = 1) -> float:
        """So many requests that left then have ended; returns when their lease was made."""
        self._in_flight -= number
        made_at = self._made_at[left]
        made_at[1] -= number
        if not made_at[1]:
            del self._made_at[left]
        return made_at[0]


class _Leased:
    """What is left of a lease."""

    __slots__ = ("at", "number", "until")

    def __init__(self, at: float, number: int, until: float) -> None:
        self.at = at
        self.number = number
        self.until = until
