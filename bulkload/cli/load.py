"""``bulkload load``: the main job."""

import shlex
import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from bulkload import process
from bulkload.cli.options import CONNECTION_STRING, config_flag, flag, hub_name, real_hub, traits_of_config
from bulkload.cli.reading import reading_flags, take_reading
from bulkload.cli.sending import Sending, command_line, hub_flags, sending_flags
from bulkload.cli.streams import QuietConsole
from bulkload.client import API_VERSION
from bulkload.emulator import EmbeddedHub
from bulkload.load import Loader, Settings
from bulkload.report import Summary
from bulkload.source.files import printable

EMULATED_HUB = "devices"


@click.command(short_help="Bring installations into a hub.")
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@hub_flags
@click.option("--emulator", is_flag=True, help="Load into an empty emulated hub that lives for this run only.")
@flag("--ledger", type=click.Path(path_type=Path), help="Where settlements are kept.  [default: SOURCE.ledger]")
@reading_flags
@sending_flags
@flag("--processes", metavar="N|auto", default="1", help="Send with so many processes; auto: one for each core.")
@flag("--limit", type=int, help="Take this many records, then stop as by a signal.")
@flag("--min-records", type=int, default=0, help="Send nothing where the source has fewer records.")
@flag(
    "--when-changed",
    type=click.Choice(["refuse", "restart"]),
    default="refuse",
    help="With a ledger of another version of the source: refuse, or put it aside and begin a new one.",
)
@flag("--api-version", default=API_VERSION, help="The service's api-version.")
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
    command = _Command(sources, flags, QuietConsole(stderr=True))
    return command.tell(process.run(command.carry_out()))


class _Command:
    """One call of the command: from its flags to what it writes."""

    def __init__(self, sources: tuple[str, ...], flags: dict[str, Any], console: Console) -> None:
        self._sources = sources
        self._is_emulated: bool = flags.pop("emulator")
        self._ledger: Path | None = flags.pop("ledger")
        self._sending = Sending(flags, console)
        self._reading = take_reading(flags)
        self._settings = Settings(**flags, traits=traits_of_config())

    async def carry_out(self) -> Summary:
        sending = self._sending
        if not self._is_emulated:
            return await sending.attend(
                Loader(
                    self._sources,
                    hub=real_hub(sending.hub, sending.connection_string_file),
                    ledger=self._ledger,
                    settings=self._settings,
                    reading=self._reading,
                    resume=command_line(),
                )
            )
        async with EmbeddedHub(hub=hub_name(sending.hub) or EMULATED_HUB) as embedded:
            return await sending.attend(
                Loader(
                    self._sources,
                    hub=embedded.hub,
                    ledger=self._ledger,
                    settings=self._settings,
                    reading=self._reading,
                    suffix=".emulator.ledger",
                    anew=True,
                    resume=command_line(),
                )
            )

    def tell(self, summary: Summary) -> int:
        """Write the summary, and return the exit code."""
        # The emulated hub is gone: nothing can be sent there again.
        next_step = _next_step() if self._is_emulated else None
        return self._sending.tell(summary, can_retry=not self._is_emulated, next_step=next_step)


def _next_step() -> str:
    arguments = [argument for argument in sys.argv[1:] if argument != "--emulator"]
    named = [] if any(argument.split("=")[0] == "--hub" for argument in arguments) else ["--hub", "NAME"]
    command = printable(shlex.join(["bulkload", *arguments, *named]))
    return (
        "that was an emulated hub; for a real one, with the connection string that the Azure portal shows:\n"
        f"  export {CONNECTION_STRING}='Endpoint=sb://…'\n"
        f"  {command}"
    )
