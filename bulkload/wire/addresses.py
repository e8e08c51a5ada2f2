"""Where a hub's name leads to."""

import asyncio
import socket
import time
from collections.abc import Sequence

import aiohappyeyeballs
from aiohappyeyeballs import AddrInfoType

# A name that leads elsewhere is followed this soon, in seconds.
REFRESH = 30.0

# An address that does not answer for so long is tried beside the next one.
HEAD_START = 0.25


class Addresses:
    """The addresses of a host, looked up again from time to time."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._found: Sequence[AddrInfoType] = []
        self._found_at = 0.0
        self._lookup: asyncio.Task[Sequence[AddrInfoType]] | None = None

    def __repr__(self) -> str:
        return f"<Addresses of {self._host}: {len(self._found)}>"

    async def connected(self) -> socket.socket:
        """A socket that is connected to the first of them that answers; raises `OSError`."""
        loop = asyncio.get_running_loop()
        return await aiohappyeyeballs.start_connection(
            await self._current(), happy_eyeballs_delay=HEAD_START, interleave=1, loop=loop
        )

    async def close(self) -> None:
        """Ask no further."""
        if self._lookup is not None:
            self._lookup.cancel()
            await asyncio.wait([self._lookup])

    async def _current(self) -> Sequence[AddrInfoType]:
        is_old = time.monotonic() - self._found_at > REFRESH
        if self._lookup is None and (is_old or not self._found):
            # Many connections that open at once ask once.
            self._lookup = asyncio.create_task(self._look_up())
            self._lookup.add_done_callback(self._take)
        if not self._found:
            assert self._lookup is not None
            # What it found itself: it may be over, and `_take` have its turn after this.
            return await asyncio.shield(self._lookup)
        # A name server that fails or hangs for a while takes nothing away.
        return self._found

    async def _look_up(self) -> Sequence[AddrInfoType]:
        loop = asyncio.get_running_loop()
        return await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)

    def _take(self, lookup: asyncio.Task[Sequence[AddrInfoType]]) -> None:
        self._lookup = None
        if not lookup.cancelled() and lookup.exception() is None:
            self._found = lookup.result()
            self._found_at = time.monotonic()
