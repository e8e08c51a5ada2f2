"""Standard input as a source: read once, kept on disk as far as it has to be counted."""

import contextlib
import hashlib
import io
import sys
from collections.abc import AsyncGenerator, Iterator
from typing import BinaryIO

from bulkload.errors import InputError
from bulkload.source.breaking import breaking_off
from bulkload.source.compression import MAGIC_BYTES, beginning, decompressed
from bulkload.source.encoding import LONGEST_MARK, Transcoded, is_utf_8, refuse_unannounced
from bulkload.source.files import FINGERPRINT_BYTES
from bulkload.source.forms import Form, Formed
from bulkload.source.layout import Layout
from bulkload.source.place import START, Batch, Place
from bulkload.source.reading import in_thread, read_ahead
from bulkload.source.stored import counted
from bulkload.source.streams import Chained, Copying, Counting, Peeked, Readable, fill, skipped, temporary_file
from bulkload.source.telling import PARQUET_MAGIC, tell

STANDARD_INPUT = "-"


class StandardInput(Formed[Form]):
    """Standard input in any form but Parquet; read once, and past what an earlier session settled."""

    name = STANDARD_INPUT
    size = None
    ledger_name = None
    lasting_address = None
    can_seek = False
    can_reread = False

    def __init__(self, stream: Readable | None = None, layout: Layout | None = None) -> None:
        if stream is None and sys.stdin is None:
            raise InputError("standard input is closed; pipe the records into it, or name a file")
        # Unbuffered and not sys.stdin: its lock would be held by an abandoned read when the process ends.
        self._raw: Readable = stream or io.FileIO(0, closefd=False)
        self._layout = layout or Layout()
        self._head: bytes | None = None
        self._text: Readable | None = None
        self._spooled: BinaryIO | None = None
        self.consumed = 0

    def __repr__(self) -> str:
        return f"<StandardInput {self.consumed} bytes read>"

    async def fingerprint(self) -> str:
        if self._head is None:
            with breaking_off(self.name):
                self._head = await in_thread(lambda: fill(self._raw, FINGERPRINT_BYTES))
            await in_thread(self._told)
        return f"stream:{hashlib.sha256(self._head).hexdigest()[:32]}"

    async def count(self, limit: int) -> int:
        """Counted into a temporary file on disk, from which the run then reads."""
        await self.fingerprint()
        return await in_thread(lambda: self._spool(limit))

    async def batches(self, start: Place) -> AsyncGenerator[Batch, None]:
        await self.fingerprint()
        async for batch in read_ahead(lambda: self._batches(start)):
            yield batch

    def _told(self) -> tuple[Form, Readable]:
        """The form, and the text from its beginning on."""
        if self._form is None or self._text is None:
            assert self._head is not None
            if self._head.startswith(PARQUET_MAGIC):
                raise InputError("standard input is Parquet, which is read from its end; name it as a file instead")
            is_transcoded = not is_utf_8(self._layout.encoding)
            if not is_transcoded:
                refuse_unannounced(self.name, beginning(self._head, LONGEST_MARK))
            raw = Counting(Chained(io.BytesIO(self._head), self._raw), self._count)
            stream = decompressed(self._head[:MAGIC_BYTES], raw)
            if is_transcoded:
                stream = Transcoded(self.name, stream, self._layout.encoding)
            self._text = text = Peeked(stream)
            self._form = tell(self.name, text, self._layout, None, is_transcoded=is_transcoded)
        return self._form, self._text

    def _count(self, number: int) -> None:
        self.consumed += number

    def _spool(self, limit: int) -> int:
        form, text = self._told()
        with _spooling():
            self._spooled = spool = temporary_file()
        copying = Copying(text, spool, _spooling)
        with breaking_off(self.name):
            number = counted(form.batches(skipped(copying, form.begins(START)), START), limit)
        spool.seek(0)
        self._text = Chained(spool, text)
        return number

    def _batches(self, start: Place) -> Iterator[Batch]:
        form, text = self._told()
        try:
            with breaking_off(self.name):
                yield from form.batches(skipped(text, form.begins(start)), start)
        finally:
            if self._spooled is not None:
                self._spooled.close()


@contextlib.contextmanager
def _spooling() -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise InputError(
            f"standard input cannot be kept for --min-records: {exc.strerror}; set TMPDIR to a folder with room"
        ) from exc
