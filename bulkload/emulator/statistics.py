"""What came to the hub, and what became of it: in all and by the second."""

from dataclasses import asdict, dataclass, field, replace
from http import HTTPStatus
from typing import Literal

import orjson

# Seconds in a load of a day; what comes later is counted as of the last of them.
LONGEST = 86_400

What = Literal["seen", "accepted", "throttled", "faults", "turned_away"]


@dataclass(slots=True)
class Counts:
    """What is counted in all and by the second."""

    seen: int = 0
    accepted: int = 0
    """PUTs that were answered 200, of installations and of registrations."""
    throttled: int = 0
    """Requests that were not taken."""
    faults: int = 0
    """Requests with which something went wrong on purpose."""
    turned_away: int = 0
    """Connections that came while the hub was gone."""


@dataclass(slots=True)
class Requests(Counts):
    """How many requests came, and how they were answered."""

    read: int = 0
    """GETs that were answered 200, of lists too."""
    created: int = 0
    """POSTs that made a registration or an id for one."""
    patched: int = 0
    """PATCHes that were answered 200."""
    deleted: int = 0
    """DELETEs that were answered 200 or 204."""
    refused: int = 0
    """Requests that were answered with an error, throttled ones too."""
    seconds: list[Counts] = field(default_factory=list)
    """By the second, from the first request on."""

    def note(self, what: What, now: float) -> None:
        """Count one, so many seconds after the first request."""
        for counts in (self, self.second(now)):
            setattr(counts, what, getattr(counts, what) + 1)

    def second(self, now: float) -> Counts:
        """The counts of a second since the first request."""
        number = min(int(now), LONGEST)
        while len(self.seconds) <= number:
            self.seconds.append(Counts())
        return self.seconds[number]

    def count(self, method: str, status: int, now: float) -> None:
        """Count one answer."""
        if status >= HTTPStatus.BAD_REQUEST:
            self.refused += 1
        elif method == "PUT":
            self.note("accepted", now)
        elif method == "GET":
            self.read += 1
        elif method == "POST":
            self.created += 1
        elif method == "PATCH":
            self.patched += 1
        else:
            self.deleted += 1

    def to_json(self) -> bytes:
        return orjson.dumps(asdict(self))

    def totals_to_json(self) -> bytes:
        """The same without the seconds, which are many after a day."""
        return orjson.dumps(asdict(replace(self, seconds=[])))
