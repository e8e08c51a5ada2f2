"""The SQLite file of settlements: checkpoint, lock, resume."""

from bulkload.ledger.checkpoint import Checkpoint, Mark
from bulkload.ledger.ledger import BAD, Dead, Ledger, Settled
from bulkload.ledger.state import Kept, Recipe, Run, Sample, Session, State, read_state
from bulkload.ledger.writer import Commit, Writer

__all__ = [
    "BAD",
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
    "read_state",
]
