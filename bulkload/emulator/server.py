"""The emulator: a hub that listens on 127.0.0.1."""

import errno
import ssl
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

from aiohttp import hdrs, web

from bulkload.emulator.access import KEY, LISTEN_KEY, LISTEN_POLICY, POLICY
from bulkload.emulator.answers import Answer, Envelope
from bulkload.emulator.service import Service
from bulkload.errors import InputError
from bulkload.hub import Hub

_HOST = "127.0.0.1"

# The largest installation that the service takes is far smaller; more than this is a mistake.
MAX_BODY = 1024 * 1024

# A loader may open hundreds of connections in one go.
_BACKLOG = 1024

# aiohttp waits this long twice, for handlers and then for connections; both together stay within a second.
_SHUTDOWN_TIMEOUT = 0.25


@dataclass(slots=True)
class Requests:
    """How many requests came, and how they were answered."""

    seen: int = 0
    accepted: int = 0
    """PUTs that were answered 200."""
    read: int = 0
    """GETs that were answered 200."""
    deleted: int = 0
    """DELETEs that were answered 204."""
    refused: int = 0
    """Requests that were answered with an error."""

    def count(self, method: str, status: int) -> None:
        """Count one answer."""
        if status >= HTTPStatus.BAD_REQUEST:
            self.refused += 1
        elif method == hdrs.METH_PUT:
            self.accepted += 1
        elif method == hdrs.METH_GET:
            self.read += 1
        else:
            self.deleted += 1


class Emulator:
    """A notification hub in this process, for as long as its ``async with`` block lasts.

    `port` 0 takes any free one. With `tls` it makes a certificate authority of its own, see `ca_file`. `key` is the
    key of the policy ``RootManageSharedAccessKey``; it stays the same from one start to the next. Entering raises
    `InputError` where the port cannot be had, and so does the constructor for a value that is of no use.
    """

    def __init__(
        self,
        *,
        hub: str,
        port: int = 0,
        tls: bool = False,
        key: str = KEY,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if port not in range(65536):
            raise InputError(f"port {port} is not one; take 0 (any free one) to 65535")
        self._name = hub
        # Until it listens, any port stands for a free one.
        self._port = port or 1
        self._wanted_port = port
        self._tls = tls
        self._key = key
        if self.hub.key != key:
            raise InputError("the emulator's key cannot stand in a connection string; it has a ';' or blanks around it")
        self._ca_file: Path | None = None
        self._service = Service(hub, key, scheme=self.hub.scheme, clock=clock)
        self._envelope = Envelope(clock=clock)
        self._stack = AsyncExitStack()
        self.requests = Requests()

    def __repr__(self) -> str:
        return f"<Emulator {self.hub.url}, {len(self.installations)} installations>"

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            context = self._certify(stack) if self._tls else None
            runner = web.ServerRunner(web.Server(self._handle, access_log=None), shutdown_timeout=_SHUTDOWN_TIMEOUT)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            self._port = await _listen(runner, self._wanted_port, context)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    @property
    def connection_string(self) -> str:
        """How to reach the hub with the right to write to it; the port is known once it listens."""
        return self._connection_string(POLICY, self._key)

    @property
    def listen_connection_string(self) -> str:
        """The same with a policy that may only listen: the hub refuses all it asks for."""
        return self._connection_string(LISTEN_POLICY, LISTEN_KEY)

    @property
    def hub(self) -> Hub:
        """What `connection_string` says."""
        return Hub.from_connection_string(self._endpoint(POLICY, self._key), hub=self._name)

    @property
    def ca_file(self) -> Path | None:
        """The PEM file of the authority to trust; None without TLS."""
        return self._ca_file

    @property
    def installations(self) -> Mapping[str, bytes]:
        """The JSON body last PUT of every installation, by its id."""
        return MappingProxyType(self._service.installations)

    def _connection_string(self, policy: str, key: str) -> str:
        return f"{self._endpoint(policy, key)};EntityPath={self._name}"

    def _endpoint(self, policy: str, key: str) -> str:
        scheme = "sb" if self._tls else "http"
        return f"Endpoint={scheme}://{_HOST}:{self._port}/;SharedAccessKeyName={policy};SharedAccessKey={key}"

    def _certify(self, stack: AsyncExitStack) -> ssl.SSLContext:
        # Its import costs a tenth of a second (python -X importtime), which a start without TLS need not pay.
        from bulkload.emulator import certificate  # noqa: PLC0415

        made = stack.enter_context(certificate.temporary())
        self._ca_file = made.ca_file
        return made.context

    async def _handle(self, request: web.BaseRequest) -> web.Response:
        self.requests.seen += 1
        answer = await self._answer(request)
        self.requests.count(request.method, answer.status)
        return self._envelope.response(answer)

    async def _answer(self, request: web.BaseRequest) -> Answer:
        try:
            body = await _body(request)
        except (ConnectionError, web.RequestPayloadError):
            # Most often the client is gone and nobody hears this.
            return Answer(400, detail="The request's body could not be read")
        if len(body) > MAX_BODY:
            return Answer(413, detail=f"The request's body is larger than {MAX_BODY} bytes")
        headers = request.headers
        return self._service.answer(
            request.method,
            request.raw_path,
            host=headers.get(hdrs.HOST, ""),
            authorization=headers.get(hdrs.AUTHORIZATION),
            body=body,
        )


async def _listen(runner: web.ServerRunner, port: int, context: ssl.SSLContext | None) -> int:
    """Listen, and return the port that was had."""
    try:
        await web.TCPSite(runner, _HOST, port, ssl_context=context, backlog=_BACKLOG).start()
    except OSError as exc:
        reason = "is in use" if exc.errno == errno.EADDRINUSE else f"cannot be had ({exc.strerror})"
        raise InputError(f"port {port} {reason}; choose another with --port") from exc
    bound: int = runner.addresses[0][1]
    return bound


async def _body(request: web.BaseRequest) -> bytes:
    """Return the request's body; of one that is larger than `MAX_BODY` only a beginning that is too."""
    if hdrs.EXPECT in request.headers:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    content = request.content
    body = await content.readany()
    while not content.at_eof() and len(body) <= MAX_BODY:
        body += await content.readany()
    return body
