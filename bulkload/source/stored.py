"""A source that can be opened as often as needed, wherever its bytes lie."""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import BinaryIO

from bulkload.source.breaking import ANOTHER_VERSION, breaking_off
from bulkload.source.compression import decompressed, is_compressed
from bulkload.source.encoding import Transcoded, is_utf_8
from bulkload.source.forms import Form, Formed
from bulkload.source.layout import Layout
from bulkload.source.parquet import ParquetRows
from bulkload.source.place import START, Batch, Place
from bulkload.source.reading import in_thread, read_ahead
from bulkload.source.streams import Peeked, RawFile, Readable, Whole, skipped
from bulkload.source.telling import PARQUET_MAGIC, tell


class StoredSource(Formed[Form | ParquetRows], ABC):
    """Reads what `_open` opens: decompressed, as UTF-8, in the form that it has, ahead of the loop.

    Its subclasses say where the bytes lie; `_identify` says what they are, and is called before anything else.
    """

    name: str
    size: int | None = None
    ledger_name: str | None = None
    lasting_address: str | None = None
    can_reread = True

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._is_transcoded = not is_utf_8(layout.encoding)
        self._magic = b""
        self.consumed = 0

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} {self.consumed}/{self.size}>"

    @abstractmethod
    def _identify(self) -> str:
        """The fingerprint; keeps `size` and the first bytes, `_magic`."""

    @abstractmethod
    def _open(self, offset: int) -> AbstractContextManager[RawFile]:
        """Its bytes from `offset` on."""

    @abstractmethod
    def _open_anywhere(self) -> AbstractContextManager[BinaryIO]:
        """A file that can be read at any place."""

    @property
    def can_seek(self) -> bool:
        return self.form in ("ndjson", "csv") and not is_compressed(self._magic) and not self._is_transcoded

    async def fingerprint(self) -> str:
        fingerprint = await in_thread(self._identify)
        await in_thread(self._told)
        return fingerprint

    async def count(self, limit: int) -> int:
        await in_thread(self._identify)
        return await in_thread(lambda: self._count(limit))

    async def batches(self, start: Place) -> AsyncGenerator[Batch, None]:
        async for batch in read_ahead(lambda: self._batches(start)):
            yield batch

    def _count(self, limit: int) -> int:
        if isinstance(form := self._told(), ParquetRows):
            return min(limit, form.number)
        return counted(self._batches(START), limit)

    def _told(self) -> Form | ParquetRows:
        if self._form is None:
            with breaking_off(self.name, ANOTHER_VERSION):
                self._form = self._tell()
        return self._form

    def _tell(self) -> Form | ParquetRows:
        self._identify()
        if self._magic.startswith(PARQUET_MAGIC) and self._layout.format in ("auto", "parquet"):
            with self._open_anywhere() as file:
                return ParquetRows.of(self.name, file)
        with self._text(0) as (text, _):
            return tell(self.name, Peeked(text), self._layout, self._reopened, is_transcoded=self._is_transcoded)

    @contextmanager
    def _reopened(self) -> Iterator[Readable]:
        with self._text(0) as (text, _):
            yield text

    @contextmanager
    def _text(self, offset: int) -> Iterator[tuple[Readable, RawFile]]:
        """Its text from `offset` on, and the bytes beneath."""
        is_plain = not is_compressed(self._magic) and not self._is_transcoded
        with self._open(offset if is_plain else 0) as raw:
            whole = Whole(raw, self.size)
            yield whole if is_plain else skipped(self._transcoded(whole), offset), raw

    def _transcoded(self, raw: Readable) -> Readable:
        text = decompressed(self._magic, raw)
        return Transcoded(self.name, text, self._layout.encoding) if self._is_transcoded else text

    def _batches(self, start: Place) -> Iterator[Batch]:
        form = self._told()
        with breaking_off(self.name, ANOTHER_VERSION):
            if isinstance(form, ParquetRows):
                with self._open_anywhere() as file:
                    for batch in form.batches(file, start):
                        self.consumed = (self.size or 0) * batch.end.offset // max(form.number, 1)
                        yield batch
                return
            with self._text(form.begins(start)) as (text, raw):
                for batch in form.batches(text, start):
                    self.consumed = raw.tell()
                    yield batch


def counted(items: Iterator[Batch], limit: int) -> int:
    """The number of source objects, counted no further than `limit`."""
    number = 0
    for batch in items:
        number += len(batch.data)
        if number >= limit:
            return limit
    return number
