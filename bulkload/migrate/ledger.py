"""Migrate's own ledger: how far the reading is, what was read, and which channels' old registrations are gone.

A SQLite file. While registrations are read it holds them, since those of one channel come from anywhere in a hub's
list; once the installations are written they are wiped from it, and what stays are counts and digests of channels.
"""

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import orjson

from bulkload.errors import Halt, InputError
from bulkload.ledger.ledger import now
from bulkload.ledger.lock import Lock
from bulkload.ledger.schema import MAGIC, connect, is_unmade, require_sqlite, unusable
from bulkload.registration import Handle, Registration
from bulkload.source import START, Place

# "bkmi": tells this file from a load's ledger.
APPLICATION_ID = 0x626B6D69
VERSION = 2

_TABLES = f"""
CREATE TABLE migration (
    hub TEXT NOT NULL,
    what TEXT NOT NULL,
    begun_at TEXT NOT NULL,
    token TEXT,
    byte_offset INTEGER NOT NULL DEFAULT {START.offset},
    line INTEGER NOT NULL DEFAULT {START.line},
    failed INTEGER NOT NULL DEFAULT 0,
    is_read INTEGER NOT NULL DEFAULT 0,
    written_at TEXT,
    round INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE questions (digest BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE entries (channel BLOB NOT NULL, registration TEXT NOT NULL);
CREATE TABLE left_out (registration TEXT NOT NULL);
CREATE TABLE deletions (
    channel BLOB PRIMARY KEY, installation_id TEXT NOT NULL, registrations INTEGER NOT NULL, deleted_at TEXT NOT NULL,
    round INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {VERSION};
"""

_OF_VERSION_1 = """
ALTER TABLE migration ADD COLUMN round INTEGER NOT NULL DEFAULT 0;
ALTER TABLE deletions ADD COLUMN round INTEGER NOT NULL DEFAULT 0;
PRAGMA user_version = 2;
"""


class Reached(NamedTuple):
    """How far the reading is: the token of the next page, the place in a file and how many lines before that failed,
    and whether all is read and written.
    """

    token: str | None
    place: Place
    failed: int
    is_read: bool
    is_written: bool


class MigrationLedger:
    """The ledger at `path`, held by this process; without a path, one that is gone when it is closed.

    One that was begun for another hub, or to read something else (`what`), is refused with `InputError`, one that
    another process holds with `LedgerLocked`. What is read from a file has no hub. All raise `Halt` where nothing can
    be written.
    """

    def __init__(self, path: Path | None, *, hub: str | None, what: str | None = None) -> None:
        self.path = path
        self._name = path if path is not None else Path("in memory")
        self._lock = Lock(path) if path is not None else None
        try:
            self._connection = self._connected()
        except BaseException:
            self._release()
            raise
        try:
            self._take(hub, what)
        except sqlite3.Error as exc:
            self._leave()
            raise unusable(self._name, exc) from exc
        except BaseException:
            self._leave()
            raise

    def __repr__(self) -> str:
        return f"<MigrationLedger {self._name}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.commit()
            # Fails where somebody is reading it: SQLite folds the log in when it is opened next.
            with suppress(sqlite3.OperationalError):
                self._connection.execute("COMMIT")
                self._connection.execute("PRAGMA journal_mode = DELETE")
        except Halt:
            # A disk that is full was told of already, and would be told of again.
            if exc is None:
                raise
        finally:
            self._leave()

    def _connected(self) -> sqlite3.Connection:
        if self.path is None or self._lock is None:
            # SQLite's own kind of database that has no name, and needs no memory for what it holds.
            return sqlite3.connect("", isolation_level=None, check_same_thread=False)
        require_sqlite(self._lock.head(len(MAGIC)), self.path)
        return connect(self.path)

    def _leave(self) -> None:
        self._connection.close()
        self._release()

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()

    def _take(self, hub: str | None, what: str | None) -> None:
        execute = self._connection.execute
        if not is_unmade(self._connection):
            self._verify(hub, what)
        # A wiped registration leaves nothing behind in the file.
        execute("PRAGMA secure_delete = ON")
        execute("PRAGMA journal_mode = WAL")
        # What a machine that fails takes away with it can be read again from the hub.
        execute("PRAGMA synchronous = NORMAL")
        # A sort may spill to the disk, but not into memory.
        execute("PRAGMA temp_store = FILE")
        # A sort of millions takes its time: Python gets a turn in it, so that a second signal ends the process.
        self._connection.set_progress_handler(lambda: 0, 1_000_000)
        if is_unmade(self._connection):
            if self._lock is not None:
                self._lock.make_private()
            self._connection.executescript(f"BEGIN; {_TABLES} COMMIT")
            execute("INSERT INTO migration (hub, what, begun_at) VALUES (?, ?, ?)", (hub or "", what or "", now()))
        execute("CREATE TEMP TABLE made (id TEXT NOT NULL)")
        execute("CREATE TEMP TABLE wanted (question BLOB PRIMARY KEY, channel BLOB NOT NULL) WITHOUT ROWID")
        execute("BEGIN")

    def _verify(self, hub: str | None, what: str | None) -> None:
        execute = self._connection.execute
        if execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
            raise InputError(f"{self._name} is not a ledger of migrate; name another with --ledger")
        version = execute("PRAGMA user_version").fetchone()[0]
        if version > VERSION:
            raise InputError(f"ledger {self._name} is of a newer bulkload (schema {version}); update bulkload")
        if version < VERSION:
            self._connection.executescript(f"BEGIN; {_OF_VERSION_1} COMMIT")
        found_hub, found_what = execute("SELECT hub, what FROM migration").fetchone()
        if self._is_nobodys():
            execute("UPDATE migration SET hub = ?, what = ?", (hub or "", what or ""))
            return
        if hub is not None and not found_hub:
            # A file was read with it, which is of no hub.
            execute("UPDATE migration SET hub = ?", (hub,))
        elif hub is not None and found_hub != hub:
            raise InputError(f"ledger {self._name} belongs to hub {found_hub}, not {hub}; name another with --ledger")
        if what is not None and not found_what:
            # It was made for deletions.
            execute("UPDATE migration SET what = ?", (what,))
        elif what is not None and found_what != what:
            raise InputError(
                f"ledger {self._name} was begun to read {found_what}, not {what}; name another with --ledger"
            )

    def _is_nobodys(self) -> bool:
        """Whether nothing was read or deleted yet."""
        tables = ("entries", "left_out", "questions", "deletions")
        rows = " + ".join(f"EXISTS (SELECT 1 FROM {table})" for table in tables)
        reached = self.reached
        is_begun = reached.is_read or reached.is_written or reached.token is not None or reached.place != START
        return not is_begun and not self._connection.execute(f"SELECT {rows}").fetchone()[0]

    # Reading.

    @property
    def reached(self) -> Reached:
        query = "SELECT token, byte_offset, line, failed, is_read, written_at IS NOT NULL FROM migration"
        token, offset, line, failed, is_read, is_written = self._connection.execute(query).fetchone()
        return Reached(token, Place(offset, line), failed, bool(is_read), bool(is_written))

    @property
    def what(self) -> str:
        """What it was begun to read."""
        return str(self._connection.execute("SELECT what FROM migration").fetchone()[0])

    def begin_anew(self, what: str) -> None:
        """Forget what an earlier reading came to."""
        for table in ("questions", "entries", "left_out", "deletions"):
            self._write(f"DELETE FROM {table}")
        self._write(
            "UPDATE migration SET what = ?, begun_at = ?, token = NULL, byte_offset = ?, line = ?, failed = 0, "
            "is_read = 0, written_at = NULL",
            (what, now(), *START),
        )
        self.commit()

    def add(self, registrations: Iterable[Registration]) -> None:
        """Keep registrations that belong to channels."""
        rows = [
            (bytes.fromhex(registration.handle.channel_digest), orjson.dumps(registration.to_fields()).decode())
            for registration in registrations
            if registration.handle is not None
        ]
        self._write_all("INSERT INTO entries VALUES (?, ?)", rows)

    def leave_out(self, registrations: Iterable[Registration]) -> None:
        """Keep registrations of which no installation can be made."""
        rows = [(orjson.dumps(registration.to_fields()).decode(),) for registration in registrations]
        self._write_all("INSERT INTO left_out VALUES (?)", rows)

    def reach(self, *, token: str | None = None, place: Place = START, failed: int = 0) -> None:
        """All up to the page that this token asks for, or up to this place of a file, was kept or failed."""
        values = (token, *place, failed)
        self._write("UPDATE migration SET token = ?, byte_offset = ?, line = ?, failed = ?", values)

    def want(self, handle: Handle) -> bool:
        """Note that a session asks for a device; returns whether its registrations are still to be read."""
        row = (_question(handle), bytes.fromhex(handle.channel_digest))
        self._write("INSERT OR IGNORE INTO wanted VALUES (?, ?)", row)
        return not self._holds("SELECT 1 FROM questions WHERE digest = ?", row[0])

    @property
    def is_all_done(self) -> bool:
        """Whether the registrations of every device that this session asks for were kept."""
        return not self._holds("SELECT 1 FROM wanted WHERE question NOT IN (SELECT digest FROM questions)")

    def done(self, handle: Handle) -> None:
        """All registrations that the hub has by this handle were kept."""
        self._write("INSERT OR IGNORE INTO questions VALUES (?)", (_question(handle),))

    def all_read(self) -> None:
        """Everything that was to be read was kept."""
        self._write("UPDATE migration SET is_read = 1")
        self.commit()

    def channels(self) -> Iterator[list[Registration]]:
        """The registrations of each channel, in the order of the channels' digests: the same, however they came."""
        return self._grouped("SELECT channel, registration FROM entries ORDER BY channel, rowid")

    def wanted_channels(self) -> Iterator[list[Registration]]:
        """Of those, the channels that this session asks for: an earlier one may have been given another list."""
        return self._grouped(
            "SELECT channel, registration FROM entries WHERE channel IN (SELECT channel FROM wanted) "
            "ORDER BY channel, rowid"
        )

    def _grouped(self, query: str) -> Iterator[list[Registration]]:
        """A registration that was read twice, since a reading was broken off, is there once, as it came last."""
        for _, group in groupby(self._rows(query), key=itemgetter(0)):
            registrations = (Registration.of_fields(orjson.loads(text)) for _, text in group)
            yield list({one.registration_id or str(number): one for number, one in enumerate(registrations)}.values())

    def left_out(self) -> Iterator[bytes]:
        """What `leave_out` kept, as JSON."""
        for (text,) in self._rows("SELECT DISTINCT registration FROM left_out"):
            yield text.encode()

    def made(self, id_: str) -> None:
        """An installation of this id was made."""
        self._write("INSERT INTO made VALUES (?)", (id_,))

    def sharing_their_id(self) -> int:
        """How many of the installations that were made have an id that others have as well."""
        query = (
            "SELECT coalesce(sum(number), 0) FROM (SELECT count(*) AS number FROM made GROUP BY id HAVING number > 1)"
        )
        return int(next(self._rows(query))[0])

    def written(self) -> None:
        """The installations are where they should be: what they were made of is wiped."""
        for table in ("entries", "left_out", "questions"):
            self._write(f"DELETE FROM {table}")
        self._write("UPDATE migration SET token = NULL, written_at = ?", (now(),))
        self.commit()
        try:
            self._connection.execute("COMMIT")
            self._connection.execute("VACUUM")
            self._connection.execute("BEGIN")
        except sqlite3.Error as exc:
            raise self._broken(exc) from exc

    # Deleting.

    def is_deleted(self, digest: str) -> bool:
        """Whether the old registrations of the channel with this digest went since all channels were looked at last."""
        in_this_round = "round = (SELECT round FROM migration)"
        return self._holds(f"SELECT 1 FROM deletions WHERE channel = ? AND {in_this_round}", bytes.fromhex(digest))

    def deleted(self, digest: str, installation_id: str, registrations: int) -> None:
        """So many old registrations of this channel were deleted, and none is left."""
        row = (bytes.fromhex(digest), installation_id, registrations, now())
        self._write("INSERT OR REPLACE INTO deletions SELECT ?, ?, ?, ?, round FROM migration", row)

    def all_deleted(self) -> None:
        """Every channel was looked at: the next session looks at all of them again."""
        self._write("UPDATE migration SET round = round + 1")

    def commit(self) -> None:
        """What was kept stays, whatever comes."""
        try:
            self._connection.execute("COMMIT")
            self._connection.execute("BEGIN")
        except sqlite3.Error as exc:
            raise self._broken(exc) from exc

    def _holds(self, query: str, *values: bytes) -> bool:
        return next(self._rows(query, *values), None) is not None

    def _rows(self, query: str, *values: bytes) -> Iterator[tuple[Any, ...]]:
        """What a query finds; a sort needs room on the disk as well."""
        try:
            yield from self._connection.execute(query, values)
        except sqlite3.Error as exc:
            raise self._broken(exc) from exc

    def _write(self, statement: str, values: tuple[object, ...] = ()) -> None:
        try:
            self._connection.execute(statement, values)
        except sqlite3.Error as exc:
            raise self._broken(exc) from exc

    def _write_all(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        try:
            self._connection.executemany(statement, rows)
        except sqlite3.Error as exc:
            raise self._broken(exc) from exc

    def _broken(self, exc: sqlite3.Error) -> Halt:
        return Halt(f"ledger {self._name} cannot be written: {exc}; make room and run the same command again")


def _question(handle: Handle) -> bytes:
    """What tells the questions for a device apart: one may be asked for under several push services."""
    return hashlib.sha256(handle.filter.encode()).digest()
