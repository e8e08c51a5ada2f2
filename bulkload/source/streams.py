"""Streams of bytes, one put upon another."""

import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import BinaryIO, Protocol, cast

from bulkload.source.breaking import BROKEN

# A read of 256 KiB holds some 600 installations: the hand-over between threads is paid once for all of them.
CHUNK = 256 * 1024

BOM = b"\xef\xbb\xbf"


class Readable(Protocol):
    """A stream whose `read` gives up to `size` bytes as soon as it has any, and nothing at the end."""

    def read(self, size: int, /) -> bytes: ...


class RawFile(Readable, Protocol):
    """A stream that knows how many bytes into its file it stands."""

    def tell(self) -> int: ...


def fill(stream: Readable, size: int) -> bytes:
    """Read `size` bytes, or all there are."""
    parts = []
    while size and (block := stream.read(size)):
        parts.append(block)
        size -= len(block)
    return b"".join(parts)


def skipped(stream: Readable, offset: int) -> Readable:
    """The stream with its first `offset` bytes read and dropped."""
    while offset and (block := stream.read(min(offset, CHUNK))):
        offset -= len(block)
    return stream


class Whole:
    """A file that does not end before its size when it was identified, where that is known."""

    def __init__(self, raw: RawFile, size: int | None) -> None:
        self._raw = raw
        self._size = size or 0

    def read(self, size: int = CHUNK, /) -> bytes:
        data = self._raw.read(size)
        if size and not data and self._raw.tell() < self._size:
            raise EOFError("it was cut short while it was read")
        return data


class Bounded:
    """A file that ends no later than its size when it was identified."""

    def __init__(self, raw: RawFile, size: int) -> None:
        self._raw = raw
        self._size = size

    def read(self, size: int = CHUNK, /) -> bytes:
        left = max(0, self._size - self._raw.tell())
        if size and not left and self._raw.read(1):
            raise EOFError("it was added to while it was read")
        return self._raw.read(min(size, left))

    def tell(self) -> int:
        return self._raw.tell()


class Chained:
    """One stream, then another."""

    def __init__(self, first: Readable, second: Readable) -> None:
        self._first: Readable | None = first
        self._second = second

    def read(self, size: int = -1, /) -> bytes:
        if self._first is not None and size:
            if data := self._first.read(size):
                return data
            self._first = None
        return self._second.read(size)


class Counting:
    """Passes bytes through and tells how many."""

    def __init__(self, stream: Readable, tell: Callable[[int], None]) -> None:
        self._stream = stream
        self._tell = tell

    def read(self, size: int = CHUNK, /) -> bytes:
        data = self._stream.read(size)
        self._tell(len(data))
        return data


class Copying:
    """Passes bytes through and writes them to a file as well, whose failures `guard` translates."""

    def __init__(self, stream: Readable, copy: BinaryIO, guard: Callable[[], AbstractContextManager[None]]) -> None:
        self._stream = stream
        self._copy = copy
        self._guard = guard

    def read(self, size: int, /) -> bytes:
        data = self._stream.read(size)
        with self._guard():
            self._copy.write(data)
        return data


class Peeked:
    """A stream whose beginning can be looked at before it is read; what fails meanwhile is raised in its turn."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self._head = b""
        self._failure: Exception | None = None
        self.is_whole = False
        """Whether everything up to the end, or up to where it breaks off, was looked at."""

    def look(self, size: int) -> bytes:
        """The first `size` bytes at least, or all there are; nothing is taken from the stream."""
        parts, length = [self._head], len(self._head)
        while length < size and not self.is_whole:
            try:
                block = self._stream.read(CHUNK)
            except BROKEN as exc:
                self._failure = exc
                block = b""
            parts.append(block)
            length += len(block)
            self.is_whole = not block
        self._head = b"".join(parts)
        return self._head

    def read(self, size: int, /) -> bytes:
        if self._head:
            data, self._head = self._head[:size], self._head[size:]
            return data
        if self._failure is not None:
            raise self._failure
        return self._stream.read(size)


def temporary_file() -> BinaryIO:
    """A file without a name, gone with its process."""
    return cast(BinaryIO, tempfile.TemporaryFile(prefix="bulkload-"))
