"""A JSON document's elements are given one by one, in bounded memory, and what is broken ends it in its turn."""

import bz2
import gzip
import json
import lzma
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bulkload.errors import Halt, InputError
from bulkload.source import START, Broken, Layout, Place, Source, StandardInput, find_sources
from bulkload.source.documents import TOGETHER, Document
from bulkload.source.lines import KEPT_OF_LONG_LINE, MAX_LINE
from tests.streams import Stream

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def source_of(folder: Path, data: bytes, name: str = "devices.json", **layout: Any) -> Source:
    (folder / name).write_bytes(data)
    [source] = find_sources([str(folder / name)], Layout(**layout))
    return source


async def read(source: Source, start: Place = START) -> list[Any]:
    """The elements, each with its ordinal; of a broken one its flaw's code."""
    objects: list[Any] = []
    async for batch in source.batches(start):
        for datum, offset, line in batch.placed():
            assert line == offset + 1
            objects.append((offset, datum.flaw.code if isinstance(datum, Broken) else orjson.loads(bytes_of(datum))))
    return objects


def bytes_of(datum: object) -> bytes:
    assert isinstance(datum, bytes)
    return datum


async def elements_of(source: Source) -> list[Any]:
    return [element for _, element in await read(source)]


async def refusal(source: Source) -> str:
    with pytest.raises(InputError) as caught:
        await source.fingerprint()
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value).removeprefix(f"source {source.name} ")


MANY = [{"installationId": str(number), "tags": ["x"], "nested": {"items": [{"a": 1}]}} for number in range(2500)]
PRETTY = json.dumps({"meta": {"total": 2500}, "channels": MANY, "next": None}, indent=2).encode()


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("name", ["devices.json", "devices.ndjson", "devices"])
@pytest.mark.parametrize(
    "data",
    [
        json.dumps(MANY).encode(),
        json.dumps(MANY, indent=1).encode(),
        b"\xef\xbb\xbf \n" + json.dumps(MANY, indent=1).encode(),
        PRETTY,
        b"[\n" + b",\n".join(map(orjson.dumps, MANY)) + b"\n]\n",
        b'{"channels": [\n' + b",\n".join(map(orjson.dumps, MANY)) + b"\n]}\n",
        b"\n".join(json.dumps(element, indent=2).encode() for element in MANY),
    ],
    ids=["one-line", "pretty", "mark", "object", "line-each", "object-line-each", "one-after-another"],
)
async def test_a_document_is_told_by_its_content(tmp_path: Path, data: bytes, name: str, pack: Any) -> None:
    source = source_of(tmp_path, pack(data), name)
    await source.fingerprint()
    assert (source.form, source.columns, source.delimiter) == ("json", None, None)
    assert await elements_of(source) == MANY
    assert await source.count(10**6) == 2500
    assert await source.count(7) == 7


@pytest.mark.parametrize(
    ("data", "path"),
    [
        (b'{"a": {"b.c": [{"x": 1}]}}', "a.b.c"),
        (b'{"players": [{"x": 1}], "other": [{"x": 2}]}', "players"),
        (b'[{"page": [{"x": 1}]}]', "page"),
        (b'{"page": [{"x": 1}]}\n{"page": []}\n', "page"),
        (b'{"empty": [], "page": [{"x": 1}]}', "page"),
    ],
)
async def test_the_array_that_was_named_is_taken(tmp_path: Path, data: bytes, path: str) -> None:
    assert await elements_of(source_of(tmp_path, data, records=path)) == [{"x": 1}]
    assert await elements_of(StandardInput(Stream(data), Layout(records=path))) == [{"x": 1}]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'{"data": {"page": [{"x": 1}, 5, null]}, "tags": ["a"], "none": []}', [{"x": 1}, 5, None]),
        (b'{"page": [], "total": 0}', []),
        (b'{"installationId": "1",\n "devices": [{"x": 1}]}', [{"installationId": "1", "devices": [{"x": 1}]}]),
        (b'{\n"x": 1}', [{"x": 1}]),
        (b'{\n"x": 1}\n{"y": 1}', [{"x": 1}, {"y": 1}]),
        (b'{\n"x": ["a"]}', [{"x": ["a"]}]),
        (b"[]", []),
        (b"[\n]", []),
        (b'[{"x": 1}]\n[{"x": 2}]', None),
    ],
)
async def test_the_only_array_of_objects_is_taken(tmp_path: Path, data: bytes, expected: list[Any] | None) -> None:
    layout: dict[str, Any] = {"format": "json"}
    elements = await elements_of(source_of(tmp_path, data, **layout))
    assert elements == ([{"x": 1}, {"x": 2}] if expected is None else expected)
    assert await elements_of(StandardInput(Stream(data), Layout(**layout))) == elements


async def test_several_arrays_of_objects_are_refused_by_their_names(tmp_path: Path) -> None:
    data = json.dumps({"a": {"b": [{}]}, "tags": ["x"], "c": [{}], "d": []}, indent=1).encode()
    words = "holds several arrays, a.b, c; name the one of the records with --records"
    assert await refusal(source_of(tmp_path, data)) == words
    assert await refusal(StandardInput(Stream(data))) == words


async def test_an_array_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    data = b'{"a": {"b": [{}]}, "c": ["x"], "d": []}'
    words = "holds no array channels; its arrays are a.b, d, c: name one with --records"
    assert await refusal(source_of(tmp_path, data, records="channels")) == words
    assert await refusal(source_of(tmp_path, b'{"x": 1}', records="a")) == (
        "holds no array a; it holds none: name one with --records"
    )
    assert await elements_of(source_of(tmp_path, data, records="d")) == []


@pytest.mark.parametrize("path", ["", ".", "a..b", "a."])
def test_a_path_of_no_names_is_refused(path: str) -> None:
    with pytest.raises(InputError, match=r"^--records .* is not a path of names "):
        Layout(records=path)


LONG = b'{"head": "%b", "channels": %b}' % (b"x" * 2 * MAX_LINE, orjson.dumps(MANY))


async def test_an_array_that_stands_late_in_a_document_is_found(tmp_path: Path) -> None:
    assert await elements_of(source_of(tmp_path, LONG)) == MANY
    assert await elements_of(source_of(tmp_path, LONG, "long.jsonl", format="json")) == MANY
    assert await elements_of(StandardInput(Stream(LONG), Layout(records="channels"))) == MANY
    assert await refusal(StandardInput(Stream(LONG))) == (
        "is a long JSON document that begins with an object; name the array of the records with --records"
    )


async def test_standard_input_without_the_array_that_was_named_halts() -> None:
    with pytest.raises(Halt, match=r"^source - breaks off: it holds no array none, or an empty one; "):
        await read(StandardInput(Stream(LONG), Layout(records="none")))


@pytest.mark.parametrize("settled", [0, 1, TOGETHER, 1000, 2499, 2500, 9999])
async def test_a_document_is_read_on_from_any_element(tmp_path: Path, settled: int) -> None:
    start = Place(settled, settled + 1)
    expected = list(enumerate(MANY))[settled:]
    assert await read(source_of(tmp_path, PRETTY), start) == expected
    counted = StandardInput(Stream(PRETTY, [3000]))
    assert await counted.count(100) == 100
    assert await read(counted, start) == expected


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.9999])
@pytest.mark.parametrize("junk", [b"", b"tru", b"}}}}"])
async def test_a_broken_document_gives_what_came_before_and_halts(tmp_path: Path, part: float, junk: bytes) -> None:
    data = json.dumps(MANY, indent=1).encode()
    source = source_of(tmp_path, data[: int(len(data) * part)] + junk)
    elements: list[Any] = []

    async def take() -> None:
        async for batch in source.batches(START):
            elements.extend(orjson.loads(bytes_of(datum)) for datum in batch.data)

    with pytest.raises(Halt) as caught:
        await take()
    assert elements == MANY[: len(elements)]
    assert len(elements) >= int(2500 * part) - 2
    assert str(caught.value).startswith(
        f"source {source.name} breaks off: its JSON is broken or cut short after element {len(elements):,}; "
    )


async def test_a_broken_document_s_words_hold_nothing_of_it(tmp_path: Path) -> None:
    with pytest.raises(Halt) as caught:
        await read(source_of(tmp_path, b'[{"pushChannel": "secret"}, {"pushChannel": "secret"], 1]'))
    assert "secret" not in str(caught.value)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@UNHURRIED
@given(elements=st.lists(JSON, max_size=10), sizes=st.lists(st.integers(1, 20), min_size=1, max_size=5))
def test_however_a_document_is_cut_into_reads_its_elements_are_the_same(elements: list[Any], sizes: list[int]) -> None:
    for indent in (None, 1):
        text = json.dumps(elements, indent=indent).encode()
        batches = Document("item").batches(Stream(text, sizes), START)
        assert [orjson.loads(bytes_of(datum)) for batch in batches for datum in batch.data] == elements


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("123456789012345678901234567890", 123456789012345678901234567890),
        ("1.10", 1.1),
        ("-0", 0),
        ("1e3", 1000.0),
        ('"\\ud83d\\ude00\\u0000"', "\U0001f600\0"),
        ("[" * 240 + "]" * 240, json.loads("[" * 240 + "]" * 240)),
    ],
)
async def test_any_value_is_written_as_it_was(tmp_path: Path, text: str, expected: object) -> None:
    source = source_of(tmp_path, f'[{{"a": {text}}}]'.encode())
    [batch] = [batch async for batch in source.batches(START)]
    [datum] = batch.data
    assert json.loads(bytes_of(datum)) == {"a": expected}


@pytest.mark.parametrize("text", ['"\\ud800"', "[" * 700 + "]" * 700, "1" * 4000])
async def test_a_value_that_python_has_not_does_no_harm_to_the_others(tmp_path: Path, text: str) -> None:
    source = source_of(tmp_path, f'[{{"a": 1}}, {{"a": {text}}}, {{"a": 2}}]'.encode())
    [first, odd, last] = [datum async for batch in source.batches(START) for datum in batch.data]
    assert (first, last) == (b'{"a":1}', b'{"a":2}')
    assert isinstance(odd, bytes | Broken)


async def test_an_element_that_is_nested_too_deep_is_a_flaw(tmp_path: Path) -> None:
    deep = b"[" * 5_000 + b"]" * 5_000
    assert await read(source_of(tmp_path, b"[1, " + deep + b", 2]")) == [(0, 1), (1, "too-deep"), (2, 2)]


async def test_an_element_over_one_mebibyte_is_a_flaw(tmp_path: Path) -> None:
    data = orjson.dumps([1, "x" * (MAX_LINE - 2), "y" * (MAX_LINE - 1), 2])
    source = source_of(tmp_path, data)
    assert [flaw for _, flaw in await read(source)] == [1, "x" * (MAX_LINE - 2), "line-too-long", 2]
    texts = [d.text async for b in source.batches(START) for d in b.data if isinstance(d, Broken)]
    assert texts == [b'"' + b"y" * (KEPT_OF_LONG_LINE - 1)]


PEAK = """
import asyncio, resource, sys
from bulkload.source import START, find_sources

async def main():
    [source] = find_sources([sys.argv[1]])
    await source.fingerprint()
    number = 0
    async for batch in source.batches(START):
        number += len(batch.data)
    print(number, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)

asyncio.run(main())
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the peak is counted in bytes")
@pytest.mark.parametrize("around", [(b"[", b"]"), (b'{"data": {"channels": [', b'], "next": null}}')])
def test_a_document_of_200_mb_is_read_in_constant_memory(tmp_path: Path, around: tuple[bytes, bytes]) -> None:
    def peak(size: int) -> tuple[int, int]:
        chance = random.Random(1)
        block = b",\n".join(
            orjson.dumps({"installationId": str(number), "pushChannel": f"{chance.getrandbits(1600):x}"})
            for number in range(2000)
        )
        with (tmp_path / "devices.json").open("wb") as file:
            file.write(around[0])
            for _ in range(size // len(block)):
                file.write(block + b",\n")
            file.write(block + around[1])
        command = [sys.executable, "-c", PEAK, str(tmp_path / "devices.json")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        number, megabytes = map(int, done.stdout.split())
        assert number == 2000 * (size // len(block) + 1)
        return number, megabytes

    assert peak(200_000_000)[1] < peak(5_000_000)[1] + 16


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, zstd.compress])
async def test_a_compressed_document_is_read(tmp_path: Path, pack: Any) -> None:
    assert await elements_of(source_of(tmp_path, pack(PRETTY))) == MANY


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"[" * 100_000 + b"]" * 100_000, "too-deep"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "too-deep"),
        (rb'"\ud800"', "not-json"),
        (b'"\xff"', "not-json"),
        (b'"\xed\xa0\x80"', "not-json"),
    ],
)
async def test_what_no_reader_takes_is_a_flaw_of_its_element_alone(tmp_path: Path, text: bytes, code: str) -> None:
    assert await elements_of(source_of(tmp_path, b'[1,{"a":%b},[2]]' % text)) == [1, code, [2]]


async def test_a_number_of_many_digits_ends_nothing(tmp_path: Path) -> None:
    source = source_of(tmp_path, b'[1,{"a":%b},[2]]' % (b"9" * 100_000))
    [batch] = [batch async for batch in source.batches(START)]
    one, other, two = batch.data
    assert (one, two) == (b"1", b"[2]")
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(bytes_of(other))


@pytest.mark.parametrize("text", [rb'"\ud800"', b'"\xff"', b"9" * 5000, b"[" * 1024 + b"]" * 1024])
async def test_one_object_a_line_stays_that_whatever_its_first_line_holds(tmp_path: Path, text: bytes) -> None:
    source = source_of(tmp_path, b'{"installationId":"a","x":%b}\n{"installationId":"b"}\n' % text, "devices.txt")
    await source.fingerprint()
    assert source.form == "ndjson"


@pytest.mark.parametrize(
    "number", ["1e400", "-1e400", "1e1000000000000000000", "1e" + "9" * 700, "7" * 650 + ".5", "7" * 650]
)
async def test_a_number_beyond_all_doubles_is_no_null(tmp_path: Path, number: str) -> None:
    source = source_of(tmp_path, f'[1,{{"a":{number}}},[2.5]]'.encode())
    [batch] = [batch async for batch in source.batches(START)]
    one, other, two = batch.data
    assert (one, two) == (b"1", b"[2.5]")
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(bytes_of(other))


async def test_characters_that_nobody_should_write_are_left_as_they_are(tmp_path: Path) -> None:
    element = {"a": "\ufdd041", "b": "\ufdd1d800"}
    assert await elements_of(source_of(tmp_path, json.dumps([element]).encode())) == [element]
    assert await elements_of(source_of(tmp_path, json.dumps([element], ensure_ascii=False).encode())) == [element]
