"""Which form a source has, told by its content; its name helps only where that leaves it open."""

import io
import re
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress

import ijson
import orjson

from bulkload.errors import InputError
from bulkload.mapping.unwrapping import BEGINNINGS
from bulkload.source.documents import UNPARSABLE, Document, arrays, choose
from bulkload.source.forms import Form
from bulkload.source.layout import Layout
from bulkload.source.lines import MAX_LINE, Lines
from bulkload.source.rows import Rows
from bulkload.source.streams import BOM, Peeked, Readable
from bulkload.source.table import DELIMITERS, Table, read_header
from bulkload.source.tame import Tame

# Enough of a source to tell its form by.
HEAD = 64 * 1024

PARQUET_MAGIC = b"PAR1"
ZIP_MAGIC = b"PK\x03\x04"

# A table of one column has no delimiter, but perhaps one of these for its header.
_FIELDS = frozenset(
    {"installationid", "userid", "platform", "pushchannel", "tags", "templates", "secondarytiles", "pushvariables"}
)

_LINES_NAME = re.compile(r"\.(ndjson|jsonl|ldjson)(\.\w+)?$", re.IGNORECASE)
_TABLE_NAME = re.compile(r"\.(csv|tsv|tab)(\.\w+)?$", re.IGNORECASE)

# Opens a source's text anew, from its beginning; None where it comes but once.
Reopen = Callable[[], AbstractContextManager[Readable]] | None


def tell(name: str, text: Peeked, layout: Layout, reopen: Reopen, *, is_transcoded: bool) -> Form:
    """The form of a source whose text is `text`, which is only looked at.

    Raises `InputError` where it cannot be told, or cannot be read as what it is said to be.
    """
    head = text.look(HEAD)
    # Mended letters are read with the flags that read what they came from, whatever form that had.
    if layout.format == "ndjson" or (head.removeprefix(BOM).startswith(BEGINNINGS) and _is_json(_first_line(text))):
        return Lines(is_transcoded=is_transcoded)
    if layout.format == "csv":
        return _table(name, text, layout)
    if layout.format == "json":
        return _document(name, text, layout, reopen)
    if layout.format == "parquet":
        raise InputError(f"source {name} is no Parquet file; leave --format out, or say what it is")
    if head.startswith(PARQUET_MAGIC):
        raise InputError(f"source {name} is compressed Parquet; decompress it first, or load it from a file")
    if head.startswith(ZIP_MAGIC):
        raise InputError(f"source {name} is a ZIP archive or a spreadsheet; unpack it, or save it as CSV first")
    return _told(name, text, layout, reopen, Lines(is_transcoded=is_transcoded))


def _told(name: str, text: Peeked, layout: Layout, reopen: Reopen, lines: Lines) -> Form:
    first = _first_line(text)
    begin = first[:1]
    if begin in (b"", b"<"):
        return lines
    if begin in (b"{", b"["):
        if _is_document(name, first, text, layout):
            return _document(name, text, layout, reopen)
        return lines
    if _TABLE_NAME.search(name):
        return _table(name, text, layout)
    if _LINES_NAME.search(name) or _has_objects(text):
        return lines
    if _is_header(first, layout):
        return _table(name, text, layout)
    raise InputError(
        f"source {name} is neither JSON nor a table with a header row; say what it is with --format, such as csv"
    )


def _first_line(text: Peeked) -> bytes:
    """The first line that is not blank, or as much of it as a line may have."""
    size = HEAD
    while True:
        head = text.look(size).removeprefix(BOM).lstrip()
        line, end, _ = head.partition(b"\n")
        if end or text.is_whole or len(line) > MAX_LINE:
            return line.rstrip()
        size *= 2


def _rest(first: bytes, text: Peeked) -> bytes:
    """What was looked at after the first line, and at least whether there is anything."""
    size = HEAD
    while True:
        head = text.look(size).removeprefix(BOM).lstrip()
        rest = head[len(first) :].strip()
        if rest or text.is_whole or len(head) > len(first) + MAX_LINE:
            return rest
        size *= 2


def _is_document(name: str, first: bytes, text: Peeked, layout: Layout) -> bool:
    """Whether what begins like JSON is a document, and not one object a line."""
    if len(first) > MAX_LINE:
        # As a line it would be a flaw and nothing else.
        return not _LINES_NAME.search(name)
    rest = _rest(first, text)
    if not _is_json(first):
        return not _is_broken_line(name, text)
    if layout.records is not None:
        return True
    if rest:
        return False
    if first.startswith(b"["):
        return True
    # One object in one line: what is found in it decides.
    found = arrays(io.BytesIO(first))
    is_record = found.has_id or layout.is_whole or _LINES_NAME.search(name)
    return not is_record and bool(found.of_objects)


def _is_json(text: bytes) -> bool:
    """Whether it is one JSON text, perhaps with what some readers refuse: half a surrogate pair, bytes of no UTF-8."""
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        try:
            for _ in ijson.basic_parse(Tame(io.BytesIO(text))):
                pass
        except UNPARSABLE:
            return False
    return True


def _is_broken_line(name: str, text: Peeked) -> bool:
    """Whether text that begins like JSON, and whose first line is none, is lines all the same."""
    head = text.look(HEAD).removeprefix(BOM)
    try:
        for _ in ijson.basic_parse(Tame(io.BytesIO(head)), multiple_values=True):
            pass
    except UNPARSABLE as exc:
        # A document that goes on after what was looked at ends too early, and that is all there is to say of it.
        is_cut = ("premature EOF" in str(exc) or "Incomplete" in str(exc)) and not text.is_whole
        return not is_cut and bool(_LINES_NAME.search(name) or _has_objects(text))
    return False


def _has_objects(text: Peeked) -> bool:
    """Whether a line among those looked at, other than the first, is a JSON object."""
    for line in text.look(HEAD).splitlines()[1:]:
        if line.lstrip().startswith(b"{"):
            with suppress(orjson.JSONDecodeError):
                orjson.loads(line)
                return True
    return False


def _is_header(first: bytes, layout: Layout) -> bool:
    delimiters = (layout.separator,) if layout.separator else DELIMITERS
    line = first.decode(errors="replace")
    return any(delimiter in line for delimiter in delimiters) or line.strip('" ').lower() in _FIELDS


def _table(name: str, text: Peeked, layout: Layout) -> Rows:
    return Rows(_header(name, text, layout))


def _header(name: str, text: Peeked, layout: Layout) -> Table:
    size = HEAD
    while True:
        head = text.look(size)
        table = read_header(name, head, is_whole=text.is_whole, delimiter=layout.separator)
        if table is not None and table.first.offset <= MAX_LINE + HEAD:
            return table
        if len(head) > MAX_LINE:
            raise InputError(f"source {name} has a header row of more than {MAX_LINE:,} bytes; is it a table at all?")
        size *= 2


def _document(name: str, text: Peeked, layout: Layout, reopen: Reopen) -> Document:
    if text.look(HEAD).removeprefix(BOM).lstrip()[:1] == b"[":
        if layout.records is None:
            return Document("item")
        return Document(f"item.{layout.records}.item", is_certain=False)
    head = text.look(MAX_LINE)
    if text.is_whole:
        return choose(name, arrays(io.BytesIO(head)), layout)
    if reopen is not None:
        with reopen() as stream:
            return choose(name, arrays(stream), layout)
    records = layout.records or layout.usual
    if records is None:
        raise InputError(
            f"source {name} is a long JSON document that begins with an object; "
            "name the array of the records with --records"
        )
    return Document(f"{records}.item", is_certain=False)
