"""Reading the registrations of many channels at once."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from typing import Any, Protocol

from bulkload.client import Client
from bulkload.errors import CallFailed, as_one_failure
from bulkload.migrate.handles import Handles, Unusable
from bulkload.registration import Handle, Registration


class Taker(Protocol):
    """Takes what is read."""

    def is_wanted(self, handle: Handle) -> bool:
        """Whether a channel is to be read at all."""

    async def take(self, registrations: list[Registration]) -> None:
        """All registrations of one channel."""

    def done(self, handle: Handle) -> None:
        """A channel's registrations were taken."""

    def failed(self, reason: str) -> None:
        """A channel could not be read."""


async def read_channels(client: Client, handles: Handles, taker: Taker, *, workers: int, top: int) -> None:
    """Read all registrations of the devices that bear these handles, so many at a time; raises `Halt`."""

    async def read() -> None:
        while (handle := await handles.next()) is not None:
            if isinstance(handle, Unusable):
                taker.failed(f"{handle.place}: {handle.reason}")
                continue
            if not taker.is_wanted(handle):
                continue
            # A part of a channel's registrations would be taken for all that its device has.
            found: list[Registration] = []
            try:
                async with aclosing(client.pages_of(handle, top=top)) as pages:
                    async for page in pages:
                        found += page.registrations
            except CallFailed as exc:
                taker.failed(str(exc))
                continue
            await taker.take(found)
            taker.done(handle)

    try:
        await side_by_side(read, workers)
    finally:
        await handles.close()


async def side_by_side(work: Callable[[], Coroutine[Any, Any, None]], workers: int) -> None:
    """Do the same in so many tasks; the first of them that fails ends all, and its exception is raised."""
    with as_one_failure():
        async with asyncio.TaskGroup() as tasks:
            for _ in range(workers):
                tasks.create_task(work())
