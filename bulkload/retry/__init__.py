"""What an answer means, and how long a record rests before it is tried again."""

from bulkload.retry.backoff import MAX_ATTEMPTS, RECORD_TIMEOUT, Backoff, refused_rest
from bulkload.retry.history import History, Reach
from bulkload.retry.outage import Outage
from bulkload.retry.traits import USUAL, Traits
from bulkload.retry.unknown import Unknown
from bulkload.retry.verdict import ACCEPTED, Cause, Judgment, Verdict, judge, retry_after
from bulkload.retry.words import describe

__all__ = [
    "ACCEPTED",
    "MAX_ATTEMPTS",
    "RECORD_TIMEOUT",
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
    "describe",
    "judge",
    "refused_rest",
    "retry_after",
]
