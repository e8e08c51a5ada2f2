"""Values that occur more than once, counted exactly by digests, however many there are."""

from collections.abc import Iterator, Sequence
from heapq import nsmallest
from os import urandom
from typing import TYPE_CHECKING, NamedTuple

from xxhash import xxh3_128_digest

from bulkload.check.spill import PARTS, Parts, Spill

if TYPE_CHECKING:
    import numpy as np

    Rows = np.ndarray[tuple[int, int], np.dtype[np.uint64]]
    Words = np.ndarray[tuple[int], np.dtype[np.uint64]]

# Rows in memory before they are sorted into the parts: 1 MB, which the processor's cache can hold.
TOGETHER = 1 << 15

# Rows of a part that are sorted at once; more are taken in steps, of which only the different values are kept.
SORTED_AT_ONCE = 1 << 20

EXAMPLES = 3

DIGEST = 16

# A row: its digest in two words, the number of its record, and its owner.
_WORDS = 4


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

    The rows are sorted into parts by their digests, and each part is looked through by itself. Both is done with numpy:
    0.05 us a row, against 0.17 with arrays and sets, where 50 million would need 0.25.
    """

    def __init__(self, spill: Spill, *, together: int = TOGETHER, sorted_at_once: int = SORTED_AT_ONCE) -> None:
        # Made anew for each check, so that nobody can prepare values that collide.
        self._seed = int.from_bytes(urandom(8))
        self._together = together
        self._sorted_at_once = sorted_at_once
        self._parts = Parts(spill)
        self._digests = bytearray()
        self._owners = bytearray()
        self._numbers: list[Sequence[int]] = []

    def __repr__(self) -> str:
        return f"<Duplicates, {len(self._digests) // DIGEST} rows in memory, {self._parts!r}>"

    def add(self, values: Sequence[str], numbers: Sequence[int], owners: bytes | None = None) -> bytes:
        """Take values and the numbers of their records; returns the values' digests, as owners of others.

        Without owners each record has the same one.
        """
        seed = self._seed
        # 0.05 us a value, against 0.15 for two salted hash() in arrays and 0.31 for blake2b.
        digests = b"".join([xxh3_128_digest(value.encode(), seed) for value in values])
        self._digests += digests
        self._owners += owners if owners is not None else bytes(len(digests))
        self._numbers.append(numbers)
        if len(self._digests) >= self._together * DIGEST:
            self._set_aside()
        return digests

    def find(self) -> Found:
        """Count them; afterwards more may be added."""
        self._set_aside()
        values = records = strangers = 0
        examples: list[_Group] = []
        for part in range(PARTS):
            repeated = self._repeated(part)
            values += len(repeated)
            records += sum(group.records for group in repeated)
            strangers += sum(group.strangers for group in repeated)
            examples = nsmallest(EXAMPLES, [*examples, *repeated], key=_Group.order)
        return Found(values, records, strangers, tuple(group.pair for group in examples))

    def _set_aside(self) -> None:
        """Sort the rows in memory into the parts, in their order."""
        # Imported late: 0.05 s and 20 MB, which a load need not pay.
        import numpy as np  # noqa: PLC0415

        digests = np.frombuffer(bytes(self._digests), np.uint64).reshape(-1, 2)
        rows = np.empty((len(digests), _WORDS), np.uint64)
        rows[:, :2] = digests
        if self._numbers:
            rows[:, 2] = np.concatenate([np.asarray(numbers, np.uint64) for numbers in self._numbers])
        rows[:, 3] = np.frombuffer(bytes(self._owners), np.uint64)[::2]
        parts = (rows[:, 0] % np.uint64(PARTS)).astype(np.uint8)
        # Of single bytes a stable sort is a radix sort.
        order = np.argsort(parts, kind="stable")
        lengths = np.bincount(parts, minlength=PARTS) * rows.itemsize * _WORDS
        self._parts.put(rows[order].tobytes(), lengths.tolist())
        self._digests.clear()
        self._owners.clear()
        self._numbers.clear()

    def _repeated(self, part: int) -> "list[_Group]":
        """The values of a part that occur again. Its memory grows with its different values, not with its rows."""
        import numpy as np  # noqa: PLC0415

        candidates = self._candidates(part)
        if not len(candidates):
            return []
        groups: dict[tuple[int, int], _Group] = {}
        for rows in self._rows(part):
            places = np.searchsorted(candidates, rows[:, 0])
            places[places == len(candidates)] = 0
            for half, other_half, number, owner in rows[candidates[places] == rows[:, 0]].tolist():
                group = groups.get((half, other_half))
                if group is None:
                    groups[half, other_half] = _Group(number, owner)
                else:
                    group.add(number, owner)
        return [group for group in groups.values() if group.records]

    def _candidates(self, part: int) -> "Words":
        """The first halves of digests that occur more than once in a part, in order."""
        import numpy as np  # noqa: PLC0415

        known = again = np.empty(0, np.uint64)
        waiting: list[Words] = []

        def sort() -> "tuple[Words, Words]":
            halves = np.sort(np.concatenate([known, *waiting]))
            is_again = halves[1:] == halves[:-1]
            return halves[np.append(True, ~is_again)[: len(halves)]], np.union1d(again, halves[1:][is_again])

        for rows in self._rows(part):
            waiting.append(rows[:, 0])
            if sum(map(len, waiting)) >= self._sorted_at_once:
                known, again = sort()
                waiting.clear()
        return sort()[1]

    def _rows(self, part: int) -> "Iterator[Rows]":
        import numpy as np  # noqa: PLC0415

        for segment in self._parts.segments(part):
            yield np.frombuffer(segment, np.uint64).reshape(-1, _WORDS)


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
