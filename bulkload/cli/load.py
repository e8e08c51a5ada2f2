"""``bulkload load``: the main job."""

import asyncio
import logging
import os
import shlex
import signal
import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from bulkload.cli.attended import attend, attended_flags
from bulkload.cli.loop import new_event_loop
from bulkload.cli.options import (
    CONNECTION_STRING,
    Duration,
    config_flag,
    flag,
    hub_name,
    of_config,
    real_hub,
    traits_of_config,
)
from bulkload.cli.reading import reading_flags, take_reading
from bulkload.cli.streams import QuietConsole, log_to, write
from bulkload.client import API_VERSION
from bulkload.emulator import EmbeddedHub
from bulkload.load import Loader, Settings
from bulkload.load.settings import GRACE, WORKERS
from bulkload.report import Summary, describe
from bulkload.report.display import Mode
from bulkload.report.text import count, duration
from bulkload.retry import MAX_ATTEMPTS, RECORD_TIMEOUT
from bulkload.source.files import printable

log = logging.getLogger("bulkload")

EMULATED_HUB = "devices"

# What to do where the disk is too full for the summary.
_KEPT = "the ledger holds it, see bulkload status"


@click.command(short_help="Bring installations into a hub.")
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@flag("--hub", envvar=None, help="The hub's name, where the connection string has no EntityPath.  [env: BULKLOAD_HUB]")
@flag("--connection-string-file", type=click.Path(path_type=Path), help="A file that holds the connection string.")
@click.option("--emulator", is_flag=True, help="Load into an empty emulated hub that lives for this run only.")
@flag("--ledger", type=click.Path(path_type=Path), help="Where settlements are kept.  [default: SOURCE.ledger]")
@reading_flags
@flag("--workers", type=int, default=WORKERS, help="Requests in flight at the most.")
@flag("--rate", type=float, help="Requests per second at the most, retries counted.  [default: no cap]")
@flag("--max-attempts", type=int, default=MAX_ATTEMPTS, help="Attempts for a record, throttled ones not counted.")
@flag("--record-timeout", type=Duration(), default=f"{RECORD_TIMEOUT / 60:.0f}m", help="Time for a record.")
@flag("--max-errors", metavar="N|N%", help="Stop when more records than this failed in this session.")
@flag("--max-duration", type=Duration(), help="Stop softly after this time.")
@flag("--grace", type=Duration(), default=f"{GRACE:.0f}s", help="After a stop, time for requests already sent.")
@flag("--wait-lock", type=Duration(), default="0s", help="Wait this long for a ledger that another run holds.")
@flag("--limit", type=int, help="Take this many records, then stop as by a signal.")
@flag("--min-records", type=int, default=0, help="Send nothing where the source has fewer records.")
@flag(
    "--when-changed",
    type=click.Choice(["refuse", "restart"]),
    default="refuse",
    help="With a ledger of another version of the source: refuse, or put it aside and begin a new one.",
)
@flag("--transport", type=click.Choice(["auto", "aiohttp"]), default="auto", help="What carries the requests.")
@flag("--api-version", default=API_VERSION, help="The service's api-version.")
@flag("--ca-file", type=click.Path(path_type=Path), help="Trust the certificate authorities of this PEM file, too.")
@attended_flags("summary")
@config_flag
def load(sources: tuple[str, ...], **flags: Any) -> int:
    """Bring the installations of SOURCE... into a hub, or continue where an earlier session stopped.

    A source is a file of NDJSON, CSV, JSON or Parquet, plain or compressed (gzip, Zstandard, bzip2, xz), a folder, a
    pattern, an address such as https://…, or - for standard input. The hub's connection string comes from
    BULKLOAD_CONNECTION_STRING or --connection-string-file. The same command again continues.

    \b
    Examples:
      bulkload load samples/installations.ndjson --emulator
      bulkload load devices.ndjson --hub devices
      bulkload load 'export-*.ndjson.gz' --hub devices --rate 500 --max-errors 1%
      bulkload load users.csv --hub devices --map installationId=device --map pushChannel=token --set platform=fcmv1
      zcat devices.ndjson.gz | bulkload load - --hub devices --ledger devices.ledger

    \b
    Exit codes: 0 all accepted or superseded; 1 finished, some failed; 2 wrong usage or input; 3 --max-errors passed;
    4 stopped by the hub or this machine; 5 stopped early, resumable; 6 a bug; 75 another run holds the ledger.
    """
    console = QuietConsole(stderr=True)
    run = _Command(sources, flags, console)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        summary = runner.run(run.carry_out())
    return run.tell(summary)


class _Command:
    """One call of the command: from its flags to what it writes."""

    def __init__(self, sources: tuple[str, ...], flags: dict[str, Any], console: Console) -> None:
        self._sources = sources
        self._console = console
        self._is_json: bool = flags.pop("json")
        self._is_quiet: bool = flags.pop("quiet")
        self._is_emulated: bool = flags.pop("emulator")
        self._progress: Mode = flags.pop("progress")
        self._ledger: Path | None = flags.pop("ledger")
        self._hub: str | None = flags.pop("hub")
        self._connection_string_file: Path | None = flags.pop("connection_string_file")
        if of_config("connection_string_file") and os.environ.get(CONNECTION_STRING):
            self._connection_string_file = None
        self._reading = take_reading(flags)
        self._settings = Settings(**flags, traits=traits_of_config())
        self._log = log_to(console, is_quiet=self._is_quiet)

    async def carry_out(self) -> Summary:
        if not self._is_emulated:
            return await self._load(
                Loader(
                    self._sources,
                    hub=real_hub(self._hub, self._connection_string_file),
                    ledger=self._ledger,
                    settings=self._settings,
                    reading=self._reading,
                    resume=_command_line(),
                )
            )
        async with EmbeddedHub(hub=hub_name(self._hub) or EMULATED_HUB) as embedded:
            return await self._load(
                Loader(
                    self._sources,
                    hub=embedded.hub,
                    ledger=self._ledger,
                    settings=self._settings,
                    reading=self._reading,
                    suffix=".emulator.ledger",
                    anew=True,
                    resume=_command_line(),
                )
            )

    async def _load(self, loader: Loader) -> Summary:
        def stop(received: signal.Signals) -> None:
            if waiting := loader.progress.in_flight:
                more = "" if received is signal.SIGHUP else "; once more leaves at once"
                grace = duration(self._settings.grace)
                log.info(
                    "%s was received: waiting up to %s for %s in flight%s",
                    received.name,
                    grace,
                    count(waiting, "request"),
                    more,
                )
            loader.stop(5, f"{received.name} was received")

        return await attend(loader, self._console, "none" if self._is_quiet else self._progress, stop=stop)

    def tell(self, summary: Summary) -> int:
        """Write the summary where it belongs, and return the exit code."""
        if self._is_quiet and not summary.exit_code:
            # What is still held back was not worth a word; the handler would write it when the process ends.
            self._log.buffer.clear()
        self._log.flush()
        if self._is_json:
            write(summary.to_json(), sys.stdout, advice=_KEPT)
        elif summary.exit_code or not self._is_quiet:
            write(describe(summary), sys.stderr, advice=_KEPT)
            if self._is_emulated and not summary.exit_code:
                write(_next_step(), sys.stderr, advice=_KEPT)
        return summary.exit_code


def _command_line() -> str:
    """The command as it was typed: the same again continues the run."""
    return printable(shlex.join(["bulkload", *sys.argv[1:]]))


def _next_step() -> str:
    arguments = [argument for argument in sys.argv[1:] if argument != "--emulator"]
    named = [] if any(argument.split("=")[0] == "--hub" for argument in arguments) else ["--hub", "NAME"]
    command = printable(shlex.join(["bulkload", *arguments, *named]))
    return (
        "that was an emulated hub; for a real one, with the connection string that the Azure portal shows:\n"
        f"  export {CONNECTION_STRING}='Endpoint=sb://…'\n"
        f"  {command}"
    )
