"""What a ledger tells of its run, also while another process writes to it."""

import os
from pathlib import Path

from bulkload.ledger import read_state
from bulkload.report.summary import Summary, summarize


def status(ledger: str | os.PathLike[str]) -> Summary:
    """The summary of a ledger, with None where only a session knows; raises `InputError` for what is not one."""
    path = Path(ledger)
    return summarize(read_state(path), ledger=path)
