"""Things to do one after the other, some of which have to be done again later."""

import asyncio
import heapq
from collections.abc import AsyncGenerator
from itertools import count
from typing import Generic, TypeVar

T = TypeVar("T")

# While so many wait for their time, no new one is taken: memory stays what it is however many there are.
MOST_WAITING = 10_000


class Revisiting(Generic[T]):
    """Gives things to several workers: new ones from `things`, and those that were put off, when their time has come.

    A worker calls `next`, and then either `put_off` or `done` for what it got.
    """

    def __init__(self, things: AsyncGenerator[T, None], *, most_waiting: int = MOST_WAITING) -> None:
        self._things = things
        self._most_waiting = most_waiting
        self._waiting: list[tuple[float, int, T]] = []
        self._numbers = count()
        self._in_work = 0
        self._is_exhausted = False
        self._lock = asyncio.Lock()
        self._changed = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Revisiting: {self._in_work} in work, {len(self._waiting)} put off>"

    @property
    def waiting(self) -> int:
        """How many were put off."""
        return len(self._waiting)

    async def next(self) -> T | None:
        """What is to be done now, as soon as there is something; None when everything is done."""
        async with self._lock:
            while True:
                self._changed.clear()
                delay = self._waiting[0][0] - asyncio.get_running_loop().time() if self._waiting else None
                if delay is not None and delay <= 0:
                    self._in_work += 1
                    return heapq.heappop(self._waiting)[2]
                if not self._is_exhausted and len(self._waiting) < self._most_waiting:
                    async for thing in self._things:
                        self._in_work += 1
                        return thing
                    self._is_exhausted = True
                elif not self._in_work and not self._waiting:
                    return None
                else:
                    await self._change(delay)

    async def _change(self, delay: float | None) -> None:
        """Wait until a worker has come to something, or until the first of those put off has its time."""
        try:
            async with asyncio.timeout(delay):
                await self._changed.wait()
        except TimeoutError:
            return

    def put_off(self, thing: T, seconds: float) -> None:
        """Give it again after this time."""
        self._in_work -= 1
        at = asyncio.get_running_loop().time() + seconds
        heapq.heappush(self._waiting, (at, next(self._numbers), thing))
        self._changed.set()

    def done(self) -> None:
        """What was given needs no further visit."""
        self._in_work -= 1
        self._changed.set()
