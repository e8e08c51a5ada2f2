"""Where a run stands by its ledger, and what a ledger knows of how its run was called."""

import json
import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from bulkload.errors import Halt, InputError
from bulkload.ledger.checkpoint import Mark
from bulkload.ledger.schema import PAGE, WITH_RECIPE, connect, is_unmade, unusable, verify
from bulkload.record import Outcome
from bulkload.source import Place


@dataclass(frozen=True, slots=True)
class Run:
    """What a ledger belongs to: a hub, a mapping, and the sources with their fingerprints, in order."""

    hub: str
    sources: tuple[str, ...]
    fingerprints: tuple[str, ...]
    mapping: str = ""


class Kept(NamedTuple):
    """What opens a source again from any folder, None where nothing does, and how it is laid out."""

    address: str | None
    form: str | None
    delimiter: str | None
    columns: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a later run has to know to make the same records again: the flags, as text, and the sources, in order."""

    flags: str
    sources: tuple[Kept, ...]


@dataclass(frozen=True, slots=True)
class Session:
    """One process's try at a run; the times are UTC in ISO 8601, and what it ended with is None until then."""

    number: int
    transport: str
    started_at: str
    ended_at: str | None = None
    outcome: str | None = None
    exit_code: int | None = None
    reason: str | None = None
    resume: str | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """One second of a session: counts within it, requests per second, and latencies in seconds."""

    at: str
    accepted: int
    throttled: int
    failed: int
    rate: float
    p50: float | None
    p99: float | None


@dataclass(frozen=True, slots=True)
class State:
    """Where a run stands by its ledger; `recipe` is None where an older bulkload kept none."""

    run: Run
    marks: tuple[Mark, ...]
    totals: dict[Outcome, int]
    finished_at: str | None
    session: Session | None
    recipe: Recipe | None = None

    @property
    def settled(self) -> int:
        return sum(self.totals.values())

    @property
    def read(self) -> int:
        return sum(mark.read for mark in self.marks)

    @property
    def filtered(self) -> int:
        return sum(mark.filtered for mark in self.marks)

    @property
    def is_finished(self) -> bool:
        return self.finished_at is not None

    @property
    def is_broken_off(self) -> bool:
        """Whether its last session was killed or failed: the dead letters may not be what the ledger shows."""
        session = self.session
        return session is not None and (session.ended_at is None or session.exit_code == Halt.exit_code)

    @property
    def is_clean(self) -> bool:
        """Whether nothing of what is settled settled badly."""
        return all(outcome.is_good or not count for outcome, count in self.totals.items())


def read_state(path: Path) -> State:
    """Where the run of a ledger stands, also while another process writes to it; raises `InputError`."""
    try:
        size = path.stat().st_size
    except FileNotFoundError as exc:
        raise InputError(f"ledger {path} does not exist; check the path") from exc
    except OSError as exc:
        raise InputError(f"ledger {path} cannot be read: {exc.strerror}; check the path") from exc
    # After a kill SQLite has to fold its log in, which it does only for one who may write.
    is_read_only = not os.access(path, os.W_OK)
    with closing(connect(path, is_read_only=is_read_only)) as connection:
        try:
            if is_unmade(connection):
                # SQLite takes a short text for an empty database; its own files are made of whole pages.
                words = "is not a ledger" if size % PAGE else "is empty; its run did not begin"
                raise InputError(f"{path} {words}")
            verify(connection, path)
            return state_of(connection)
        except sqlite3.Error as exc:
            raise unusable(path, exc) from exc


def state_of(connection: sqlite3.Connection) -> State:
    """Where the run of an open ledger stands; raises SQLite's errors."""
    connection.execute("BEGIN")
    hub, mapping, finished_at, *counts = connection.execute(
        "SELECT hub, mapping, finished_at, accepted, invalid, rejected, exhausted, superseded FROM runs"
    ).fetchone()
    sources = connection.execute(
        "SELECT name, fingerprint, byte_offset, line, position, filtered, read, is_finished "
        "FROM sources ORDER BY number"
    ).fetchall()
    session = connection.execute(
        "SELECT number, transport, started_at, ended_at, outcome, exit_code, reason, resume "
        "FROM sessions ORDER BY number DESC LIMIT 1"
    ).fetchone()
    recipe = _recipe(connection)
    connection.execute("COMMIT")
    return State(
        run=Run(hub, tuple(row[0] for row in sources), tuple(row[1] for row in sources), mapping),
        marks=tuple(Mark(Place(row[2], row[3]), row[4], row[5], row[6], bool(row[7])) for row in sources),
        totals=dict(zip(Outcome, counts, strict=True)),
        finished_at=finished_at,
        session=Session(*session) if session else None,
        recipe=recipe,
    )


def _recipe(connection: sqlite3.Connection) -> Recipe | None:
    if connection.execute("PRAGMA user_version").fetchone()[0] < WITH_RECIPE:
        return None
    flags = connection.execute("SELECT flags FROM runs").fetchone()[0]
    if flags is None:
        return None
    rows = connection.execute("SELECT address, form, delimiter, columns FROM sources ORDER BY number")
    return Recipe(flags, tuple(_kept(*row) for row in rows))


def _kept(address: str | bytes | None, form: str | None, delimiter: str | None, columns: str | None) -> Kept:
    names = json.loads(columns) if columns else None
    return Kept(
        os.fsdecode(address) if address is not None else None,
        form,
        delimiter,
        tuple(names) if names is not None else None,
    )


def storable(address: str | None) -> str | bytes | None:
    """A path as SQLite takes it, also where its bytes are no text."""
    if address is None:
        return None
    raw = os.fsencode(address)
    return address if raw.decode(errors="replace") == address else raw
