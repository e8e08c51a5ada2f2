"""Tags and how often each is used, exactly, however many different ones there are."""

from collections import Counter
from collections.abc import Iterable
from heapq import nsmallest
from typing import NamedTuple

import orjson

from bulkload.check.spill import PARTS, Parts, Spill

# Different tags in memory before they are set aside: some 30 MB.
DIFFERENT = 200_000

COMMONEST = 20


class Counted(NamedTuple):
    """The number of different tags, and the commonest with the number of their uses."""

    distinct: int
    commonest: tuple[tuple[str, int], ...]


class Tags:
    """Counts tags."""

    def __init__(self, spill: Spill, *, different: int = DIFFERENT) -> None:
        self._different = different
        self._counts: Counter[str] = Counter()
        self._parts = Parts(spill)

    def __repr__(self) -> str:
        return f"<Tags, {len(self._counts)} in memory, {self._parts!r}>"

    def add(self, tags: Iterable[str]) -> None:
        self._counts.update(tags)
        if len(self._counts) > self._different:
            self._set_aside()

    def count(self) -> Counted:
        """Sum up; what was added may be summed up again."""
        if self._parts.is_empty:
            return Counted(len(self._counts), _commonest(self._counts.items()))
        self._set_aside()
        distinct = 0
        commonest: tuple[tuple[str, int], ...] = ()
        for part in range(PARTS):
            counts: Counter[str] = Counter()
            for segment in self._parts.segments(part):
                counts.update(orjson.loads(segment))
            distinct += len(counts)
            commonest = _commonest([*commonest, *counts.items()])
        return Counted(distinct, commonest)

    def _set_aside(self) -> None:
        parts: list[dict[str, int]] = [{} for _ in range(PARTS)]
        for tag, count in self._counts.items():
            parts[hash(tag) % PARTS][tag] = count
        texts = [orjson.dumps(part) if part else b"" for part in parts]
        self._parts.put(b"".join(texts), [len(text) for text in texts])
        self._counts.clear()


def _commonest(counts: Iterable[tuple[str, int]]) -> tuple[tuple[str, int], ...]:
    return tuple(nsmallest(COMMONEST, counts, key=lambda counted: (-counted[1], counted[0])))
