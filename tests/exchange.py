"""One request at a time over a transport, as a coroutine."""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

from bulkload.client import AiohttpTransport
from bulkload.record import Carried
from bulkload.wire import Answer, Transport, WireTransport

C = TypeVar("C", bound=Carried)

TRANSPORTS: dict[str, Callable[..., AiohttpTransport | WireTransport]] = {
    "wire": WireTransport,
    "aiohttp": AiohttpTransport,
}


class _Waiting(Generic[C]):
    """A sender of one request; fails when it is told twice, or of another."""

    def __init__(self, carried: C) -> None:
        self._carried = carried
        self.told: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    def answered(self, carried: C, answer: Answer) -> None:
        assert carried is self._carried
        self.told.set_result(answer)

    def broke(self, failure: Exception) -> None:
        self.told.set_exception(failure)


def exchange(transport: Transport[C], carried: C, token: str) -> asyncio.Future[Answer]:
    """Send a request; what it comes to."""
    waiting = _Waiting(carried)
    transport.send(carried, token, waiting)
    assert not waiting.told.done(), "a sender is told after it has sent"
    return waiting.told
