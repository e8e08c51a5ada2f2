"""Requests over aiohttp, each in a task of its own."""

import asyncio
from abc import ABC, abstractmethod
from typing import Any, Generic, TypeVar

from bulkload.hub import Hub
from bulkload.record import Carried
from bulkload.wire import Answer, Sender

C = TypeVar("C", bound=Carried)


class TaskTransport(ABC, Generic[C]):
    """A transport whose subclasses say by `_request` what they ask their connections; `options` are those of these."""

    name = "aiohttp"

    def __init__(self, hub: Hub, **options: Any) -> None:
        # 0.1 s of a start, for the runs that need it: most loads do not.
        from bulkload.client.connections import Connections  # noqa: PLC0415

        self._connections = Connections(hub, **options)
        self._tasks: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}, {len(self._tasks)} requests on their way>"

    @abstractmethod
    async def _request(self, carried: C, token: str) -> Answer:
        """What a request came to."""

    def send(self, carried: C, token: str, sender: Sender[C]) -> None:
        task = asyncio.create_task(self._carry(carried, token, sender))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, carried: C, token: str, sender: Sender[C]) -> None:
        try:
            answer = await self._request(carried, token)
        except Exception as exc:  # noqa: BLE001 - a bug, which the sender has to hear of
            sender.broke(exc)
        else:
            sender.answered(carried, answer)

    def abandon(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def close(self) -> None:
        self.abandon()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._connections.close()
