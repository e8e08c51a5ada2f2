"""The emulator: a hub that listens on 127.0.0.1."""

import asyncio
import errno
import os
import random
import socket
import ssl
import struct
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from aiohttp import hdrs, web

from bulkload.emulator.access import KEY, LISTEN_KEY, LISTEN_POLICY, POLICY
from bulkload.emulator.answers import Answer
from bulkload.emulator.behaviour import Behaviour, Fault
from bulkload.emulator.dialect import DIALECT, DIALECTS
from bulkload.emulator.envelope import Envelope
from bulkload.emulator.page import View, platforms, response
from bulkload.emulator.service import Service
from bulkload.emulator.statistics import Requests
from bulkload.errors import InputError
from bulkload.hub import Hub

_HOST = "127.0.0.1"

# The largest installation that the service takes is far smaller; more than this is a mistake.
MAX_BODY = 1024 * 1024

# A loader may open hundreds of connections in one go.
_BACKLOG = 1024

# Where the statistics are: no hub's name begins with this sign.
STATISTICS = "/$emulator/statistics"

# All of it but the seconds, which the page asks for again and again.
_TOTALS = f"{STATISTICS}?totals"

# So many installations are counted in some five milliseconds.
_COUNTED_AT_ONCE = 10_000

# How long a request waits that stalls; whoever sent it has gone by then.
_STALL = 3600.0

# What a kill may lose is half a second's; the writing takes its time, too.
_SAVE_EVERY = 0.3

# aiohttp waits this long twice, for handlers and then for connections; both together stay within a second.
_SHUTDOWN_TIMEOUT = 0.25


class Emulator:
    """A notification hub in this process, for as long as its ``async with`` block lasts.

    `port` 0 takes any free one. With `tls` it makes a certificate authority of its own, see `ca_file`. `key` is the
    key of the policy ``RootManageSharedAccessKey``; it stays the same from one start to the next. `dialect` is whose
    words it speaks, ``2018`` or ``2023``. `save` is a file in which it keeps what it holds, all but the last half
    second of it even when it is killed. `behaviour` is what it does besides answering; its times begin with the first
    request. Entering raises `InputError` where the port or the file cannot be had, and so does the constructor for a
    value that is of no use. Where the file cannot be written any more, `ended` is set, and leaving raises `Halt`.
    """

    def __init__(
        self,
        *,
        hub: str,
        port: int = 0,
        tls: bool = False,
        key: str = KEY,
        dialect: str = DIALECT,
        save: str | os.PathLike[str] | None = None,
        behaviour: Behaviour | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if port not in range(65536):
            raise InputError(f"port {port} is not one; take 0 (any free one) to 65535")
        if dialect not in DIALECTS:
            raise InputError(f"--dialect is {' or '.join(DIALECTS)}, not {dialect}")
        self._name = hub
        self._dialect = dialect
        # Until it listens, any port stands for a free one.
        self._port = port or 1
        self._wanted_port = port
        self._save = Path(save) if save is not None else None
        self._tls = tls
        self._key = key
        if self.hub.key != key:
            raise InputError("the emulator's key cannot stand in a connection string; it has a ';' or blanks around it")
        self._ca_file: Path | None = None
        self._behaviour = behaviour or Behaviour()
        self._service = Service(
            hub,
            key,
            scheme=self.hub.scheme,
            dialect=DIALECTS[dialect],
            throttled=self._throttled,
            quota=self._behaviour.quota,
            visibility_delay=self._behaviour.visibility_delay,
            clock=clock,
        )
        self._envelope = Envelope(server=DIALECTS[dialect].server, clock=clock)
        self._clock = clock
        self._began: float | None = None
        self._has_begun = asyncio.Event()
        self._chance = random.Random()  # noqa: S311 - it decides of faults, not of keys
        self._stack = AsyncExitStack()
        self.requests = Requests()
        self.ended = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Emulator {self.hub.url}, {len(self.installations)} installations>"

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            self._service.open(self._save)
            stack.callback(self._service.close)
            context = self._certify(stack) if self._tls else None
            server = web.Server(self._handle, access_log=None)
            runner = web.ServerRunner(server, shutdown_timeout=_SHUTDOWN_TIMEOUT)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            site = await _listen(runner, self._wanted_port, context)
            self._port = runner.addresses[0][1]
            if self._save is not None:
                task = asyncio.create_task(self._keep_saved())
                stack.push_async_callback(_cancelled, task)
            if self._behaviour.outages:
                task = asyncio.create_task(self._come_and_go(server, runner, site, context))
                stack.push_async_callback(_cancelled, task)
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
        return self._service.installations

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

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path == STATISTICS:
            counted = self.requests.totals_to_json() if "totals" in request.query else self.requests.to_json()
            return web.Response(body=counted, content_type="application/json")
        if request.path == "/" and request.method == hdrs.METH_GET:
            return response(await self._view())
        now = self._now()
        self.requests.note("seen", now)
        fault = self._behaviour.fault(self._chance)
        if fault is not None:
            self.requests.note("faults", now)
            return await self._failed(request, fault)
        answer = await self._answer(request)
        if answer.is_throttled:
            self.requests.note("throttled", now)
        if delay := self._behaviour.delay(self._chance):
            await asyncio.sleep(delay)
        self.requests.count(request.method, answer.status, now)
        return self._envelope.response(answer)

    async def _view(self) -> View:
        """What the page shows; others are answered while it is counted."""
        counted: Counter[str] = Counter()
        bodies = list(self.installations.values())
        for begin in range(0, len(bodies), _COUNTED_AT_ONCE):
            counted += platforms(bodies[begin : begin + _COUNTED_AT_ONCE])
            await asyncio.sleep(0)
        return View(
            hub=self._name,
            connection_string=self.connection_string,
            dialect=self._dialect,
            ca_file=self._ca_file,
            save=self._save,
            behaviour=self._behaviour,
            installations=counted,
            registrations=self._service.kinds,
            requests=self.requests,
            statistics=_TOTALS,
        )

    def _now(self) -> float:
        """Seconds since the first request."""
        now = self._clock()
        if self._began is None:
            self._began = now
            self._has_begun.set()
        return max(0.0, now - self._began)

    async def _keep_saved(self) -> None:
        """Write what changed, again and again; ends with `Halt` where the file cannot be written any more."""
        try:
            while True:
                await asyncio.sleep(_SAVE_EVERY)
                self._service.save()
        finally:
            self.ended.set()

    async def _come_and_go(
        self, server: web.Server, runner: web.ServerRunner, site: web.BaseSite, context: ssl.SSLContext | None
    ) -> None:
        """Be gone when an outage says so; what is held stays."""
        await self._has_begun.wait()
        for outage in self._behaviour.outages:
            await asyncio.sleep(outage.begin - self._now())
            await site.stop()
            for connection in server.connections:
                _reset(connection.transport)
            async with await asyncio.start_server(self._turn_away, _HOST, self._port, backlog=_BACKLOG):
                await asyncio.sleep(outage.begin + outage.seconds - self._now())
            site = await _listen(runner, self._port, context)

    async def _turn_away(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.requests.note("turned_away", self._now())
        _reset(writer.transport)

    def _throttled(self) -> Answer | None:
        """What the next request gets where it is not taken."""
        throttle = self._behaviour.throttle
        return None if throttle is None or throttle.takes(self._now()) else self._behaviour.throttled()

    async def _failed(self, request: web.BaseRequest, fault: Fault) -> web.StreamResponse:
        """Let a request go wrong; it may have been carried out all the same."""
        answer = await self._answer(request) if self._chance.random() < 0.5 else Answer(200)
        match fault:
            case "error":
                status = self._chance.choice((500, 502, 503, 504))
                return self._envelope.response(Answer(status, detail="The server is unable to process the request"))
            case "stall":
                await asyncio.sleep(_STALL)
            case "truncate":
                response = web.StreamResponse(status=answer.status)
                # More than comes.
                response.content_length = 100
                await response.prepare(request)
                await response.write(b"<Error>")
        _reset(request.transport)
        return web.Response()

    async def _answer(self, request: web.BaseRequest) -> Answer:
        try:
            body = await _body(request)
        except (ConnectionError, web.RequestPayloadError):
            # Most often the client is gone and nobody hears this.
            return Answer(400, detail="The request's body could not be read")
        if len(body) > MAX_BODY:
            return Answer(413, detail=f"The request's body is larger than {MAX_BODY} bytes")
        while not self._service.is_ready(request.raw_path):  # noqa: ASYNC110 - it works on each time
            # Others are answered meanwhile.
            await asyncio.sleep(0)
        headers = request.headers
        return self._service.answer(
            request.method, request.raw_path, host=headers.get(hdrs.HOST, ""), headers=headers, body=body
        )


def _reset(transport: asyncio.WriteTransport | None) -> None:
    """Break a connection off, so that the other end sees a reset."""
    if transport is None:
        return
    connection = transport.get_extra_info("socket")
    if connection is not None:
        # Without lingering, closing it sends a reset.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


async def _cancelled(task: "asyncio.Task[None]") -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def _listen(runner: web.ServerRunner, port: int, context: ssl.SSLContext | None) -> web.BaseSite:
    """Listen on a port, 0 being any free one."""
    site = web.TCPSite(runner, _HOST, port, ssl_context=context, backlog=_BACKLOG)
    try:
        await site.start()
    except OSError as exc:
        reason = "is in use" if exc.errno == errno.EADDRINUSE else f"cannot be had ({exc.strerror})"
        raise InputError(f"port {port} {reason}; choose another with --port") from exc
    return site


async def _body(request: web.BaseRequest) -> bytes:
    """Return the request's body; of one that is larger than `MAX_BODY` only a beginning that is too."""
    if hdrs.EXPECT in request.headers:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    content = request.content
    body = await content.readany()
    while not content.at_eof() and len(body) <= MAX_BODY:
        body += await content.readany()
    return body
