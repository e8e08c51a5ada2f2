"""What a request comes to: an answer, or the fault that kept it from one."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from enum import Enum

# A TrackingId is a GUID with a suffix; whatever else a header brings must not reach a ledger or a terminal.
LONGEST_ID = 100
_NO_ID = re.compile(r"[^!-~]+")


class Fault(Enum):
    """Why a request has no answer."""

    NAME = "the host's name is not known"
    CONNECT = "no connection"
    TLS = "no trusted TLS connection"
    TIMEOUT = "no answer in time"
    BROKEN = "the connection broke"
    STALE = "a connection that was kept open had been closed"

    @property
    def is_unsent(self) -> bool:
        """Whether nothing of the request can have left: no record is to blame for it."""
        return self in (Fault.NAME, Fault.CONNECT, Fault.TLS)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request came to: a status with headers and body; or, with status 0, the fault that kept it from one."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    fault: Fault | None = None
    words: str = ""

    @property
    def tracking_id(self) -> str | None:
        """What Azure support asks for, as far as it is one."""
        return _NO_ID.sub("", self.headers.get("TrackingId", ""))[:LONGEST_ID] or None

    @property
    def date(self) -> float | None:
        """The hub's clock when it answered, in Unix seconds."""
        try:
            return parsedate_to_datetime(self.headers["Date"]).timestamp()
        except (KeyError, ValueError, OverflowError):
            return None


def words_of(exc: BaseException) -> str:
    """What an exception of the network says: the system's words where it has some, and never nothing."""
    return getattr(exc, "strerror", None) or str(exc) or type(exc).__name__


# The usual answer carries nothing that anybody reads, so all of them are one object.
OK = Answer(200)
