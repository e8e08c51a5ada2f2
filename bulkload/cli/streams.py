"""A command's streams: they may be closed, full or a terminal, and none of that may change how a run ends."""

import errno
import logging
import os
import select
from contextlib import suppress
from logging.handlers import MemoryHandler
from typing import TextIO

from rich.console import Console

from bulkload.errors import Halt


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
        _write_all(text if isinstance(text, bytes) else text.encode(stream.encoding or "utf-8", "replace"), stream)
    except OSError as exc:
        # What is still buffered would fail once more, and change the exit code, when the interpreter ends.
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), stream.fileno())
        if exc.errno == errno.ENOSPC:
            raise Halt(f"the summary cannot be written: {exc.strerror}; {advice}") from exc


def _write_all(data: bytes, stream: TextIO) -> None:
    """Write to a stream, all of it: one that is not buffered, or does not block, takes a part and says nothing."""
    stream.flush()
    descriptor = stream.fileno()
    view = memoryview(data + b"\n")
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


class _ConsoleHandler(logging.Handler):
    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        prefix = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        # A terminal that was closed takes nothing any more; the run goes on to its clean end.
        with suppress(OSError):
            self._console.print(prefix + self.format(record), markup=False, highlight=False, soft_wrap=True)
