"""Rows of a table of text (CSV), each at the place of its first line, as the module `csv` reads them.

What a row is depends on the place where it begins and on nothing before it: it ends with the line that closes its last
quote. Where that line does not come within `MAX_LINE` bytes, the first line alone is the row, and a flaw. So reading on
from any row's place gives exactly the rest, and a quote that nobody closed does not swallow the file.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import accumulate, chain, islice, pairwise, repeat
from typing import ClassVar, NamedTuple

from bulkload.installation import Flaw
from bulkload.source.layout import FormName
from bulkload.source.lines import MAX_LINE, Chunk, chunks, is_text, not_text, too_long
from bulkload.source.place import Batch, Broken, Datum, Place
from bulkload.source.streams import Readable
from bulkload.source.table import Table, csv_reader


class _Read(NamedTuple):
    """Rows that `csv` made of some lines: their cells, the number of lines up to the end of each, and what stopped it.

    `error` is about the row after the last one, which takes `error_lines` lines. `is_text` is whether all are UTF-8.
    """

    rows: list[list[str]]
    ends: Sequence[int]
    is_text: bool
    error: str | None = None
    error_lines: int = 0


class Rows:
    """The form of one source object a row, below a header row."""

    name: ClassVar[FormName] = "csv"

    def __init__(self, table: Table) -> None:
        self._table = table
        self.columns = table.columns
        self.delimiter = table.delimiter

    def begins(self, start: Place) -> int:
        return max(start, self._table.first).offset

    def batches(self, stream: Readable, start: Place) -> Iterator[Batch]:
        start = max(start, self._table.first)
        splitter = _Splitter(self._table, start)
        for chunk in chunks(stream, start):
            yield splitter.take(chunk)
        yield splitter.end()


class _Splitter:
    """Takes whole lines, gives the rows that they complete, and holds the lines of the row that is open."""

    def __init__(self, table: Table, place: Place) -> None:
        self._table = table
        self._place = place
        # The lines from `_place` on: one row whose quote is open at the end of each of them.
        self._held: list[bytes] = []
        self._data: list[Datum] = []
        self._lines: list[int] = []
        self._offsets: list[int] = []

    def take(self, chunk: Chunk) -> Batch:
        if not chunk.long_line:
            lines = io.BytesIO(chunk.data).readlines()
            while lines:
                lines = self._close(lines) if self._held else self._split(lines)
            return self._batch()
        self._give_up()
        self._add(too_long(chunk.data, chunk.long_line), [])
        self._place = chunk.end
        return self._batch()

    def end(self) -> Batch:
        self._give_up()
        return self._batch()

    def _batch(self) -> Batch:
        batch = Batch(self._data, self._lines, self._offsets, self._place)
        self._data, self._lines, self._offsets = [], [], []
        return batch

    def _add(self, datum: Datum | None, lines: list[bytes]) -> None:
        """A row, or with None what is passed over, that takes these lines."""
        if datum is not None:
            self._data.append(datum)
            self._lines.append(self._place.line)
            self._offsets.append(self._place.offset)
        self._place = Place(self._place.offset + _size(lines), self._place.line + len(lines))

    def _split(self, lines: list[bytes]) -> list[bytes]:
        """Give the rows of lines from the beginning of a row on, hold what is open at their end; returns the rest."""
        read = _read(lines, self._table.delimiter)
        over = _first_over_limit(lines, read)
        rows = read.rows[:over]
        done = read.ends[len(rows) - 1] if rows else 0
        self._give(read._replace(rows=rows), lines[:done])
        lines = lines[done:]
        if over is not None:
            number = read.ends[over] - done
            self._reconsider(lines[:number], is_closed=True, limit=MAX_LINE)
            return lines[number:]
        if read.error is not None:
            row = lines[: read.error_lines]
            self._add(_unreadable(read.error, row), row)
            return lines[read.error_lines :]
        self._hold(lines)
        return []

    def _give(self, read: _Read, lines: list[bytes]) -> None:
        """The rows that were read, which take just these lines.

        Measured for seven columns: csv.reader itself 1.1 us a row, all else of this module 0.8 us.
        """
        (offset, line), table, rows = self._place, self._table, read.rows
        offsets = list(accumulate(map(len, lines), initial=offset))
        if table.is_plain and read.is_text and set(map(len, rows)) == {table.width}:
            # 0.36 us a row, against 0.49 for a comprehension.
            self._data += map(dict, map(zip, repeat(table.header), rows))
            if len(rows) == len(lines):
                self._lines += range(line, line + len(lines))
                self._offsets += offsets[:-1]
            else:
                starts = [0, *read.ends[: len(rows) - 1]]
                self._lines += [line + number for number in starts]
                self._offsets += [offsets[number] for number in starts]
        else:
            first = 0
            for row, end in zip(rows, read.ends, strict=False):
                self._add(self._datum(row, lines[first:end]), lines[first:end])
                first = end
        self._place = Place(offsets[-1], line + len(lines))

    def _datum(self, row: list[str], lines: list[bytes]) -> Datum | None:
        if not row or (len(row) == 1 < self._table.width and not row[0].strip()):
            return None
        text = b"".join(lines).rstrip(b"\r\n")
        return self._table.laid(row, text)

    def _hold(self, lines: list[bytes]) -> None:
        self._held = lines
        if _size(lines) > MAX_LINE:
            self._held = []
            self._reconsider(lines, is_closed=False, limit=MAX_LINE)

    def _close(self, lines: list[bytes]) -> list[bytes]:
        """Look for the line that closes the row which is held; returns the lines after it."""
        held, self._held = self._held, []
        # A quote before the first line puts the reader where the lines before it left it, without reading them again.
        texts = chain(('"' + _decoded(lines[0]),), map(_decoded, islice(lines, 1, None)), ("",))
        reader = csv_reader(texts, self._table.delimiter)
        try:
            next(reader)
        except csv.Error:
            number = reader.line_num
        else:
            number = reader.line_num
            if number > len(lines):
                self._hold(held + lines)
                return []
        row = held + lines[:number]
        if _size(row) > MAX_LINE:
            self._reconsider(row, is_closed=True, limit=MAX_LINE)
        else:
            self._give_one(row)
        return lines[number:]

    def _give_one(self, lines: list[bytes]) -> None:
        """These lines are one row."""
        read = _read(lines, self._table.delimiter)
        self._add(
            self._datum(read.rows[0], lines) if read.error is None else _unreadable(read.error, lines),
            lines,
        )

    def _give_up(self) -> None:
        """No line comes that could close the row which is held."""
        held, self._held = self._held, []
        self._reconsider(held, is_closed=False, limit=-1)

    def _reconsider(self, lines: list[bytes], *, is_closed: bool, limit: int) -> None:
        """Find the rows in lines that were taken for a single one, with more than `limit` bytes.

        What is open anywhere stays open up to their end, or up to the last of them where that `is_closed`. So no line
        is read twice, however many of them leave a quote open.
        """
        sizes = list(accumulate(map(len, reversed(lines))))[::-1]
        for number, line in enumerate(lines):
            read = _read([line], self._table.delimiter)
            if read.rows or read.error is not None:
                self._give_one([line])
            elif sizes[number] <= limit and number + 1 < len(lines) and is_closed:
                self._give_one(lines[number:])
                return
            elif sizes[number] <= limit:
                self._held = lines[number:]
                return
            else:
                self._add(_unclosed(line), [line])


def _read(lines: list[bytes], delimiter: str) -> _Read:
    """The complete rows of lines, from the beginning of a row on."""
    data = b"".join(lines)
    text, is_ok = _decoded(data), is_text(data)
    texts = io.StringIO(text, newline="\n").readlines()
    if '"' not in text:
        # Every line is a row. The loop below would cost 0.1 us for each.
        with suppress(csv.Error):
            return _Read(list(csv_reader(texts, delimiter)), range(1, len(texts) + 1), is_ok)
    # The last of these is empty: it gives an empty row, or lengthens one that is open.
    reader = csv_reader(chain(texts, ("",)), delimiter)
    rows: list[list[str]] = []
    ends: list[int] = []
    try:
        for row in reader:
            rows.append(row)
            ends.append(reader.line_num)
    except csv.Error as exc:
        return _Read(rows, ends, is_ok, str(exc), reader.line_num - (ends[-1] if ends else 0))
    rows.pop()
    ends.pop()
    return _Read(rows, ends, is_ok)


def _first_over_limit(lines: list[bytes], read: _Read) -> int | None:
    """The first of the rows with several lines that is longer than a row may be; chunks hardly ever are."""
    if len(read.rows) == len(lines) or _size(lines) <= MAX_LINE:
        return None
    bounds = [0, *accumulate(map(len, lines))]
    for number, (first, end) in enumerate(pairwise((0, *read.ends))):
        if end - first > 1 and bounds[end] - bounds[first] > MAX_LINE:
            return number
    return None


def _decoded(data: bytes) -> str:
    """As text in which what is no UTF-8 stays where it is."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode(errors="surrogateescape")


def _size(lines: list[bytes]) -> int:
    return sum(map(len, lines))


def _unreadable(words: str, lines: list[bytes]) -> Broken:
    text = b"".join(lines).rstrip(b"\r\n")
    if not is_text(text):
        return not_text(text)
    if "new-line" in words:
        words = "a carriage return stands in a cell that is not quoted"
    return Broken(Flaw.of("not-csv", f"the row cannot be read: {words}"), text, len(text))


def _unclosed(line: bytes) -> Broken:
    text = line.rstrip(b"\r\n")
    words = f"a quote opens in the row and is not closed within {MAX_LINE:,} bytes, or before the end"
    return Broken(Flaw.of("quote-unclosed", words), text, len(text))
