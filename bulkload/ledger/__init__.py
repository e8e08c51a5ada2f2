"""The SQLite file of settlements: checkpoint, lock, resume."""

from bulkload.ledger.checkpoint import Checkpoint, Mark
from bulkload.ledger.ledger import BAD, Accepted, Dead, Ledger, Settled, accepted_again, accepted_in
from bulkload.ledger.state import Kept, Recipe, Run, Sample, Session, State, read_state
from bulkload.ledger.writer import ACCEPTED_COLUMNS, LATENCY_COLUMN, Commit, Value, Writer, accepted_rows

__all__ = [
    "ACCEPTED_COLUMNS",
    "BAD",
    "LATENCY_COLUMN",
    "Accepted",
    "Checkpoint",
    "Commit",
    "Dead",
    "Kept",
    "Ledger",
    "Mark",
    "Recipe",
    "Run",
    "Sample",
    "Session",
    "Settled",
    "State",
    "Value",
    "Writer",
    "accepted_again",
    "accepted_in",
    "accepted_rows",
    "read_state",
]
