"""The SQLite file of settlements: checkpoint, lock, resume."""

from bulkload.ledger.checkpoint import Checkpoint, Mark
from bulkload.ledger.ledger import Ledger, Run, Sample, Session, State, read_state
from bulkload.ledger.writer import Commit, Writer

__all__ = ["Checkpoint", "Commit", "Ledger", "Mark", "Run", "Sample", "Session", "State", "Writer", "read_state"]
