"""The SQLite file of settlements: checkpoint, lock, resume."""

from bulkload.ledger.checkpoint import Checkpoint, Mark
from bulkload.ledger.ledger import BAD, Accepted, Dead, Ledger, Settled, accepted_again, accepted_in
from bulkload.ledger.state import Kept, Recipe, Run, Sample, Session, State, read_state
from bulkload.ledger.writer import AcceptedRow, Commit, Writer, accepted_rows

__all__ = [
    "BAD",
    "Accepted",
    "AcceptedRow",
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
    "Writer",
    "accepted_again",
    "accepted_in",
    "accepted_rows",
    "read_state",
]
