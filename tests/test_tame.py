"""JSON text is made such that a streaming parser takes it, and is else left as it is."""

import io
import json
from typing import Any

import ijson
import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bulkload.source import tame
from bulkload.source.tame import MOST_DIGITS, Tame, restored
from tests.streams import Stream

TEXTS = st.text() | st.sampled_from(
    ["[", "e", "1e5", "\ufdd041", "e+" + "1" * 9, '"]{', "\\", '\\"[[', "\U0001f600", "1" * 700, "\\ud800"]
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)
SIZES = st.lists(st.integers(1, 9), min_size=1)


def tamed(data: bytes, sizes: list[int] | None = None) -> bytes:
    stream = Tame(Stream(data, sizes or [2**20]))
    assert stream.read(0) == b""
    return b"".join(iter(lambda: stream.read(2**20), b""))


def pruned(value: Any, depth: int) -> Any:
    """The value with a zero for what is nested deeper."""
    if not isinstance(value, list | dict):
        return value
    if not depth:
        return 0
    if isinstance(value, list):
        return [pruned(element, depth - 1) for element in value]
    return {name: pruned(element, depth - 1) for name, element in value.items()}


@given(VALUES, SIZES, st.booleans())
def test_what_a_parser_takes_is_left_as_it_is(value: object, sizes: list[int], is_ascii: bool) -> None:
    data = json.dumps(value, ensure_ascii=is_ascii).encode()
    assert tamed(data, sizes) == data


@given(VALUES, SIZES, st.integers(1, 6))
def test_a_zero_stands_for_what_is_nested_too_deep(value: object, sizes: list[int], deepest: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tame, "DEEPEST", deepest)
        assert json.loads(tamed(json.dumps(value).encode(), sizes)) == pruned(value, deepest)


@given(
    st.binary()
    | st.lists(st.sampled_from([b"[", b"{", b'"', b"\\", b"9" * 500, b"\\ud8", b"}", b"\xed"])).map(b"".join),
    SIZES,
)
@example(b"\\" + b"7" * 700, [1])
@example(b"\\\\" + b"7" * 700, [1])
def test_however_it_comes_it_is_the_same(data: bytes, sizes: list[int]) -> None:
    assert tamed(data, sizes) == tamed(data)


@pytest.mark.parametrize("sizes", [[2**20], [1], [599], [601]])
@pytest.mark.parametrize("digits", [MOST_DIGITS, MOST_DIGITS + 1, 100_000])
def test_a_number_is_cut(digits: int, sizes: list[int]) -> None:
    number = b"7" * digits
    assert tamed(b'["%b",%b,"%b"]' % (number, number, number), sizes) == b'["%b",%b,"%b"]' % (
        number,
        number[:MOST_DIGITS],
        number,
    )


@pytest.mark.parametrize("sizes", [[2**20], [1], [5], [7]])
@pytest.mark.parametrize(
    "text",
    [
        rb"\ud800",
        rb"\uDFFFx",
        rb"\ud83d\ud83dx",
        rb"\\\udc00",
        b"\xff",
        b"\xed\xa0\x80",
        b"\xc3",
        "\U0001f600".encode()[:3],
    ],
)
def test_what_is_no_text_is_marked_and_comes_back(text: bytes, sizes: list[int]) -> None:
    stream = Tame(Stream(b'["%b"]' % text, sizes))
    [element] = ijson.items(stream, "item")
    data = orjson.dumps(element)
    assert restored(data) == b'"%b"' % text


def test_text_of_a_person_is_never_marked() -> None:
    stream = Tame(io.BytesIO(rb'["\\ud800 \ud83d\ude00 \n"]'))
    assert stream.read() + stream.read() == rb'["\\ud800 \ud83d\ude00 \n"]'


@pytest.mark.parametrize("sizes", [[2**20], [1], [7]])
@pytest.mark.parametrize(
    ("number", "cut"),
    [("1e9999", "1e9999"), ("1e12345", "1e1234"), ("-1.5E-" + "9" * 700, "-1.5E-9999"), ("1e+5", "1e+5")],
)
def test_an_exponent_is_cut(number: str, cut: str, sizes: list[int]) -> None:
    assert tamed(f'[{number},"{number}"]'.encode(), sizes) == f'[{cut},"{number}"]'.encode()
