"""The hard cap: no more requests than this leave in any one second."""

import asyncio

from aiolimiter import AsyncLimiter

# The part of the cap that may leave at once, so that a loop that wakes late by that much of a second loses nothing.
BURST = 0.02


class Cap:
    """A bucket of which no more than `rate` requests leave in any one second.

    Whatever the bucket holds can leave at once on top of what leaks within the second, so the two together are the cap.
    A bucket of one request spaces them evenly: a second then holds one more than leaks in it. Where each may leave up
    to `lateness` seconds after it was let, a second holds what leaks in so much more than one.
    """

    def __init__(self, rate: float, *, lateness: float = 0.0) -> None:
        burst = max(1.0, rate * BURST)
        if rate < 1:
            leak = rate
        elif burst > 1:
            leak = rate - burst
        else:
            leak = int(rate) * (1 - BURST)
        leak /= 1 + lateness
        self.rate = rate
        self._limiter = AsyncLimiter(burst, burst / leak)
        self._holds_one = burst == 1
        self._gap = 1 / leak
        self._left_at = 0.0

    def __repr__(self) -> str:
        return f"<Cap {self.rate:g}/s>"

    def delay(self) -> float:
        """Seconds after which to look again, 0 where a request may leave."""
        if self._limiter.has_capacity():
            return 0.0
        # A larger bucket than of one request does not tell when it has room.
        quarter = self._gap / 4
        if not self._holds_one:
            return quarter
        left = self._left_at + self._gap - asyncio.get_running_loop().time()
        return left if left > 0 else quarter

    def leave(self) -> None:
        """A request leaves, right after `delay` said so."""
        try:
            # Where there is room, it is taken without waiting.
            self._left_at = asyncio.get_running_loop().time()
            self._limiter.acquire().send(None)
        except StopIteration:
            return
        raise AssertionError("a request left that had to wait")
