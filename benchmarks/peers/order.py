"""What a contender is told to send, and what a peer's program tells of it: one line of JSON each way.

All peers send the same request: the hub's path with an id of its own, one token, one body.
"""

import json
import ssl
import sys
import time
from array import array
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """So many records to a hub by its URL, so many of them in flight.

    A peer sends `body` again and again; bulkload reads `source`, whose records are as long. `seconds` is for a peer
    that goes by time. With `ca_file`, the certificate is verified by that authority.
    """

    url: str
    api_version: str
    token: str
    body: str
    records: int
    in_flight: int
    seconds: int
    source: str
    ca_file: str | None = None

    @classmethod
    def given(cls) -> Self:
        """The order on this program's command line."""
        return cls(**json.loads(sys.argv[1]))

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @property
    def headers(self) -> dict[str, str]:
        """The head fields that the hub wants."""
        return {"Authorization": self.token, "Content-Type": "application/json", "x-ms-version": self.api_version}

    @property
    def authority(self) -> bytes | None:
        """The PEM of who vouches for the server's certificate; None for plain HTTP."""
        return Path(self.ca_file).read_bytes() if self.ca_file else None

    @property
    def trust(self) -> ssl.SSLContext | None:
        """What verifies the server's certificate; None for plain HTTP."""
        return ssl.create_default_context(cafile=self.ca_file) if self.ca_file else None

    def address(self, number: int) -> str:
        """The URL of one installation: an id as long as a UUID, different for each number."""
        return f"{self.url}/installations/{number:08x}-0000-4000-8000-000000000000?api-version={self.api_version}"


class Stopwatch:
    """Takes the time of a run and of each of its requests, 8 bytes a request."""

    def __init__(self) -> None:
        self._took = array("d")
        self._began = time.perf_counter()

    def __repr__(self) -> str:
        return f"<Stopwatch of {len(self._took)} requests>"

    def answered(self, began: float) -> None:
        """A request that began then, by `time.perf_counter`, has its answer."""
        self._took.append(time.perf_counter() - began)

    def tell(self) -> None:
        """Print what the run came to."""
        seconds = time.perf_counter() - self._began
        took = sorted(self._took)
        told = {"count": len(took), "seconds": seconds, "p50": _percentile(took, 0.5), "p99": _percentile(took, 0.99)}
        print(json.dumps(told))


def _percentile(took: Sequence[float], part: float) -> float:
    return took[int(part * (len(took) - 1))]
