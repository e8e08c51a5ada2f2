"""What an answer means, and how long a record rests before it is tried again."""

from bulkload.retry.backoff import MAX_ATTEMPTS, RECORD_TIMEOUT, REFUSALS_FOR_NOTHING, Backoff
from bulkload.retry.history import History, Reach
from bulkload.retry.outage import Outage
from bulkload.retry.traits import USUAL, Traits
from bulkload.retry.unknown import Unknown
from bulkload.retry.verdict import Cause, Judgment, Verdict, judge, retry_after

__all__ = [
    "MAX_ATTEMPTS",
    "RECORD_TIMEOUT",
    "REFUSALS_FOR_NOTHING",
    "USUAL",
    "Backoff",
    "Cause",
    "History",
    "Judgment",
    "Outage",
    "Reach",
    "Traits",
    "Unknown",
    "Verdict",
    "judge",
    "retry_after",
]
