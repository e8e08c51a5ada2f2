"""Files and standard input as sources, plain or compressed."""

import contextlib
import glob
import gzip
import hashlib
import io
import os
import re
import stat
import sys
import tempfile
import zlib
from collections.abc import AsyncGenerator, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, cast

from bulkload.errors import Halt, InputError
from bulkload.source.layout import Layout
from bulkload.source.lines import CHUNK, Chunk, Readable, chunks, split
from bulkload.source.place import START, Batch, Place, Source
from bulkload.source.reading import in_thread, read_ahead

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# Enough of a file's two ends to tell two exports apart without reading millions of lines.
FINGERPRINT_BYTES = 64 * 1024

GZIP_MAGIC = b"\x1f\x8b"
# Of a frame, and of the sixteen kinds of skippable frames that a parallel compressor may begin with.
ZSTD_MAGICS = (b"\x28\xb5\x2f\xfd", *(bytes((kind, 0x2A, 0x4D, 0x18)) for kind in range(0x50, 0x60)))
UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")

# What a run leaves beside its source: a pattern that takes it in would name other sources in the next session.
_OWN = re.compile(r"\.ledger(-wal|-shm|-journal|\.dead\..*|\.\d{8}T\d{6}Z.*)?$")

# What a broken file raises while it is read: the disk's errors and those of the two decompressors.
BROKEN = (OSError, EOFError, zlib.error, zstd.ZstdError)

STANDARD_INPUT = "-"

# A file that was mended is another one by its fingerprint, so the same command would refuse it.
_ANOTHER_VERSION = " (with --when-changed restart, if the file has to be replaced for it)"


def find_sources(names: Iterable[str], layout: Layout = Layout()) -> list[Source]:  # noqa: ARG001, B008
    """Open the named sources in order: paths, globs (in sorted order) and ``-``.

    Raises `InputError` for what is missing, unreadable, or named twice.
    """
    sources: list[Source] = []
    for name in names:
        if name == STANDARD_INPUT:
            sources.append(StandardInput())
        else:
            sources.extend(FileSource(path) for path in _matches(name))
    seen: set[str] = set()
    for source in sources:
        key = os.path.realpath(source.path) if isinstance(source, FileSource) else source.name
        if key in seen:
            raise InputError(f"source {source.name} is named twice; name it once")
        seen.add(key)
    return sources


def printable(name: str) -> str:
    """A file's name as text that can be written anywhere, also where its bytes are not UTF-8."""
    return os.fsencode(name).decode(errors="replace")


def _matches(name: str) -> list[str]:
    if os.path.exists(name):
        return [name]
    if not glob.has_magic(name):
        raise InputError(f"source {name} does not exist; check the path")
    found = sorted(path for path in glob.glob(name, recursive=True) if not _OWN.search(path))
    if not found:
        raise InputError(f"no file matches {name}; check the pattern")
    return found


class FileSource:
    """A file of NDJSON, plain, gzip or Zstandard (told by its first bytes, not by its name)."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.name = printable(os.fspath(path))
        self.consumed = 0
        try:
            self._fingerprint, self.size, self._magic = _identify(self.path)
        except OSError as exc:
            raise InputError(f"source {self.name} cannot be read: {exc.strerror}") from exc

    can_reread = True
    columns = None
    delimiter = ","

    @property
    def can_seek(self) -> bool:
        return not self._magic.startswith((GZIP_MAGIC, *ZSTD_MAGICS))

    def __repr__(self) -> str:
        return f"<FileSource {self.name} {self.consumed}/{self.size}>"

    async def fingerprint(self) -> str:
        return self._fingerprint

    async def count(self, limit: int) -> int:
        return await in_thread(lambda: _count(self._chunks(START), limit))

    async def batches(self, start: Place) -> AsyncGenerator[Batch, None]:
        async for chunk in read_ahead(lambda: self._chunks(start)):
            yield split(chunk)

    def _chunks(self, start: Place) -> Iterator[Chunk]:
        with _breaking_off(self.name, _ANOTHER_VERSION), open(self.path, "rb", buffering=0) as raw:
            for chunk in chunks(self._stream(raw, start), start):
                self.consumed = raw.tell()
                yield chunk

    def _stream(self, raw: io.FileIO, start: Place) -> Readable:
        whole = _Whole(raw, self.size)
        if self._magic.startswith((GZIP_MAGIC, *ZSTD_MAGICS)):
            return _skipped(_decompressed(self._magic, whole), start.offset)
        raw.seek(start.offset)
        return whole


class StandardInput:
    """Standard input, plain, gzip or Zstandard; read once, and past what an earlier session settled."""

    name = STANDARD_INPUT
    size = None
    can_seek = False
    can_reread = False
    columns = None
    delimiter = ","

    def __init__(self, stream: Readable | None = None) -> None:
        if stream is None and sys.stdin is None:
            raise InputError("standard input is closed; pipe the records into it, or name a file")
        # Unbuffered and not sys.stdin: its lock would be held by an abandoned read when the process ends.
        self._raw: Readable = stream or io.FileIO(0, closefd=False)
        self._head: bytes | None = None
        self._decompressed: Readable | None = None
        self._spooled: BinaryIO | None = None
        self.consumed = 0

    def __repr__(self) -> str:
        return f"<StandardInput {self.consumed} bytes read>"

    async def fingerprint(self) -> str:
        if self._head is None:
            with _breaking_off(self.name):
                self._head = await in_thread(lambda: _fill(self._raw, FINGERPRINT_BYTES))
            _refuse_utf_16(self.name, self._head)
        return f"stream:{hashlib.sha256(self._head).hexdigest()[:32]}"

    async def count(self, limit: int) -> int:
        """Counted into a temporary file on disk, from which the run then reads."""
        await self.fingerprint()
        return await in_thread(lambda: self._spool(limit))

    async def batches(self, start: Place) -> AsyncGenerator[Batch, None]:
        await self.fingerprint()
        async for chunk in read_ahead(lambda: self._chunks(start)):
            yield split(chunk)

    def _spool(self, limit: int) -> int:
        with _spooling():
            self._spooled = spool = cast(BinaryIO, tempfile.TemporaryFile(prefix="bulkload-"))  # noqa: SIM115
        stream = self._stream()
        with _breaking_off(self.name):
            number = _count(chunks(_Copying(stream, spool), START), limit)
        spool.seek(0)
        self._decompressed = _Chained(spool, stream)
        return number

    def _chunks(self, start: Place) -> Iterator[Chunk]:
        try:
            with _breaking_off(self.name):
                yield from chunks(_skipped(self._stream(), start.offset), start)
        finally:
            if self._spooled is not None:
                self._spooled.close()

    def _stream(self) -> Readable:
        if self._decompressed is None:
            assert self._head is not None
            raw = _Counting(_Chained(io.BytesIO(self._head), self._raw), self)
            self._decompressed = _decompressed(self._head, raw)
        return self._decompressed


def _refuse_utf_16(name: str, head: bytes) -> None:
    """Each of its lines would be a flaw that tells nobody why."""
    text = b""
    with contextlib.suppress(*BROKEN):
        text = _decompressed(head, io.BytesIO(head)).read(len(UTF_16_MARKS[0]))
    if text.startswith(UTF_16_MARKS):
        raise InputError(f"source {name} is UTF-16 text; convert it to UTF-8 first, for example with iconv")


def _identify(path: Path) -> tuple[str, int, bytes]:
    """Fingerprint, size and first bytes of a file."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        # Looked at before it is opened: a pipe that nobody writes to would never open.
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "no regular file"
        raise InputError(f"source {printable(str(path))} is {kind}; name a file, or - for standard input")
    with path.open("rb") as file:
        head = file.read(FINGERPRINT_BYTES)
        file.seek(max(0, status.st_size - FINGERPRINT_BYTES))
        digest = hashlib.sha256(head + file.read(FINGERPRINT_BYTES)).hexdigest()[:32]
    _refuse_utf_16(printable(str(path)), head)
    return f"file:{status.st_size}:{digest}", status.st_size, head[:4]


def _decompressed(magic: bytes, raw: Readable) -> Readable:
    stream = cast(BinaryIO, raw)
    if magic.startswith(GZIP_MAGIC):
        return _Eager(gzip.GzipFile(fileobj=stream))
    if magic.startswith(ZSTD_MAGICS):
        return _Eager(zstd.ZstdFile(stream))
    return raw


@contextlib.contextmanager
def _breaking_off(name: str, advice: str = "") -> Iterator[None]:
    try:
        yield
    except BROKEN as exc:
        words = (exc.strerror if isinstance(exc, OSError) else None) or str(exc) or type(exc).__name__
        raise Halt(
            f"source {name} breaks off: {words}; what came before it is kept, load it again once it is whole{advice}"
        ) from exc


@contextlib.contextmanager
def _spooling() -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise InputError(
            f"standard input cannot be kept for --min-records: {exc.strerror}; set TMPDIR to a folder with room"
        ) from exc


def _count(items: Iterator[Chunk], limit: int) -> int:
    number = 0
    for chunk in items:
        number += len(split(chunk).data)
        if number >= limit:
            return limit
    return number


def _skipped(stream: Readable, offset: int) -> Readable:
    """The stream with its first `offset` bytes read and dropped."""
    while offset and (block := stream.read(min(offset, CHUNK))):
        offset -= len(block)
    return stream


def _fill(stream: Readable, size: int) -> bytes:
    """Read `size` bytes, or all there are."""
    parts = []
    while size and (block := stream.read(size)):
        parts.append(block)
        size -= len(block)
    return b"".join(parts)


class _Eager:
    """Gives what one read of a decompressor gives, so that what stands before a broken end is not lost with it."""

    def __init__(self, stream: gzip.GzipFile | zstd.ZstdFile) -> None:
        self._read1 = stream.read1

    def read(self, size: int, /) -> bytes:
        return self._read1(size)


class _Whole:
    """A file that does not end before its size when it was identified."""

    def __init__(self, raw: io.FileIO, size: int) -> None:
        self._raw = raw
        self._size = size

    def read(self, size: int = CHUNK, /) -> bytes:
        data = self._raw.read(size)
        if not data and self._raw.tell() < self._size:
            raise EOFError("it was cut short while it was read")
        return data


class _Chained:
    """One stream, then another."""

    def __init__(self, first: Readable, second: Readable) -> None:
        self._first: Readable | None = first
        self._second = second

    def read(self, size: int = -1, /) -> bytes:
        if self._first is not None:
            if data := self._first.read(size):
                return data
            self._first = None
        return self._second.read(size)


class _Counting:
    """Passes bytes through and tells its source how many."""

    def __init__(self, stream: Readable, source: StandardInput) -> None:
        self._stream = stream
        self._source = source

    def read(self, size: int = CHUNK, /) -> bytes:
        data = self._stream.read(size)
        self._source.consumed += len(data)
        return data


class _Copying:
    """Passes bytes through and writes them to a file as well."""

    def __init__(self, stream: Readable, copy: BinaryIO) -> None:
        self.stream = stream
        self._copy = copy

    def read(self, size: int, /) -> bytes:
        data = self.stream.read(size)
        with _spooling():
            self._copy.write(data)
        return data
