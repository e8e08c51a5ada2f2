"""Where a source can be taken up again: the first source object that is not wholly settled."""

from typing import NamedTuple

from bulkload.source import START, Place


class Mark(NamedTuple):
    """A point in a source: everything before it is settled or filtered.

    `position` is that of the first record at or after it, `filtered` the number filtered before it,
    `read` the number of positions that were read in all, `is_finished` whether the source was read to its end and
    nothing of it is unsettled.
    """

    place: Place = START
    position: int = 0
    filtered: int = 0
    read: int = 0
    is_finished: bool = False


# A mark as it is kept for each record in hand: a tuple is made in a fifth of the time.
_Here = tuple[Place, int, int]


class Checkpoint:
    """Follows one source's records from being read to being settled."""

    def __init__(self, start: Mark) -> None:
        self.position = start.position
        self.filtered = start.filtered
        self.is_at_end = False
        self._read = start.read
        self._here = (start.place, start.position, start.filtered)
        # Where each unsettled record's source object begins. In the order of reading: the first is the earliest.
        self._unsettled: dict[int, _Here] = {}

    def __repr__(self) -> str:
        return f"<Checkpoint at {self.position}, {len(self._unsettled)} unsettled>"

    def reach(self, place: Place) -> None:
        """Everything before `place` has been read; the next record taken is the first of what begins there."""
        self._here = (place, self.position, self.filtered)

    def take(self) -> int:
        """The next record's position."""
        position = self.position
        self.position += 1
        return position

    def filter(self) -> None:
        """The mapping leaves something out, which therefore has no position."""
        self.filtered += 1

    def hold(self, position: int) -> None:
        """A record of the source object reached last is in hand, unsettled."""
        self._unsettled[position] = self._here

    def enter(self, place: Place) -> int:
        """The position of the one record that begins at `place` and is in hand: `reach`, `take` and `hold` in one."""
        position = self.position
        self._here = self._unsettled[position] = (place, position, self.filtered)
        self.position = position + 1
        return position

    def settle(self, *positions: int) -> None:
        """They are settled."""
        for position in positions:
            self._unsettled.pop(position, None)

    def mark(self) -> Mark:
        """Where a later session goes on if this one ends now."""
        earliest = next(iter(self._unsettled.values()), None)
        is_finished = self.is_at_end and earliest is None
        return Mark(*(earliest or self._here), read=max(self._read, self.position), is_finished=is_finished)
