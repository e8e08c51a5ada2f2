"""A table's rows are what the module csv reads, each at the place of its first line, and no row spoils another."""

import csv
import gzip
import io
import random
import time
import tracemalloc
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bulkload.errors import InputError
from bulkload.source import START, Batch, Broken, FileSource, Layout, Place, Source, StandardInput, find_sources
from bulkload.source import lines as lines_module
from bulkload.source import rows as rows_module
from bulkload.source.lines import MAX_LINE
from bulkload.source.rows import Rows
from bulkload.source.table import Table, read_header, told
from tests.streams import Stream

UNHURRIED = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])

BOM = b"\xef\xbb\xbf"
COLUMNS = ["a", "b"]
HEADER = b"a,b\n"
FIRST = Place(len(HEADER), 2)


class Found(NamedTuple):
    """A row with its place: its cells, or its flaw's code with its text."""

    row: Any
    offset: int
    line: int
    flaw: str | None = None


def found(batch: Batch) -> list[Found]:
    objects = []
    for datum, offset, line in batch.placed():
        if isinstance(datum, Broken):
            assert datum.size >= len(datum.text)
            objects.append(Found(datum.text, offset, line, datum.flaw.code))
        else:
            objects.append(Found(datum, offset, line))
    return objects


async def read(source: Source, start: Place = START) -> list[Found]:
    return [item async for batch in source.batches(start) for item in found(batch)]


async def rows_of(folder: Path, data: bytes, name: str = "devices.csv", **layout: Any) -> list[Found]:
    return await read(source_of(folder, data, name, **layout))


def source_of(folder: Path, data: bytes, name: str = "devices.csv", **layout: Any) -> Source:
    (folder / name).write_bytes(data)
    [source] = find_sources([str(folder / name)], Layout(**layout))
    return source


async def refusal(folder: Path, data: bytes, name: str = "devices.csv", **layout: Any) -> str:
    source = source_of(folder, data, name, **layout)
    with pytest.raises(InputError) as caught:
        await source.fingerprint()
    words = str(caught.value)
    assert len(words.splitlines()) == 1
    assert words.startswith(f"source {source.name} ")
    return words.removeprefix(f"source {source.name} ")


TABLE = Rows(Table(COLUMNS, ",", FIRST))


def body(data: bytes, sizes: Iterable[int] = (2**20,), start: Place = FIRST) -> list[Found]:
    """The rows of a table's body; checks on the way that every batch ends where the next one may begin."""
    objects: list[Found] = []
    for batch in TABLE.batches(Stream((HEADER + data)[start.offset :], sizes), start):
        items = found(batch)
        assert all(item.offset < batch.end.offset for item in items)
        objects += items
    return objects


@contextmanager
def small_limits() -> Iterator[None]:
    """Reads of 16 bytes and rows of 40, so that short texts meet every border."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines_module, "CHUNK", 16)
        for module in (lines_module, rows_module):
            patch.setattr(module, "MAX_LINE", 40)
        patch.setattr(lines_module, "KEPT_OF_LONG_LINE", 8)
        yield


def naive(data: bytes) -> list[Found]:
    """The rows by the rule alone: from each row's place on, the fewest lines that csv takes for a whole row."""
    offset, number = FIRST
    left = io.BytesIO(data).readlines()
    objects = []
    while left:
        datum, taken = first_row(left)
        if datum is not None:
            objects.append(datum._replace(offset=offset, line=number))
        offset, number = offset + sum(map(len, left[:taken])), number + taken
        left = left[taken:]
    return objects


def first_row(left: list[bytes]) -> tuple[Found | None, int]:
    if len(left[0].removesuffix(b"\n")) > lines_module.MAX_LINE:
        return Found(left[0][: lines_module.KEPT_OF_LONG_LINE], 0, 0, "line-too-long"), 1
    for taken in range(1, len(left) + 1):
        text = b"".join(left[:taken])
        if taken > 1 and len(text) > lines_module.MAX_LINE:
            break
        texts = [line.decode(errors="surrogateescape") for line in left[:taken]]
        bare = text.rstrip(b"\r\n")
        try:
            rows = list(csv.reader([*texts, ""]))
        except csv.Error:
            return Found(bare, 0, 0, "not-csv" if is_text(bare) else "not-text"), taken
        if rows[-1]:
            continue
        if not rows[0] or (len(rows[0]) == 1 and not rows[0][0].strip()):
            return None, taken
        if not is_text(bare):
            return Found(bare, 0, 0, "not-text"), taken
        if len(rows[0]) != len(COLUMNS):
            return Found(bare, 0, 0, f"cells-too-{'few' if len(rows[0]) < len(COLUMNS) else 'many'}"), taken
        return Found(dict(zip(COLUMNS, rows[0], strict=True)), 0, 0), taken
    return Found(left[0].rstrip(b"\r\n"), 0, 0, "quote-unclosed"), 1


def is_text(data: bytes) -> bool:
    return data.decode(errors="ignore").encode() == data


PIECES = st.sampled_from(
    [
        *(b"a", b",", b",", b'"', b'"', b'""', b"\n", b"\n", b"\r\n", b"\r", b" ", b"\0", b"\xff", "ü".encode(), BOM),
        *(b"b,c\n", b'"d\n",e\n', b'f"g,"', b"x" * 15, b"y" * 39, b"z" * 41),
    ]
)
TEXTS = st.lists(PIECES, max_size=30).map(b"".join)
SIZES = st.lists(st.integers(1, 20), min_size=1, max_size=8)


@UNHURRIED
@given(data=TEXTS, sizes=SIZES)
def test_however_a_table_is_cut_into_reads_its_rows_are_the_same(data: bytes, sizes: list[int]) -> None:
    with small_limits():
        assert body(data, sizes) == naive(data)


@UNHURRIED
@given(data=TEXTS, sizes=SIZES)
def test_reading_from_any_row_on_gives_exactly_the_rest(data: bytes, sizes: list[int]) -> None:
    with small_limits():
        whole = body(data)
        for number, item in enumerate(whole):
            assert body(data, sizes, Place(item.offset, item.line)) == whole[number:]


@UNHURRIED
@given(data=TEXTS, sizes=SIZES)
def test_reading_from_the_end_of_any_batch_on_gives_exactly_the_rest(data: bytes, sizes: list[int]) -> None:
    with small_limits():
        whole = body(data)
        ends = [batch.end for batch in TABLE.batches(Stream(data, sizes), FIRST)]
        for end in ends:
            assert body(data, start=end) == [item for item in whole if item.offset >= end.offset]
        assert ends[-1].offset == len(HEADER + data)


@UNHURRIED
@given(data=st.data(), width=st.integers(1, 4))
def test_what_csv_wrote_comes_back_the_same(data: st.DataObject, width: int) -> None:
    rows = data.draw(st.lists(st.lists(st.text(max_size=12), min_size=width, max_size=width), max_size=8))
    delimiter = data.draw(st.sampled_from(",;\t|"))
    columns = [f"c{number}" for number in range(width)]
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, quoting=data.draw(st.sampled_from([0, 1])))
    writer.writerows([columns, *rows])
    table = text.getvalue().encode()
    header = read_header("x", table, is_whole=True, delimiter=delimiter)
    assert header is not None
    stream = Stream(table[header.first.offset :], data.draw(SIZES))
    batches = Rows(header).batches(stream, START)
    assert [datum for batch in batches for datum in batch.data] == [
        dict(zip(columns, row, strict=True)) for row in rows
    ]


async def test_a_row_is_its_cells_by_column_in_the_order_of_the_header(tmp_path: Path) -> None:
    data = b'installationId,tags\r\none,"a|b"\r\n\r\ntwo,"line\r\nfeed, ""quoted"""\r\nthree,\r\n'
    assert await rows_of(tmp_path, data) == [
        Found({"installationId": "one", "tags": "a|b"}, 21, 2),
        Found({"installationId": "two", "tags": 'line\r\nfeed, "quoted"'}, 34, 4),
        Found({"installationId": "three", "tags": ""}, 64, 6),
    ]


async def test_uneven_rows_are_flaws_of_their_own_line_with_the_counts(tmp_path: Path) -> None:
    source = source_of(tmp_path, b'a,b,c\n"1\n2",3,4\n5,6\n7,8,9,10\n11,12,13\n')
    assert [item.flaw for item in await read(source)] == [None, "cells-too-few", "cells-too-many", None]
    [batch] = [batch async for batch in source.batches(START) if batch.data]
    flaws = [datum.flaw.message for datum in batch.data if isinstance(datum, Broken)]
    assert flaws == ["the row has 2 cells, the header 3 columns", "the row has 4 cells, the header 3 columns"]
    assert list(batch.lines) == [2, 4, 5, 6]


@pytest.mark.parametrize("before", [b"", b"1,2\n" * 5])
@pytest.mark.parametrize("after", [0, 10, 300_000], ids=["nothing", "a-little", "megabytes"])
def test_an_unclosed_quote_is_a_flaw_of_its_own_line_alone(before: bytes, after: int) -> None:
    data = before + b'3,"4\n' + b"5,6\n" * after
    rows = body(data)
    flaws = [item for item in rows if item.flaw]
    assert flaws == [Found(b'3,"4', len(HEADER + before), before.count(b"\n") + 2, "quote-unclosed")]
    assert len(rows) == before.count(b"\n") + 1 + after


def test_as_many_unclosed_quotes_as_there_are_lines_are_read_in_time() -> None:
    # Each line opens a quote, and none closes the one before it: looked at line by line, each takes a mebibyte.
    data = b'x"y,"z\n' * (3 * MAX_LINE // 14)
    began = time.monotonic()
    rows = body(data)
    assert {item.flaw for item in rows} == {"quote-unclosed"}
    assert len(rows) == data.count(b"\n")
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("over", [0, 1, 100_000])
def test_a_row_over_one_mebibyte_is_a_flaw_and_the_next_ones_are_read(over: int) -> None:
    long = b"1," + b"x" * (MAX_LINE - 2 + over)
    rows = body(b"1,2\n" + long + b"\n3,4\n")
    assert [item.flaw for item in rows] == [None, "line-too-long" if over else None, None]
    if over:
        assert rows[1].row == long[:1024]


def test_memory_does_not_grow_with_the_table() -> None:
    row = b'1,"%b\n%b"\n' % (b"x" * 1000, b"y" * 1000)

    class Endless:
        left = 60_000_000 // len(row)

        def read(self, size: int, /) -> bytes:
            number = min(self.left, size // len(row))
            self.left -= number
            return row * number

    tracemalloc.start()
    try:
        number = sum(len(batch.data) for batch in TABLE.batches(Endless(), FIRST))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert number == 60_000_000 // len(row)
    assert peak < 6 * MAX_LINE


def test_a_cell_may_be_as_long_as_a_row() -> None:
    cell = "x" * 900_000
    assert [item.row for item in body(f'"{cell}\n{cell[:100_000]}",b\n'.encode())] == [
        {"a": f"{cell}\n{cell[:100_000]}", "b": "b"}
    ]


async def test_bytes_that_are_no_text_flaw_their_row_only(tmp_path: Path) -> None:
    rows = await rows_of(tmp_path, b"a,b\n1,2\n\xff,3\n\xc3\xa9,4\n")
    assert rows == [
        Found({"a": "1", "b": "2"}, 4, 2),
        Found(b"\xff,3", 8, 3, "not-text"),
        Found({"a": "é", "b": "4"}, 12, 4),
    ]


async def test_a_lone_carriage_return_flaws_its_row_only(tmp_path: Path) -> None:
    rows = await rows_of(tmp_path, b'a,b\n1,2\n3\r4,5\n"6\r7",8\n')
    assert rows == [
        Found({"a": "1", "b": "2"}, 4, 2),
        Found(b"3\r4,5", 8, 3, "not-csv"),
        Found({"a": "6\r7", "b": "8"}, 14, 4),
    ]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a,b", ","),
        ("a;b", ";"),
        ("a\tb", "\t"),
        ("a|b|c", "|"),
        ('"a,b,c,d";e', ";"),
        ('"a;""b"",;",c', ","),
        ("a;b,c;d", ";"),
        ("alone", ","),
        ('"open,', ","),
        ("a,b;c", ","),
    ],
)
async def test_the_delimiter_is_the_one_that_the_header_uses_outside_quotes(line: str, expected: str) -> None:
    assert told(line) == expected


@pytest.mark.parametrize(("said", "real"), [("\\t", "\t"), ("tab", "\t"), ("\t", "\t"), (";", ";"), ("§", "§")])
async def test_a_delimiter_that_was_said_is_taken(tmp_path: Path, said: str, real: str) -> None:
    source = source_of(tmp_path, f"a{real}b,c\n1{real}2,3\n".encode(), delimiter=said)
    assert [item.row for item in await read(source)] == [{"a": "1", "b,c": "2,3"}]
    assert source.delimiter == real


@pytest.mark.parametrize("delimiter", ["", ",,", '"', "\n", "\r", "tabs"])
def test_a_delimiter_that_cannot_be_one_is_refused(delimiter: str) -> None:
    with pytest.raises(InputError, match=r"^--delimiter .* is not one character; "):
        Layout(delimiter=delimiter)


async def test_a_table_tells_its_form_its_columns_and_its_delimiter(tmp_path: Path) -> None:
    source = source_of(tmp_path, BOM + b" a ;\xef\xbb\xbfb;;_bulkload_reason\n1;2;3;4\n")
    assert (source.form, source.columns, source.delimiter) == (None, None, None)
    await source.fingerprint()
    assert (source.form, source.columns, source.delimiter) == ("csv", ("a", "b", ""), ";")


async def test_columns_without_a_name_are_left_out(tmp_path: Path) -> None:
    rows = await rows_of(tmp_path, b",a,b,,\n0,1,2,,\n1,3,4,x,\n5,6\n")
    assert [item.row for item in rows] == [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}, b"5,6"]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"a,b, a\n1,2,3\n", "has a header row that names 'a' 2 times; rename all but one"),
        (b"a,b\r1,2\r", "has lines that end with a lone carriage return; "),
        (b"a,b\r1,2\r" * 40_000, "has lines that end with a lone carriage return; "),
        (b"a\0,\0b\0\n\0", "has a header row with NUL bytes; if it is UTF-16 text, say --encoding utf-16-le"),
        (b"a,\xfc\n", "has a header row that is no UTF-8 text; say what it is with --encoding, such as cp1252"),
        (b'a,"b\n1,2\n', "has a header row with a quote that is not closed; close it"),
        (b",,\n1,2,3\n", "has no column's name in its first row; begin it with a header row"),
        (
            b"".join(b"%d," % number for number in range(200_000)),
            "has a header row of more than 1,048,576 bytes; is it a table at all?",
        ),
    ],
)
async def test_what_is_wrong_with_a_header_is_said(tmp_path: Path, data: bytes, words: str) -> None:
    assert (await refusal(tmp_path, data)).startswith(words)


@pytest.mark.parametrize("data", [b"", BOM, b"\n\r\n", b"a,b", b"a,b\n", b"\n\na,b\n\n"])
async def test_a_table_without_rows_is_empty(tmp_path: Path, data: bytes) -> None:
    source = source_of(tmp_path, data)
    await source.fingerprint()
    assert await read(source) == []
    assert await source.count(5) == 0


async def test_a_header_may_have_cells_of_several_lines_and_a_long_row(tmp_path: Path) -> None:
    columns = ["several\nlines", *(f"column {number}" for number in range(20_000))]
    data = ",".join(f'"{column}"' for column in columns) + "\n" + ",".join("x" for _ in columns) + "\n"
    source = source_of(tmp_path, data.encode())
    [item] = await read(source)
    assert list(item.row) == columns
    assert (item.line, source.columns) == (3, tuple(columns))


def written(*rows: list[str]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


async def test_a_dead_letter_s_row_is_read_again_without_what_was_added_to_it(tmp_path: Path) -> None:
    dead = written(
        ["a", "b", "_bulkload_source", "_bulkload_reason", "_bulkload_row"],
        ["1", "2", "devices.csv", "rejected", ""],
        ["", "", "devices.csv", "cells-too-few", '3,"4\n5"'],
    )
    source = source_of(tmp_path, dead)
    assert [item.row for item in await read(source)] == [{"a": "1", "b": "2"}, {"a": "3", "b": "4\n5"}]
    assert source.columns == ("a", "b")


@pytest.mark.parametrize(
    ("cell", "flaw"),
    [
        ("3", "cells-too-few"),
        ("3,4,5", "cells-too-many"),
        ("3,4\n5,6", "not-csv"),
        ("\n", "not-csv"),
        ('3,""4', "quote-unclosed"),
    ],
)
async def test_a_dead_letter_s_row_that_was_not_mended_is_a_flaw_again(tmp_path: Path, cell: str, flaw: str) -> None:
    [item] = await rows_of(tmp_path, f'a,b,_bulkload_row\n,,"{cell}"\n'.encode())
    assert (item.row, item.flaw) == (cell.replace('""', '"').encode(), flaw)


async def test_a_dead_letter_of_a_row_that_was_too_long_is_too_long_again(tmp_path: Path) -> None:
    [item] = await rows_of(tmp_path, b"a,b,_bulkload_row,_bulkload_head\n,,,xxxx\n")
    assert item.flaw == "line-too-long"


def many(number: int, seed: int = 1) -> bytes:
    chance = random.Random(seed)
    cells = ["plain", "", "a,b", 'a "quoted" one', "two\nlines", "ü"]
    return written(["id", "x", "y"], *([f"{row}", *chance.choices(cells, k=2)] for row in range(number)))


@pytest.mark.parametrize("packed", ["", "gzip"])
async def test_a_table_is_read_on_from_any_row_s_place(tmp_path: Path, packed: str) -> None:
    data = many(30_000)
    source = source_of(tmp_path, gzip.compress(data, 1) if packed else data)
    whole = await read(source)
    assert len(whole) == await source.count(10**9) == 30_000
    for number in (0, 1, 15_000, 29_999):
        assert await read(source, Place(whole[number].offset, whole[number].line)) == whole[number:]
    lines = data.split(b"\n")
    assert all(lines[item.line - 1].startswith(item.row["id"].encode() + b",") for item in whole)
    assert all(data[item.offset :].startswith(item.row["id"].encode() + b",") for item in whole[::997])


async def test_reading_on_from_a_place_seeks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = many(100_000)
    source = source_of(tmp_path, data)
    whole = await read(source)
    await source.fingerprint()
    last = whole[-1]
    begun: list[int] = []
    assert isinstance(source, FileSource)
    real = source._open

    def noted(offset: int) -> Any:
        begun.append(offset)
        return real(offset)

    monkeypatch.setattr(source, "_open", noted)
    assert await read(source, Place(last.offset, last.line)) == [last]
    assert begun == [last.offset]


@pytest.mark.parametrize("settled", [0, 1, 2500])
async def test_a_table_may_come_from_standard_input(settled: int) -> None:
    data = many(5000)
    whole = await read(StandardInput(Stream(data, [7000])))
    assert len(whole) == 5000
    start = Place(whole[settled].offset, whole[settled].line) if settled else START
    source = StandardInput(Stream(data, [7000]))
    assert await source.count(100) == 100
    assert source.form == "csv"
    assert await read(source, start) == whole[settled:]


async def test_a_dead_letter_with_bytes_that_are_no_text_is_a_flaw_of_the_row_alone(tmp_path: Path) -> None:
    text = b'a,b,_bulkload_source,_bulkload_row\n1,"x\xff,",s.csv,\n,,s.csv,"2,y\xff"\n'
    first, second = await rows_of(tmp_path, text)
    assert (first.row, first.flaw) == (b'1,"x\xff,"', "not-text")
    assert (second.row, second.flaw) == (b"2,y\xff", "not-text")


async def test_a_column_s_name_may_be_long_as_well(tmp_path: Path) -> None:
    long = b"x" * 200_000
    [item] = await rows_of(tmp_path, b"a," + long + b"\n1,2\n")
    assert item.row == {"a": "1", long.decode(): "2"}
