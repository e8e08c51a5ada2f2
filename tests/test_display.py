"""What a person sees while a run runs: a bar on a terminal, a line a minute elsewhere, nothing when told so."""

import asyncio
import io
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from bulkload.report import Progress, display
from bulkload.report.display import PLAIN_PAUSE, BarDisplay, NoDisplay, PlainDisplay
from tests.virtual_time import run_virtually

SAMPLE = Path(__file__).parent.parent / "samples" / "installations.ndjson"


def progress(**values: float | None) -> Progress:
    usual: dict[str, float | None] = {
        "settled": 1500, "accepted": 1490, "failed": 0, "throttled": 0, "in_flight": 64, "rate": 1234.5,
        "consumed": 500, "size": 1000, "elapsed": 60.0, "p50": 0.04, "p99": 0.08,
    }  # fmt: skip
    return Progress(**{**usual, **values})  # type: ignore[arg-type]


def on_a_terminal(command: list[str], folder: Path, **environment: str) -> tuple[int, str]:
    """Run a command whose standard error is a terminal; returns its exit code and what the terminal got."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "bulkload", *command],
        cwd=folder,
        env={**os.environ, "COLUMNS": "100", "TERM": "xterm-256color", **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # how Linux tells the end of a terminal
                break
            if not part:
                break
            shown += part
        os.close(ours)
    return process.returncode, shown.decode()


def lines_of(follow_for: float, shown: Callable[[], Progress]) -> list[str]:
    """What the plain display writes within so many seconds."""
    written = io.StringIO()

    async def main() -> None:
        following = asyncio.create_task(PlainDisplay(Console(file=written, width=40)).follow(shown))
        await asyncio.sleep(follow_for)
        following.cancel()

    run_virtually(main())
    return written.getvalue().splitlines()


def test_a_terminal_shows_a_bar_that_leaves_the_summary_behind(tmp_path: Path) -> None:
    command = ["load", str(SAMPLE), "--emulator", "--rate", "900", "--ledger", "l"]
    code, shown = on_a_terminal(command, tmp_path)
    assert code == 0
    assert "━" in shown
    assert "accepted" in shown
    assert "\x1b[?25l" in shown
    # The cursor is there again, and the summary stands below the last of the bar.
    after = shown.split("\x1b[?25h")[-1]
    assert "complete in" in after
    assert "━" not in after


def test_a_dumb_terminal_is_not_drawn_on(tmp_path: Path) -> None:
    command = ["load", str(SAMPLE), "--emulator", "--ledger", "l"]
    code, shown = on_a_terminal(command, tmp_path, TERM="dumb")
    assert code == 0
    assert "━" not in shown
    assert "\x1b" not in shown


def test_elsewhere_there_is_one_line_a_minute() -> None:
    lines = lines_of(PLAIN_PAUSE * 3 + 1, progress)
    assert len(lines) == 3
    assert lines[0] == "1 min 0 s: 50% read, 1,490 accepted, 1,234/s, 64 in flight"


def test_a_line_names_what_went_wrong_and_says_nothing_of_an_unknown_size() -> None:
    (line,) = lines_of(PLAIN_PAUSE + 1, lambda: progress(failed=3, throttled=7, size=None))
    assert "3 failed, 7 throttled" in line
    assert "%" not in line


@pytest.mark.parametrize(
    ("mode", "kind"), [("auto", PlainDisplay), ("bar", BarDisplay), ("plain", PlainDisplay), ("none", NoDisplay)]
)
def test_each_mode_has_its_display_and_a_file_gets_plain_lines(mode: str, kind: type) -> None:
    assert type(display(mode, Console(file=io.StringIO()))) is kind  # type: ignore[arg-type]
