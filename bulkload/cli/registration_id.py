"""``bulkload registration-id``: ids for registrations that are still to be made."""

import sys
from typing import Any

import click
import orjson

from bulkload.cli.calling import Calling, calling_flags, quiet_flag
from bulkload.cli.options import config_flag
from bulkload.cli.streams import Lines, write
from bulkload.migrate import RegistrationIds


@click.command(name="registration-id", short_help="Create registration ids.")
@click.option("-n", "number", type=click.IntRange(min=1), default=1, metavar="N", help="So many of them.")
@click.option("--json", "as_json", is_flag=True, help="Write them as a JSON array.")
@calling_flags
@quiet_flag
@config_flag
def registration_id(number: int, *, as_json: bool, **flags: Any) -> int:
    """Create N registration ids, without creating registrations, and print them one a line.

    The hub's connection string comes from BULKLOAD_CONNECTION_STRING or --connection-string-file.

    \b
    Examples:
      bulkload registration-id --hub devices
      bulkload registration-id -n 100 --json | jq -r '.[]'

    \b
    Exit codes: 0 all were created; 1 the hub refused some; 2 wrong usage; 4 the hub refuses the run or is not reached;
    6 a bug; 129, 130 and 143 interrupted.
    """
    calling = Calling(flags)
    lines = Lines()
    collected: list[str] = []

    async def take(created: str) -> None:
        if as_json:
            collected.append(created)
        else:
            await lines.write([created.encode()])

    job = RegistrationIds(calling.hub, calling.requesting, number=number, take=take)
    try:
        return calling.attended(job, finish=lines.flush)
    finally:
        if as_json:
            # Also those that came before a failure: they exist.
            write(orjson.dumps(collected), sys.stdout, advice="make room, or write it elsewhere")
