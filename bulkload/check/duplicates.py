"""Values that occur more than once, counted exactly by digests, however many there are."""

from array import array
from collections.abc import Callable, Iterator, Sequence
from heapq import nsmallest
from os import urandom
from struct import iter_unpack
from typing import NamedTuple

from xxhash import xxh3_128_digest

from bulkload.check.spill import PARTS, Parts, Spill

# Rows in memory before they are sorted into the parts: 2 MB, which the processor's cache can hold.
TOGETHER = 1 << 16

EXAMPLES = 3

# A row: its digest in two words, the number of its record, and its owner.
_WORDS = 4
_ROW = 8 * _WORDS


class Pair(NamedTuple):
    """The numbers of the record that had a value first, and of one that has it again."""

    first: int
    again: int


class Found(NamedTuple):
    """How many values occur again, in how many records beyond the first of each, and the first examples.

    `strangers` counts those of these records that have another owner than the first.
    """

    values: int
    records: int
    strangers: int
    examples: tuple[Pair, ...]


class Duplicates:
    """Takes a value of each record, and finds in the end which of them occur more than once.

    A record has a number, which grows, and may have an owner, by which those of one value are told apart. Values are
    the same when their digests of 128 bits are: that two of 50 million are not has a chance of 1 in 10^23.
    """

    def __init__(self, spill: Spill, *, together: int = TOGETHER) -> None:
        # Made anew for each check, so that nobody can prepare values that collide.
        self._seed = int.from_bytes(urandom(8))
        self._together = together
        self._parts = Parts(spill)
        self._clear()

    def __repr__(self) -> str:
        return f"<Duplicates, {len(self._numbers)} rows in memory, {self._parts!r}>"

    def add(self, values: Sequence[str], numbers: "array[int]", owners: "array[int] | None" = None) -> "array[int]":
        """Take values and the numbers of their records; returns the values as owners of others.

        Without owners each record has the same one.
        """
        seed = self._seed
        # 0.05 us a value, against 0.15 for two salted hash() in arrays and 0.31 for blake2b.
        digests = b"".join([xxh3_128_digest(value.encode(), seed) for value in values])
        words = array("q", digests)
        self._digests.extend(words)
        self._numbers.extend(numbers)
        self._owners.extend(owners if owners is not None else array("q", bytes(8 * len(numbers))))
        if len(self._numbers) >= self._together:
            self._parts.put(_parted(self._rows()))
            self._clear()
        return words[::2]

    def find(self) -> Found:
        """Count them; what was taken may be looked through again."""
        values = records = strangers = 0
        examples: list[_Group] = []
        for segments in self._all():
            repeated = _repeated(segments)
            values += len(repeated)
            records += sum(group.records for group in repeated)
            strangers += sum(group.strangers for group in repeated)
            examples = nsmallest(EXAMPLES, [*examples, *repeated], key=_Group.order)
        return Found(values, records, strangers, tuple(group.pair for group in examples))

    def _all(self) -> Iterator[Callable[[], Iterator["array[int]"]]]:
        """For each part what gives its rows, segment by segment."""
        rows = self._rows()
        if self._parts.is_empty:
            yield lambda: iter([rows])
            return
        rest = _parted(rows)
        for part in range(PARTS):

            def segments(part: int = part) -> Iterator["array[int]"]:
                for segment in self._parts.segments(part):
                    yield array("q", segment)
                yield array("q", rest[part])

            yield segments

    def _rows(self) -> "array[int]":
        rows = array("q", bytes(_ROW * len(self._numbers)))
        rows[0::_WORDS] = self._digests[0::2]
        rows[1::_WORDS] = self._digests[1::2]
        rows[2::_WORDS] = self._numbers
        rows[3::_WORDS] = self._owners
        return rows

    def _clear(self) -> None:
        self._digests = array("q")
        self._numbers = array("q")
        self._owners = array("q")


def _parted(rows: "array[int]") -> list[bytes]:
    """Rows by the first byte of their digests, in their order (0.11 us a row)."""
    data = rows.tobytes()
    parts: list[list[bytes]] = [[] for _ in range(PARTS)]
    adds = [part.append for part in parts]
    for first, (row,) in zip(data[::_ROW], iter_unpack(f"{_ROW}s", data), strict=True):
        adds[first](row)
    return [b"".join(part) for part in parts]


class _Group:
    """The records of one value that occurs again."""

    __slots__ = ("again", "first", "owner", "records", "stranger", "strangers")

    def __init__(self, first: int, owner: int) -> None:
        self.first = first
        self.owner = owner
        self.records = self.strangers = 0
        self.again = self.stranger = -1

    def add(self, number: int, owner: int) -> None:
        self.records += 1
        if self.records == 1:
            self.again = number
        if owner != self.owner:
            self.strangers += 1
            if self.strangers == 1:
                self.stranger = number

    @property
    def pair(self) -> Pair:
        return Pair(self.first, self.stranger if self.strangers else self.again)

    def order(self) -> tuple[bool, int]:
        """Those with another owner first: they tell a person more."""
        return (not self.strangers, self.pair.again)


def _repeated(segments: Callable[[], Iterator["array[int]"]]) -> list[_Group]:
    """The values of a part that occur again. Its memory grows with its different values, not with its rows."""
    # Nearly every part of nearly every source has none, or few: a set of half the digest tells that in 0.05 us a row.
    seen: set[int] = set()
    total = 0
    for rows in segments():
        total += len(rows) // _WORDS
        seen.update(rows[::_WORDS])
    if len(seen) == total:
        return []
    seen.clear()
    candidates: set[int] = set()
    for rows in segments():
        for half in rows[::_WORDS]:
            if half in seen:
                candidates.add(half)
            else:
                seen.add(half)
    seen.clear()
    groups: dict[tuple[int, int], _Group] = {}
    for rows in segments():
        columns = (rows[word::_WORDS] for word in range(_WORDS))
        for half, other_half, number, owner in zip(*columns, strict=True):
            if half not in candidates:
                continue
            group = groups.get((half, other_half))
            if group is None:
                groups[half, other_half] = _Group(number, owner)
            else:
                group.add(number, owner)
    return [group for group in groups.values() if group.records]
