"""Lines from a stream of bytes, in chunks of whole lines, whatever their length."""

from collections.abc import Iterator
from itertools import accumulate
from typing import Any, ClassVar, NamedTuple

from bulkload.installation import Flaw
from bulkload.source.layout import FormName
from bulkload.source.place import Batch, Broken, Datum, Place
from bulkload.source.streams import BOM, CHUNK, Readable

# The longest line that is taken for a record; the service's own limit of a request is far below.
MAX_LINE = 1024 * 1024

# What is kept of a longer line, so that a person can tell which one it was.
KEPT_OF_LONG_LINE = 1024


class Chunk(NamedTuple):
    """Whole lines as they were read; or the first KiB of one line that is longer than `MAX_LINE`."""

    data: bytes
    start: Place
    end: Place
    long_line: int = 0
    """The bytes of the one line that is too long, without its end; 0 where `data` is whole lines."""


def chunks(stream: Readable, start: Place) -> Iterator[Chunk]:
    """Cut a stream that stands at `start` into chunks; holds at most `MAX_LINE` and two reads."""
    offset, line = start
    rest = b""
    for block in _blocks(stream, may_have_mark=offset == 0):
        if offset == 0 and not rest and block == BOM:
            offset = len(BOM)
            continue
        first_end = block.find(b"\n") + 1
        if len(rest) + (first_end - 1 if first_end else len(block)) > MAX_LINE:
            chunk, rest = _long_line(stream, rest, block, Place(offset, line))
            yield chunk
            offset, line = chunk.end
            if not (cut := rest.rfind(b"\n") + 1):
                continue
            data, rest = rest[:cut], rest[cut:]
        elif first_end:
            cut = block.rfind(b"\n") + 1
            data, rest = rest + block[:cut], block[cut:]
        else:
            rest += block
            continue
        end = Place(offset + len(data), line + data.count(b"\n"))
        yield Chunk(data, Place(offset, line), end)
        offset, line = end
    if rest:
        yield Chunk(rest, Place(offset, line), Place(offset + len(rest), line + 1))


def _blocks(stream: Readable, *, may_have_mark: bool) -> Iterator[bytes]:
    """What the stream gives, read by read; a byte order mark at its beginning comes by itself."""
    if may_have_mark:
        head = b""
        # A pipe may give it byte by byte.
        while len(head) < len(BOM) and BOM.startswith(head) and (block := stream.read(CHUNK)):
            head += block
        if head.startswith(BOM):
            yield BOM
            head = head[len(BOM) :]
        if head:
            yield head
    while block := stream.read(CHUNK):
        yield block


def _long_line(stream: Readable, rest: bytes, block: bytes, start: Place) -> tuple[Chunk, bytes]:
    """Read to the end of a line that is too long, keeping its head; returns what was read past it as well."""
    head = (rest[:KEPT_OF_LONG_LINE] + block[:KEPT_OF_LONG_LINE])[:KEPT_OF_LONG_LINE]
    length = len(rest)
    end = 0
    while block and not (end := block.find(b"\n") + 1):
        length += len(block)
        block = stream.read(CHUNK)
    if block:
        length += end
        block = block[end:]
    return Chunk(head, start, Place(start.offset + length, start.line + 1), length - bool(end)), block


def too_long(head: bytes, length: int) -> Broken:
    """A record with more bytes than are taken; `head` is its first KiB."""
    words = f"the line has {length:,} bytes; {MAX_LINE:,} are the most"
    return Broken(Flaw.of("line-too-long", words), head, length)


def split(chunk: Chunk) -> Batch:
    """The source objects of a chunk of NDJSON; blank lines are passed over, line ends are taken off."""
    (offset, line), end = chunk.start, chunk.end
    if chunk.long_line:
        return Batch([too_long(chunk.data, chunk.long_line)], [line], [offset], end)
    texts = chunk.data.split(b"\n")
    if not texts[-1]:
        del texts[-1]
    data = [text.strip() for text in texts]
    if all(data):
        offsets = accumulate((len(text) + 1 for text in texts[:-1]), initial=offset)
        return Batch(data, range(line, line + len(data)), offsets, end)
    starts = accumulate((len(text) + 1 for text in texts[:-1]), initial=offset)
    kept = [(text, line + number, start) for number, (text, start) in enumerate(zip(data, starts, strict=True)) if text]
    return Batch([text for text, _, _ in kept], [at for _, at, _ in kept], [start for _, _, start in kept], end)


class Unsplit(Batch):
    """A chunk whose lines are split where somebody looks at them: whoever passes it on pays nothing for its records."""

    __slots__ = ("_chunk",)

    def __init__(self, chunk: Chunk) -> None:
        self.end = chunk.end
        self._chunk: Chunk | None = chunk

    def __getattr__(self, name: str) -> Any:
        if name not in ("data", "lines", "offsets") or self._chunk is None:
            raise AttributeError(name)
        batch, self._chunk = split(self._chunk), None
        self.data, self.lines, self.offsets = batch.data, batch.lines, batch.offsets
        return getattr(self, name)

    @property
    def text(self) -> bytes | None:
        return None if self._chunk is None or self._chunk.long_line else self._chunk.data


class Lines:
    """The form of one source object a line; `is_transcoded` where bytes that are no text may stand in it."""

    name: ClassVar[FormName] = "ndjson"
    columns = None
    delimiter = None

    def __init__(self, *, is_transcoded: bool = False) -> None:
        self._is_transcoded = is_transcoded

    def begins(self, start: Place) -> int:
        return start.offset

    def batches(self, stream: Readable, start: Place) -> Iterator[Batch]:
        for chunk in chunks(stream, start):
            if self._is_transcoded and b"\xed" in chunk.data:
                batch = split(chunk)
                batch.data = [_checked(datum) for datum in batch.data]
                yield batch
            else:
                yield Unsplit(chunk)


def _checked(datum: Datum) -> Datum:
    """A line of transcoded text, or its flaw where a part of it could not be decoded."""
    if isinstance(datum, bytes) and not is_text(datum):
        return not_text(datum)
    return datum


def is_text(data: bytes) -> bool:
    """Whether it is UTF-8."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def not_text(data: bytes) -> Broken:
    """A source object with bytes that its encoding does not have."""
    words = "some of its bytes are no text in the encoding of the source; see --encoding"
    return Broken(Flaw.of("not-text", words), data, len(data))
