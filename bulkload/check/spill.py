"""What a check sets aside until its end: in memory while it is little, then in a temporary file without a name."""

import contextlib
import os
import tempfile
from array import array
from collections.abc import Iterator, Sequence
from typing import IO, NamedTuple

from bulkload.errors import Halt

# What is held in memory before a file is begun: a check of some 80,000 records touches no disk.
MEMORY = 8 * 1024 * 1024

# A power of two up to 256. Of 50 million rows each part holds 400,000, which are looked through in some 35 MB.
PARTS = 128


class Segment(NamedTuple):
    """Where bytes were put, and how many."""

    offset: int
    length: int


class Spill:
    """Bytes put aside, and given back. Its file, if it needs one, has no name: it is gone however the process ends.

    Raises `Halt` where there is no room for it.
    """

    def __init__(self, memory: int = MEMORY) -> None:
        self._most = memory
        self._memory = bytearray()
        self._file: IO[bytes] | None = None
        self._end = 0

    def __repr__(self) -> str:
        return f"<Spill of {self._end} bytes{' in a file' if self._file else ''}>"

    def put(self, data: bytes) -> Segment:
        """Add bytes at the end."""
        segment = Segment(self._end, len(data))
        self._end += len(data)
        if self._file is None and self._end <= self._most:
            self._memory += data
            return segment
        with _in_the_temporary_folder():
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="bulkload-", buffering=0)  # noqa: SIM115
                _write(self._file, self._memory)
                self._memory = bytearray()
            _write(self._file, data)
        return segment

    def get(self, segment: Segment) -> bytes:
        """The bytes that were put there."""
        offset, length = segment
        if self._file is None:
            return bytes(memoryview(self._memory)[offset : offset + length])
        with _in_the_temporary_folder():
            return os.pread(self._file.fileno(), length, offset)

    def close(self) -> None:
        """Let go of all of it."""
        if self._file is not None:
            self._file.close()
        self._memory = bytearray()


def _write(file: IO[bytes], data: bytes | bytearray) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


class Parts:
    """Bytes in so many parts, each of which grows by segments and is read by itself, in the order in which it grew."""

    def __init__(self, spill: Spill) -> None:
        self._spill = spill
        self._offsets = [array("q") for _ in range(PARTS)]
        self._lengths = [array("q") for _ in range(PARTS)]
        self.is_empty = True

    def __repr__(self) -> str:
        return f"<Parts of {sum(map(sum, self._lengths))} bytes>"

    def put(self, data: bytes, lengths: Sequence[int]) -> None:
        """Add a segment to each part, in one write: so many bytes of the data to each, in order."""
        self.is_empty = False
        offset = self._spill.put(data).offset
        for length, offsets, known in zip(lengths, self._offsets, self._lengths, strict=True):
            if length:
                offsets.append(offset)
                known.append(length)
                offset += length

    def segments(self, part: int) -> Iterator[bytes]:
        """What was put into a part, one segment at a time."""
        for offset, length in zip(self._offsets[part], self._lengths[part], strict=True):
            yield self._spill.get(Segment(offset, length))


@contextlib.contextmanager
def _in_the_temporary_folder() -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        # Where no folder can be used at all, the error's text has no number and its words are many.
        words = exc.strerror or "no folder for it can be written to"
        raise Halt(
            f"the temporary file of the check cannot be used: {words}; set TMPDIR to a folder with room "
            "(about 110 bytes a record)"
        ) from exc
