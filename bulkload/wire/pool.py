"""The upload's own transport: lean connections in a pool."""

import asyncio
import socket
import ssl
from collections import deque
from pathlib import Path
from urllib.parse import urlsplit

from bulkload.hub import Hub
from bulkload.record import Record
from bulkload.wire.addresses import Addresses
from bulkload.wire.answer import Answer, Fault, words_of
from bulkload.wire.connection import Connection
from bulkload.wire.tls import trusting
from bulkload.wire.transport import Sender

# The service answers in tens of milliseconds; past these a connection or an answer is taken for lost.
CONNECT_TIMEOUT = 10.0
ANSWER_TIMEOUT = 60.0

# What stands between may forget a connection that is idle for longer, and say so to nobody.
LONGEST_IDLE = 30.0

# How often connections are looked at for their time, in seconds: no request has a timer of its own.
TICK = 0.5

# What is read at once; the usual answer has some hundred bytes.
BUFFER = 64 * 1024

_PORTS = {"http": 80, "https": 443}

_Sending = tuple[Record, bytes, Sender[Record]]


class WireTransport:
    """PUTs records over at most so many `connections` of HTTP/1.1, each without a task or a future.

    Speaks with the hub itself, not by way of a proxy. Raises `InputError` for a `ca_file` that cannot be used.
    """

    name = "wire"

    def __init__(
        self,
        hub: Hub,
        *,
        connections: int,
        api_version: str,
        ca_file: Path | None = None,
        answer_timeout: float = ANSWER_TIMEOUT,
    ) -> None:
        parts = urlsplit(hub.url)
        host, port, usual = parts.hostname or "", parts.port, _PORTS[hub.scheme]
        self._limit = connections
        self._addresses = Addresses(host, port or usual)
        self._tls = trusting(ca_file) if hub.scheme == "https" else None
        # A certificate names no root.
        self._server_name = host.rstrip(".") if self._tls is not None else None
        self._answer_timeout = answer_timeout

        # A request's head, but for the record's id and the body's length.
        self._begins = f"PUT {parts.path}/installations/".encode()
        self._goes_on = (
            f"?api-version={api_version} HTTP/1.1\r\n"
            f"Host: {hub.host.removesuffix(f':{usual}')}\r\n"
            f"Content-Type: application/json\r\n"
            f"x-ms-version: {api_version}\r\n"
            "Authorization: "
        )
        self._token = ""
        self._middle = b""

        # A view: what asyncio's TLS reads into a part of a bytearray would go into a copy of it.
        self.buffer = memoryview(bytearray(BUFFER))
        self._idle: list[Connection] = []
        self._waiting: deque[_Sending] = deque()
        # Those that need a connection which nobody used before.
        self._first: deque[_Sending] = deque()
        self._connections: set[Connection] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._tick = min(TICK, answer_timeout / 4)
        self._ticks = 0

    def __repr__(self) -> str:
        return f"<WireTransport, {len(self._connections)} connections, {len(self._idle)} of them idle>"

    def send(self, carried: Record, token: str, sender: Sender[Record]) -> None:
        if token is not self._token:
            self._token = token
            self._middle = f"{self._goes_on}{token}\r\nContent-Length: ".encode()
        body = carried.body
        # The id passed the check: it holds no character that an address would need encoded.
        request = b"%b%b%b%d\r\n\r\n%b" % (self._begins, carried.id.encode(), self._middle, len(body), body)
        if carried.is_stale:
            # Where one connection had been closed meanwhile, others may have been.
            self._first.append((carried, request, sender))
            if self._idle:
                self._idle[0].drop()
            else:
                self._open()
        elif self._idle:
            connection = self._idle.pop()
            connection.at = self._ticks
            connection.carry(carried, request, sender)
        else:
            self._waiting.append((carried, request, sender))
            self._open()

    def abandon(self) -> None:
        self._waiting.clear()
        self._first.clear()
        for connection in [one for one in self._connections if one.carried is not None]:
            connection.drop()

    async def close(self) -> None:
        self._waiting.clear()
        self._first.clear()
        if self._timer is not None:
            self._timer.cancel()
        for task in self._opening:
            task.cancel()
        await asyncio.gather(*self._opening, return_exceptions=True)
        await self._addresses.close()
        for connection in list(self._connections):
            connection.drop()
        # The loop lets go of a socket in its next turn.
        await asyncio.sleep(0)

    # What connections tell.

    def rest(self, connection: Connection) -> None:
        connection.at = self._ticks
        if len(self._first) > len(self._opening):
            # It makes room for a new one.
            connection.drop()
        elif self._waiting:
            connection.carry(*self._waiting.popleft())
        else:
            # The last one rests on top: the others are in use no more often than they are needed.
            self._idle.append(connection)

    def lose(self, connection: Connection) -> None:
        self._connections.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._open()

    # Opening.

    def _open(self) -> None:
        """Open a connection, if more records wait for one than are being opened."""
        is_room = len(self._connections) + len(self._opening) < self._limit
        if len(self._waiting) + len(self._first) > len(self._opening) and is_room:
            task = asyncio.get_running_loop().create_task(self._connect())
            self._opening.add(task)

    async def _connect(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                connection = await self._connected()
        except (OSError, ValueError) as exc:
            self._opening.discard(task)
            self._refuse(exc)
        except Exception as exc:  # noqa: BLE001 - a bug, which nobody waits for here
            waiting = [*self._first, *self._waiting]
            self._first.clear()
            self._waiting.clear()
            for _, _, sender in waiting:
                sender.broke(exc)
        else:
            self._opening.discard(task)
            self._welcome(connection)
        finally:
            self._opening.discard(task)
        self._open()

    def _welcome(self, connection: Connection) -> None:
        """A connection is open; unless it was lost before this task had its turn."""
        if not connection.is_open:
            self._refuse(ConnectionResetError("the hub closed it at once"))
            return
        self._connections.add(connection)
        self._watch()
        if self._first:
            connection.at = self._ticks
            connection.carry(*self._first.popleft())
        else:
            self.rest(connection)

    def _refuse(self, exc: Exception) -> None:
        """One of those who wait is told that there is no connection; the others may get theirs."""
        queue = self._first or self._waiting
        if queue:
            record, _, sender = queue.popleft()
            sender.answered(record, _unconnected(exc))

    async def _connected(self) -> Connection:
        loop = asyncio.get_running_loop()
        opened = await self._addresses.connected()
        try:
            _, connection = await loop.create_connection(
                lambda: Connection(self), sock=opened, ssl=self._tls, server_hostname=self._server_name
            )
        except BaseException:
            if type(loop).__module__.startswith("uvloop"):
                # uvloop has closed the descriptor, and may have left it to this object: to close it once more would
                # close whatever has its number by then. asyncio closes the object itself.
                opened.detach()
            raise
        return connection

    # Time.

    def _watch(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._tick, self._look)

    def _look(self) -> None:
        """Break off what takes too long, and what is idle for so long that nobody may know it any more."""
        self._timer = None
        self._ticks += 1
        for connection in list(self._connections):
            seconds = (self._ticks - connection.at) * self._tick
            if connection.carried is None:
                if seconds > LONGEST_IDLE:
                    connection.drop()
            elif seconds > self._answer_timeout:
                connection.fail(Fault.TIMEOUT, f"not within {self._answer_timeout:g} s")
        if self._connections:
            self._watch()


def _unconnected(exc: Exception) -> Answer:
    """Why there is no connection."""
    if isinstance(exc, TimeoutError):
        return Answer(0, fault=Fault.CONNECT, words=f"not within {CONNECT_TIMEOUT:g} s")
    fault = _fault(exc)
    return Answer(0, fault=fault, words=getattr(exc, "verify_message", None) or words_of(exc))


def _fault(exc: Exception) -> Fault:
    if isinstance(exc, socket.gaierror):
        return Fault.NAME
    return Fault.TLS if isinstance(exc, ssl.SSLError) else Fault.CONNECT
