"""The file in which a hub is kept from one start to the next."""

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from bulkload.emulator.register import SCHEMA
from bulkload.errors import Halt, InputError

# Only its owner reads it: it names devices.
_MODE = 0o600

# What tells such a file from any other database: "blke" as a number, and the number of its schema.
_APPLICATION = 0x626C6B65
_VERSION = 1

# `writes` says how often an installation was written since its registrations were; one without a body has gone, and
# its registrations are still there.
_SCHEMA = """
    CREATE TABLE IF NOT EXISTS installations (
        id TEXT PRIMARY KEY,
        body BLOB,
        writes INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS installations_to_show ON installations (id) WHERE writes > 0;
"""


class Held(NamedTuple):
    """An installation in the file."""

    id: str
    body: bytes | None
    writes: int


class Saved:
    """A database of a hub: in memory, or with a path in a file that no other emulator may open meanwhile.

    Nothing is in the file before `commit`. Raises `InputError` for a file that is of no use, and `Halt` where it cannot
    be written any more.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.connection = _in_memory() if path is None else _in_file(path)
        self.connection.execute("BEGIN")

    def __repr__(self) -> str:
        return f"<Saved {self.path or 'in memory'}>"

    def installations(self) -> Iterator[Held]:
        for found in self.connection.execute("SELECT id, body, writes FROM installations"):
            yield Held(*found)

    def put(self, installations: Iterable[Held]) -> None:
        held = [(one.body is None and not one.writes, one) for one in installations]
        self.connection.executemany(
            "INSERT OR REPLACE INTO installations VALUES (?, ?, ?)", (one for is_over, one in held if not is_over)
        )
        self.connection.executemany(
            "DELETE FROM installations WHERE id = ?", ((one.id,) for is_over, one in held if is_over)
        )

    def note_shown(self) -> None:
        """The registrations of all installations are there."""
        self.connection.execute("DELETE FROM installations WHERE writes > 0 AND body IS NULL")
        self.connection.execute("UPDATE installations SET writes = 0 WHERE writes > 0")

    def commit(self) -> None:
        with self._halting():
            self.connection.execute("COMMIT")
            self.connection.execute("BEGIN")

    def close(self) -> None:
        with closing(self.connection), self._halting():
            self.connection.execute("COMMIT")

    @contextmanager
    def _halting(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as exc:
            raise Halt(f"the emulator's file {self.path} cannot be written: {exc}") from exc


def _in_memory() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.executescript(SCHEMA + _SCHEMA)
    return connection


def _in_file(path: Path) -> sqlite3.Connection:
    _make(path)
    connection = sqlite3.connect(path, isolation_level=None, timeout=0)
    try:
        # Taken with the first read and held to the end; -wal has all that a kill leaves over.
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        _verify(connection, path)
        # What SQLite makes beside it is as private as it is itself.
        path.chmod(_MODE)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("BEGIN IMMEDIATE")
        for statement in (SCHEMA + _SCHEMA).split(";"):
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {_APPLICATION}")
        connection.execute(f"PRAGMA user_version = {_VERSION}")
        connection.execute("COMMIT")
    except sqlite3.Error as exc:
        connection.close()
        raise _unusable(path, exc) from exc
    except InputError:
        connection.close()
        raise
    return connection


def _make(path: Path) -> None:
    """Make it where it does not exist, for its owner only."""
    if not path.exists():
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _MODE))
        except OSError as exc:
            raise InputError(f"{path} cannot be written: {exc.strerror}; name another file with --save") from exc
    elif not path.is_file():
        raise InputError(f"{path} is no regular file; name another with --save")


def _verify(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse another program's file; one in which there is nothing yet is anybody's."""
    is_empty = not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if application != _APPLICATION and not (is_empty and application == version == 0):
        raise InputError(f"{path} is not an emulator's file; name another with --save")
    if version > _VERSION:
        raise InputError(f"{path} was written by a newer bulkload; use that, or name another file with --save")


def _unusable(path: Path, exc: sqlite3.Error) -> InputError:
    match getattr(exc, "sqlite_errorcode", 0) & 0xFF:
        case sqlite3.SQLITE_NOTADB:
            return InputError(f"{path} is not an emulator's file; name another with --save")
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return InputError(f"{path} is in use by another emulator; end that first, or name another with --save")
        case _:
            return InputError(f"{path} cannot be used: {exc}; name another file with --save")
