"""What an installation is, and the rules that a body must pass before it is worth a request."""

from bulkload.installation.channel import push_channels
from bulkload.installation.check import Checker, Fields, Installation, check
from bulkload.installation.flaw import LONGEST_KEPT_ID, Finding, Flaw
from bulkload.installation.platform import PLATFORMS
from bulkload.installation.rules import RULES, Rule, Severity
from bulkload.installation.words import label, shown

__all__ = [
    "LONGEST_KEPT_ID",
    "PLATFORMS",
    "RULES",
    "Checker",
    "Fields",
    "Finding",
    "Flaw",
    "Installation",
    "Rule",
    "Severity",
    "check",
    "label",
    "push_channels",
    "shown",
]
