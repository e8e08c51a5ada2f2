"""What every kind of source gives: source objects, each with the place at which it begins."""

from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from bulkload.installation import Flaw
from bulkload.source.layout import FormName


class Place(NamedTuple):
    """Where a source object begins: its line, and bytes into the decompressed text, or an ordinal without those."""

    offset: int
    line: int


START = Place(0, 1)


class Broken(NamedTuple):
    """A source object that could not even be taken apart.

    `text` is what it came as, or its first KiB where it is longer than what is taken; `size` is its length in bytes.
    """

    flaw: Flaw
    text: bytes
    size: int


# One source object: a JSON text as it came, a row as its cells by their columns, or what could not be taken apart.
Datum = bytes | dict[str, Any] | Broken


class Batch:
    """Some consecutive source objects, the line and the offset at which each begins, and the place after the last.

    `offsets` may be an iterator, which is read once. Three sequences instead of a sequence of triples: a tuple for each
    object would cost as much as its check (0.3 us measured).
    """

    __slots__ = ("data", "end", "lines", "offsets")

    def __init__(self, data: Sequence[Datum], lines: Sequence[int], offsets: Iterable[int], end: Place) -> None:
        self.data = data
        self.lines = lines
        self.offsets = offsets
        self.end = end

    def __repr__(self) -> str:
        return f"<{type(self).__name__} before {self.end}>"

    @property
    def text(self) -> bytes | None:
        """All of it as lines of NDJSON, where that is what was read and nobody has looked at its source objects."""
        return None

    def placed(self) -> Iterator[tuple[Datum, int, int]]:
        """Each source object with its offset and its line."""
        return zip(self.data, self.offsets, self.lines, strict=True)


class Source(Protocol):
    """Something that can be read from the start, or from a place at which it was left."""

    @property
    def name(self) -> str:
        """What people call it: a path, ``-``, or ``iterable``."""

    @property
    def size(self) -> int | None:
        """Bytes to read in all, or None where nobody knows beforehand."""

    @property
    def consumed(self) -> int:
        """Bytes read so far, on the same scale as `size`."""

    @property
    def ledger_name(self) -> str | None:
        """The path that a ledger's name begins with: the file's, an address's last segment, or None without one."""

    @property
    def lasting_address(self) -> str | None:
        """What opens it again from any folder, see `reopened`; None where nothing does, or only with a key."""

    @property
    def form(self) -> FormName | None:
        """What it holds, once its fingerprint was awaited."""

    @property
    def columns(self) -> tuple[str, ...] | None:
        """The header of a table, once its fingerprint was awaited, without what dead letters add to it."""

    @property
    def delimiter(self) -> str | None:
        """What stands between a table's cells, once its fingerprint was awaited."""

    @property
    def can_seek(self) -> bool:
        """Whether reading on from a place costs nothing for what stands before it; known once its form is."""

    @property
    def can_reread(self) -> bool:
        """Whether `batches` can be called more than once."""

    async def fingerprint(self) -> str:
        """A text that is the same for the same content and tells another version apart."""

    async def count(self, limit: int) -> int:
        """The number of source objects, counted no further than `limit`; `batches` gives them all the same."""

    def batches(self, start: Place) -> AsyncGenerator[Batch, None]:
        """Read on from `start`; raises `Halt` where the source breaks off, after giving what came before."""


def taken(sources: Iterable[Source]) -> tuple[int, int | None]:
    """The bytes that were read of all sources, and how many there are, or None where nobody knows."""
    consumed, size = 0, 0
    is_known = True
    for source in sources:
        consumed += source.consumed
        size += source.size or 0
        is_known = is_known and source.size is not None
    return consumed, size if is_known else None
