"""A hub that answers by a script, over aioresponses and under virtual time."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from inspect import signature
from types import SimpleNamespace
from typing import Any, TypeVar
from unittest.mock import patch

import aiohttp
from aioresponses import CallbackResult, aioresponses
from yarl import URL

import bulkload
from tests.virtual_time import run_virtually

T = TypeVar("T")
Asking = Callable[[bulkload.Client], Awaitable[T]]

# On this machine, since its key is then sent without TLS, which takes 20 ms to prepare.
HUB = bulkload.Hub("127.0.0.1:9", "devices", "policy", "a key", scheme="http")


@dataclass(frozen=True, slots=True)
class Reply:
    """What a scripted hub answers, or what the network raises instead; it takes so many seconds."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    raises: Exception | None = None
    takes: float = 0.0


@dataclass(frozen=True, slots=True)
class Seen:
    """A request, and when it came."""

    at: float
    method: str
    url: URL
    headers: dict[str, str]
    body: bytes


def error(status: int, detail: str, **headers: str) -> Reply:
    """A refusal in the service's form."""
    body = f"<Error><Code>{status}</Code><Detail>{detail}.TrackingId:t-1_G3,TimeStamp:1/1/2031</Detail></Error>"
    return Reply(status, body.encode(), {name.replace("_", "-"): value for name, value in headers.items()})


class Script:
    """A hub that gives one reply after the other, the last again and again, under virtual time."""

    def __init__(self, *replies: Reply | bytes) -> None:
        self._replies = [Reply(body=reply) if isinstance(reply, bytes) else reply for reply in replies]
        self.seen: list[Seen] = []

    def __repr__(self) -> str:
        return f"<Script {len(self.seen)} requests seen>"

    def ask(self, ask: Asking[T], **settings: Any) -> T:
        """What comes of asking this hub by a client of its own."""
        return run_virtually(self.asked(ask, settings))

    async def asked(self, ask: Asking[T], settings: dict[str, Any]) -> T:
        """The same within a loop under virtual time that runs already."""
        with patch("bulkload.client.client.time", _LoopTime), aioresponses() as mocked:
            for method in ("GET", "POST", "PUT", "DELETE"):
                mocked.add(re.compile(re.escape(HUB.url)), method, callback=self._answerer(method), repeat=True)
            async with asyncio.timeout(3600), HUB.client(**settings) as client:
                return await ask(client)

    def _answerer(self, method: str) -> Callable[..., Awaitable[CallbackResult]]:
        async def answer(url: URL, *, headers: dict[str, str], data: bytes, **_: Any) -> CallbackResult:
            at = asyncio.get_running_loop().time()
            self.seen.append(Seen(at, method, url, headers, data))
            assert len(self.seen) < 3000, "it would ask for ever"
            reply = self._replies[min(len(self.seen), len(self._replies)) - 1]
            await asyncio.sleep(reply.takes)
            if reply.raises is not None:
                raise reply.raises
            return CallbackResult(status=reply.status, body=reply.body, headers=reply.headers, response_class=_Response)

        return answer

    @property
    def times(self) -> list[float]:
        return [seen.at for seen in self.seen]


class _Response(aiohttp.ClientResponse):
    """One that is made without the writer of its request: aioresponses has none, and newer aiohttp wants one."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if "stream_writer" in signature(aiohttp.ClientResponse.__init__).parameters:
            kwargs["stream_writer"] = SimpleNamespace(output_size=0)
        super().__init__(*args, **kwargs)


class _LoopTime:
    """The clock of the loop that runs, in the place of the module `time`."""

    @staticmethod
    def monotonic() -> float:
        return asyncio.get_running_loop().time()
