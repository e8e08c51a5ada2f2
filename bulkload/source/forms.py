"""How source objects stand in text."""

from collections.abc import Iterator
from typing import Protocol

from bulkload.source.layout import FormName
from bulkload.source.place import Batch, Place
from bulkload.source.streams import Readable


class Form(Protocol):
    """What makes source objects of a stream of UTF-8 text, which it reads but once."""

    @property
    def name(self) -> FormName: ...

    @property
    def columns(self) -> tuple[str, ...] | None:
        """The header of a table."""

    @property
    def delimiter(self) -> str | None: ...

    def begins(self, start: Place) -> int:
        """The bytes of the text to skip in order to read on from `start`."""

    def batches(self, stream: Readable, start: Place) -> Iterator[Batch]:
        """The source objects from `start` on, of a stream that stands where `begins` said."""
