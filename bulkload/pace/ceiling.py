"""What the refusals of a hub tell of its ceiling.

A hub that refuses has nothing to spare: what it takes between two refusals is what its ceiling allows. A request is
known by when it left, since the hub decides about requests in that order, however their answers overtake each other.
All times are seconds of one clock.
"""

from typing import NamedTuple

# Takings are counted by the millisecond in which their requests left, for as long as an episode may last.
PER_SECOND = 1000
KEPT = 5.0

# So many takings make an estimate; so many, over so long, make one that can be relied on.
SAMPLES = 20
CERTAIN_SAMPLES = 100
CERTAIN_SECONDS = 0.3

# When this part of an episode is refused, the ceiling has fallen far below all that was known; or the hub stood still
# for a moment, and then all came at once. To this part of what it was, it is not believed for long.
FALLEN = 0.3
FALLEN_TO = 0.8

# A hub saves up what it is not asked for, up to an unknown bound. After more than this, in seconds of the ceiling or
# in requests, some of it may be lost, and an estimate across it would be too low.
UNUSED_SECONDS = 0.03
UNUSED_REQUESTS = 2.0

# A ceiling that is refused at once is taken for this much lower.
LOWER = 0.97

# How many points of the way between two refusals are kept.
POINTS = 2000


class Anchor(NamedTuple):
    """A moment at which the hub had nothing to spare: when a refused request left, and what was taken before it."""

    at: float
    taken: int


class Takings:
    """How many requests the hub took, by when they left."""

    def __init__(self) -> None:
        self.total = 0
        self._by_time: dict[int, int] = {}

    def __repr__(self) -> str:
        return f"<Takings {self.total}>"

    def add(self, left: float, number: int = 1) -> None:
        self.total += number
        key = int(left * PER_SECOND)
        self._by_time[key] = self._by_time.get(key, 0) + number

    def before(self, left: float) -> int:
        """How many were taken of those that left until then, a time of the last seconds."""
        key = int(left * PER_SECOND)
        return self.total - sum(number for other, number in self._by_time.items() if other > key)

    def forget(self, now: float) -> None:
        """Let go of times that nobody asks for any more."""
        if len(self._by_time) > 2 * KEPT * PER_SECOND:
            first = int((now - KEPT) * PER_SECOND)
            self._by_time = {key: number for key, number in self._by_time.items() if key > first}


class Episode:
    """A time of refusals.

    `first` and `last` are when the first and the last refused request left, `began` is when the first refusal came, and
    `waiting` how many of the requests that left before that are not answered.
    """

    __slots__ = ("began", "first", "has_taken", "last", "refused", "retry_after", "waiting")

    def __init__(self, left: float, now: float, waiting: int) -> None:
        self.began = now
        self.first = self.last = left
        self.refused = 0
        self.waiting = waiting
        self.has_taken = False
        self.retry_after: float | None = None

    def __repr__(self) -> str:
        return f"<Episode: {self.refused} refused, {self.waiting} not answered>"

    def refuse(self, left: float, retry_after: float | None) -> None:
        """One more refusal."""
        self.refused += 1
        self.first = min(self.first, left)
        self.last = max(self.last, left)
        self.retry_after = retry_after if self.retry_after is None else max(self.retry_after, retry_after or 0.0)

    def take(self, left: float) -> None:
        """The hub took a request meanwhile."""
        self.has_taken = self.has_taken or left > self.first


class Ceiling:
    """The estimate: `rate` in requests per second, None where nothing is known; `is_sure` where it is exact.

    `fallen` is the one before, where this is far below it; `outgrown` the last one that the hub took more than.
    """

    def __init__(self) -> None:
        self.rate: float | None = None
        self.is_sure = False
        self.fallen: float | None = None
        self.outgrown: float | None = None
        self._anchor: Anchor | None = None
        self._way: list[Anchor] = []

    def __repr__(self) -> str:
        return f"<Ceiling {self.rate:.1f}/s{'' if self.is_sure else '?'}>" if self.rate else "<Ceiling unknown>"

    def pass_by(self, at: float, taken: int) -> None:
        """Note what had been taken of the requests that left until then."""
        if self._anchor is not None and at > self._anchor.at:
            self._way.append(Anchor(at, taken))
            if len(self._way) > POINTS:
                del self._way[::2]

    def excess(self, at: float, taken: int) -> float:
        """How many requests the hub took above its ceiling since it had nothing to spare."""
        if self._anchor is None or self.rate is None:
            return 0.0
        return taken - self._anchor.taken - self.rate * (at - self._anchor.at)

    def doubt(self) -> None:
        """The hub takes nothing: what was known does not hold on."""
        self._anchor = None
        self.is_sure = False

    def outgrow(self) -> None:
        """The hub takes more: its ceiling is another one, or still the one from which it seemed to have fallen."""
        self.doubt()
        self.outgrown = self.rate
        self.rate, self.fallen = self.fallen, None

    def conclude(self, episode: Episode, takings: Takings, rate: float) -> None:
        """Estimate anew after an episode into which requests were sent at `rate`."""
        first = Anchor(episode.first, takings.before(episode.first))
        last = Anchor(episode.last, takings.before(episode.last))
        inside = last.taken - first.taken
        within = _slope(first, last)
        has_fallen = within is not None and episode.refused > FALLEN * (episode.refused + inside)
        self.fallen = None
        between = None if self._anchor is None else _slope(self._anchor, first)
        is_exact = between is not None and self._is_used_up(between)
        is_certain = False
        if within is not None and (has_fallen or not is_exact):
            if has_fallen and self.rate is not None and within < FALLEN_TO * self.rate:
                self.fallen = self.rate
            self.rate = within
        elif between is not None and is_exact:
            assert self._anchor is not None
            is_certain = (
                first.taken - self._anchor.taken >= CERTAIN_SAMPLES and first.at - self._anchor.at >= CERTAIN_SECONDS
            )
            self.rate = between
        elif between is not None:
            # What was lost meanwhile is not known: the ceiling is above what was taken, and below what was refused.
            if self.rate is None or not between <= self.rate <= rate:
                self.rate = (between + max(rate, between)) / 2
        elif self.rate is not None:
            self.rate = min(self.rate, rate) * LOWER
        self.is_sure = is_certain
        if self._anchor is None or has_fallen or is_certain or (between is not None and not is_exact):
            self._anchor = last
            self._way.clear()

    def _is_used_up(self, rate: float) -> bool:
        """Whether nothing of a ceiling can have been lost since the anchor."""
        assert self._anchor is not None
        at, taken = self._anchor
        least = -max(UNUSED_SECONDS * rate, UNUSED_REQUESTS)
        return all(point.taken - taken - rate * (point.at - at) > least for point in self._way)


def _slope(one: Anchor, other: Anchor) -> float | None:
    """Takings per second between two moments; None where they are too few to tell."""
    taken = other.taken - one.taken
    return taken / (other.at - one.at) if taken >= SAMPLES and other.at > one.at else None
