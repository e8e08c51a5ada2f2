"""What a check sets aside until its end: in memory while it is little, then in a temporary file without a name."""

import contextlib
import tempfile
from array import array
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from bulkload.errors import Halt

# What is held in memory before a file is begun: a check of some 300,000 records touches no disk.
MEMORY = 32 * 1024 * 1024

# As many as a byte has values. Of 50 million rows each holds 200,000, which are looked through in a few MB.
PARTS = 256


class Segment(NamedTuple):
    """Where bytes were put, and how many."""

    offset: int
    length: int


class Spill:
    """Bytes put aside, and given back. Its file, if it needs one, has no name: it is gone however the process ends.

    Raises `Halt` where there is no room for it.
    """

    def __init__(self, memory: int = MEMORY) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=memory, prefix="bulkload-")  # noqa: SIM115
        self._end = 0

    def __repr__(self) -> str:
        return f"<Spill of {self._end} bytes>"

    def put(self, data: bytes) -> Segment:
        """Add bytes at the end."""
        segment = Segment(self._end, len(data))
        with _in_the_temporary_folder():
            self._file.seek(self._end)
            self._file.write(data)
        self._end += len(data)
        return segment

    def get(self, segment: Segment) -> bytes:
        """The bytes that were put there."""
        with _in_the_temporary_folder():
            self._file.seek(segment.offset)
            return self._file.read(segment.length)

    def close(self) -> None:
        """Let go of all of it."""
        # What a full disk did not take is tried once more, and fails once more.
        with contextlib.suppress(OSError):
            self._file.close()


class Parts:
    """Bytes in so many parts, each of which grows by segments and is read by itself, in the order in which it grew."""

    def __init__(self, spill: Spill) -> None:
        self._spill = spill
        self._offsets = [array("q") for _ in range(PARTS)]
        self._lengths = [array("q") for _ in range(PARTS)]
        self.is_empty = True

    def __repr__(self) -> str:
        return f"<Parts of {sum(map(sum, self._lengths))} bytes>"

    def put(self, parts: Sequence[bytes]) -> None:
        """Add a segment to each part, in one write."""
        self.is_empty = False
        offset = self._spill.put(b"".join(parts)).offset
        for data, offsets, lengths in zip(parts, self._offsets, self._lengths, strict=True):
            if data:
                offsets.append(offset)
                lengths.append(len(data))
                offset += len(data)

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
