"""Where a source can be taken up again: the first source object that is not wholly settled."""

from typing import NamedTuple

from bulkload.record import Record
from bulkload.source import START, Place


class Mark(NamedTuple):
    """A point in a source: everything before it is settled or filtered.

    `position` is that of the first record at or after it, `filtered` the number of source objects filtered before it,
    `read` the number of positions that were read in all, `is_finished` whether the source was read to its end and
    nothing of it is unsettled.
    """

    place: Place = START
    position: int = 0
    filtered: int = 0
    read: int = 0
    is_finished: bool = False


class Checkpoint:
    """Follows one source's records from being read to being settled."""

    def __init__(self, start: Mark) -> None:
        self.position = start.position
        self.read = start.read
        self.filtered = start.filtered
        self.is_at_end = False
        self._place = start.place
        self._first = start.position
        # In the order of reading, so that the first one is the earliest that is unsettled.
        self._unsettled: dict[int, Record] = {}

    def __repr__(self) -> str:
        return f"<Checkpoint at {self.position}, {len(self._unsettled)} unsettled>"

    def reach(self, place: Place) -> None:
        """Everything before `place` has been read; the next record taken is the first of what begins there."""
        self._place = place
        self._first = self.position

    def take(self) -> int:
        """The next record's position."""
        position = self.position
        self.position += 1
        self.read = max(self.read, self.position)
        return position

    def hold(self, record: Record) -> None:
        """A record is in hand, unsettled."""
        self._unsettled[record.position] = record

    def settle(self, position: int) -> None:
        self._unsettled.pop(position, None)

    def mark(self) -> Mark:
        """Where a later session goes on if this one ends now."""
        earliest = next(iter(self._unsettled.values()), None)
        if earliest is None:
            return Mark(self._place, self._first, self.filtered, self.read, self.is_at_end)
        return Mark(Place(earliest.offset, earliest.line), earliest.position, self.filtered, self.read)
