"""How an answer looks on the wire: the service's headers and tracking ids."""

import time
import uuid
from collections.abc import Callable
from itertools import count

from aiohttp import hdrs, web
from multidict import CIMultiDict, istr

from bulkload.emulator.answers import XML, Answer, error_body

_COMMON = {"Content-Type": XML, "Strict-Transport-Security": "max-age=2592000"}
_TRACKING_ID = istr("TrackingId")
_CORRELATION_ID = istr("x-ms-correlation-request-id")


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
        elif answer.content_type is not XML:
            response.headers[hdrs.CONTENT_TYPE] = answer.content_type
        response.headers.extend(answer.headers)
        return response
