"""A run while it runs: a live line on a terminal, a plain one a minute elsewhere, or nothing."""

import asyncio
from collections.abc import Callable
from typing import Literal, Protocol

from rich.console import Console
from rich.progress import BarColumn, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from bulkload.report.text import duration

Mode = Literal["auto", "bar", "plain", "none"]

BAR_PAUSE = 0.1
PLAIN_PAUSE = 60.0


class Moment(Protocol):
    """Where a run is: `consumed` of `size` bytes, after so many seconds; as text it tells the rest shortly."""

    @property
    def consumed(self) -> int: ...

    @property
    def size(self) -> int | None: ...

    @property
    def elapsed(self) -> float: ...

    @property
    def at_length(self) -> str:
        """The rest for a line that stands by itself."""


class Display(Protocol):
    """Shows how far a run is until its task is cancelled; ends with `OSError` where nothing can be written any more."""

    async def follow(self, progress: Callable[[], Moment]) -> None: ...


def display(mode: Mode, console: Console) -> Display:
    """The display for a mode; ``auto`` draws a bar on a terminal that can be drawn on."""
    if mode == "auto":
        mode = "bar" if console.is_terminal and not console.is_dumb_terminal else "plain"
    match mode:
        case "bar":
            return BarDisplay(console)
        case "plain":
            return PlainDisplay(console)
        case _:
            return NoDisplay()


class NoDisplay:
    """Shows nothing."""

    async def follow(self, progress: Callable[[], Moment]) -> None:
        pass


class PlainDisplay:
    """Writes one line a minute."""

    def __init__(self, console: Console) -> None:
        self._console = console

    async def follow(self, progress: Callable[[], Moment]) -> None:
        while True:
            await asyncio.sleep(PLAIN_PAUSE)
            self._console.print(_line(progress()), highlight=False, soft_wrap=True)


class BarDisplay:
    """Redraws one line at the bottom of a terminal; what is printed meanwhile goes above it."""

    def __init__(self, console: Console) -> None:
        self._bar = Bar(
            BarColumn(bar_width=24),
            TaskProgressColumn(show_speed=False),
            TextColumn("{task.description}", markup=False),
            TimeElapsedColumn(),
            TextColumn("left", style="dim"),
            TimeRemainingColumn(compact=True),
            console=console,
            transient=True,
            auto_refresh=False,
        )

    async def follow(self, progress: Callable[[], Moment]) -> None:
        with self._bar:
            now = progress()
            task = self._bar.add_task(str(now), total=now.size)
            try:
                while True:
                    self._draw(task, progress())
                    await asyncio.sleep(BAR_PAUSE)
            finally:
                self._draw(task, progress())

    def _draw(self, task: TaskID, now: Moment) -> None:
        self._bar.update(task, completed=now.consumed, description=str(now))
        self._bar.refresh()


def _line(now: Moment) -> str:
    done = f"{now.consumed / now.size:.0%} read, " if now.size else ""
    return f"{duration(now.elapsed)}: {done}{now.at_length}"
