"""When the next request may leave: the cap, the hold, and the rate that a hub takes."""

from bulkload.pace.adaptive import AdaptiveRate
from bulkload.pace.block import OF_OUTAGE, OF_THROTTLE, Pauses
from bulkload.pace.pacer import FIRST_HOLD, LONGEST_HOLD, Pacer

__all__ = ["FIRST_HOLD", "LONGEST_HOLD", "OF_OUTAGE", "OF_THROTTLE", "AdaptiveRate", "Pacer", "Pauses"]
