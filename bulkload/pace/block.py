"""The way through a time in which the hub takes nothing: pauses, probes, and what to expect of the next one."""

from typing import NamedTuple

# The pause before the next probe is at least this part of the time for which the last block would still last, and no
# longer than so many seconds for that.
EXPECTED_PART = 0.5
LONGEST_EXPECTED = 10.0

# A hub that closes after so many requests or more may count them in windows: the next one is used up gently, so that
# what is left is spread over so many seconds.
WINDOW = 100
LANDING = 0.15

# So close to its end a single refusal closes a window; so far beyond it there was none.
AT_ITS_END = 2
BEYOND = -2


class Pauses(NamedTuple):
    """How long to wait before the first probe and before each further one, in seconds; and whether it is a throttle."""

    first: float
    longest: float
    growth: float = 1.5
    are_throttled: bool = False


# The hub throttles all that comes.
OF_THROTTLE = Pauses(0.25, 1.0, are_throttled=True)

# It does not answer any more: no more than one probe a second.
OF_OUTAGE = Pauses(1.0, 30.0)

# It answers, and fails most of what it is asked.
OF_FAILURE = Pauses(1.0, 1.0)

# It was never reached: that is told within a few seconds.
TO_REACH = Pauses(0.5, 1.5, 2.0)


class Block:
    """A time in which one request goes after the other, each after a pause."""

    def __init__(self, now: float, pauses: Pauses, expected: float | None = None) -> None:
        self.began = now
        self.pauses = pauses
        self._pause = pauses.first
        self._expected = expected
        self.probe_at = now

    def __repr__(self) -> str:
        return f"<Block since {self.began:.1f}, probe at {self.probe_at:.1f}>"

    def wait(self, now: float, retry_after: float | None = None) -> None:
        """The next probe leaves after a pause, longer than the last one, and not before the hub asked for it."""
        pause = self._pause
        if self._expected is not None:
            expected = (self.began + self._expected - now) * EXPECTED_PART
            pause = max(pause, min(expected, LONGEST_EXPECTED))
        self.probe_at = now + max(pause, retry_after or 0.0)
        self._pause = min(self._pause * self.pauses.growth, self.pauses.longest)


class Opening:
    """The time between two blocks: when it began, and with how many requests taken before; what the last one took."""

    def __init__(self, now: float, taken: int, last: int | None = None) -> None:
        self.began = now
        self._before = taken
        self._last = last if last is not None and last >= WINDOW else None

    def __repr__(self) -> str:
        return f"<Opening after {self._before} taken, of {self._last}>"

    @property
    def is_counted(self) -> bool:
        """Whether it may end after as many as the last one took."""
        return self._last is not None

    def took(self, taken: int) -> int:
        """How many were taken since it began."""
        return taken - self._before

    def rate(self, now: float, taken: int) -> float:
        """Requests per second that it took."""
        return self.took(taken) / max(now - self.began, LANDING)

    def is_ending(self, taken: int) -> bool:
        """Whether it closes about now if it is like the last one."""
        return self._last is not None and BEYOND < self._last - self.took(taken) <= AT_ITS_END

    def most(self, taken: int, in_flight: int) -> float | None:
        """The rate at which to use up what is left, None where nothing is known of that."""
        if self._last is None or (left := self._last - self.took(taken)) <= BEYOND:
            return None
        return max(1.0, left - in_flight) / LANDING
