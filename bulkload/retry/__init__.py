"""What an answer means, and how long a record rests before it is tried again."""

from bulkload.retry.backoff import MAX_ATTEMPTS, RECORD_TIMEOUT, Backoff
from bulkload.retry.history import History, Reach
from bulkload.retry.verdict import Judgment, Verdict, describe, judge, retry_after

__all__ = [
    "MAX_ATTEMPTS",
    "RECORD_TIMEOUT",
    "Backoff",
    "History",
    "Judgment",
    "Reach",
    "Verdict",
    "describe",
    "judge",
    "retry_after",
]
