"""One connection to a hub: a request leaves, and its answer comes, or whatever comes instead."""

import asyncio
from typing import Protocol, cast

from bulkload.record import Record
from bulkload.wire.answer import OK, Answer, Fault, words_of
from bulkload.wire.reader import AnswerReader, Garbled, is_usual
from bulkload.wire.transport import Sender

# A request that is larger may be answered before it has left wholly, and over TLS nobody tells. What is left of it
# would stand before the next one: its connection carries no other.
LARGE = 64 * 1024


class Home(Protocol):
    """Where connections belong."""

    buffer: memoryview

    def rest(self, connection: "Connection") -> None:
        """It has nothing to do any more, and stays open."""

    def lose(self, connection: "Connection") -> None:
        """It is of no use any more."""


class Connection(asyncio.BufferedProtocol):
    """Carries one request at a time.

    All connections read into the buffer of their home: what was read is dealt with before another one reads.
    `at` is when the request left, or when the connection came to rest, by the home's clock; `is_open` says that it was
    made, and not lost since.
    """

    __slots__ = ("_home", "_is_reused", "_reader", "_sender", "_transport", "at", "carried", "is_open")

    def __init__(self, home: Home) -> None:
        self._home = home
        self._transport: asyncio.Transport
        self._sender: Sender[Record] | None = None
        self._reader: AnswerReader | None = None
        self._is_reused = False
        self.carried: Record | None = None
        self.at = 0
        self.is_open = False

    def __repr__(self) -> str:
        return f"<Connection with {self.carried or 'nothing'} on its way>"

    def carry(self, carried: Record, request: bytes, sender: Sender[Record]) -> None:
        """Send a request for a record."""
        self.carried = carried
        self._sender = sender
        self._transport.write(request)

    def drop(self) -> None:
        """Break it off; nobody is told."""
        self.carried = self._sender = None
        self.is_open = False
        self._home.lose(self)
        self._transport.abort()

    def fail(self, fault: Fault, words: str) -> None:
        """Break it off: there is no answer."""
        carried, sender = self.carried, self._sender
        self.drop()
        if carried is not None and sender is not None:
            sender.answered(carried, Answer(0, fault=fault, words=words))

    def _answered(self, answer: Answer, *, is_kept: bool) -> None:
        carried, sender = self.carried, self._sender
        assert carried is not None
        assert sender is not None
        self.carried = self._sender = self._reader = None
        if is_kept and carried.size <= LARGE:
            self._is_reused = True
            self._home.rest(self)
        else:
            self.drop()
        sender.answered(carried, answer)

    # What the loop tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's are none of asyncio's by their types.
        self._transport = cast(asyncio.Transport, transport)
        self.is_open = True

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        return self._home.buffer

    def buffer_updated(self, nbytes: int) -> None:
        data = self._home.buffer[:nbytes].tobytes()
        sender = self._sender
        if sender is None:
            # Nobody asked: a time-out of the other side, or an answer too many.
            self.drop()
            return
        try:
            if self._reader is None and is_usual(data):
                self._answered(OK, is_kept=True)
            else:
                self._read(data)
        except Exception as exc:
            # The loop would take a bug for the end of the connection.
            sender.broke(exc)
            raise

    def _read(self, data: bytes) -> None:
        reader = self._reader = self._reader or AnswerReader()
        try:
            reader.feed(data)
        except Garbled:
            self.fail(Fault.BROKEN, "what came is no HTTP answer")
            return
        if reader.is_whole:
            self._answered(reader.answer, is_kept=reader.is_kept)

    def eof_received(self) -> None:
        self._end(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(exc)

    def _end(self, exc: Exception | None) -> None:
        """The other side closed it."""
        reader = self._reader
        if self.carried is None:
            self.drop()
        elif reader is not None:
            reader.end()
            if reader.is_whole:
                self._answered(reader.answer, is_kept=False)
            else:
                self.fail(Fault.BROKEN, "the answer was cut short")
        elif self._is_reused:
            self.fail(Fault.STALE, _words(exc))
        else:
            self.fail(Fault.BROKEN, _words(exc))


def _words(exc: Exception | None) -> str:
    if exc is None:
        return "the hub closed it without an answer"
    return words_of(exc)
