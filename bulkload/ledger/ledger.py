"""Opening a ledger for a run, reading where it stands, and keeping its sessions."""

import json
import os
import sqlite3
import time
from collections.abc import Callable, Collection, Generator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from bulkload.errors import Halt, InputError
from bulkload.ledger.checkpoint import Mark
from bulkload.ledger.lock import Lock
from bulkload.ledger.schema import (
    MAGIC,
    POSITION_BITS,
    TABLES,
    broken,
    connect,
    is_unmade,
    migrate,
    require_sqlite,
    unusable,
    verify,
    write_ahead,
)
from bulkload.ledger.state import Recipe, Run, Session, State, state_of, storable
from bulkload.record import Outcome
from bulkload.source import Place

# Positions settled beyond a mark are fetched by this many: a few milliseconds of SQLite, a few hundred kilobytes.
FETCHED_TOGETHER = 10_000

# How a record can end badly.
BAD = tuple(outcome for outcome in Outcome if not outcome.is_good)

_DEAD = "SELECT key, byte_offset, line, outcome, detail, id FROM dead_letters JOIN settlements USING (key)"


class Settled(NamedTuple):
    """One settled record; `detail` only where it was not accepted."""

    position: int
    outcome: Outcome
    detail: str | None


class Dead(NamedTuple):
    """One record that settled badly, and where its source object begins."""

    position: int
    place: Place
    outcome: Outcome
    detail: str | None
    installation_id: str | None = None


class Accepted(NamedTuple):
    """One record that the hub queued."""

    position: int
    installation_id: str


class Ledger:
    """A ledger held by this process for one run.

    `path` is made where it does not exist. A ledger of another hub or mapping, or of other sources, is refused with
    `InputError`; with `restart`, one of another version of the same sources is put aside first. One in which nothing
    is settled belongs to nobody yet and is replaced; with `anew`, a finished one of the same hub is replaced as well.
    One that another process holds raises `LedgerLocked`. `recipe` is kept for a retry.
    """

    def __init__(
        self, path: Path, run: Run, *, recipe: Recipe | None = None, restart: bool = False, anew: bool = False
    ) -> None:
        self.path = path
        self.put_aside: Path | None = None
        self._recipe = recipe
        self._lock = Lock(path)
        try:
            require_sqlite(self._lock.head(len(MAGIC)), path)
            self._open(run, restart=restart, anew=anew)
        except BaseException:
            self._lock.release()
            raise

    def __repr__(self) -> str:
        return f"<Ledger {self.path}>"

    def _open(self, run: Run, *, restart: bool, anew: bool) -> None:
        self.connection = connect(self.path)
        try:
            self._take(run, restart=restart, anew=anew)
        except sqlite3.Error as exc:
            self.connection.close()
            raise unusable(self.path, exc) from exc
        except BaseException:
            self.connection.close()
            raise

    def _take(self, run: Run, *, restart: bool, anew: bool) -> None:
        """Go on with what is there, make room for this run, or refuse; what is refused is left as it was."""
        self.is_new = is_unmade(self.connection)
        is_finished = False
        if not self.is_new:
            verify(self.connection, self.path)
            found = self.state
            is_finished = found.is_finished
            is_own = found.run.hub == run.hub
            if (not found.settled and found.run != run) or (anew and found.is_finished and is_own):
                self._begin_anew(self.path.unlink)
            else:
                _refuse_foreign(self.path, found.run, run, restart=restart)
                if found.run.fingerprints != run.fingerprints:
                    self.put_aside = kept_as = aside(self.path)
                    self._begin_anew(lambda: self.path.rename(kept_as))
        if self.is_new:
            self._lock.make_private()
            write_ahead(self.connection, self.path)
            self._create(run)
        elif not is_finished:
            self._write_on()

    def reopen(self) -> None:
        """Make ready to write to it again, although its run is finished."""
        try:
            self._write_on()
        except sqlite3.Error as exc:
            raise unusable(self.path, exc) from exc

    def _write_on(self) -> None:
        write_ahead(self.connection, self.path)
        migrate(self.connection)
        self.connection.execute("BEGIN")
        self._keep_recipe()
        self.connection.execute("COMMIT")

    def _begin_anew(self, clear: Callable[[], object]) -> None:
        """Leave the old ledger whole, get it out of the way, and hold a new one before the old one is let go."""
        self._leave()
        if self.path.with_name(f"{self.path.name}-wal").exists():
            # What is settled still stands in the log, which SQLite would not fold in for somebody who reads.
            raise InputError(f"ledger {self.path} is being read by another program; end that first")
        clear()
        old = self._lock
        self._lock = Lock(self.path)
        old.release()
        self.connection = connect(self.path)
        self.is_new = True

    def _create(self, run: Run) -> None:
        execute = self.connection.execute
        self.connection.executescript(f"BEGIN; {TABLES}")
        execute("INSERT INTO runs (begun_at, hub, mapping) VALUES (?, ?, ?)", (now(), run.hub, run.mapping))
        execute("INSERT INTO hubs VALUES (0, ?)", (run.hub,))
        for number, source in enumerate(zip(run.sources, run.fingerprints, strict=True)):
            execute(
                "INSERT INTO sources (number, name, fingerprint, byte_offset, line, position, filtered, read, "
                "is_finished) VALUES (?, ?, ?, 0, 1, 0, 0, 0, 0)",
                (number, *source),
            )
        self._keep_recipe()
        execute("COMMIT")

    def _keep_recipe(self) -> None:
        """Write down how this session reads the sources: they may stand elsewhere than for the one before."""
        if self._recipe is None:
            return
        execute = self.connection.execute
        execute("UPDATE runs SET flags = ?", (self._recipe.flags,))
        for number, (address, form, delimiter, columns) in enumerate(self._recipe.sources):
            execute(
                "UPDATE sources SET address = ?, form = ?, delimiter = ?, columns = ? WHERE number = ?",
                (storable(address), form, delimiter, json.dumps(columns), number),
            )

    @property
    def state(self) -> State:
        """Where the run stands by what is on the disk."""
        try:
            return state_of(self.connection)
        except sqlite3.Error as exc:
            raise unusable(self.path, exc) from exc

    def settled(self, source: int, start: Mark) -> Generator[Settled, None, None]:
        """What of a source was settled beyond its mark, in the order of positions."""
        query = "SELECT key, outcome, detail FROM settlements WHERE key >= ? AND key < ? ORDER BY key LIMIT ?"
        for key, outcome, detail in _rows_in(self.path, query, source, start.position, start.read):
            yield Settled(key, Outcome(outcome), detail)

    def dead(
        self, source: int, start: int, end: int, outcomes: Collection[Outcome] = BAD
    ) -> Generator[Dead, None, None]:
        """What of a source settled badly from position `start` up to `end`, in the order of positions."""
        query = f"{_DEAD} WHERE key >= ? AND key < ? AND outcome IN ({_listed_numbers(outcomes)}) ORDER BY key LIMIT ?"
        for position, *columns in _rows_in(self.path, query, source, start, end):
            yield _dead(position, *columns)

    def accepted(self, source: int, start: int, end: int) -> Generator[Accepted, None, None]:
        """What of a source the hub queued from position `start` up to `end`, in the order of positions."""
        return accepted_in(self.path, source, start, end)

    def dead_objects(self, source: int) -> int:
        """How many of a source's objects have a record that settled badly."""
        base = source << POSITION_BITS
        query = (
            "SELECT count(DISTINCT byte_offset) FROM dead_letters JOIN settlements USING (key) "
            f"WHERE key >= ? AND key < ? AND outcome IN ({_listed_numbers(BAD)})"
        )
        [[number]] = _fetched_from(self.path, self.connection, query, base, base + (1 << POSITION_BITS))
        return int(number)

    def dead_of(self, source: int, position: int) -> Dead | None:
        """What a letter of this position tells of: that record, or another of its source object that settled badly.

        None where no record of the object did, or where none ever did.
        """
        if not 0 <= position < 1 << POSITION_BITS:
            return None
        key = (source << POSITION_BITS) + position
        try:
            found = self.connection.execute(f"{_DEAD} WHERE key = ?", (key,)).fetchone()
            if found is None:
                return None
            if Outcome(found[3]).is_good:
                found = self._other_dead(key, offset=found[1])
        except sqlite3.Error as exc:
            raise unusable(self.path, exc) from exc
        return _dead(found[0] - (source << POSITION_BITS), *found[1:]) if found is not None else None

    def _other_dead(self, key: int, *, offset: int) -> Any:
        """A row of the same source object that settled badly: the rows of one object follow one another."""
        for others in (f"{_DEAD} WHERE key > ? ORDER BY key", f"{_DEAD} WHERE key < ? ORDER BY key DESC"):
            for row in self.connection.execute(others, (key,)):
                if row[0] >> POSITION_BITS != key >> POSITION_BITS or row[1] != offset:
                    break
                if not Outcome(row[3]).is_good:
                    return row
        return None

    def begin_session(self, *, version: str, transport: str, resume: str | None) -> Session:
        """Write down that this process tries; the run counts as unfinished until a session ends it."""
        started = now()
        try:
            number = self.connection.execute(
                "INSERT INTO sessions (version, pid, transport, started_at, resume) VALUES (?, ?, ?, ?, ?)",
                (version, os.getpid(), transport, started, resume),
            ).lastrowid
        except sqlite3.Error as exc:
            raise broken(self.path, exc) from exc
        assert number is not None
        return Session(number, transport, started, resume=resume)

    def end_session(self, session: Session, *, outcome: str, exit_code: int, reason: str | None) -> None:
        """Write down how it ended; a run that is not stopped is finished."""
        if not self._lock.is_in_place:
            raise Halt(f"ledger {self.path} was removed while the run wrote to it; what it knew is lost, run it again")
        try:
            self.connection.execute("BEGIN")
            self.connection.execute(
                "UPDATE sessions SET ended_at = ?, outcome = ?, exit_code = ?, reason = ? WHERE number = ?",
                (now(), outcome, exit_code, reason, session.number),
            )
            if outcome != "stopped":
                self.connection.execute("UPDATE runs SET finished_at = ?", (now(),))
            self.connection.execute("COMMIT")
        except sqlite3.Error as exc:
            raise broken(self.path, exc) from exc

    def close(self) -> None:
        """Leave one file behind, and let the next run have it."""
        try:
            self._leave()
        finally:
            self._lock.release()

    def _leave(self) -> None:
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")
        try:
            # Folds the write-ahead log in and ends it, so that the file can be read where nothing can be written.
            self.connection.execute("PRAGMA journal_mode = DELETE")
        except sqlite3.OperationalError:
            # Somebody is reading it, or the disk is full: SQLite folds the log in when it is opened next.
            pass
        finally:
            self.connection.close()


def accepted_in(path: Path, source: int, start: int, end: int) -> Generator[Accepted, None, None]:
    """What the hub queued of a source from position `start` up to `end`, by any ledger, also one that others hold."""
    query = (
        f"SELECT key, id FROM settlements WHERE key >= ? AND key < ? AND outcome = {Outcome.ACCEPTED.value} "
        "ORDER BY key LIMIT ?"
    )
    for position, id_ in _rows_in(path, query, source, start, end):
        yield Accepted(position, id_)


def accepted_again(path: Path) -> dict[str, tuple[int, int]]:
    """The ids that the hub queued more than once, each with the source and the position of its last record."""
    query = (
        f"SELECT id, max(key) FROM settlements WHERE outcome = {Outcome.ACCEPTED.value} GROUP BY id HAVING count(*) > 1"
    )
    with closing(connect(path, is_read_only=True)) as connection:
        rows = _fetched_from(path, connection, query)
    return {id_: (key >> POSITION_BITS, key & ((1 << POSITION_BITS) - 1)) for id_, key in rows}


def _rows_in(path: Path, query: str, source: int, start: int, end: int) -> Generator[list[Any], None, None]:
    """Rows of a source's positions from `start` to `end`, a number at a time; each begins with its position."""
    if start >= end:
        return
    base = source << POSITION_BITS
    with closing(connect(path, is_read_only=True)) as connection:
        while rows := _fetched_from(path, connection, query, base + start, base + end, FETCHED_TOGETHER):
            for key, *columns in rows:
                yield [key - base, *columns]
            start = rows[-1][0] - base + 1


def _fetched_from(path: Path, connection: sqlite3.Connection, query: str, *values: int) -> list[Any]:
    try:
        return connection.execute(query, values).fetchall()
    except sqlite3.Error as exc:
        raise unusable(path, exc) from exc


def now() -> str:
    """The time as ledgers hold it: UTC, ISO 8601, milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _dead(position: int, offset: int, line: int, outcome: int, detail: str | None, id_: str | None) -> Dead:
    return Dead(position, Place(offset, line), Outcome(outcome), detail, id_)


def _listed_numbers(outcomes: Collection[Outcome]) -> str:
    return ", ".join(str(outcome.value) for outcome in outcomes)


def _refuse_foreign(path: Path, found: Run, run: Run, *, restart: bool) -> None:
    if found.hub != run.hub:
        raise InputError(f"ledger {path} belongs to hub {found.hub}, not {run.hub}; name another ledger with --ledger")
    if found.mapping != run.mapping:
        raise InputError(
            f"ledger {path} was begun with another mapping, or its sources were read in another form; "
            "use the same flags, or name another ledger with --ledger"
        )
    if found.fingerprints == run.fingerprints:
        return
    if [Path(name).name for name in found.sources] != [Path(name).name for name in run.sources]:
        raise InputError(
            f"ledger {path} belongs to another source ({_listed(found.sources)}), not {_listed(run.sources)}; "
            "name another ledger with --ledger"
        )
    if not restart:
        raise InputError(
            f"source {_listed(run.sources)} has changed since ledger {path} was begun; begin a new one and keep this "
            "one aside with --when-changed restart, or name another with --ledger"
        )


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def aside(path: Path) -> Path:
    """A free name for what has to make room at `path`: its own, and the time in UTC."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    free = path.with_name(f"{path.name}.{stamp}")
    number = 1
    while free.exists():
        free = path.with_name(f"{path.name}.{stamp}-{number}")
        number += 1
    return free
