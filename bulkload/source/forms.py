"""How source objects stand in text, and what a source tells of it."""

from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

from bulkload.source.layout import FormName
from bulkload.source.place import Batch, Place
from bulkload.source.streams import Readable


class Shape(Protocol):
    """What a form is called, and how it is laid out where it is a table."""

    @property
    def name(self) -> FormName: ...

    @property
    def columns(self) -> tuple[str, ...] | None:
        """The header of a table."""

    @property
    def delimiter(self) -> str | None: ...


class Form(Shape, Protocol):
    """What makes source objects of a stream of UTF-8 text, which it reads but once."""

    def begins(self, start: Place) -> int:
        """The bytes of the text to skip in order to read on from `start`."""

    def batches(self, stream: Readable, start: Place) -> Iterator[Batch]:
        """The source objects from `start` on, of a stream that stands where `begins` said."""


S = TypeVar("S", bound=Shape)


class Formed(Generic[S]):
    """What a source tells of its form, once that is known."""

    _form: S | None = None

    @property
    def form(self) -> FormName | None:
        return self._form.name if self._form else None

    @property
    def columns(self) -> tuple[str, ...] | None:
        return self._form.columns if self._form else None

    @property
    def delimiter(self) -> str | None:
        return self._form.delimiter if self._form else None
