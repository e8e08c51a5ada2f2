"""A server that reads requests and answers 200 to each: ``python -m benchmarks.sink``, told by a line of JSON.

It stands in where nginx is missing, and does as little as can be done in Python.
"""

import asyncio
import json
import re
import ssl
import sys
from typing import cast

import uvloop

_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_ANSWER = b"HTTP/1.1 200 OK\r\nServer: sink\r\nContent-Length: 0\r\n\r\n"


class Sink(asyncio.Protocol):
    """One connection: counts whole requests off what arrives, answers as many."""

    def __init__(self) -> None:
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
        if answers:
            self._transport.write(_ANSWER * answers)


async def main(ports: dict[str, int], certificate: str, key: str) -> None:
    """Serve plain HTTP and TLS until the process is ended."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(certificate, key)
    loop = asyncio.get_running_loop()
    plain = await loop.create_server(Sink, "127.0.0.1", ports["plain"])
    tls = await loop.create_server(Sink, "127.0.0.1", ports["tls"], ssl=context)
    await asyncio.gather(plain.serve_forever(), tls.serve_forever())


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(**json.loads(sys.argv[1])))
