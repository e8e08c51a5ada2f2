"""Python iterables, plain and asynchronous, as sources."""

import hashlib
import time
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, aclosing
from typing import Any

import orjson

from bulkload.errors import InputError
from bulkload.installation import Flaw
from bulkload.source.lines import CHUNK, KEPT_OF_LONG_LINE, MAX_LINE, too_long
from bulkload.source.place import Batch, Place, SourceObject
from bulkload.source.reading import read_ahead

# The records of an iterable that tell it apart from another.
FINGERPRINT_RECORDS = 100

# Elements handed over together; an asynchronous iterable's are handed over as they come.
TOGETHER = 256

# Seconds after which a slow iterable's elements are handed over as they come.
WITHHELD = 0.1

Element = Mapping[str, Any] | bytes | str


class IterableSource:
    """Records from a Python iterable: mappings, or JSON texts. Its offsets are ordinals.

    A plain iterable is read in a thread of its own, so that one that blocks does not hold the loop; a cursor that is
    bound to the thread of its connection (sqlite3's) has to be opened for others, or wrapped in an asynchronous one.
    """

    name = "iterable"
    size = None
    consumed = 0

    def __init__(self, elements: Iterable[Element] | AsyncIterable[Element]) -> None:
        if isinstance(elements, Mapping | bytes):
            raise InputError("a source is an iterable of records; put a single one into a list")
        if isinstance(elements, AsyncIterable):
            self._elements = _one_by_one(elements)
        else:
            self._elements = read_ahead(lambda: _together(elements))
        self._held: list[list[SourceObject]] = []
        self._failure: Exception | None = None

    def __repr__(self) -> str:
        return "<IterableSource>"

    async def fingerprint(self) -> str:
        await self.count(FINGERPRINT_RECORDS)
        held = [element.data for group in self._held for element in group][:FINGERPRINT_RECORDS]
        digest = hashlib.sha256(b"\n".join(held)).hexdigest()[:32]
        return f"iterable:{digest}"

    async def count(self, limit: int) -> int:
        """Counted in memory: what is read for it is held until `batches` gives it."""
        number = sum(map(len, self._held))
        while number < limit and self._failure is None:
            try:
                group = await anext(self._elements, None)
            except Exception as exc:  # noqa: BLE001 - raised again once what came before it was given
                self._failure = exc
                break
            if group is None:
                break
            self._held.append(group)
            number += len(group)
        return min(number, limit)

    async def batches(self, start: Place) -> AsyncGenerator[Batch, None]:
        async with aclosing(self._elements):
            while self._held:
                yield _after(start, self._held.pop(0))
            if self._failure is not None:
                raise self._failure
            async for group in self._elements:
                yield _after(start, group)


def _after(start: Place, group: list[SourceObject]) -> Batch:
    last = group[-1]
    return Batch(
        [element for element in group if element.offset >= start.offset], Place(last.offset + 1, last.line + 1)
    )


def _together(elements: Iterable[Element]) -> Iterator[list[SourceObject]]:
    group: list[SourceObject] = []
    size = 0
    handed_over = time.monotonic()
    try:
        for ordinal, element in enumerate(elements):
            group.append(_source_object(element, ordinal))
            size += len(group[-1].data)
            if len(group) == TOGETHER or size > CHUNK or time.monotonic() - handed_over > WITHHELD:
                yield group
                group, size = [], 0
                handed_over = time.monotonic()
    except Exception:
        # What came before it is handed over before it.
        if group:
            yield group
        raise
    if group:
        yield group


async def _one_by_one(elements: AsyncIterable[Element]) -> AsyncGenerator[list[SourceObject], None]:
    ordinal = 0
    async with AsyncExitStack() as stack:
        if isinstance(elements, AsyncGenerator):
            stack.push_async_callback(elements.aclose)
        async for element in elements:
            yield [_source_object(element, ordinal)]
            ordinal += 1


def _source_object(element: Element, ordinal: int) -> SourceObject:
    try:
        data = _json(element)
    except (TypeError, ValueError) as exc:
        kind = type(element).__name__
        flaw = Flaw("not-json", f"the element, a {kind}, cannot be written as JSON: {exc}")
        return SourceObject(kind.encode(), ordinal, ordinal + 1, flaw)
    if len(data) > MAX_LINE:
        return SourceObject(data[:KEPT_OF_LONG_LINE], ordinal, ordinal + 1, too_long(len(data)))
    return SourceObject(data, ordinal, ordinal + 1)


def _json(element: Element) -> bytes:
    if isinstance(element, bytes):
        return element
    if isinstance(element, str):
        return element.encode(errors="surrogatepass")
    return orjson.dumps(element if isinstance(element, dict) else dict(element))
