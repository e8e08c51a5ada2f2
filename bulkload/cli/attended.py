"""A job that somebody attends: it is shown while it runs, and told to end by signals."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from types import FrameType
from typing import Any, Protocol, TypeVar, get_args

import click
from rich.console import Console

from bulkload.cli.options import all_of, flag
from bulkload.report import display
from bulkload.report.display import Mode, Moment

F = TypeVar("F", bound=Callable[..., Any])
R_co = TypeVar("R_co", covariant=True)
R = TypeVar("R")


class Job(Protocol[R_co]):
    """What can be attended: a load, a check."""

    @property
    def progress(self) -> Moment: ...

    async def run(self) -> R_co: ...


def attended_flags(what: str) -> Callable[[F], F]:
    """The flags of how a job is shown, and how `what` it ends with is written."""
    mode = click.Choice(get_args(Mode))
    return all_of(
        flag("--progress", type=mode, default="auto", help="A live bar, a line a minute, or nothing."),
        flag("--json", is_flag=True, help=f"Write the {what} as JSON on standard output."),
        flag("--quiet", is_flag=True, help="Be silent when all goes well."),
    )


async def attend(job: Job[R], console: Console, mode: Mode, *, stop: Callable[[signal.Signals], None]) -> R:
    """Carry a job out and show how far it is; the first signal calls `stop`, a second one ends the process at once."""
    _obey_signals(console, stop)
    showing = asyncio.create_task(display(mode, console).follow(lambda: job.progress))
    try:
        # What a user's function prints is not part of what the command writes.
        with redirect_stdout(sys.stderr):
            return await job.run()
    finally:
        showing.cancel()
        # A terminal that was closed (SIGHUP) takes nothing any more; the job goes on to its clean end.
        with suppress(asyncio.CancelledError, OSError):
            await showing


def _obey_signals(console: Console, stop: Callable[[signal.Signals], None]) -> None:
    """Obey signals from now on to the end of the process: what a job found has yet to be written when it is done."""
    loop = asyncio.get_running_loop()
    seen: list[signal.Signals] = []

    def obey(number: int, _frame: FrameType | None) -> None:
        received = signal.Signals(number)
        # A closing terminal may send SIGHUP several times: only a person's or a manager's second word means at once.
        if seen and received != signal.SIGHUP:
            with suppress(OSError):
                console.show_cursor()
            os._exit(128 + received)
        if not seen:
            # Once the loop is closed, there is nothing left to stop.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(stop, received)
        seen.append(received)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # nohup and background jobs of a shell start with signals ignored, and mean it. These are not the loop's
        # handlers: a user's function that never returns would hold those off for ever.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, obey)
