"""The rehearsal: all that can be told of sources without a hub."""

from bulkload.check.checking import Check, check
from bulkload.check.settings import Settings

__all__ = ["Check", "Settings", "check"]
