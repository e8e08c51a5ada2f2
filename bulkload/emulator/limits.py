"""How many requests a hub takes: the limits that it may have, in seconds since its first request."""

import math
import re
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple, Protocol

from bulkload.errors import InputError

NUMBER = r"(?:\d+(?:\.\d*)?|\.\d+)"
_RATE = re.compile(rf"({NUMBER})(?::({NUMBER})(%?))?")
_WINDOW = re.compile(rf"(\d+)/({NUMBER})(ms|s|m|h)?")
_PAIR = re.compile(rf"({NUMBER}):({NUMBER})")
_UNITS = {"ms": 0.001, None: 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


class Limit(Protocol):
    """Decides of one request after the other; `now` never goes back. Its text tells a person how much it takes."""

    def takes(self, now: float) -> bool: ...


class Step(NamedTuple):
    """From `second` on, `rate` requests per second."""

    second: float
    rate: float


class Burst(NamedTuple):
    """What a bucket holds: a number of requests, or a part of those of one second."""

    requests: float | None = None
    part: float = 1.0

    def size(self, rate: float) -> float:
        # At least one, or nothing would ever be taken.
        return max(1.0, rate * self.part if self.requests is None else self.requests)


class TokenBucket:
    """Takes requests at a rate, and as many at once as have been saved up; it is full at the start.

    `steps` are in the order of their seconds, from 0 on.
    """

    def __init__(self, steps: Sequence[Step], burst: Burst) -> None:
        self._steps = steps
        self._burst = burst
        self._now = 0.0
        self._tokens = burst.size(steps[0].rate)

    def __repr__(self) -> str:
        return f"<TokenBucket {self._tokens:.1f} of {self._steps}>"

    def __str__(self) -> str:
        first, *later = self._steps
        begin = f"{first.rate:,g} requests a second, {self._burst.size(first.rate):,g} at once"
        return "; ".join((begin, *(f"{step.rate:,g} from second {step.second:g} on" for step in later)))

    def takes(self, now: float) -> bool:
        self._fill(now)
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def _fill(self, now: float) -> None:
        while self._now < now:
            at = bisect_right(self._steps, self._now, key=lambda step: step.second) - 1
            rate = self._steps[at].rate
            end = self._steps[at + 1].second if at + 1 < len(self._steps) else math.inf
            until = min(now, end)
            self._tokens = min(self._burst.size(rate), self._tokens + rate * (until - self._now))
            self._now = until


class FixedWindow:
    """Takes so many requests in each window of so many seconds, the first of which begins with the first request."""

    def __init__(self, requests: int, seconds: float) -> None:
        self._requests = requests
        self._seconds = seconds
        self._window = 0
        self._taken = 0

    def __repr__(self) -> str:
        return f"<FixedWindow {self._taken} of {self._requests}>"

    def __str__(self) -> str:
        return f"{self._requests:,} requests in each {self._seconds:g} s"

    def takes(self, now: float) -> bool:
        window = int(now // self._seconds)
        if window != self._window:
            self._window, self._taken = window, 0
        if self._taken >= self._requests:
            return False
        self._taken += 1
        return True


def token_bucket(text: str) -> TokenBucket:
    """Read ``RATE[:BURST]``, the burst in requests or percent of the rate; raises `InputError`."""
    match = _RATE.fullmatch(text)
    rate = float(match[1]) if match else 0.0
    if match is None or not 0 < rate < math.inf or (match[2] is not None and not float(match[2])):
        raise InputError(f"--throttle {text} is no rate; write requests a second and a burst, such as 500:50 or 500:5%")
    if match[2] is None:
        burst = Burst()
    elif match[3]:
        burst = Burst(part=float(match[2]) / 100)
    else:
        burst = Burst(requests=float(match[2]))
    return TokenBucket([Step(0, rate)], burst)


def fixed_window(text: str) -> FixedWindow:
    """Read ``N/60s``; raises `InputError`."""
    match = _WINDOW.fullmatch(text)
    if match is None or not int(match[1]) or not float(match[2]):
        raise InputError(f"--throttle-window {text} is no window; write requests and a time, such as 3000/60s")
    return FixedWindow(int(match[1]), float(match[2]) * _UNITS[match[3]])


def schedule(text: str) -> TokenBucket:
    """Read ``0:1000,40:300``, seconds and rates; raises `InputError`."""
    steps = [Step(*pair) for pair in pairs(text)]
    is_in_order = all(earlier.second < later.second for earlier, later in pairwise(steps))
    if not steps or not is_in_order or steps[0].second != 0 or not all(step.rate for step in steps):
        raise InputError(
            f"--throttle-schedule {text} is none; write seconds from 0 on with their rates, such as 0:1000,40:300"
        )
    return TokenBucket(steps, Burst())


def pairs(text: str) -> list[tuple[float, float]]:
    """Read ``0:1000,40:300``; nothing where it is something else."""
    matches = [_PAIR.fullmatch(part.strip()) for part in text.split(",")]
    return [] if None in matches else [(float(match[1]), float(match[2])) for match in matches if match is not None]
