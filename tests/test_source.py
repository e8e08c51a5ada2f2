"""Source objects are the lines that stand in the source, each at its place, however it comes and wherever it ends."""

import asyncio
import bz2
import errno
import gzip
import lzma
import os
import random
import sys
import tempfile
import threading
import tracemalloc
import zlib
from collections import OrderedDict, UserDict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import IO, Any, NamedTuple

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bulkload.errors import Halt, InputError
from bulkload.source import (
    START,
    Batch,
    Broken,
    FileSource,
    IterableSource,
    Place,
    Source,
    StandardInput,
    find_sources,
    lines,
    reading,
)
from bulkload.source.files import FINGERPRINT_BYTES
from bulkload.source.iterables import FINGERPRINT_RECORDS, TOGETHER, Element
from bulkload.source.lines import KEPT_OF_LONG_LINE, MAX_LINE, chunks, split
from bulkload.source.reading import AHEAD, in_thread, read_ahead
from bulkload.source.streams import CHUNK, Readable
from tests.streams import Stream

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# A machine with much else to do is no failure.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

BOM = b"\xef\xbb\xbf"
KEPT = "what came before it is kept, load it again once it is whole"
FILE_KEPT = f"{KEPT} (with --when-changed restart, if the file has to be replaced for it)"
SOON = 5.0


class Found(NamedTuple):
    """A source object, with its flaw's code alone."""

    data: bytes
    offset: int
    line: int
    flaw: str | None = None


def found(batch: Batch) -> list[Found]:
    objects = []
    for datum, offset, line in batch.placed():
        assert not isinstance(datum, dict)
        if isinstance(datum, Broken):
            objects.append(Found(datum.text, offset, line, datum.flaw.code))
        else:
            objects.append(Found(datum, offset, line))
    return objects


def naive(data: bytes) -> list[Found]:
    """What a source of these bytes holds, by the shortest way to say it."""
    offset = len(BOM) if data.startswith(BOM) else 0
    objects = []
    for number, text in enumerate(data[offset:].split(b"\n"), start=1):
        if len(text) > lines.MAX_LINE:
            objects.append(Found(text[: lines.KEPT_OF_LONG_LINE], offset, number, "line-too-long"))
        elif stripped := text.strip():
            objects.append(Found(stripped, offset, number))
        offset += len(text) + 1
    return objects


@contextmanager
def small_limits() -> Iterator[None]:
    """Reads of 16 bytes and lines of 40, so that short texts meet every border."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "CHUNK", 16)
        patch.setattr(lines, "MAX_LINE", 40)
        patch.setattr(lines, "KEPT_OF_LONG_LINE", 8)
        yield


def objects_of(stream: Readable, start: Place = START) -> list[Found]:
    """What `chunks` and `split` make of a stream; checks on the way that no byte falls between two chunks."""
    objects: list[Found] = []
    end = None
    for chunk in chunks(stream, start):
        batch = split(chunk)
        assert chunk.start == (end or chunk.start)
        assert batch.end == chunk.end
        objects += (items := found(batch))
        assert all(chunk.start.offset <= item.offset < chunk.end.offset for item in items)
        end = chunk.end
    return objects


@pytest.fixture
def spools(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[IO[bytes]]]:
    """The temporary files that were made, closed at the end whoever forgot it."""
    made: list[IO[bytes]] = []
    real = tempfile.TemporaryFile

    def temporary_file(**options: Any) -> IO[bytes]:
        made.append(real(**options))
        return made[-1]

    monkeypatch.setattr(tempfile, "TemporaryFile", temporary_file)
    yield made
    for spool in made:
        spool.close()


COUNTS = pytest.mark.usefixtures("spools")


async def read(source: Source, start: Place = START) -> list[Found]:
    return [item async for batch in source.batches(start) for item in found(batch)]


async def read_broken(source: Source, failure: type[Exception] = Halt) -> tuple[list[Found], str]:
    """What a source gives before it breaks off, and the line that it ends with."""
    objects: list[Found] = []

    async def take() -> None:
        async for batch in source.batches(START):
            objects.extend(found(batch))

    with pytest.raises(failure) as caught:
        await take()
    assert len(str(caught.value).splitlines()) == 1
    return objects, str(caught.value)


def refusal(*names: str | Path) -> str:
    with pytest.raises(InputError) as caught:
        find_sources(map(str, names))
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def records(number: int, seed: int = 1) -> bytes:
    """So many lines of NDJSON that do not compress to nothing."""
    chance = random.Random(seed)
    return b"".join(b'{"installationId":"%d-%x"}\n' % (line, chance.getrandbits(800)) for line in range(number))


MANY = records(3000)


def written(folder: Path, data: bytes, name: str = "devices.ndjson") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def plain(*parts: bytes) -> bytes:
    return b"".join(parts)


def gzipped(*parts: bytes) -> bytes:
    return b"".join(gzip.compress(part, 1) for part in parts)


def zstandard(*parts: bytes) -> bytes:
    return b"".join(zstd.compress(part, options=CHECKED) for part in parts)


# As the program zstd writes it.
CHECKED: Mapping[int, int] = {zstd.CompressionParameter.checksum_flag: 1}


def bzipped(*parts: bytes) -> bytes:
    return b"".join(bz2.compress(part) for part in parts)


def xzipped(*parts: bytes) -> bytes:
    return b"".join(lzma.compress(part, preset=0) for part in parts)


FORMS = pytest.mark.parametrize("form", [plain, gzipped, zstandard, bzipped, xzipped])
COMPRESSED = pytest.mark.parametrize("form", [gzipped, zstandard, bzipped, xzipped])
Form = Callable[..., bytes]

PIECES = st.sampled_from(
    [
        b"a",
        b"{}",
        b"\n",
        b"\n",
        b"\r\n",
        b" ",
        b"\t",
        b"\0",
        b"\xff",
        BOM,
        b"\r",
        b"x" * 15,
        b"y" * 39,
        b"z" * 40,
        b"w" * 41,
    ]
)
TEXTS = st.lists(PIECES, max_size=30).map(b"".join)
SIZES = st.lists(st.integers(1, 20), min_size=1, max_size=8)


@UNHURRIED
@given(data=TEXTS, sizes=SIZES)
def test_however_a_stream_is_cut_into_reads_its_lines_are_the_same(data: bytes, sizes: list[int]) -> None:
    with small_limits():
        assert objects_of(Stream(data, sizes)) == naive(data)


@UNHURRIED
@given(data=TEXTS, sizes=SIZES)
def test_reading_from_any_object_on_gives_exactly_the_rest(data: bytes, sizes: list[int]) -> None:
    with small_limits():
        whole = naive(data)
        for number, item in enumerate(whole):
            rest = Stream(data[item.offset :], sizes)
            assert objects_of(rest, Place(item.offset, item.line)) == whole[number:]


@UNHURRIED
@given(data=TEXTS, sizes=SIZES)
def test_reading_from_the_end_of_any_chunk_on_gives_exactly_the_rest(data: bytes, sizes: list[int]) -> None:
    with small_limits():
        ends = [chunk.end for chunk in chunks(Stream(data, [16]), START)]
        for end in ends:
            after = [item for item in naive(data) if item.offset >= end.offset]
            assert objects_of(Stream(data[end.offset :], sizes), end) == after
        assert not ends or ends[-1].offset == len(data)


@pytest.mark.parametrize("size", [1, 2])
def test_a_byte_order_mark_that_comes_in_pieces_is_passed_over(size: int) -> None:
    for data in (BOM + b"{}\n", BOM + BOM, BOM, BOM[:2], BOM[:2] + b"\n", BOM[:1] + BOM):
        assert objects_of(Stream(data, [size])) == naive(data)


def test_a_byte_order_mark_within_the_first_line_is_the_line_s() -> None:
    data = b"x" + BOM + b"y\n"
    assert objects_of(Stream(data, [1, 3, 2])) == naive(data)


def test_places_are_those_of_bytes_and_lines_in_the_file() -> None:
    assert naive(BOM + b"a\r\n\n  b  \n\r\nc") == [Found(b"a", 3, 1), Found(b"b", 7, 3), Found(b"c", 15, 5)]
    assert objects_of(Stream(BOM + b"a\r\n\n  b  \n\r\nc")) == naive(BOM + b"a\r\n\n  b  \n\r\nc")


@pytest.mark.parametrize("before", [b"", b"{}\n", records(2600)], ids=["first", "second", "after-a-chunk"])
@pytest.mark.parametrize("after", [b"", b"\n", b"\n{}\n", b"\n" + records(2600)], ids=["eof", "lf", "more", "many"])
@pytest.mark.parametrize("over", [-1, 0, 1, 100_000])
def test_a_line_over_one_mebibyte_is_a_flaw(before: bytes, after: bytes, over: int) -> None:
    data = before + b"x" * (MAX_LINE + over) + after
    objects = objects_of(Stream(data))
    assert objects == naive(data)
    assert [item.flaw for item in objects if item.data.startswith(b"x")] == [None if over <= 0 else "line-too-long"]


def test_of_a_line_over_one_mebibyte_the_first_kibibyte_is_kept() -> None:
    data = bytes(random.Random(1).choices(b"abc", k=MAX_LINE + 1))
    [item] = objects_of(Stream(data, [1, 500, 1000, 2**20]))
    assert item == Found(data[:KEPT_OF_LONG_LINE], 0, 1, "line-too-long")
    assert KEPT_OF_LONG_LINE == 1024


def test_several_long_lines_in_a_row_are_a_flaw_each() -> None:
    data = b"\n".join([b"a" * (MAX_LINE + 1), b"b" * (2 * MAX_LINE), b"{}", b"c" * (MAX_LINE + 1)])
    assert objects_of(Stream(data)) == naive(data)


def test_a_long_line_s_flaw_tells_its_length() -> None:
    [chunk] = chunks(Stream(b"x" * (MAX_LINE + 1) + b"\n"), START)
    [item] = split(chunk).data
    assert isinstance(item, Broken)
    assert item.size == MAX_LINE + 1
    assert item.flaw.message == "the line has 1,048,577 bytes; 1,048,576 are the most"


class Endless:
    """One block over and over, until `size` bytes were given."""

    def __init__(self, block: bytes, size: int) -> None:
        self._block = block
        self.left = size

    def read(self, size: int, /) -> bytes:
        if self.left <= 0:
            return b""
        # A copy, as a real stream gives a new object for each read.
        block = bytes(bytearray(self._block[:size]))
        self.left -= len(block)
        return block


@pytest.mark.parametrize("block", [b"x" * CHUNK, b"x" * 255 + b"\n"], ids=["one-line", "many-lines"])
def test_memory_does_not_grow_with_the_source(block: bytes) -> None:
    stream = Endless(block * (CHUNK // len(block)), 200_000_000)
    tracemalloc.start()
    try:
        last = 0
        for chunk in chunks(stream, START):
            last = chunk.end.offset
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert last >= 200_000_000
    assert peak < 3 * MAX_LINE


@FORMS
async def test_a_file_gives_its_lines_plain_or_compressed(tmp_path: Path, form: Form) -> None:
    source = FileSource(written(tmp_path, form(MANY)))
    assert await read(source) == naive(MANY)
    assert source.consumed == source.size == len(form(MANY))


@FORMS
@pytest.mark.parametrize(
    "data",
    [b"", b"\n", b"{}", b"{}\n", BOM, BOM + b"{}", b"\r\n\r\n", b'{"a":1}\r\n{"b":2}\r\n', b"\n\n{}\n \n{}", b"\0"],
)
async def test_every_way_to_end_or_to_leave_out_a_line_is_read(tmp_path: Path, form: Form, data: bytes) -> None:
    assert await read(FileSource(written(tmp_path, form(data)))) == naive(data)


@COMPRESSED
async def test_a_compressed_file_of_several_parts_is_read_to_its_end(tmp_path: Path, form: Form) -> None:
    parts = [MANY[:100_000], b"", MANY[100_000:100_001], MANY[100_001:]]
    assert await read(FileSource(written(tmp_path, form(*parts)))) == naive(MANY)


@pytest.mark.parametrize("name", ["devices.ndjson", "devices.ndjson.gz", "devices.zst", "devices"])
@FORMS
async def test_a_file_s_form_is_told_by_its_bytes_and_not_by_its_name(tmp_path: Path, form: Form, name: str) -> None:
    assert await read(FileSource(written(tmp_path, form(b"{}\n"), name))) == [Found(b"{}", 0, 1)]


@pytest.mark.parametrize("form", [gzipped, bzipped, xzipped])
async def test_zeros_after_a_member_are_padding(tmp_path: Path, form: Form) -> None:
    padded = form(b"{}\n") + b"\0" * 512
    assert await read(FileSource(written(tmp_path, padded))) == [Found(b"{}", 0, 1)]
    assert await read(FileSource(written(tmp_path, padded + form(b"{}")))) == [Found(b"{}", 0, 1), Found(b"{}", 3, 2)]


async def test_a_zstandard_file_that_begins_with_a_skippable_frame_is_read(tmp_path: Path) -> None:
    skippable = b"\x50\x2a\x4d\x18\x04\x00\x00\x00\x00\x00\x00\x00"
    assert await read(FileSource(written(tmp_path, skippable + zstandard(b"{}\n")))) == [Found(b"{}", 0, 1)]


@FORMS
async def test_a_file_is_read_on_from_any_object_s_place(tmp_path: Path, form: Form) -> None:
    data = BOM + b"\n" + MANY
    source = FileSource(written(tmp_path, form(data)))
    whole = naive(data)
    for number in (0, 1, 700, 1500, len(whole) - 1):
        place = Place(whole[number].offset, whole[number].line)
        assert await read(source, place) == whole[number:]
    assert await read(source, Place(len(data), len(whole) + 2)) == []
    assert await read(source) == whole


def decoded(form: Form, broken: bytes) -> bytes:
    """All that the bytes before the break say."""
    if form is gzipped:
        return zlib.decompressobj(wbits=31).decompress(broken)
    if form is bzipped:
        return bz2.BZ2Decompressor().decompress(broken)
    if form is xzipped:
        return lzma.LZMADecompressor().decompress(broken)
    return zstd.ZstdDecompressor().decompress(broken)


@COMPRESSED
async def test_a_truncated_file_gives_every_whole_line_that_came_and_then_halts(tmp_path: Path, form: Form) -> None:
    data = form(MANY)
    cuts = {5, 9, 10, 11, 20, *range(1000, len(data), len(data) // 13), len(data) - 9, len(data) - 4, len(data) - 1}
    for cut in sorted(cuts - ({5} if form in (bzipped, xzipped) else set())):
        # Of these two, five bytes do not say yet what they begin.
        path = written(tmp_path, data[:cut])
        objects, line = await read_broken(FileSource(path))
        told = decoded(form, data[:cut])
        assert objects == naive(told[: told.rfind(b"\n") + 1])
        assert line.startswith(f"source {path} breaks off: ")
        assert line.endswith(FILE_KEPT)


@COMPRESSED
@pytest.mark.parametrize("junk", [b"junk and more junk", b"\x1f", b"{}\n"])
async def test_junk_after_the_end_halts_after_all_that_came_before_it(tmp_path: Path, form: Form, junk: bytes) -> None:
    objects, line = await read_broken(FileSource(written(tmp_path, form(MANY) + junk)))
    assert objects == naive(MANY)
    assert "breaks off" in line


@COMPRESSED
@pytest.mark.parametrize("part", [0.3, 0.6, 0.999])
async def test_a_damaged_file_halts(tmp_path: Path, form: Form, part: float) -> None:
    damaged = bytearray(form(MANY))
    where = int(len(damaged) * part)
    damaged[where : where + 8] = b"\xff" * 8
    _, line = await read_broken(FileSource(written(tmp_path, bytes(damaged))))
    assert "breaks off" in line


@pytest.mark.parametrize("head", [gzipped(MANY)[:10], zstandard(MANY)[:4]], ids=["gzip", "zstd"])
async def test_a_file_with_a_good_beginning_alone_halts(tmp_path: Path, head: bytes) -> None:
    objects, line = await read_broken(FileSource(written(tmp_path, head + b"\xff" * 5000)))
    assert objects == []
    assert "breaks off" in line


async def test_a_file_that_goes_away_before_it_is_read_halts(tmp_path: Path) -> None:
    path = written(tmp_path, MANY)
    source = FileSource(path)
    path.unlink()
    assert await read_broken(source) == (
        [],
        f"source {path} breaks off: No such file or directory; {FILE_KEPT}",
    )


@pytest.mark.parametrize("left", [0, MANY.index(b"\n") + 1, MANY.rindex(b"\n", 0, 100_000) + 1])
async def test_a_file_that_is_cut_short_after_it_was_opened_halts(tmp_path: Path, left: int) -> None:
    path = written(tmp_path, MANY)
    source = FileSource(path)
    os.truncate(path, left)
    objects, line = await read_broken(source)
    assert objects == naive(MANY[:left])
    assert line == f"source {path} breaks off: it was cut short while it was read; {FILE_KEPT}"


@COMPRESSED
@pytest.mark.parametrize("part", [0, 0.5, 0.999])
async def test_a_compressed_file_that_is_cut_short_after_it_was_opened_halts(
    tmp_path: Path, form: Form, part: float
) -> None:
    path = written(tmp_path, form(MANY))
    source = FileSource(path)
    left = int(len(form(MANY)) * part)
    os.truncate(path, left)
    objects, line = await read_broken(source)
    told = decoded(form, form(MANY)[:left])
    assert objects == naive(told[: told.rfind(b"\n") + 1])
    assert line == f"source {path} breaks off: it was cut short while it was read; {FILE_KEPT}"


@pytest.mark.parametrize("left", [1, 100_000, len(MANY) - 1])
async def test_a_file_that_is_cut_short_within_a_line_does_not_give_its_part(tmp_path: Path, left: int) -> None:
    path = written(tmp_path, MANY)
    source = FileSource(path)
    os.truncate(path, left)
    objects, _ = await read_broken(source)
    assert objects == naive(MANY[: MANY.rfind(b"\n", 0, left) + 1])


@pytest.mark.parametrize("known", [len(MANY), len(MANY) - 10])
async def test_a_file_that_is_added_to_gives_what_it_was_and_no_part_of_a_line(tmp_path: Path, known: int) -> None:
    source = FileSource(written(tmp_path, MANY[:known]))
    written(tmp_path, MANY + b"{}\n")
    objects, halt = await read_broken(source)
    assert objects == naive(MANY[: MANY.rfind(b"\n", 0, known) + 1])
    assert "added to while it was read" in str(halt)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux takes any bytes for a file's name")
async def test_a_file_s_name_need_not_be_text(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff.ndjson")
    written(tmp_path, b"{}", name)
    [source] = find_sources([str(tmp_path / "*.ndjson")])
    assert source.name == str(tmp_path / "\ufffd.ndjson")
    assert await read(source) == [Found(b"{}", 0, 1)]
    assert refusal(tmp_path / name, tmp_path / name).endswith("/\ufffd.ndjson is named twice; name it once")


@COUNTS
@FORMS
@pytest.mark.parametrize(
    ("limit", "expected"), [(0, 0), (1, 1), (2999, 2999), (3000, 3000), (3001, 3000), (10**9, 3000)]
)
async def test_objects_are_counted_no_further_than_asked_and_given_all_the_same(
    tmp_path: Path, form: Form, limit: int, expected: int
) -> None:
    file = FileSource(written(tmp_path, form(MANY)))
    stream = StandardInput(Stream(form(MANY)))
    for source in (file, stream):
        assert await source.count(limit) == expected
        assert await read(source) == naive(MANY)


async def test_blank_lines_are_not_counted(tmp_path: Path) -> None:
    assert await FileSource(written(tmp_path, BOM + b"\n{}\n\r\n \n{}")).count(10) == 2


@COUNTS
@COMPRESSED
async def test_counting_a_truncated_source_halts(tmp_path: Path, form: Form) -> None:
    broken = form(MANY)[:-20]
    for source in (FileSource(written(tmp_path, broken)), StandardInput(Stream(broken))):
        with pytest.raises(Halt, match=r"^source .* breaks off: .*$"):
            await source.count(10**9)


async def test_a_fingerprint_is_the_content_s_and_not_the_name_s(tmp_path: Path) -> None:
    one = written(tmp_path, MANY, "one")
    two = written(tmp_path, MANY, "two")
    os.utime(two, (1, 1))
    assert await FileSource(one).fingerprint() == await FileSource(two).fingerprint()


@pytest.mark.parametrize("size", [10, FINGERPRINT_BYTES, FINGERPRINT_BYTES + 10, 5 * FINGERPRINT_BYTES])
async def test_a_fingerprint_changes_with_size_head_and_tail(tmp_path: Path, size: int) -> None:
    data = random.Random(1).randbytes(size)
    versions = [data, data[:-1], data + b"\n", b"\n" + data]
    versions += [
        data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :] for at in {0, size // 9, size - size // 9 - 1, size - 1}
    ]
    prints = [await FileSource(written(tmp_path, version)).fingerprint() for version in versions]
    assert len(set(prints)) == len(versions)


async def test_a_fingerprint_tells_sizes_apart_where_head_and_tail_are_the_same(tmp_path: Path) -> None:
    prints = [await FileSource(written(tmp_path, b"{}\n" * number)).fingerprint() for number in (100_000, 100_001)]
    assert prints[0] != prints[1]


def test_sources_are_found_in_the_order_of_their_names_and_globs_are_sorted(tmp_path: Path) -> None:
    for name in ("c.ndjson", "a.ndjson", "b.ndjson", "z.txt", "[x].ndjson"):
        written(tmp_path, b"{}", name)
    (tmp_path / "sub").mkdir()
    written(tmp_path / "sub", b"{}", "d.ndjson")
    names = [str(tmp_path / "z.txt"), str(tmp_path / "[abc].ndjson"), "-", str(tmp_path / "**" / "d.ndjson")]
    assert [Path(source.name).name for source in find_sources(names)] == [
        "z.txt",
        "a.ndjson",
        "b.ndjson",
        "c.ndjson",
        "-",
        "d.ndjson",
    ]


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path: Path) -> None:
    written(tmp_path, b"{}", "[x].ndjson")
    written(tmp_path, b"{}", "x.ndjson")
    assert [source.name for source in find_sources([str(tmp_path / "[x].ndjson")])] == [str(tmp_path / "[x].ndjson")]


def test_no_names_are_no_sources() -> None:
    assert find_sources([]) == []


def test_a_source_that_is_named_twice_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, b"{}")
    link = tmp_path / "link.ndjson"
    link.symlink_to(path)
    monkeypatch.chdir(tmp_path)
    for again in (path, link, "devices.ndjson", "./devices.ndjson", "*.ndjson", f"../{tmp_path.name}/devices.ndjson"):
        assert refusal(path, again).endswith(" is named twice; name it once")
    assert refusal("-", "-") == "source - is named twice; name it once"


def test_a_missing_source_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none") == f"source {tmp_path / 'none'} does not exist; check the path"
    assert refusal(tmp_path / "*.none") == f"no file matches {tmp_path / '*.none'}; check the pattern"
    assert refusal("") == "source  does not exist; check the path"
    assert "does not exist" in refusal("a\0b")
    (tmp_path / "gone").symlink_to(tmp_path / "none")
    assert "does not exist" in refusal(tmp_path / "gone")


def names_of(*names: str | Path) -> list[str]:
    return [source.name for source in find_sources(map(str, names))]


def test_a_folder_means_every_file_in_it_sorted(tmp_path: Path) -> None:
    for name in ("b.ndjson", "day=2/part-0", "day=10/part-0", "a.csv", "README"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        written(tmp_path, b"{}", name)
    expected = [str(tmp_path / name) for name in ("README", "a.csv", "b.ndjson", "day=10/part-0", "day=2/part-0")]
    assert names_of(tmp_path) == names_of(f"{tmp_path}/") == expected
    assert names_of(tmp_path / "day=*") == expected[3:]
    assert names_of(f"file://{tmp_path}/day=2") == expected[4:]
    assert names_of(tmp_path / "**") == expected


def test_a_folder_does_not_mean_what_is_hidden_or_what_runs_leave_behind(tmp_path: Path) -> None:
    left = ("a.ledger", "a.ledger-wal", "a.ledger.dead.ndjson", "a.ledger.20260102T030405Z", ".hidden", "_SUCCESS")
    for name in (*left, ".git/config", "_delta_log/0.json", "a"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        written(tmp_path, b"{}", name)
    assert names_of(tmp_path) == [str(tmp_path / "a")]


def test_a_folder_without_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    expected = f"source {tmp_path / 'folder'} is a folder without a file; check the path"
    assert refusal(tmp_path / "folder") == expected
    assert refusal(tmp_path / "*") == expected


@pytest.mark.parametrize("pattern", ["*.dead.*", "*.dead.ndjson", "a.ledger.dead.*"])
def test_a_pattern_that_says_so_means_dead_letters(tmp_path: Path, pattern: str) -> None:
    for name in ("a", "a.ledger", "a.ledger.dead.ndjson"):
        written(tmp_path, b"{}", name)
    assert names_of(tmp_path / pattern) == [str(tmp_path / "a.ledger.dead.ndjson")]


def test_a_file_s_ledger_is_named_after_its_path_and_standard_input_s_after_nothing(tmp_path: Path) -> None:
    assert FileSource(written(tmp_path, b"{}")).ledger_name == str(tmp_path / "devices.ndjson")
    assert StandardInput(Stream(b"")).ledger_name is None
    assert IterableSource([]).ledger_name is None


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="the one file that opens and cannot be read is Linux's")
def test_a_file_that_cannot_be_read_is_refused() -> None:
    assert refusal("/proc/self/mem") == "source /proc/self/mem cannot be read: Input/output error"


def test_a_pipe_that_is_named_like_a_file_is_refused() -> None:
    reader, writer = os.pipe()
    try:
        assert refusal(f"/dev/fd/{reader}") == (
            f"source /dev/fd/{reader} is no regular file; name a file, or - for standard input"
        )
    finally:
        os.close(reader)
        os.close(writer)


def test_a_named_pipe_is_refused_without_waiting_for_its_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert " is no regular file" in refusal(tmp_path / "pipe")


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_a_file_of_utf_16_or_32_is_refused_with_what_to_do(tmp_path: Path, encoding: str) -> None:
    path = written(tmp_path, "\ufeff{}\n".encode(encoding))
    assert refusal(path) == (
        f"source {path} is {encoding[:6].upper()} text; say --encoding {encoding[:6]}, "
        "or convert it to UTF-8 first, for example with iconv"
    )


UTF_16 = "{}\n".encode("utf-16")


async def test_standard_input_of_utf_16_is_refused_with_what_to_do() -> None:
    with pytest.raises(InputError, match=r"^source - is UTF-16 text; say --encoding utf-16, or convert it .*$"):
        await StandardInput(Stream(UTF_16, [1])).fingerprint()


@COMPRESSED
async def test_compressed_utf_16_is_refused_too(tmp_path: Path, form: Form) -> None:
    assert " is UTF-16 text" in refusal(written(tmp_path, form(UTF_16)))
    with pytest.raises(InputError, match=" is UTF-16 text"):
        await StandardInput(Stream(form(UTF_16))).fingerprint()


def test_a_source_shows_its_state(tmp_path: Path) -> None:
    path = written(tmp_path, b"{}\n")
    assert repr(FileSource(path)) == f"<FileSource {path} 0/3>"
    assert repr(StandardInput(Stream(b""))) == "<StandardInput 0 bytes read>"
    assert repr(IterableSource([])) == "<IterableSource>"


@FORMS
@pytest.mark.parametrize("sizes", [[1_000_000], [1, 7, 5000], [65_536]])
async def test_standard_input_gives_its_lines_plain_or_compressed(form: Form, sizes: list[int]) -> None:
    source = StandardInput(Stream(form(MANY), sizes))
    assert (source.name, source.size) == ("-", None)
    assert await read(source) == naive(MANY)
    assert source.consumed == len(form(MANY))


@COUNTS
@pytest.mark.parametrize("data", [b"", b"\n", b"{}", BOM + b"{}", b"{}\r\n\n{}"])
async def test_standard_input_may_be_short(data: bytes) -> None:
    source = StandardInput(Stream(data, [1]))
    assert await source.count(1) == min(1, len(naive(data)))
    assert await read(source) == naive(data)


@COUNTS
@FORMS
async def test_standard_input_is_read_past_what_was_settled(form: Form) -> None:
    whole = naive(MANY)
    for number in (1, 1500, 2999):
        source = StandardInput(Stream(form(MANY), [5000]))
        assert await read(source, Place(whole[number].offset, whole[number].line)) == whole[number:]
    counted = StandardInput(Stream(form(MANY)))
    assert await counted.count(10) == 10
    assert await read(counted, Place(whole[1500].offset, whole[1500].line)) == whole[1500:]


async def test_standard_input_shorter_than_what_was_settled_gives_nothing() -> None:
    assert await read(StandardInput(Stream(b"{}\n")), Place(100, 10)) == []


async def test_standard_input_s_fingerprint_is_that_of_its_head() -> None:
    head = MANY[:FINGERPRINT_BYTES]

    async def fingerprint(data: bytes, sizes: Iterable[int] = (1000,)) -> str:
        return await StandardInput(Stream(data, sizes)).fingerprint()

    same = await fingerprint(head + b"more")
    assert same == await fingerprint(head + b"less", [1, 70_000]) == await fingerprint(head)
    assert len({same, await fingerprint(head[:-1] + b"x"), await fingerprint(head[:-1]), await fingerprint(b"")}) == 4


@COUNTS
async def test_counting_reads_no_further_than_it_must() -> None:
    stream = Endless(b'{"a":1}\n' * 1024, 100_000_000)
    assert await StandardInput(stream).count(1000) == 1000
    assert stream.left > 99_000_000


async def test_what_was_counted_is_kept_on_disk(spools: list[IO[bytes]]) -> None:
    source = StandardInput(Stream(MANY, [5000]))
    assert await source.count(2000) == 2000
    [spool] = spools
    assert len(MANY) // 2 < os.fstat(spool.fileno()).st_size < len(MANY)
    assert await read(source) == naive(MANY)


async def test_what_was_counted_is_let_go_of_once_it_was_read(spools: list[IO[bytes]]) -> None:
    source = StandardInput(Stream(MANY))
    await source.count(2000)
    await read(source)
    assert [spool.closed for spool in spools] == [True]


async def test_what_was_counted_is_let_go_of_when_its_reader_leaves_early(spools: list[IO[bytes]]) -> None:
    source = StandardInput(Endless(MANY[:50_000], 100_000_000))
    await source.count(10)
    async with aclosing(source.batches(START)) as batches:
        await anext(batches)
    for reader in [thread for thread in threading.enumerate() if thread.name == "reader"]:
        await asyncio.to_thread(reader.join, SOON)
    assert [spool.closed for spool in spools] == [True]


@COUNTS
async def test_no_room_for_what_was_counted_is_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    with pytest.raises((InputError, Halt)):
        await StandardInput(Stream(MANY)).count(10)


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), OSError("odd"), EOFError()])
async def test_a_read_that_fails_gives_every_whole_line_that_came_and_then_halts(error: Exception) -> None:
    data = MANY[:-10]
    objects, line = await read_broken(StandardInput(Stream(data, [9999], failure=error)))
    assert objects == naive(MANY)[:-1]
    words = getattr(error, "strerror", None) or str(error) or "EOFError"
    assert line == f"source - breaks off: {words}; {KEPT}"


async def test_a_read_that_fails_in_the_head_is_a_line() -> None:
    failing = StandardInput(Stream(b"{}\n", failure=OSError(errno.EIO, "Input/output error")))
    with pytest.raises((InputError, Halt)):
        await failing.fingerprint()


def test_a_read_that_never_returns_does_not_hold_up_the_end() -> None:
    is_reading = threading.Event()
    may_return = threading.Event()

    class Silent:
        def read(self, size: int, /) -> bytes:
            is_reading.set()
            may_return.wait(SOON)
            return b""

    async def main() -> None:
        source = StandardInput(Silent())
        waiting = asyncio.create_task(read(source))
        await asyncio.to_thread(is_reading.wait, SOON)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(main())
    [reader] = [thread for thread in threading.enumerate() if thread.name == "reader"]
    assert reader.daemon
    may_return.set()
    reader.join(SOON)
    assert not reader.is_alive()


async def asynchronously(elements: Iterable[Element]) -> AsyncIterator[Element]:
    for element in elements:
        await asyncio.sleep(0)
        yield element


def sources_of(elements: list[Any]) -> list[IterableSource]:
    """The same elements as a list, as an iterator and as an asynchronous iterable."""
    return [IterableSource(elements), IterableSource(iter(elements)), IterableSource(asynchronously(elements))]


@pytest.mark.parametrize("number", [0, 1, TOGETHER - 1, TOGETHER, TOGETHER + 1, 3 * TOGETHER + 7])
async def test_an_iterable_gives_its_elements_with_their_ordinals(number: int) -> None:
    elements = [{"a": ordinal} for ordinal in range(number)]
    expected = [Found(b'{"a":%d}' % ordinal, ordinal, ordinal + 1) for ordinal in range(number)]
    for source in sources_of(elements):
        assert await read(source) == expected
        assert (source.name, source.size, source.consumed) == ("iterable", None, 0)


@pytest.mark.parametrize(
    "mapping",
    [
        {"a": 1},
        OrderedDict(a=1),
        UserDict({"a": 1}),
        MappingProxyType({"a": 1}),
        type("Sub", (dict,), {})(a=1),
        b'{"a":1}',
        '{"a":1}',
    ],
    ids=lambda value: type(value).__name__,
)
async def test_every_kind_of_mapping_and_of_json_text_is_an_element(mapping: Element) -> None:
    for source in sources_of([mapping]):
        assert await read(source) == [Found(b'{"a":1}', 0, 1)]


CIRCLE: dict[str, Any] = {}
CIRCLE["self"] = CIRCLE


@pytest.mark.parametrize(
    "element",
    [
        5,
        None,
        1.5,
        ...,
        ["a"],
        bytearray(b"{}"),
        {1: 2},
        {"a": ...},
        {"a": b"x"},
        {"a": {1, 2}},
        {"a": "\ud800"},
        {"a": 2**64},
        {"a": ["x" * 5000, 1j]},
        CIRCLE,
    ],
    ids=lambda value: repr(value)[:30],
)
async def test_an_element_that_is_no_json_is_a_flaw_and_the_others_are_read(element: Any) -> None:
    good = {"a": 1}
    for source in sources_of([good, element, good]):
        first, flaw, last = await read(source)
        assert (first, last) == (Found(b'{"a":1}', 0, 1), Found(b'{"a":1}', 2, 3))
        assert (flaw.offset, flaw.line, flaw.flaw) == (1, 2, "not-json")
        assert 0 < len(flaw.data) <= 1024


async def test_an_element_over_one_mebibyte_is_a_flaw() -> None:
    just, over = "x" * (MAX_LINE - len('{"a":""}')), "x" * (MAX_LINE + 1 - len('{"a":""}'))
    for source in sources_of([{"a": just}, {"a": over}, b"y" * MAX_LINE, b"y" * (MAX_LINE + 1), "{}"]):
        found_objects = await read(source)
        assert [item.flaw for item in found_objects] == [None, "line-too-long", None, "line-too-long", None]
        assert [len(item.data) for item in found_objects] == [
            MAX_LINE,
            KEPT_OF_LONG_LINE,
            MAX_LINE,
            KEPT_OF_LONG_LINE,
            2,
        ]


async def test_a_text_that_cannot_be_encoded_is_left_to_the_check() -> None:
    [item] = await read(IterableSource(["\ud800"]))
    assert item.data == b"\xed\xa0\x80"


@pytest.mark.parametrize("how", ["deep", "odd"])
async def test_an_element_that_cannot_even_be_shown_is_a_flaw(how: str) -> None:
    class Odd:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    deep: dict[str, Any] = {}
    for _ in range(5000):
        deep = {"a": deep}
    [item] = await read(IterableSource([deep if how == "deep" else {"a": Odd()}]))
    assert item.flaw == "not-json"


async def test_an_iterable_s_fingerprint_is_that_of_its_first_records_however_they_come() -> None:
    elements = [{"a": ordinal} for ordinal in range(300)]
    prints = {await source.fingerprint() for source in sources_of(elements)}
    assert len(prints) == 1
    changed = [
        [*elements[: FINGERPRINT_RECORDS - 1], {"a": -1}],
        [{"a": -1}, *elements[1:]],
        elements[: FINGERPRINT_RECORDS - 1],
        [],
        elements[::-1],
    ]
    prints |= {await source.fingerprint() for version in changed for source in sources_of(version)}
    assert len(prints) == 1 + len(changed)


@pytest.mark.parametrize("limit", [0, 1, 255, 256, 257, 600, 601, 10_000])
async def test_counted_elements_are_given_all_the_same(limit: int) -> None:
    elements = [{"a": ordinal} for ordinal in range(600)]
    for source in sources_of(elements):
        await source.fingerprint()
        assert await source.count(limit) == min(limit, 600)
        assert [item.offset for item in await read(source)] == list(range(600))


async def test_an_endless_iterable_is_counted_no_further_than_asked() -> None:
    taken = 0

    def endless() -> Iterator[Element]:
        nonlocal taken
        while True:
            taken += 1
            yield {"a": taken}

    source = IterableSource(endless())
    assert await source.count(1000) == 1000
    assert taken <= 1000 + (AHEAD + 2) * TOGETHER


@pytest.mark.parametrize("settled", [0, 1, 256, 300, 599, 600, 1000])
async def test_an_iterable_is_read_past_what_was_settled(settled: int) -> None:
    elements = [{"a": ordinal} for ordinal in range(600)]
    for source in sources_of(elements):
        items = await read(source, Place(settled, settled + 1))
        assert [item.offset for item in items] == list(range(settled, 600))
    ends = [batch.end async for batch in IterableSource(elements).batches(Place(settled, settled + 1))]
    assert ends[-1] == Place(600, 601)


def failing_after(number: int) -> Iterator[Element]:
    for ordinal in range(number):
        yield {"a": ordinal}
    raise RuntimeError("the cursor is lost")


@pytest.mark.parametrize("number", [0, TOGETHER, 3 * TOGETHER])
async def test_an_iterable_that_raises_gives_what_came_before_it(number: int) -> None:
    objects, line = await read_broken(IterableSource(failing_after(number)), RuntimeError)
    assert (len(objects), line) == (number, "the cursor is lost")


@pytest.mark.parametrize("number", [1, TOGETHER - 1, TOGETHER + 1])
async def test_an_iterable_that_raises_gives_also_what_was_not_yet_handed_over(number: int) -> None:
    objects, line = await read_broken(IterableSource(failing_after(number)), RuntimeError)
    assert (len(objects), line) == (number, "the cursor is lost")


@pytest.mark.parametrize("number", [0, 1, 300])
async def test_an_asynchronous_iterable_that_raises_gives_what_came_before_it(number: int) -> None:
    async def failing() -> AsyncIterator[Element]:
        for ordinal in range(number):
            yield {"a": ordinal}
        raise RuntimeError("the cursor is lost")

    objects, line = await read_broken(IterableSource(failing()), RuntimeError)
    assert (len(objects), line) == (number, "the cursor is lost")


async def test_an_iterable_that_blocks_does_not_hold_the_loop() -> None:
    may_go_on = threading.Event()

    def blocking() -> Iterator[Element]:
        assert may_go_on.wait(SOON)
        yield {"a": 1}

    reader = asyncio.create_task(read(IterableSource(blocking())))
    await asyncio.sleep(0)
    may_go_on.set()
    assert len(await reader) == 1


async def test_reading_ahead_is_bounded_and_ends_with_its_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    is_blocked = threading.Event()
    is_closed = threading.Event()
    produced = 0

    class Watched(threading.Semaphore):
        """Tells when somebody has to wait for it."""

        def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
            if super().acquire(blocking=False):
                return True
            is_blocked.set()
            return super().acquire(blocking, timeout)

    def items() -> Iterator[int]:
        nonlocal produced
        try:
            while True:
                produced += 1
                yield produced
        finally:
            is_closed.set()

    names = SimpleNamespace(Semaphore=Watched, Event=threading.Event, Thread=threading.Thread)
    monkeypatch.setattr(reading, "threading", names)
    async with aclosing(read_ahead(items)) as numbers:
        assert produced == 0
        for taken in range(1, 20):
            is_blocked.clear()
            assert await anext(numbers) == taken
            assert await asyncio.to_thread(is_blocked.wait, SOON)
            assert produced == taken + AHEAD
    assert await asyncio.to_thread(is_closed.wait, SOON)
    assert produced == 19 + AHEAD


@pytest.mark.parametrize(
    "exc", [ValueError("x"), Halt("x"), StopAsyncIteration("x"), KeyboardInterrupt(), SystemExit(3)]
)
@pytest.mark.parametrize("number", [0, 1, 10])
async def test_reading_ahead_hands_an_exception_over_after_what_came_before_it(exc: BaseException, number: int) -> None:
    def items() -> Iterator[int]:
        yield from range(number)
        raise exc

    got: list[int] = []

    async def take() -> None:
        async for item in read_ahead(items):
            got.append(item)  # noqa: PERF401 - what came before the exception is the point

    with pytest.raises(RuntimeError if isinstance(exc, StopAsyncIteration) else type(exc)) as caught:
        await take()
    assert got == list(range(number))
    assert exc in (caught.value, caught.value.__cause__)


async def test_an_iterator_that_cannot_even_be_opened_raises_at_its_reader() -> None:
    def closed() -> Iterator[int]:
        raise Halt("closed")

    with pytest.raises(Halt, match=r"^closed$"):
        await anext(read_ahead(closed))


async def test_a_call_in_a_thread_returns_what_it_returns_and_raises_what_it_raises() -> None:
    assert await in_thread(threading.get_ident) != threading.get_ident()
    with pytest.raises(ZeroDivisionError):
        await in_thread(lambda: 1 // 0)


def test_the_naive_splitter_tells_what_json_lines_hold() -> None:
    # The other tests lean on it: it is held against a parser of its own.
    assert [orjson.loads(item.data) for item in naive(MANY)] == [orjson.loads(line) for line in MANY.splitlines()]


def test_a_pattern_does_not_take_in_what_runs_leave_behind(tmp_path: Path) -> None:
    for name in ("a.ndjson", "a.ndjson.ledger", "a.ndjson.ledger-wal", "a.ndjson.ledger.20260102T030405Z", "b.ledger"):
        (tmp_path / name).write_bytes(b"{}\n")
    (tmp_path / "a.ndjson.ledger.dead.ndjson").write_bytes(b"{}\n")
    assert [source.name for source in find_sources([str(tmp_path / "*")])] == [str(tmp_path / "a.ndjson")]
