"""What every kind of source gives: objects, each with the place at which it begins."""

from collections.abc import AsyncGenerator
from typing import NamedTuple, Protocol

from bulkload.installation import Flaw


class Place(NamedTuple):
    """Where a source object begins: bytes into the decompressed stream (an ordinal, for an iterable), and line."""

    offset: int
    line: int


START = Place(0, 1)


class SourceObject(NamedTuple):
    """One line, row or element as it came; `flaw` is set where it could not even be taken apart."""

    data: bytes
    offset: int
    line: int
    flaw: Flaw | None = None


class Batch(NamedTuple):
    """Some consecutive source objects, and the place after the last."""

    objects: list[SourceObject]
    end: Place


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

    async def fingerprint(self) -> str:
        """A text that is the same for the same content and tells another version apart."""

    async def count(self, limit: int) -> int:
        """The number of source objects, counted no further than `limit`; `batches` gives them all the same."""

    def batches(self, start: Place) -> AsyncGenerator[Batch, None]:
        """Read on from `start`; raises `Halt` where the source breaks off, after giving what came before."""
