"""When the next request may leave: the cap, the adaptive rate, and how many are in flight."""

from bulkload.pace.adaptive import AdaptiveRate
from bulkload.pace.block import OF_FAILURE, OF_OUTAGE, TO_REACH, Pauses
from bulkload.pace.concurrency import Concurrency
from bulkload.pace.pace import Pace
from bulkload.pace.pacer import Constraint, Pacer

__all__ = [
    "OF_FAILURE",
    "OF_OUTAGE",
    "TO_REACH",
    "AdaptiveRate",
    "Concurrency",
    "Constraint",
    "Pace",
    "Pacer",
    "Pauses",
]
