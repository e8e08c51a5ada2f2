"""Finding the source objects of what settled badly in earlier sessions, so that dead letters are built anew."""

from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing

from bulkload.dead_letters import Letter
from bulkload.ledger import Dead
from bulkload.record import Origin
from bulkload.source import Datum, Place, Source

# Bytes between two of them that are read through rather than jumped over; opening a file anew costs about as much.
GAP = 4 * 1024 * 1024

# Letters handed over together.
TOGETHER = 1000


class Graves:
    """What of one source settled badly, in the order in which it stands there; one for each source object."""

    def __init__(self, dead: Generator[Dead, None, None]) -> None:
        self._dead = dead
        self.next = next(dead, None)

    def __repr__(self) -> str:
        return f"<Graves, next {self.next}>"

    def close(self) -> None:
        """Look no further."""
        self._dead.close()

    def letter(self, number: int, datum: Datum, place: Place) -> Letter | None:
        """The letter of the source object at a place, if one of its records settled badly."""
        while self.next is not None and self.next.place.offset < place.offset:
            self.next = next(self._dead, None)
        if self.next is None or self.next.place.offset != place.offset:
            return None
        dead = self.next
        while self.next is not None and self.next.place.offset == place.offset:
            self.next = next(self._dead, None)
        return Letter(Origin(number, datum, place), dead.position, dead.outcome, dead.detail or "")


async def letters(number: int, source: Source, graves: Graves) -> AsyncGenerator[list[Letter], None]:
    """Read a source again where its dead letters come from."""
    found: list[Letter] = []
    while graves.next is not None:
        start = graves.next.place
        async with aclosing(source.batches(start)) as batches:
            async for batch in batches:
                for datum, offset, line in batch.placed():
                    if (letter := graves.letter(number, datum, Place(offset, line))) is not None:
                        found.append(letter)
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
