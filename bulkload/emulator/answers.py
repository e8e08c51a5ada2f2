"""How an answer looks on the wire: the service's headers, tracking ids and XML errors."""

import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import count
from typing import NamedTuple
from xml.sax.saxutils import escape

from aiohttp import hdrs, web
from multidict import CIMultiDict, istr

# As recorded in 2022; JSON and most empty bodies are labeled XML as well.
_XML = "application/xml; charset=utf-8"
_COMMON = {"Content-Type": _XML, "Strict-Transport-Security": "max-age=2592000"}
_TRACKING_ID = istr("TrackingId")
_CORRELATION_ID = istr("x-ms-correlation-request-id")

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
    content_type: str | None = _XML
    is_throttled: bool = False


class Envelope:
    """Puts an answer into what every answer carries; ids count up from a random beginning.

    A uuid4 for each request would cost as much as checking its body, so it is drawn once. `server` is what it says of
    itself.
    """

    def __init__(self, *, server: str, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._common = CIMultiDict({**_COMMON, "Server": server})
        self._tracking, self._correlation = (str(uuid.uuid4())[:-12] for _ in range(2))
        self._numbers = count(1)

    def response(self, answer: Answer) -> web.Response:
        """Return what aiohttp sends for `answer`."""
        number = f"{next(self._numbers):012x}"
        tracking_id = self._tracking + number
        body = answer.body
        if answer.detail is not None:
            body = error_body(answer.status, answer.detail, tracking_id=tracking_id, now=self._clock())
        response = web.Response(status=answer.status, body=body, headers=self._common)
        response.headers[_TRACKING_ID] = tracking_id
        response.headers[_CORRELATION_ID] = self._correlation + number
        if answer.content_type is None:
            del response.headers[hdrs.CONTENT_TYPE]
        elif answer.content_type is not _XML:
            response.headers[hdrs.CONTENT_TYPE] = answer.content_type
        response.headers.extend(answer.headers)
        return response


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
