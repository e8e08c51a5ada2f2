"""Which parcel's turn it is with an id: the one that is earlier in the source goes first, and the later one waits.

Ids are known by digests of 64 bits. Two ids of one digest would only wait for each other.
"""

from array import array
from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

import xxhash


def digest(id: str) -> int:  # noqa: A002
    """The digest of an id, the same on every machine: 0.1 us."""
    return xxhash.xxh3_64_intdigest(id.encode())


def packed(digests: Iterable[int]) -> bytes:
    """Digests as they are shipped."""
    return array("Q", digests).tobytes()


def unpacked(data: bytes) -> set[int]:
    """Digests as they were shipped, each once."""
    digests = array("Q")
    digests.frombytes(data)
    return set(digests)


class Turn(NamedTuple):
    """It is this parcel's turn with an id."""

    parcel: int
    digest: int


class Claims:
    """The ids of all parcels in hand, in the order in which these were entered.

    What a record costs is set arithmetic (0.1 us); only an id that two parcels have in hand has a queue.
    """

    def __init__(self) -> None:
        self._digests: dict[int, set[int]] = {}
        self._all: set[int] = set()
        self._queues: dict[int, deque[int]] = {}

    def __repr__(self) -> str:
        return f"<Claims of {len(self._digests)} parcels, {len(self._queues)} waited for>"

    def enter(self, parcel: int, digests: set[int]) -> list[Turn]:
        """Claim the ids of a parcel, the last in source order; returns whose turn it is with those that must wait."""
        turns: list[Turn] = []
        if not self._all.isdisjoint(digests):
            for each in self._all & digests:
                queue = self._queues.get(each)
                if queue is None:
                    holder = next(number for number, held in self._digests.items() if each in held)
                    queue = self._queues[each] = deque([holder])
                    turns.append(Turn(holder, each))
                queue.append(parcel)
        self._digests[parcel] = digests
        self._all |= digests
        return turns

    def waits(self, parcel: int) -> list[int]:
        """The digests of those ids with which it is another parcel's turn."""
        return [each for each, queue in self._queues.items() if parcel in queue and queue[0] != parcel]

    def watched(self, parcel: int) -> list[int]:
        """The digests of those ids with which it is this parcel's turn, and others wait for it."""
        return [each for each, queue in self._queues.items() if queue[0] == parcel]

    def release(self, parcel: int, each: int) -> Turn | None:
        """A parcel is done with an id: returns whose turn it is now, if anybody waited."""
        queue = self._queues.get(each)
        if queue is None or queue[0] != parcel:
            return None
        queue.popleft()
        self._digests[parcel].discard(each)
        turn = Turn(queue[0], each)
        if len(queue) == 1:
            del self._queues[each]
        return turn

    def is_waited_for(self, each: int) -> bool:
        """Whether a parcel waits for another one that has this id."""
        return each in self._queues

    def leave(self, parcel: int) -> list[Turn]:
        """A parcel is wholly settled; returns whose turn it is with ids that others waited for."""
        digests = self._digests[parcel]
        turns = [self._give_up(parcel, each) for each in digests & self._queues.keys()] if self._queues else []
        del self._digests[parcel]
        self._all -= digests
        return [turn for turn in turns if turn is not None]

    def _give_up(self, parcel: int, each: int) -> Turn | None:
        """A parcel is done with an id, whether or not its turn has come: it may have had nothing to send."""
        queue = self._queues[each]
        if queue[0] == parcel:
            return self.release(parcel, each)
        queue.remove(parcel)
        self._digests[parcel].discard(each)
        if len(queue) == 1:
            del self._queues[each]
        return None
