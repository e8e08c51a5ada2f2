"""Lines from a stream of bytes, in chunks of whole lines, whatever their length."""

from collections.abc import Iterator
from itertools import accumulate
from typing import NamedTuple, Protocol

from bulkload.installation import Flaw
from bulkload.source.place import Batch, Broken, Place

# A read of 256 KiB holds some 600 installations: the hand-over between threads is paid once for all of them.
CHUNK = 256 * 1024

# The longest line that is taken for a record; the service's own limit of a request is far below.
MAX_LINE = 1024 * 1024

# What is kept of a longer line, so that a person can tell which one it was.
KEPT_OF_LONG_LINE = 1024

BOM = b"\xef\xbb\xbf"


class Readable(Protocol):
    """A stream whose `read` gives up to `size` bytes as soon as it has any, and nothing at the end."""

    def read(self, size: int, /) -> bytes: ...


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
