"""``bulkload check``: the rehearsal of a load."""

import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from bulkload import process
from bulkload.check import Check, Settings
from bulkload.cli.attended import attend, attended_flags
from bulkload.cli.options import config_flag, flag
from bulkload.cli.reading import reading_flags, take_reading
from bulkload.cli.streams import QuietConsole, log_to, write
from bulkload.client import API_VERSION
from bulkload.report import CheckReport, describe_check
from bulkload.report.display import Mode

# The width of the report where it goes to no terminal.
PLAIN_WIDTH = 100


@click.command(short_help="Tell what a load would refuse; send nothing.")
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@flag("--invalid", type=click.Path(path_type=Path), metavar="FILE", help="Write the invalid records here, with why.")
@flag("--show", type=int, default=0, metavar="N", help="Show the first N source objects before and after mapping.")
@flag("--rate", type=float, help="Requests per second of the load whose time is told.  [default: 1000]")
@reading_flags
@flag("--api-version", default=API_VERSION, help="The api-version that the load will send.")
@attended_flags("report")
@config_flag
def check(sources: tuple[str, ...], **flags: Any) -> int:
    """Check the records of SOURCE... by every rule, and find what occurs twice. Sends nothing, writes no ledger.

    The report tells which rules are broken, by how many records and by which first; duplicate ids and push channels
    (not those of secondary tiles), exactly, among valid records; platforms, tags, and how long the load would take. It
    goes to standard output. The digests of more than some 200,000 records go to a temporary file, about 110 bytes a
    record, under TMPDIR.

    \b
    Examples:
      bulkload check samples/installations.ndjson
      bulkload check devices.ndjson --rate 500 --invalid mend-me.ndjson
      bulkload check export.csv --map userId=owner.id --show 3
      bulkload check 'export-*.ndjson.gz' --json | jq .rules

    \b
    Exit codes: 0 no flaws, perhaps warnings; 1 some records are invalid; 2 wrong usage or input; 4 a source broke off,
    or this machine has no room; 6 a bug; 129, 130 and 143 interrupted, after a report of what was read by then.
    """
    console = QuietConsole(stderr=True)
    command = _Command(sources, flags, console)
    return command.tell(process.run(command.carry_out()))


class _Command:
    """One call of the command: from its flags to what it writes."""

    def __init__(self, sources: tuple[str, ...], flags: dict[str, Any], console: Console) -> None:
        self._console = console
        self._is_json: bool = flags.pop("json")
        self._is_quiet: bool = flags.pop("quiet")
        self._progress: Mode = flags.pop("progress")
        invalid: Path | None = flags.pop("invalid")
        reading = take_reading(flags)
        self._check = Check(sources, settings=Settings(**flags), reading=reading, invalid=invalid)
        log_to(console, is_quiet=self._is_quiet)

    async def carry_out(self) -> CheckReport:
        return await attend(self._check, self._console, "none" if self._is_quiet else self._progress, stop=self._stop)

    def _stop(self, received: signal.Signals) -> None:
        """End the reading; the report tells of what was read by then."""
        self._check.stop(128 + received, f"{received.name} was received")

    def tell(self, report: CheckReport) -> int:
        """Write the report, and return the exit code."""
        if self._is_json:
            text: str | bytes = report.to_json()
        elif report.exit_code or not self._is_quiet or report.shown:
            # Python has no such stream where the caller closed it.
            is_terminal = sys.stdout is not None and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
            # A pipe or a file has no width of its own; COLUMNS counts for it as well.
            width = shutil.get_terminal_size((PLAIN_WIDTH, 24)).columns
            text = describe_check(report, width=width, is_terminal=is_terminal)
        else:
            return report.exit_code
        write(text, sys.stdout, advice="make room, or write it elsewhere")
        return report.exit_code
