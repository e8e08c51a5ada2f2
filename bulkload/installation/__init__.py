"""What an installation is, and the rules that a body must pass before it is worth a request."""

from bulkload.installation.channel import push_channels
from bulkload.installation.check import Checker, Fields, Installation, check
from bulkload.installation.flaw import LONGEST_KEPT_ID, Finding, Flaw
from bulkload.installation.identity import ID, USER_ID
from bulkload.installation.names import FIELDS
from bulkload.installation.platform import PLATFORMS
from bulkload.installation.rules import RULES, Rule, Severity
from bulkload.installation.tags import LONGEST_TAG, TAG
from bulkload.installation.words import label, shown

__all__ = [
    "FIELDS",
    "ID",
    "LONGEST_KEPT_ID",
    "LONGEST_TAG",
    "PLATFORMS",
    "RULES",
    "TAG",
    "USER_ID",
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
