"""``bulkload retry``: once more for what a run could not send."""

from pathlib import Path
from typing import Any

import click

from bulkload import process
from bulkload.cli.options import config_flag, flag, real_hub, traits_of_config
from bulkload.cli.sending import Sending, command_line, hub_flags, sending_flags
from bulkload.cli.streams import QuietConsole
from bulkload.ledger import read_state
from bulkload.load import Retrier


@click.command(short_help="Send a run's exhausted records again.")
@click.argument("ledger", type=click.Path(path_type=Path))
@flag("--rejected", is_flag=True, help="Send the rejected records again, too.")
@hub_flags
@flag("--api-version", help="The service's api-version.  [default: the run's]")
@sending_flags
@config_flag
def retry(ledger: Path, **flags: Any) -> int:
    """Send the exhausted records of LEDGER's run again, with its mapping and to its hub.

    They come from the run's source, or from its dead letters where the source cannot be read twice. Their rows in the
    ledger are replaced, and the dead letters written anew. A record whose id has a later accepted record is not sent
    and becomes superseded. The hub's connection string comes from BULKLOAD_CONNECTION_STRING or
    --connection-string-file.

    \b
    Examples:
      bulkload retry devices.ndjson.ledger
      bulkload retry devices.ndjson.ledger --rejected --rate 100
      bulkload retry devices.ndjson.ledger --max-attempts 20 --record-timeout 1h

    \b
    Exit codes: those of load, by what the ledger shows in the end; 5 also where the run itself is not finished.
    """
    sending = Sending(flags, QuietConsole(stderr=True))
    rejected: bool = flags.pop("rejected")
    given = {name: value for name, value in flags.items() if value is not None}
    given["traits"] = traits_of_config()
    usual = read_state(ledger).run.hub.rpartition("/")[2]
    hub = real_hub(sending.hub, sending.connection_string_file, usual=usual)
    retrier = Retrier(ledger, hub=hub, rejected=rejected, flags=given, resume=command_line())
    return sending.tell(process.run(sending.attend(retrier)))
