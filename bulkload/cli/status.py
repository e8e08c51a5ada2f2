"""``bulkload status``: where a run stands."""

from pathlib import Path

import click

from bulkload.report import describe
from bulkload.report.status import status as read_status


@click.command(short_help="Tell where a run stands.")
@click.argument("ledger", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Write the summary as JSON, null where only a session knows.")
def status(ledger: Path, *, as_json: bool) -> int:
    """Tell where the run of LEDGER stands, also while it runs. Exits with 0 whenever it can read the ledger.

    \b
    Examples:
      bulkload status devices.ndjson.ledger
      bulkload status devices.ndjson.ledger --json | jq .records
    """
    summary = read_status(ledger)
    click.echo(summary.to_json() if as_json else describe(summary))
    return 0
