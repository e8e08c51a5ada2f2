"""A server on loopback that answers whatever a test wants, and the record that is sent to it."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from bulkload.hub import Hub
from bulkload.record import Origin, Record
from bulkload.source import START

HUB = Hub("h.example", "devices", "policy", "a key")
BODY = b'{ "installationId":"a-1._B", "own": "\xc3\xa9" }'
ORIGIN = Origin(0, BODY, START)
RECORD = Record(ORIGIN, 0, "a-1._B", BODY)
TOKEN = "SharedAccessSignature sr=x&sig=y&se=1&skn=z"

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Security(NamedTuple):
    """How a server secures its connections, and whom to trust for it."""

    server: ssl.SSLContext | None
    ca_file: Path | None


@asynccontextmanager
async def served(handler: Handler, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[Hub]:
    """A server on loopback whose connections are each handled so; yields the hub it passes for."""

    handling: list[asyncio.Task[None]] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A client that leaves in the midst is no news here.
        with suppress(OSError, asyncio.IncompleteReadError):
            await handler(reader, writer)
            await writer.drain()
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    server = await asyncio.start_server(
        lambda reader, writer: handling.append(asyncio.create_task(handle(reader, writer))), "127.0.0.1", 0, ssl=tls
    )
    async with server:
        port = server.sockets[0].getsockname()[1]
        scheme = "http" if tls is None else "https"
        yield Hub(f"127.0.0.1:{port}", "devices", "policy", "a key", scheme=scheme)
        async with asyncio.timeout(5):
            await asyncio.gather(*handling)


async def request(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """The head and the body of a request as they came."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        int(line.partition(b":")[2]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")
    )
    return head, await reader.readexactly(length)


def saying(answer: bytes) -> Handler:
    """Answer every request with these bytes, and close."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(answer)

    return handle
