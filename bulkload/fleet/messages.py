"""What a coordinator and its uploaders say to each other, and how it goes over a stream.

A message is its length in four bytes, and MessagePack of one of these classes. An uploader on another machine would
need two things of the coordinator's beside them: the files of a certificate authority and of a mapping, and its clock,
by which a lease lapses. Times are in seconds.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec

from bulkload.client import TransportName
from bulkload.fleet.claims import Turn
from bulkload.hub import Hub
from bulkload.installation import Finding
from bulkload.ledger import Value
from bulkload.record import Outcome
from bulkload.retry import Traits
from bulkload.source import Batch

# A source object that is no bytes and no row could not be taken apart: what is wrong with it, as a list.
Shipped = bytes | dict[str, Any] | list[Any]


class Message(msgspec.Struct, array_like=True, tag=True, gc=False):
    """One of the two says this to the other."""


# What the coordinator says.


class Work(Message):
    """How records are read and sent, said first.

    `flags` are those of `Reading.kept`, and `mapping` is the fingerprint of what they make.
    """

    hub: Hub
    flags: dict[str, Any]
    mapping: str
    transport: TransportName
    workers: int
    max_attempts: int
    record_timeout: float
    api_version: str
    ca_file: str | None
    traits: Traits
    was_accepted: bool
    is_capped: bool


class Shipment(Message):
    """The source objects of a parcel; or, where they are lines of NDJSON, all of these as they were read."""

    parcel: int
    source: int
    data: bytes | Sequence[Shipped]


class Grant(Message):
    """A parcel's records may be sent: the first `count` of them, of which the first has position `first`.

    Those at the places `skipped` are settled. Those whose ids have these digests, `held`, wait until they are released.
    """

    parcel: int
    first: int
    count: int
    skipped: list[int]
    held: list[int]


class Release(Message):
    """The records of these ids, by their digests, have waited for those before them."""

    parcel: int
    digests: list[int]


class Watch(Message):
    """Say so when no record of this id is unsettled any more: others wait for it."""

    parcel: int
    digest: int


class Lease(Message):
    """So many requests may leave, within `lasts` seconds after it was made: what is left of it then is given back.

    `limit` is how many may be in flight from now on, whatever was leased. `is_reached` says that the hub has answered
    in this session, `is_accepted` that it has accepted something in the run's life.
    """

    at: float
    number: int
    lasts: float
    limit: int
    is_reached: bool
    is_accepted: bool


class Recall(Message):
    """What is left of all leases is to be given back: the hub throttles."""


class Cease(Message):
    """Send nothing further."""


class End(Message):
    """End, and give what is in flight so many seconds to be answered."""

    grace: float


# What an uploader says.


class Note(Message):
    """What there is to say of records that are sent all the same: the first of a parcel, and how many there are."""

    finding: Finding
    place: int
    number: int


class Claim(Message):
    """So many source objects of a parcel were read, and they have so many records.

    Where `is_part`, there are more source objects, but they have too many records for one parcel. `digests` are those
    of the records' ids, eight bytes each; `places` tells how many records each source object has, where it is not one
    each; `filtered` how many installations the mapping left out.
    """

    parcel: int
    objects: int
    is_part: bool
    records: int
    digests: bytes
    places: list[int] | None
    filtered: int
    notes: list[Note]


class Taken(Message):
    """The hub took so many requests of the lease made at this time, after so many seconds in the mean."""

    at: float
    number: int
    latency: float


class Throttled(Message):
    """The hub refused a request for its own sake; see `Pace.throttled`."""

    at: float
    retry_after: float | None
    is_its_own: bool


class Failed(Message):
    """A request came to nothing."""

    at: float
    retry_after: float | None


class Blocked(Message):
    """One request at a time is to leave, after pauses; see `Pauses`."""

    first: float
    longest: float
    growth: float
    are_throttled: bool


Event = Taken | Throttled | Failed | Blocked


class Settled(Message):
    """A record's end that is no acceptance at once: the record's place in its parcel, and what a settlement has."""

    parcel: int
    place: int
    installation_id: str | None
    outcome: Outcome
    status: int | None
    attempts: int
    latency: float | None
    settled_at: float
    detail: str | None
    tracking_id: str | None


class Report(Message):
    """What came of it since the last report, and what is wanted next.

    `rows` are of records that the hub queued at once, see `accepted_rows`, `settled` are the others; `finished` are
    parcels all of whose records are settled. `asked` counts all requests that were ever leased and those that could
    leave besides, `given_back` those of this report's time that did not leave. `constraint` is what keeps the next
    request back, None where that is the lease; `processor` the seconds of CPU so far.
    """

    rows: list[Value]
    settled: list[Settled]
    finished: list[int]
    released: list[Turn]
    events: list[Event]
    accepted: int
    rejected: int
    throttled: int
    failed: int
    retried: int
    in_flight: int
    asked: int
    given_back: int
    constraint: str | None
    processor: float


class Said(Message):
    """A line of the log; `form` is the line before its values were put in."""

    level: int
    form: str
    line: str


class Halted(Message):
    """The hub refuses the whole run."""

    exit_code: int
    reason: str


class Broke(Message):
    """A bug, with its traceback."""

    words: str


class Ended(Message):
    """The last word: all is told."""


FromCoordinator = Work | Shipment | Grant | Release | Watch | Lease | Recall | Cease | End
FromUploader = Claim | Report | Said | Halted | Broke | Ended

M = TypeVar("M")

_LENGTH = 4
_encoder = msgspec.msgpack.Encoder()


class Channel(asyncio.Protocol):
    """One end of the stream: `take` is called with all that is heard, and `end` when nothing more will be.

    Raises nothing for a stream that is closed: that is told by `end`. What is no message of the other one's is a
    `msgspec.DecodeError`, and ends the stream as well.
    """

    def __init__(self, kinds: Any, take: Callable[[Any], None], end: Callable[[], None]) -> None:
        self._decoder = msgspec.msgpack.Decoder(kinds)
        self._take = take
        self._end = end
        self._received = bytearray()
        self._transport: asyncio.Transport | None = None

    def __repr__(self) -> str:
        return f"<Channel, {'open' if self._transport is not None else 'closed'}>"

    @property
    def is_open(self) -> bool:
        """Whether the other one may still hear and say something."""
        return self._transport is not None

    def send(self, message: Message) -> None:
        """Say something, unless nobody hears it any more."""
        if self._transport is not None:
            data = _encoder.encode(message)
            self._transport.writelines((len(data).to_bytes(_LENGTH, "big"), data))

    def close(self) -> None:
        """Close it, once all that was said has left."""
        if self._transport is not None:
            self._transport.close()

    # What the loop tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's are none of asyncio's by their types.
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        received = self._received
        received += data
        start = 0
        with memoryview(received) as view:
            while len(view) - start >= _LENGTH:
                first = start + _LENGTH
                last = first + int.from_bytes(view[start:first], "big")
                if last > len(view):
                    break
                start = last
                self._take(self._decoder.decode(view[first:last]))
        del received[:start]

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._transport = None
        self._end()


def shipment(number: int, source: int, batch: Batch) -> Shipment:
    """The shipment of a batch."""
    # What could not be taken apart is written as the tuple that it is, and read as a list.
    return Shipment(number, source, batch.text or batch.data)  # type: ignore[arg-type]
