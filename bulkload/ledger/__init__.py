"""The SQLite file of settlements: checkpoint, lock, resume."""

from bulkload.ledger.checkpoint import Checkpoint, Mark
from bulkload.ledger.ledger import Dead, Ledger, Run, Sample, Session, Settled, State, read_state
from bulkload.ledger.writer import Commit, Writer

__all__ = [
    "Checkpoint",
    "Commit",
    "Dead",
    "Ledger",
    "Mark",
    "Run",
    "Sample",
    "Session",
    "Settled",
    "State",
    "Writer",
    "read_state",
]
