"""Dates as the service takes them, and the template expressions that may stand in their place."""

import re
from contextlib import suppress
from datetime import datetime

# The W3C's note on date and time formats: a year, a month, a day, or a time of a day with its zone. The service's own
# "never", 9999-12-31T23:59:59, has no zone, and its fractions have seven digits.
_DATE = re.compile(
    r"([0-9]{4})(?:-([0-9]{2})(?:-([0-9]{2})"
    r"(?:T([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:\.[0-9]+)?)?(?:Z|[+-](?:0[0-9]|1[0-4]):[0-5][0-9])?)?)?)?"
)

# $(name), #(name), %(name), .(name, 10) and {'text' + $(name)}.
_EXPRESSION = re.compile(r"[$#%.]\(|\{")


def is_date(text: str) -> bool:
    """Whether a text is a date in the W3C's format, and one that the calendar has."""
    parts = _DATE.fullmatch(text)
    if parts is None:
        return False
    year, month, day, hour, minute, second = parts.groups()
    with suppress(ValueError):
        datetime(int(year), int(month or 1), int(day or 1), int(hour or 0), int(minute or 0), int(second or 0))  # noqa: DTZ001
        return True
    return False


def is_expression(text: str) -> bool:
    """Whether the value of a text is known only when a notification is sent."""
    return _EXPRESSION.search(text) is not None
