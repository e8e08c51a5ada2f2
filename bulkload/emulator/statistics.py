"""What came to the hub, and what became of it: in all and by the second."""

from dataclasses import asdict, dataclass, field
from http import HTTPStatus

import orjson
from aiohttp import hdrs

# A load of a day; what comes later counts in all, but not by the second.
LONGEST = 86_400


@dataclass(slots=True)
class Second:
    """One second's requests."""

    seen: int = 0
    accepted: int = 0
    throttled: int = 0
    faults: int = 0
    turned_away: int = 0


@dataclass(slots=True)
class Requests:
    """How many requests came, and how they were answered."""

    seen: int = 0
    accepted: int = 0
    """PUTs that were answered 200."""
    read: int = 0
    """GETs that were answered 200."""
    deleted: int = 0
    """DELETEs that were answered 204."""
    refused: int = 0
    """Requests that were answered with an error, throttled ones too."""
    throttled: int = 0
    """Requests that were not taken."""
    faults: int = 0
    """Requests with which something went wrong on purpose."""
    turned_away: int = 0
    """Connections that came while the hub was gone."""
    seconds: list[Second] = field(default_factory=list)
    """The same by the second, from the first request on."""

    def second(self, now: float) -> Second:
        """The counters of a second since the first request."""
        number = min(int(now), LONGEST)
        while len(self.seconds) <= number:
            self.seconds.append(Second())
        return self.seconds[number]

    def count(self, method: str, status: int, now: float) -> None:
        """Count one answer."""
        if status >= HTTPStatus.BAD_REQUEST:
            self.refused += 1
        elif method == hdrs.METH_PUT:
            self.accepted += 1
            self.second(now).accepted += 1
        elif method == hdrs.METH_GET:
            self.read += 1
        else:
            self.deleted += 1

    def to_json(self) -> bytes:
        return orjson.dumps(asdict(self))
