"""A table's header: its columns, its delimiter, and how a row is laid under them."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING

from bulkload.errors import InputError
from bulkload.installation import Flaw
from bulkload.source.lines import MAX_LINE, is_text, not_text
from bulkload.source.place import START, Broken, Datum, Place
from bulkload.source.streams import BOM

if TYPE_CHECKING:
    from _csv import Reader

# The first of the most frequent ones is taken.
DELIMITERS = (",", ";", "\t", "|")

# The columns that a dead letter has besides those of its source: `OWN_ROW` holds a row that could not be laid under its
# columns, as it came, `OWN_HEAD` the beginning of one that is too long to be kept.
OWN = "_bulkload_"
OWN_ROW = f"{OWN}row"
OWN_HEAD = f"{OWN}head"

# Of csv's own limit on a cell: the most that is held of a row is one limit of ours and one chunk.
_LONGEST_CELL = 8 * MAX_LINE

_QUOTED = re.compile(r'"[^"]*("|$)')


class Table:
    """The header of a CSV file.

    Columns without a name, such as the index of a data frame or what a spreadsheet leaves at the right, are not part of
    a row; `columns` has them all the same, so that it is the header as it was.
    """

    def __init__(self, header: list[str], delimiter: str, first: Place) -> None:
        self.header = header
        self.delimiter = delimiter
        self.first = first
        """Where the row after the header begins."""
        self.width = len(header)
        self.columns = tuple(name for name in header if not name.startswith(OWN))
        self._own_row = header.index(OWN_ROW) if OWN_ROW in header else None
        self._own_head = header.index(OWN_HEAD) if OWN_HEAD in header else None
        self.is_plain = "" not in header and len(self.columns) == self.width
        """Whether every cell is kept, under its column's name."""

    def __repr__(self) -> str:
        return f"<Table of {self.width} columns>"

    def laid(self, row: list[str], text: bytes) -> Datum:
        """A row as its cells by column; `text` is what it was read from, with what is no text in it."""
        if self._own_row is not None and len(row) == self.width and row[self._own_row]:
            return self._mended(row[self._own_row])
        if not is_text(text):
            return not_text(self._without_own(row) if len(row) == self.width > len(self.columns) else text)
        if len(row) != self.width:
            return _uneven(len(row), self.width, text)
        if self._own_head is not None and row[self._own_head]:
            words = "the dead letter holds only the beginning of a row that was too long; load its source"
            return Broken(Flaw.of("line-too-long", words), text, len(text))
        if self.is_plain:
            return dict(zip(self.header, row, strict=True))
        return {name: cell for name, cell in zip(self.header, row, strict=True) if name and not name.startswith(OWN)}

    def _without_own(self, row: list[str]) -> bytes:
        """A dead letter's row as it was in its source."""
        cells = [cell for name, cell in zip(self.header, row, strict=True) if not name.startswith(OWN)]
        return csv_row(cells, self.delimiter).rstrip("\n").encode(errors="surrogateescape")

    def _mended(self, text: str) -> Datum:
        """The row that a cell of a dead letter holds."""
        raw = text.encode(errors="surrogateescape")
        if not is_text(raw):
            return not_text(raw)
        # The last line is empty: it gives an empty row, or lengthens one whose quote is open.
        reader = csv_reader(chain(io.StringIO(text, newline="\n"), ("",)), self.delimiter)
        try:
            *rows, last = reader
        except csv.Error as exc:
            return Broken(Flaw.of("not-csv", f"the row in {OWN_ROW} cannot be read: {exc}"), raw, len(raw))
        if last:
            return Broken(Flaw.of("quote-unclosed", f"the row in {OWN_ROW} opens a quote and leaves it"), raw, len(raw))
        rows = [row for row in rows if row]
        if len(rows) != 1:
            return Broken(Flaw.of("not-csv", f"{OWN_ROW} holds {len(rows)} rows, not one"), raw, len(raw))
        [row] = rows
        if len(row) != len(self.columns):
            return _uneven(len(row), len(self.columns), raw)
        return {name: cell for name, cell in zip(self.columns, row, strict=True) if name}


def csv_reader(lines: Iterable[str], delimiter: str) -> "Reader":
    """The reader of the module `csv`, whose limit is that of the whole process."""
    if csv.field_size_limit() < _LONGEST_CELL:
        csv.field_size_limit(_LONGEST_CELL)
    return csv.reader(lines, delimiter=delimiter)


def csv_row(cells: Iterable[str], delimiter: str) -> str:
    """A row as it is written, with its line end."""
    text = io.StringIO()
    # With both characters in the line end, a cell with either of them is quoted.
    csv.writer(text, delimiter=delimiter, lineterminator="\r\n").writerow(cells)
    return text.getvalue().removesuffix("\r\n") + "\n"


def _uneven(cells: int, columns: int, text: bytes) -> Broken:
    code = "cells-too-few" if cells < columns else "cells-too-many"
    return Broken(Flaw.of(code, f"the row has {cells:,} cells, the header {columns:,} columns"), text, len(text))


def read_header(name: str, head: bytes, *, is_whole: bool, delimiter: str | None = None) -> Table | None:
    """The table that begins with `head`; None where more of it has to be read to know.

    Raises `InputError` where it cannot be the header of a table.
    """
    place = Place(len(BOM), 1) if head.startswith(BOM) else START
    head = head.removeprefix(BOM)
    if not is_whole:
        # The last line may be half of one, and the last character half of one.
        head = head[: head.rfind(b"\n") + 1] or head[: head.rfind(b"\r") + 1]
    lines = io.BytesIO(head).readlines()
    while lines and not lines[0].strip():
        place = Place(place.offset + len(lines[0]), place.line + 1)
        del lines[0]
    if not lines:
        return Table([], delimiter or ",", place) if is_whole else None
    return _header(name, lines, place, delimiter, is_whole=is_whole)


def _header(name: str, lines: list[bytes], place: Place, delimiter: str | None, *, is_whole: bool) -> Table | None:
    delimiter = delimiter or told(lines[0].decode(errors="replace"))
    reader = csv_reader(chain(_texts(name, lines), ("",)), delimiter)
    try:
        cells = next(reader)
    except csv.Error as exc:
        raise InputError(
            f"source {name} has lines that end with a lone carriage return; "
            r"convert it first, for example with tr '\r' '\n'"
        ) from exc
    if reader.line_num > len(lines):
        if is_whole:
            raise InputError(f"source {name} has a header row with a quote that is not closed; close it")
        return None
    header = [cell.strip().strip("\ufeff").strip() for cell in cells]
    _refuse(name, header)
    size = sum(map(len, lines[: reader.line_num]))
    return Table(header, delimiter, Place(place.offset + size, place.line + reader.line_num))


def _texts(name: str, lines: list[bytes]) -> Iterator[str]:
    for line in lines:
        try:
            text = line.decode()
        except UnicodeDecodeError as exc:
            raise InputError(
                f"source {name} has a header row that is no UTF-8 text; say what it is with --encoding, such as cp1252"
            ) from exc
        if "\0" in text:
            raise InputError(
                f"source {name} has a header row with NUL bytes; if it is UTF-16 text, say --encoding utf-16-le"
            )
        yield text


def _refuse(name: str, header: list[str]) -> None:
    if not any(header):
        raise InputError(f"source {name} has no column's name in its first row; begin it with a header row")
    [(column, times)] = Counter(filter(None, header)).most_common(1)
    if times > 1:
        raise InputError(f"source {name} has a header row that names {column!r} {times} times; rename all but one")


def told(line: str) -> str:
    """The delimiter that a header line uses outside of quotes; a comma where it has none."""
    bare = _QUOTED.sub("", line)
    return max(DELIMITERS, key=bare.count)
