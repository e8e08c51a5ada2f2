"""What bytes say once they are decompressed, told by how they begin."""

import bz2
import contextlib
import gzip
import io
import lzma
import sys
from collections.abc import Callable
from typing import BinaryIO, Protocol, cast

from bulkload.source.breaking import BROKEN
from bulkload.source.streams import CHUNK, Readable

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

GZIP_MAGIC = b"\x1f\x8b"
# Of a frame, and of the sixteen kinds of skippable frames that a parallel compressor may begin with.
ZSTD_MAGICS = (b"\x28\xb5\x2f\xfd", *(bytes((kind, 0x2A, 0x4D, 0x18)) for kind in range(0x50, 0x60)))
# Each with the digit of its block size, and then a block's magic or that of the end: "BZh" alone begins words.
BZIP2_MAGICS = tuple(
    b"BZh%d%b" % (digit, mark) for digit in range(1, 10) for mark in (b"\x31\x41\x59\x26", b"\x17\x72\x45\x38")
)
XZ_MAGIC = b"\xfd7zXZ\x00"

_MAGICS = (GZIP_MAGIC, *ZSTD_MAGICS, *BZIP2_MAGICS, XZ_MAGIC)

# As much of a source's beginning as any of them needs.
MAGIC_BYTES = 8


def is_compressed(head: bytes) -> bool:
    """Whether a source that begins with `head` (`MAGIC_BYTES` of it are enough) is compressed."""
    return head.startswith(_MAGICS)


def decompressed(head: bytes, raw: Readable) -> Readable:
    """What `raw`, which begins with `head`, says: itself where it is not compressed."""
    stream = cast(BinaryIO, raw)
    if head.startswith(GZIP_MAGIC):
        return _Eager(gzip.GzipFile(fileobj=stream))
    if head.startswith(ZSTD_MAGICS):
        return _Eager(zstd.ZstdFile(stream))
    if head.startswith(BZIP2_MAGICS):
        return _Members(raw, bz2.BZ2Decompressor)
    if head.startswith(XZ_MAGIC):
        return _Members(raw, lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ))
    return raw


def beginning(head: bytes, size: int) -> bytes:
    """The first `size` bytes that `head` says, or as many as it does."""
    with contextlib.suppress(*BROKEN):
        return decompressed(head, io.BytesIO(head)).read(size)
    return b""


class _Eager:
    """Gives what one read of a decompressor gives, so that what stands before a broken end is not lost with it."""

    def __init__(self, stream: gzip.GzipFile | zstd.ZstdFile) -> None:
        self._read1 = stream.read1

    def read(self, size: int, /) -> bytes:
        return self._read1(size)


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = ..., /) -> bytes: ...


class _Members:
    """One member after the other; unlike the file objects of `bz2` and `lzma`, a broken one is never passed over."""

    def __init__(self, raw: Readable, make: Callable[[], _Decompressor]) -> None:
        self._raw = raw
        self._make = make
        self._member = make()

    def read(self, size: int, /) -> bytes:
        # Some look with an empty read whether a stream gives bytes; a decompressor would never come to an end of it.
        while size:
            data = b""
            if self._member.eof:
                # Zeros between members are padding.
                data = self._member.unused_data.lstrip(b"\0")
                while not data:
                    if not (block := self._raw.read(CHUNK)):
                        return b""
                    data = block.lstrip(b"\0")
                self._member = self._make()
            elif self._member.needs_input and not (data := self._raw.read(CHUNK)):
                raise EOFError("Compressed file ended before the end-of-stream marker was reached")
            if text := self._member.decompress(data, size):
                return text
        return b""
