"""Finding the source objects of what settled badly in earlier sessions, for their dead letters and for a retry."""

from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing
from typing import NamedTuple

from bulkload.dead_letters import Letter
from bulkload.ledger import Dead
from bulkload.record import Origin
from bulkload.source import Datum, Place, Source

# Bytes between two of them that are read through rather than jumped over; opening a file anew costs about as much.
GAP = 4 * 1024 * 1024

# Source objects handed over together.
TOGETHER = 1000


class Grave(NamedTuple):
    """A source object, and which of its records settled badly, in the order of positions."""

    datum: Datum
    place: Place
    dead: list[Dead]

    def letter(self, number: int) -> Letter:
        """Its letter, as an object of the source of this number."""
        first = self.dead[0]
        return Letter(Origin(number, self.datum, self.place), first.position, first.outcome, first.detail or "")


class Graves:
    """What of one source settled badly, in the order in which it stands there."""

    def __init__(self, dead: Generator[Dead, None, None]) -> None:
        self._dead = dead
        self.next = next(dead, None)

    def __repr__(self) -> str:
        return f"<Graves, next {self.next}>"

    def close(self) -> None:
        """Look no further."""
        self._dead.close()

    def of(self, datum: Datum, place: Place) -> Grave | None:
        """The grave of the source object at a place, if one of its records settled badly."""
        while self.next is not None and self.next.place.offset < place.offset:
            self._advance()
        dead: list[Dead] = []
        while self.next is not None and self.next.place.offset == place.offset:
            dead.append(self.next)
            self._advance()
        return Grave(datum, place, dead) if dead else None

    def _advance(self) -> None:
        self.next = next(self._dead, None)


async def visited(source: Source, graves: Graves) -> AsyncGenerator[list[Grave], None]:
    """Read a source again where its graves are."""
    found: list[Grave] = []
    while graves.next is not None:
        start = graves.next.place
        async with aclosing(source.batches(start)) as batches:
            async for batch in batches:
                for datum, offset, line in batch.placed():
                    if (grave := graves.of(datum, Place(offset, line))) is not None:
                        found.append(grave)
                if len(found) >= TOGETHER:
                    yield found
                    found = []
                if graves.next is None or (source.can_seek and graves.next.place.offset - batch.end.offset > GAP):
                    break
            else:
                # What is left was not found: the source is shorter than it was.
                break
    if found:
        yield found


async def letters(number: int, source: Source, graves: Graves) -> AsyncGenerator[list[Letter], None]:
    """The letters of a source that can be read again, a number at a time."""
    async with aclosing(visited(source, graves)) as found:
        async for some in found:
            yield [grave.letter(number) for grave in some]
