"""Elements of a JSON document's array, one by one."""

import io
import json
import math
import re
from collections.abc import Iterator
from decimal import Decimal
from itertools import islice
from typing import ClassVar, NamedTuple

import ijson
import orjson

from bulkload.errors import InputError
from bulkload.installation import Flaw
from bulkload.source.breaking import BROKEN
from bulkload.source.layout import FormName, Layout
from bulkload.source.lines import KEPT_OF_LONG_LINE, MAX_LINE, too_long
from bulkload.source.place import Batch, Broken, Place
from bulkload.source.streams import BOM, CHUNK, Chained, Readable, fill
from bulkload.source.tame import MARK, Tame, restored

# Elements handed over together.
TOGETHER = 256

# What the parser raises for what is no JSON, and for numbers with an exponent beyond all.
UNPARSABLE = (ijson.JSONError, ArithmeticError)

# What stands around a number in a text.
_AROUND = f"{MARK}n"
_WRITTEN = re.compile(f'"{_AROUND}([^"]*){_AROUND}"'.encode())

# The field by which an object is known to be an installation itself.
_ID = "installationId"


class Document:
    """The form of one source object an element: of an array, or where `path` is empty, of a sequence of values.

    Offsets are ordinals, and an element's line is its ordinal from 1: a parser does not tell more. Elements are written
    anew, numbers with a fraction as JSON's usual readers take them. An element is parsed before its length is known, so
    memory is that of the largest one. Several documents may follow one another.
    """

    name: ClassVar[FormName] = "json"
    columns = None
    delimiter = None

    def __init__(self, path: str, *, is_certain: bool = True) -> None:
        self._path = path
        self._is_certain = is_certain

    def __repr__(self) -> str:
        return f"<Document {self._path or 'of values'}>"

    def begins(self, start: Place) -> int:  # noqa: ARG002 - the parser has to read what comes before, too
        return 0

    def batches(self, stream: Readable, start: Place) -> Iterator[Batch]:
        first = start.offset
        elements = islice(ijson.items(_tame(stream), self._path, multiple_values=True, buf_size=CHUNK), first, None)
        data: list[bytes | Broken] = []
        size = 0
        failure: Exception | None = None
        while failure is None:
            try:
                element = next(elements)
            except StopIteration:
                break
            except (*UNPARSABLE, *BROKEN) as exc:
                failure = exc
                break
            data.append(_datum(element))
            size += len(data[-1].text if isinstance(data[-1], Broken) else data[-1])
            if len(data) == TOGETHER or size > CHUNK:
                yield _batch(data, first)
                first, data, size = first + len(data), [], 0
        if data:
            yield _batch(data, first)
        if isinstance(failure, BROKEN):
            raise failure
        if failure is not None:
            # The parser's own words hold what stands there: push channels.
            raise EOFError(f"its JSON is broken or cut short after element {first + len(data):,}") from failure
        if not self._is_certain and first + len(data) == 0:
            raise EOFError(f"it holds no array {self._path.removesuffix('.item')}, or an empty one")


def _tame(stream: Readable) -> Tame:
    """The stream as the parser can take it, without its byte order mark."""
    head = fill(stream, len(BOM))
    return Tame(Chained(io.BytesIO(head.removeprefix(BOM)), stream))


def _batch(data: list[bytes | Broken], first: int) -> Batch:
    end = first + len(data)
    return Batch(data, range(first + 1, end + 1), range(first, end), Place(end, end + 1))


def _datum(element: object) -> bytes | Broken:
    try:
        data = orjson.dumps(element, default=_number)
    except TypeError:
        # orjson.JSONEncodeError is one: a number that it does not write, or nested deeper than what it writes.
        try:
            text = json.dumps(element, default=_as_written, ensure_ascii=False, separators=(",", ":"))
            data = _WRITTEN.sub(rb"\1", text.encode(errors="surrogatepass"))
            is_too_deep = _is_too_deep(data)
        except RecursionError:
            is_too_deep = True
        if is_too_deep:
            return Broken(Flaw.of("too-deep", "the element is nested too deep to be read again"), b"", 0)
    if len(data) > MAX_LINE:
        return too_long(data[:KEPT_OF_LONG_LINE], len(data))
    if (original := restored(data)) is not None:
        words = "not a JSON text: it holds half a surrogate pair, or bytes that are no UTF-8"
        return Broken(Flaw.of("not-json", words), original, len(original))
    return data


def _is_too_deep(data: bytes) -> bool:
    try:
        orjson.loads(data)
    except orjson.JSONDecodeError as exc:
        # Of a limit it speaks for no other mistake.
        return "limit" in str(exc)
    return False


def _number(value: object) -> float:
    assert isinstance(value, Decimal)
    if math.isinf(number := float(value)):
        # It would be written as null.
        raise OverflowError
    return number


def _as_written(value: object) -> str:
    """A number as it came, in a text from which it is taken out again: the reader of the element refuses it."""
    return f"{_AROUND}{value}{_AROUND}"


class Arrays(NamedTuple):
    """What the objects at the top of a document hold: the paths of arrays of objects, and of empty ones."""

    of_objects: list[str]
    empty: list[str]
    of_others: list[str]
    has_id: bool
    """Whether the document is an installation."""


def arrays(stream: Readable) -> Arrays:
    """Look through a document, up to its end or to where it is broken, for arrays that stand in no other array."""
    found = Arrays([], [], [], has_id=False)
    is_in: str | None = None
    is_first = False
    try:
        for prefix, event, value in ijson.parse(_tame(stream), multiple_values=True, buf_size=CHUNK):
            if is_in is not None:
                if is_first:
                    kind = {"start_map": found.of_objects, "end_array": found.empty}.get(event, found.of_others)
                    kind += [is_in] if is_in not in kind else []
                    is_first = False
                if event == "end_array" and prefix == is_in:
                    is_in = None
            elif event == "start_array":
                is_in, is_first = prefix, True
            elif event == "map_key" and value == _ID and not prefix:
                found = found._replace(has_id=True)
    except UNPARSABLE:
        pass
    return found


def choose(name: str, found: Arrays, layout: Layout) -> Document:
    """The array that holds the records; raises `InputError` where that is not clear."""
    records = layout.records
    known = found.of_objects + [path for path in found.empty + found.of_others if path not in found.of_objects]
    if records is not None:
        if records not in known:
            there = f"its arrays are {_listed(known)}" if known else "it holds none"
            raise InputError(f"source {name} holds no array {records}; {there}: name one with --records")
        return Document(f"{records}.item")
    candidates = found.of_objects or found.empty
    if found.has_id or layout.is_whole or not candidates:
        return Document("")
    if layout.usual in candidates:
        return Document(f"{layout.usual}.item")
    if len(candidates) > 1:
        raise InputError(
            f"source {name} holds several arrays, {_listed(candidates)}; name the one of the records with --records"
        )
    return Document(f"{candidates[0]}.item")


def _listed(paths: list[str]) -> str:
    return ", ".join(paths[:10]) + (" and more" if len(paths) > 10 else "")
