"""What the commands that send share: their flags, how signals end them, and the summary that they tell."""

import logging
import shlex
import signal
import sys
from pathlib import Path
from typing import Any, get_args

import click
from rich.console import Console

from bulkload.cli.attended import attend, attended_flags
from bulkload.cli.options import Duration, all_of, ca_file_flag, flag, requesting_flags
from bulkload.cli.streams import let_go, log_to, write
from bulkload.client import TransportName
from bulkload.load.job import Job
from bulkload.load.settings import GRACE, WORKERS
from bulkload.report import Summary, describe
from bulkload.report.display import Mode
from bulkload.report.text import count, duration
from bulkload.source.files import printable

log = logging.getLogger("bulkload")

# What to do where the disk is too full for the summary.
KEPT = "the ledger holds it, see bulkload status"

# Where the hub is.
hub_flags = all_of(
    flag(
        "--hub",
        envvar=None,
        help="The hub's name, where the connection string has no EntityPath.  [env: BULKLOAD_HUB]",
    ),
    flag("--connection-string-file", type=click.Path(path_type=Path), help="A file that holds the connection string."),
)

# How records are sent.
sending_flags = all_of(
    requesting_flags("record", workers=WORKERS),
    flag("--max-errors", metavar="N|N%", help="Stop when more records than this failed in this session."),
    flag("--max-duration", type=Duration(), help="Stop softly after this time."),
    flag("--grace", type=Duration(), default=f"{GRACE:.0f}s", help="After a stop, time for requests already sent."),
    flag("--wait-lock", type=Duration(), default="0s", help="Wait this long for a ledger that another run holds."),
    flag("--transport", type=click.Choice(get_args(TransportName)), default="auto", help="What carries the requests."),
    ca_file_flag,
    attended_flags("summary"),
)


class Sending:
    """One call of a command that sends: takes the shared flags out of its own, attends its job, tells the summary."""

    def __init__(self, flags: dict[str, Any], console: Console) -> None:
        self._console = console
        self._is_json: bool = flags.pop("json")
        self._is_quiet: bool = flags.pop("quiet")
        self._progress: Mode = flags.pop("progress")
        self._grace: float = flags["grace"]
        self.hub: str | None = flags.pop("hub")
        self.connection_string_file: Path | None = flags.pop("connection_string_file")
        self._log = log_to(console, is_quiet=self._is_quiet)

    async def attend(self, job: Job) -> Summary:
        def stop(received: signal.Signals) -> None:
            if waiting := job.progress.in_flight:
                more = "" if received is signal.SIGHUP else "; once more leaves at once"
                log.info(
                    "%s was received: waiting up to %s for %s in flight%s",
                    received.name,
                    duration(self._grace),
                    count(waiting, "request"),
                    more,
                )
            job.stop(5, f"{received.name} was received")

        return await attend(job, self._console, "none" if self._is_quiet else self._progress, stop=stop)

    def tell(self, summary: Summary, *, can_retry: bool = True, next_step: str | None = None) -> int:
        """Write the summary where it belongs, and return the exit code; `next_step` is said where all went well."""
        let_go(self._log, is_worth_a_word=bool(summary.exit_code) or not self._is_quiet)
        if self._is_json:
            write(summary.to_json(), sys.stdout, advice=KEPT)
        elif summary.exit_code or not self._is_quiet:
            write(describe(summary, can_retry=can_retry), sys.stderr, advice=KEPT)
            if next_step is not None and not summary.exit_code:
                write(next_step, sys.stderr, advice=KEPT)
        return summary.exit_code


def command_line() -> str:
    """The command as it was typed: the same again continues the run."""
    return printable(shlex.join(["bulkload", *sys.argv[1:]]))
