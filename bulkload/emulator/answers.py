"""What an answer of the hub holds, and the service's XML errors."""

from datetime import UTC, datetime
from typing import NamedTuple
from xml.sax.saxutils import escape

# As recorded in 2022; JSON and most empty bodies are labeled XML as well.
XML = "application/xml; charset=utf-8"

# The service names the machine that answered; support asks for the whole text.
_MACHINE = "G3"


class Answer(NamedTuple):
    """What the hub answers: `detail` is an error's sentence and makes its body; without it `body` is sent as it is.

    `content_type` may be None for nothing at all. `is_throttled` says that it refuses for its own sake.
    """

    status: int
    body: bytes = b""
    detail: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str | None = XML
    is_throttled: bool = False


def error_body(status: int, detail: str, *, tracking_id: str, now: float) -> bytes:
    """Return the service's XML error; a full stop always follows `detail`, recorded texts that end in one show two."""
    text = f"{detail}.TrackingId:{tracking_id}_{_MACHINE},TimeStamp:{_timestamp(now)}"
    # A bare carriage return would not survive an XML reader; the service writes it as a reference.
    escaped = escape(text, {"\r": "&#xD;"})
    return f"<Error><Code>{status}</Code><Detail>{escaped}</Detail></Error>".encode()


def _timestamp(now: float) -> str:
    """Unix time as the service writes it: ``11/7/2018 12:18:37 AM``, in UTC."""
    at = datetime.fromtimestamp(now, UTC)
    half_day, hour = divmod(at.hour, 12)
    return f"{at.month}/{at.day}/{at.year} {hour or 12}:{at:%M:%S} {('AM', 'PM')[half_day]}"
