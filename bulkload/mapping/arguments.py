"""What people write after a mapping flag, taken apart."""

import re
from typing import NamedTuple

from bulkload.errors import InputError

# A FIELD up to the mark that ends it; quoted names may hold the mark.
_FIELD = r'(?:"(?:[^"\\]|\\.)*"|[^"{mark}])*'
_ASSIGNMENT = re.compile(rf"({_FIELD.format(mark='=')})=(.*)", re.DOTALL)
_RULE = re.compile(rf"({_FIELD.format(mark=':')}):((?:[^\\=]|\\.)*)=(.*)", re.DOTALL)

_ESCAPED = re.compile(r"\\([\\:=])")


class Assignment(NamedTuple):
    """``FIELD=TEXT``."""

    field: str
    text: str


class ValueRule(NamedTuple):
    """``FIELD:FROM=TO``."""

    field: str
    value: str
    becomes: str


def assignment(flag: str, text: str) -> Assignment:
    """Take the ``FIELD=…`` of a flag apart, whose FIELD may be quoted in parts; raises `InputError`."""
    match = _ASSIGNMENT.fullmatch(text)
    if match is None:
        raise InputError(f"{flag} {text}: write FIELD=…, such as userId=user_id")
    return Assignment(match[1].strip(), match[2])


def value_rule(text: str) -> ValueRule:
    """Take ``FIELD:FROM=TO`` apart, where FROM and TO may hold ``\\:``, ``\\=`` and ``\\\\``; raises `InputError`."""
    match = _RULE.fullmatch(text)
    if match is None:
        raise InputError(f"--map-value {text}: write FIELD:FROM=TO, such as platform:android=fcmv1")
    return ValueRule(match[1].strip(), _ESCAPED.sub(r"\1", match[2]), _ESCAPED.sub(r"\1", match[3]))
