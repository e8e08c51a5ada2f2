"""``bulkload registrations``: what a hub knows of devices by the older model."""

from typing import Any

import click
import orjson

from bulkload.cli.calling import Calling, calling_flags, handle_flags, quiet_flag, take_handles, top_flag
from bulkload.cli.options import config_flag, flag
from bulkload.cli.streams import Lines
from bulkload.errors import InputError
from bulkload.migrate import Handles, Listing
from bulkload.registration import Registration


@click.command(short_help="Read the registrations of devices.")
@click.argument("files", nargs=-1, metavar="[FILE]...")
@handle_flags
@flag("--tag", envvar=None, metavar="TAG", help="Those that bear a tag, instead of a device's.")
@click.option("--all", "is_all", is_flag=True, help="All registrations of the hub.")
@top_flag
@calling_flags
@quiet_flag
@flag("--progress", type=click.Choice(["auto", "bar", "plain", "none"]), default="auto", help="A live bar, or nothing.")
@config_flag
def registrations(files: tuple[str, ...], tag: str | None, *, is_all: bool, top: int, **flags: Any) -> int:
    """Read all registrations of devices, and write them as NDJSON to standard output.

    The devices are named by their handles: with the flags, or one a line in FILE (- is standard input), where a line
    is told by its form: a URI is a ChannelUri, hex digits are a DeviceToken, anything else is a GcmRegistrationId; or
    it is a JSON object with platform and pushChannel, as installations are.

    \b
    Examples:
      bulkload registrations --device-token 00FC13ADFF… --hub devices
      bulkload registrations handles.txt --workers 64 --hub devices > registrations.ndjson
      bulkload registrations --tag '$InstallationId:{5f1c…}' --hub devices
      bulkload registrations --all --hub devices | jq -r .kind | sort | uniq -c

    \b
    Exit codes: 0 all were read; 1 some channels could not be read; 2 wrong usage or input; 4 the hub refuses the run,
    is not reached, or a list broke off; 6 a bug; 129, 130 and 143 interrupted.
    """
    given = take_handles(flags)
    if sum((bool(given or files), tag is not None, is_all)) != 1:
        raise InputError(
            "say which registrations: name devices by flags such as --device-token or in a FILE, or give --tag or --all"
        )
    calling = Calling(flags)
    lines = Lines()

    async def take(found: list[Registration]) -> None:
        await lines.write(orjson.dumps(registration.to_fields()) for registration in found)

    handles = Handles(given, files) if given or files else None
    job = Listing(calling.hub, calling.requesting, handles=handles, tag=tag, top=top, take=take)
    exit_code = calling.attended(job, finish=lines.flush)
    return calling.tell(str(job), exit_code)
