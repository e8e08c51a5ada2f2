"""Python iterables, plain and asynchronous, as sources."""

import hashlib
import time
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, aclosing
from typing import Any, NamedTuple

import orjson

from bulkload.errors import InputError
from bulkload.installation import Flaw
from bulkload.source.layout import FormName
from bulkload.source.lines import KEPT_OF_LONG_LINE, MAX_LINE, too_long
from bulkload.source.place import Batch, Broken, Place
from bulkload.source.reading import read_ahead
from bulkload.source.streams import CHUNK

# The records of an iterable that tell it apart from another.
FINGERPRINT_RECORDS = 100

# Elements handed over together; an asynchronous iterable's are handed over as they come.
TOGETHER = 256

# Seconds after which a slow iterable's elements are handed over as they come.
WITHHELD = 0.1

Element = Mapping[str, Any] | bytes | str


class Group(NamedTuple):
    """Consecutive elements, from the ordinal of the first on."""

    first: int
    data: list[bytes | Broken]


class IterableSource:
    """Records from a Python iterable: mappings, or JSON texts. Its offsets are ordinals.

    A plain iterable is read in a thread of its own, so that one that blocks does not hold the loop; a cursor that is
    bound to the thread of its connection (sqlite3's) has to be opened for others, or wrapped in an asynchronous one.
    """

    name = "iterable"
    size = None
    consumed = 0
    ledger_name = None
    lasting_address = None
    can_seek = False
    can_reread = False
    form: FormName = "ndjson"
    columns = None
    delimiter = None

    def __init__(self, elements: Iterable[Element] | AsyncIterable[Element]) -> None:
        if isinstance(elements, Mapping | bytes):
            raise InputError("a source is an iterable of records; put a single one into a list")
        if not isinstance(elements, Iterable | AsyncIterable):
            raise InputError(f"a source is a path, or an iterable of records, not {elements!r}")
        if isinstance(elements, AsyncIterable):
            self._elements = _one_by_one(elements)
        else:
            self._elements = read_ahead(lambda: _together(elements))
        self._held: list[Group] = []
        self._failure: Exception | None = None

    def __repr__(self) -> str:
        return "<IterableSource>"

    async def fingerprint(self) -> str:
        await self.count(FINGERPRINT_RECORDS)
        held = [_text(datum) for group in self._held for datum in group.data][:FINGERPRINT_RECORDS]
        digest = hashlib.sha256(b"\n".join(held)).hexdigest()[:32]
        return f"iterable:{digest}"

    async def count(self, limit: int) -> int:
        """Counted in memory: what is read for it is held until `batches` gives it."""
        number = sum(len(group.data) for group in self._held)
        while number < limit and self._failure is None:
            try:
                group = await anext(self._elements, None)
            except Exception as exc:  # noqa: BLE001 - raised again once what came before it was given
                self._failure = exc
                break
            if group is None:
                break
            self._held.append(group)
            number += len(group.data)
        return min(number, limit)

    async def batches(self, start: Place) -> AsyncGenerator[Batch, None]:
        async with aclosing(self._elements):
            while self._held:
                yield _after(start, self._held.pop(0))
            if self._failure is not None:
                raise self._failure
            async for group in self._elements:
                yield _after(start, group)


def _after(start: Place, group: Group) -> Batch:
    """What of a group stands at `start` or after it; an element's line is its ordinal from 1."""
    end = group.first + len(group.data)
    first = min(max(group.first, start.offset), end)
    return Batch(group.data[first - group.first :], range(first + 1, end + 1), range(first, end), Place(end, end + 1))


def _together(elements: Iterable[Element]) -> Iterator[Group]:
    group: list[bytes | Broken] = []
    first = size = 0
    handed_over = time.monotonic()
    try:
        for element in elements:
            group.append(_datum(element))
            size += len(_text(group[-1]))
            if len(group) == TOGETHER or size > CHUNK or time.monotonic() - handed_over > WITHHELD:
                yield Group(first, group)
                first += len(group)
                group, size = [], 0
                handed_over = time.monotonic()
    except Exception:
        # What came before it is handed over before it.
        if group:
            yield Group(first, group)
        raise
    if group:
        yield Group(first, group)


async def _one_by_one(elements: AsyncIterable[Element]) -> AsyncGenerator[Group, None]:
    ordinal = 0
    async with AsyncExitStack() as stack:
        if isinstance(elements, AsyncGenerator):
            stack.push_async_callback(elements.aclose)
        async for element in elements:
            yield Group(ordinal, [_datum(element)])
            ordinal += 1


def _datum(element: Element) -> bytes | Broken:
    try:
        data = _json(element)
    except (TypeError, ValueError) as exc:
        kind = type(element).__name__
        flaw = Flaw.of("not-json", f"the element, a {kind}, cannot be written as JSON: {exc}")
        return Broken(flaw, kind.encode(), len(kind))
    if len(data) > MAX_LINE:
        return too_long(data[:KEPT_OF_LONG_LINE], len(data))
    return data


def _text(datum: bytes | Broken) -> bytes:
    return datum.text if isinstance(datum, Broken) else datum


def _json(element: Element) -> bytes:
    if isinstance(element, bytes):
        return element
    if isinstance(element, str):
        return element.encode(errors="surrogatepass")
    return orjson.dumps(element if isinstance(element, dict) else dict(element))
