"""A server that reads requests and answers 200 to each: ``python -m benchmarks.sink``, told by a line of JSON.

It stands in where nginx is missing or is to take its time, and does as little as can be done in Python.
"""

import asyncio
import json
import re
import resource
import ssl
import sys
import time
from collections import deque
from typing import cast

import uvloop

_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)

# Connections that ask together, and are not refused.
_BACKLOG = 4096

_ANSWER = b"HTTP/1.1 200 OK\r\nServer: sink\r\nContent-Length: 0\r\n\r\n"


# uvloop's timers go by whole milliseconds: an answer leaves in the one that is nearest, on average neither early nor
# late.
_TIMELY = 0.0005


class Delay:
    """Answers that wait for their time; it is the same for all, so that they leave as they came."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._waiting: deque[tuple[float, asyncio.Transport, int]] = deque()
        self._loop = asyncio.get_running_loop()

    def __repr__(self) -> str:
        return f"<Delay of {self._seconds} s, {len(self._waiting)} wait>"

    def answer(self, transport: asyncio.Transport, number: int) -> None:
        """Answer so many requests of a connection when their time has come."""
        self._waiting.append((time.monotonic() + self._seconds, transport, number))
        if len(self._waiting) == 1:
            self._loop.call_later(self._seconds, self._leave)

    def _leave(self) -> None:
        now = time.monotonic() + _TIMELY
        while self._waiting and self._waiting[0][0] <= now:
            _, transport, number = self._waiting.popleft()
            if not transport.is_closing():
                transport.write(_ANSWER * number)
        if self._waiting:
            self._loop.call_later(self._waiting[0][0] - time.monotonic(), self._leave)


class Sink(asyncio.Protocol):
    """One connection: counts whole requests off what arrives, answers as many, at once or after a delay."""

    def __init__(self, delay: Delay | None = None) -> None:
        self._delay = delay
        self._left = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no heirs of asyncio's.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        data = self._left + data
        answers = begin = 0
        while (head := data.find(_END, begin)) >= 0:
            length = _LENGTH.search(data, begin, head)
            end = head + len(_END) + (int(length[1]) if length else 0)
            if end > len(data):
                break
            answers += 1
            begin = end
        self._left = data[begin:]
        if not answers:
            return
        if self._delay is None:
            self._transport.write(_ANSWER * answers)
        else:
            self._delay.answer(self._transport, answers)


async def main(ports: dict[str, int], certificate: str, key: str, delay: float) -> None:
    """Serve plain HTTP and TLS until the process is ended; `delay` is in seconds."""
    # Thousands of connections are more files than most systems allow at first.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    late = Delay(delay) if delay else None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(certificate, key)
    loop = asyncio.get_running_loop()
    plain = await loop.create_server(lambda: Sink(late), "127.0.0.1", ports["plain"], backlog=_BACKLOG)
    tls = await loop.create_server(lambda: Sink(late), "127.0.0.1", ports["tls"], ssl=context, backlog=_BACKLOG)
    await asyncio.gather(plain.serve_forever(), tls.serve_forever())


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(**json.loads(sys.argv[1])))
