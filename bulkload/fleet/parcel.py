"""Some consecutive source objects as they are shipped, and what became of them."""

from collections.abc import Sequence
from itertools import chain, repeat
from typing import NamedTuple

from bulkload.fleet.messages import Claim
from bulkload.record import Origin
from bulkload.source import Batch, Datum, Place

# Bytes of a record, for a guess.
USUAL_SIZE = 400


class Terms(NamedTuple):
    """What of a parcel's records may be sent: the first `number`, but for the places that are `skipped`.

    `first` is the position of the first one.
    """

    first: int
    number: int
    skipped: frozenset[int]


class Parcel:
    """Source objects of one source, from `start` on, until all their records are settled.

    It has a `number` once it was shipped, a `claim` once an uploader has read it, and `terms` once its turn came.
    `size` is what it holds in bytes, roughly, and `guess` how many records it may have. `buried` is where those of its
    source objects begin that are among the dead letters; `is_left` says that some of its records are left for a later
    session.
    """

    __slots__ = (
        "_is_settled",
        "_objects",
        "_places",
        "batch",
        "buried",
        "claim",
        "guess",
        "is_left",
        "number",
        "size",
        "source",
        "start",
        "terms",
    )

    def __init__(self, source: int, batch: Batch, start: Place) -> None:
        self.number = -1
        self.source = source
        self.batch = batch
        self.start = start
        if batch.text is not None:
            self.size = len(batch.text)
            self.guess = 1 + self.size // USUAL_SIZE
        else:
            self.size = sum(Origin(source, datum, start).size for datum in batch.data)
            self.guess = len(batch.data)
        self.claim: Claim | None = None
        self.terms: Terms | None = None
        self.buried: set[int] = set()
        self.is_left = False
        self._is_settled = False
        self._objects: list[int] | None = None
        self._places: list[Place] | None = None

    def __repr__(self) -> str:
        # Not how many source objects: to count them would split its lines.
        return f"<Parcel {self.number} of source {self.source}, from line {self.start.line}>"

    @property
    def is_over(self) -> bool:
        """Whether all its records are settled."""
        return self._is_settled and not self.is_left

    def cut(self, objects: int) -> "Parcel":
        """Keep so many of its source objects, and return a parcel of the others."""
        data, places = self.batch.data, self._all_places()
        first = places[objects]
        rest = Parcel(self.source, _batch(data[objects:], places[objects:], self.batch.end), first)
        self.batch = _batch(data[:objects], places[:objects], first)
        self.size -= rest.size
        self._places = places[:objects]
        return rest

    def settle(self) -> None:
        """All its records that may be sent are settled: it need not be shipped again.

        It may be kept for long behind an earlier one of which a record rests, and thousands like it.
        """
        assert self.claim is not None
        self._is_settled = True
        self.batch = Batch((), (), (), self.batch.end)
        self.claim.digests, self.claim.places, self.claim.notes = b"", None, []
        self._places = self._objects = None

    def object_of(self, place: int) -> tuple[Datum, Place]:
        """The source object that a record came from, and where it begins."""
        assert self.claim is not None
        places = self._all_places()
        if self.claim.places is not None:
            if self._objects is None:
                counted = enumerate(self.claim.places)
                self._objects = list(chain.from_iterable(repeat(number, times) for number, times in counted))
            place = self._objects[place]
        return self.batch.data[place], places[place]

    def _all_places(self) -> list[Place]:
        """Where each of its source objects begins."""
        if self._places is None:
            self._places = [Place(offset, line) for _, offset, line in self.batch.placed()]
        return self._places


def _batch(data: Sequence[Datum], places: list[Place], end: Place) -> Batch:
    return Batch(data, [place.line for place in places], [place.offset for place in places], end)
