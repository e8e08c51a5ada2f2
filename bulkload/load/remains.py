"""What is left of a source that comes but once: the source objects that its dead letters hold."""

import contextlib
import json
import sqlite3
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from typing import Any, cast

from bulkload.dead_letters import Told
from bulkload.errors import Halt
from bulkload.ledger import Kept
from bulkload.source import START, Batch, Datum, FormName, Place
from bulkload.source.reading import read_ahead

# Source objects handed over together.
TOGETHER = 256


class Remains:
    """Standard input, an iterable, or an address with a key, after it was read: a source once `gather` was called.

    Letters stand in the order in which their records settled, and memory does not grow with them: so they are sorted
    in a temporary file of SQLite's.
    """

    size = None
    consumed = 0
    ledger_name = None
    lasting_address = None
    can_seek = True
    can_reread = False

    def __init__(self, name: str, kept: Kept, fingerprint: str) -> None:
        self.name = name
        self.form = cast("FormName | None", kept.form)
        self.columns = kept.columns
        self.delimiter = kept.delimiter
        self._fingerprint = fingerprint
        self._store: sqlite3.Connection | None = None

    def __repr__(self) -> str:
        return f"<Remains of {self.name}>"

    async def fingerprint(self) -> str:
        """What it was; nothing but the ledger knows."""
        return self._fingerprint

    async def count(self, limit: int) -> int:
        return min(limit, sum([len(batch.data) async for batch in self.batches(START)]))

    def gather(self, objects: Iterable[tuple[int, bytes | dict[str, Any]]], find: Callable[[int], Told | None]) -> None:
        """Take in the objects of letters; `find` tells by a letter's position what it stands for. Raises `Halt`."""
        with _storing():
            self._store = sqlite3.connect("", isolation_level=None, check_same_thread=False)
            self._store.execute("CREATE TABLE objects (byte_offset INTEGER PRIMARY KEY, line INTEGER, datum)")
            self._store.execute("BEGIN")
            for position, datum in objects:
                if (told := find(position)) is not None:
                    text = datum if isinstance(datum, bytes) else json.dumps(datum)
                    self._store.execute("REPLACE INTO objects VALUES (?, ?, ?)", (*told.place, text))
            self._store.execute("COMMIT")

    def close(self) -> None:
        if self._store is not None:
            self._store.close()

    async def batches(self, start: Place) -> AsyncGenerator[Batch, None]:
        async for batch in read_ahead(lambda: self._batches(start)):
            yield batch

    def _batches(self, start: Place) -> Iterator[Batch]:
        assert self._store is not None
        offset = start.offset
        query = "SELECT byte_offset, line, datum FROM objects WHERE byte_offset >= ? ORDER BY byte_offset LIMIT ?"
        with _storing():
            while rows := self._store.execute(query, (offset, TOGETHER)).fetchall():
                offsets, lines, data = zip(*rows, strict=True)
                offset = offsets[-1] + 1
                yield Batch([_datum(text) for text in data], lines, offsets, Place(offset, lines[-1] + 1))


def _datum(text: bytes | str) -> Datum:
    """A JSON text is kept as bytes, a row as text."""
    return text if isinstance(text, bytes) else cast("dict[str, Any]", json.loads(text))


@contextlib.contextmanager
def _storing() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as exc:
        raise Halt(f"the dead letters cannot be sorted: {exc}; set TMPDIR to a folder with room") from exc
