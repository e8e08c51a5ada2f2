"""The cap on requests a second, and the hold of a throttle."""

import asyncio
from collections.abc import Awaitable, Callable

from aiolimiter import AsyncLimiter

Sleep = Callable[[float], Awaitable[None]]

# The part of the cap that may leave at once, so that a loop that wakes late by that much of a second loses nothing.
BURST = 0.02

# A throttle that names no time holds everyone this long, doubled each time until something is accepted.
FIRST_HOLD = 0.25
LONGEST_HOLD = 30.0


def limiter(cap: float) -> AsyncLimiter:
    """A bucket of which no more than `cap` requests leave in any one second.

    Whatever the bucket holds can leave at once on top of what leaks within the second, so the two together are the cap.
    A bucket of one request spaces them evenly: a second then holds one more than leaks in it.
    """
    burst = max(1.0, cap * BURST)
    if cap < 1:
        leak = cap
    elif burst > 1:
        leak = cap - burst
    else:
        leak = int(cap) * (1 - BURST)
    return AsyncLimiter(burst, burst / leak)


class Pacer:
    """One for a namespace, shared by all who send: the cap on requests a second, and the throttle's hold."""

    def __init__(self, cap: float | None = None, *, clock: Callable[[], float], sleep: Sleep = asyncio.sleep) -> None:
        self.cap = cap
        self._limiter = limiter(cap) if cap else None
        self._clock = clock
        self._sleep = sleep
        self._held_until = 0.0
        self._next_hold = FIRST_HOLD

    def __repr__(self) -> str:
        cap = f"{self.cap:g}/s" if self.cap else "uncapped"
        held = self._held_until - self._clock()
        return f"<Pacer {cap}, held {held:.1f}s>" if held > 0 else f"<Pacer {cap}>"

    @property
    def is_free(self) -> bool:
        """Whether a request may leave without waiting or counting."""
        return self._limiter is None and self._clock() >= self._held_until

    async def turn(self) -> None:
        """Wait until one request may leave."""
        while True:
            while (held := self._held_until - self._clock()) > 0:
                await self._sleep(held)
            if self._limiter is not None:
                await self._limiter.acquire()
            # A hold that began meanwhile costs this turn: turns saved up in it would leave in one burst after it.
            if self._clock() >= self._held_until:
                return

    def hold(self, seconds: float | None) -> None:
        """The hub throttles: nobody sends for `seconds`, or for a growing while where it names none."""
        now = self._clock()
        if not seconds:
            if now < self._held_until:
                return
            seconds = self._next_hold
            self._next_hold = min(seconds * 2, LONGEST_HOLD)
        self._held_until = max(self._held_until, now + seconds)

    def accepted(self) -> None:
        """The hub accepted a request: its next throttle is a new one."""
        self._next_hold = FIRST_HOLD
