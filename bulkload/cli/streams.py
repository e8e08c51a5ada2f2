"""A command's streams: they may be closed, full or a terminal, and none of that may change how a run ends."""

import asyncio
import errno
import logging
import os
import select
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from logging.handlers import MemoryHandler
from typing import TextIO

from rich.console import Console

from bulkload.errors import Halt
from bulkload.source.reading import in_thread

# Lines go out when there are so many bytes of them, or after this time.
WRITTEN_TOGETHER = 32 * 1024
WRITTEN_EVERY = 0.2


class QuietConsole(Console):
    """A console that falls silent when nobody reads it any more, instead of ending the process."""

    def on_broken_pipe(self) -> None:
        self.quiet = True


def write(text: str | bytes, stream: TextIO | None, *, advice: str) -> None:
    """Write a line; a reader or a terminal that is gone does not change how the run ended, a full disk does.

    Raises `Halt` for that, with the advice where else to look.
    """
    if stream is None:
        # Python has none where the caller closed it.
        return
    try:
        data = text if isinstance(text, bytes) else text.encode(stream.encoding or "utf-8", "replace")
        _write_all(data + b"\n", stream)
    except OSError as exc:
        # What is still buffered would fail once more, and change the exit code, when the interpreter ends.
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), stream.fileno())
        if exc.errno == errno.ENOSPC:
            raise Halt(f"the summary cannot be written: {exc.strerror}; {advice}") from exc


class Lines:
    """Lines for standard output, written some together and off the loop: whoever reads them may be slow.

    Where nobody reads them any more, `write` and `flush` raise `BrokenPipeError`, and for a full disk `Halt`.
    """

    def __init__(self) -> None:
        # Where a job runs that has a user's code in it, that name stands for another stream.
        self._stream: TextIO | None = sys.stdout
        self._pending: list[bytes] = []
        self._size = 0
        self._written_at = 0.0
        # A slow reader takes a part of a write at a time: two at once would tear each other's lines.
        self._lock = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<Lines: {self._size} bytes to be written>"

    async def write(self, lines: Iterable[bytes]) -> None:
        for line in lines:
            self._pending += (line, b"\n")
            self._size += len(line) + 1
        if self._size >= WRITTEN_TOGETHER or time.monotonic() - self._written_at >= WRITTEN_EVERY:
            await self.flush()

    async def flush(self) -> None:
        """Write all that was given."""
        async with self._lock:
            data, self._pending, self._size = b"".join(self._pending), [], 0
            stream = self._stream
            if data and stream is not None:
                await in_thread(lambda: self._write(data, stream))
            self._written_at = time.monotonic()

    def _write(self, data: bytes, stream: TextIO) -> None:
        try:
            _write_all(data, stream)
        except BrokenPipeError:
            raise
        except OSError as exc:
            raise Halt(f"standard output cannot be written: {exc.strerror}; make room, or write it elsewhere") from exc


def _write_all(data: bytes, stream: TextIO) -> None:
    """Write to a stream, all of it: one that is not buffered, or does not block, takes a part and says nothing."""
    stream.flush()
    descriptor = stream.fileno()
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            select.select([], [descriptor], [])


def log_to(console: Console, *, is_quiet: bool) -> MemoryHandler:
    """Lines of the log go above the bar; when quiet, only with the first of them that warns."""
    target = _ConsoleHandler(console)
    handler = MemoryHandler(
        capacity=1000 if is_quiet else 1, flushLevel=logging.WARNING, target=target, flushOnClose=False
    )
    logger = logging.getLogger("bulkload")
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False
    return handler


def let_go(handler: MemoryHandler, *, is_worth_a_word: bool) -> None:
    """Write what a log still holds back, or forget it: the handler would write it when the process ends."""
    if not is_worth_a_word:
        handler.buffer.clear()
    handler.flush()


class _ConsoleHandler(logging.Handler):
    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        prefix = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        # A terminal that was closed takes nothing any more; the run goes on to its clean end.
        with suppress(OSError):
            self._console.print(prefix + self.format(record), markup=False, highlight=False, soft_wrap=True)
