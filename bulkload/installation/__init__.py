"""What an installation is, and the rules that a body must pass before it is worth a request."""

from bulkload.installation.check import PLATFORMS, Checker, Fields, Installation, check, push_channels
from bulkload.installation.flaw import LONGEST_KEPT_ID, Finding, Flaw

__all__ = [
    "LONGEST_KEPT_ID",
    "PLATFORMS",
    "Checker",
    "Fields",
    "Finding",
    "Flaw",
    "Installation",
    "check",
    "push_channels",
]
