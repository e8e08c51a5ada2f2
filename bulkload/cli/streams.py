"""A command's streams: they may be closed, full or a terminal, and none of that may change how a run ends."""

import errno
import logging
import os
from contextlib import suppress
from logging.handlers import MemoryHandler
from typing import TextIO

import click
from rich.console import Console

from bulkload.errors import Halt


class QuietConsole(Console):
    """A console that falls silent when nobody reads it any more, instead of ending the process."""

    def on_broken_pipe(self) -> None:
        self.quiet = True


def write(text: str | bytes, stream: TextIO, *, advice: str) -> None:
    """Write a line; a reader or a terminal that is gone does not change how the run ended, a full disk does.

    Raises `Halt` for that, with the advice where else to look.
    """
    try:
        click.echo(text, file=stream)
    except OSError as exc:
        # What is still buffered would fail once more, and change the exit code, when the interpreter ends.
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), stream.fileno())
        if exc.errno == errno.ENOSPC:
            raise Halt(f"the summary cannot be written: {exc.strerror}; {advice}") from exc


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
