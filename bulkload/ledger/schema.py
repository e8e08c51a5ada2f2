"""The ledger's tables, and what a file must be to hold them."""

import sqlite3
from pathlib import Path

from bulkload.errors import BulkloadError, Halt, InputError
from bulkload.record import Outcome

# How every SQLite file begins.
MAGIC = b"SQLite format 3\0"

# The smallest page of one.
PAGE = 512

# "blkl": tells a ledger from another program's SQLite file.
APPLICATION_ID = 0x626C6B6C
VERSION = 3

# A settlement's key holds its source above and its position below, so that one integer index serves both.
POSITION_BITS = 40

_WORDS = " ".join(f"WHEN {outcome.value} THEN '{outcome.word}'" for outcome in Outcome)

# Where the source objects of what settled badly begin, so that dead letters are found without reading all before them.
# A row stays when a retry settles its record well: a letter that is not yet rewritten may bear its position.
_DEAD_LETTERS = """
CREATE TABLE dead_letters (key INTEGER PRIMARY KEY, byte_offset INTEGER NOT NULL, line INTEGER NOT NULL);
"""

# The first version that keeps what a retry has to know of its run.
WITH_RECIPE = 3

# What opens the sources again with the flags of their run, from any folder.
_RECIPE = """
ALTER TABLE runs ADD COLUMN flags TEXT;
ALTER TABLE sources ADD COLUMN address;
ALTER TABLE sources ADD COLUMN form TEXT;
ALTER TABLE sources ADD COLUMN delimiter TEXT;
ALTER TABLE sources ADD COLUMN columns TEXT;
"""

# What turns a ledger of a version into one of the next. What settled badly before version 2 has no dead letters.
_MIGRATIONS = {1: _DEAD_LETTERS, 2: _RECIPE}

# Numbers instead of words and times in whole microseconds and milliseconds keep a row of an accepted record small.
TABLES = f"""
CREATE TABLE runs (
    begun_at TEXT NOT NULL,
    finished_at TEXT,
    hub TEXT NOT NULL,
    mapping TEXT NOT NULL,
    accepted INTEGER NOT NULL DEFAULT 0,
    invalid INTEGER NOT NULL DEFAULT 0,
    rejected INTEGER NOT NULL DEFAULT 0,
    exhausted INTEGER NOT NULL DEFAULT 0,
    superseded INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE hubs (number INTEGER PRIMARY KEY, identity TEXT NOT NULL);
CREATE TABLE sources (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    byte_offset INTEGER NOT NULL,
    line INTEGER NOT NULL,
    position INTEGER NOT NULL,
    filtered INTEGER NOT NULL,
    read INTEGER NOT NULL,
    is_finished INTEGER NOT NULL
);
{_RECIPE}
CREATE TABLE sessions (
    number INTEGER PRIMARY KEY,
    version TEXT NOT NULL,
    pid INTEGER NOT NULL,
    transport TEXT NOT NULL,
    started_at TEXT NOT NULL,
    ended_at TEXT,
    outcome TEXT,
    exit_code INTEGER,
    reason TEXT,
    resume TEXT,
    sent INTEGER NOT NULL DEFAULT 0,
    throttled INTEGER NOT NULL DEFAULT 0,
    retried INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE samples (
    session INTEGER NOT NULL,
    at TEXT NOT NULL,
    accepted INTEGER NOT NULL,
    throttled INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    rate REAL NOT NULL,
    p50 REAL,
    p99 REAL
);
CREATE TABLE settlements (
    key INTEGER PRIMARY KEY,
    hub INTEGER NOT NULL,
    id TEXT,
    outcome INTEGER NOT NULL,
    status INTEGER,
    attempts INTEGER NOT NULL,
    microseconds INTEGER,
    milliseconds INTEGER NOT NULL,
    detail TEXT,
    tracking_id TEXT
);
{_DEAD_LETTERS}
CREATE VIEW outcomes AS
SELECT
    sources.name AS source,
    settlements.key & {(1 << POSITION_BITS) - 1} AS position,
    hubs.identity AS hub,
    settlements.id AS installation_id,
    CASE settlements.outcome {_WORDS} END AS outcome,
    settlements.status AS status,
    settlements.attempts AS attempts,
    settlements.microseconds / 1e6 AS latency,
    settlements.detail AS detail,
    settlements.tracking_id AS tracking_id,
    strftime('%Y-%m-%dT%H:%M:%fZ', settlements.milliseconds / 1000.0, 'unixepoch') AS settled_at
FROM settlements
JOIN sources ON sources.number = settlements.key >> {POSITION_BITS}
JOIN hubs ON hubs.number = settlements.hub;
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {VERSION};
"""


def connect(path: Path, *, is_read_only: bool = False) -> sqlite3.Connection:
    """Open a ledger's SQLite file; the caller begins its own transactions and may hand it to a thread."""
    address = f"{path.absolute().as_uri()}?mode={'ro' if is_read_only else 'rw'}"
    try:
        return sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False, timeout=10)
    except sqlite3.Error as exc:
        raise unusable(path, exc) from exc


def require_sqlite(head: bytes, path: Path) -> None:
    """Refuse a file that is neither empty nor SQLite's; SQLite itself takes a short text for an empty database."""
    if head and head != MAGIC:
        raise InputError(f"{path} is not a ledger; name another file with --ledger")


def is_unmade(connection: sqlite3.Connection) -> bool:
    """Whether nothing is in the file: it is new, or its making was cut short before its first commit."""
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    return not tables and not connection.execute("PRAGMA application_id").fetchone()[0]


def verify(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse what is not a ledger, or one of a newer bulkload."""
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if application != APPLICATION_ID:
        raise InputError(f"{path} is not a ledger but another program's file; name another with --ledger")
    if version > VERSION:
        raise InputError(
            f"ledger {path} is of a newer bulkload (schema {version}, this one knows {VERSION}); update bulkload"
        )


def migrate(connection: sqlite3.Connection) -> None:
    """Bring a ledger of an older bulkload to this one's schema; nothing of it is lost."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version < VERSION:
        steps = "".join(_MIGRATIONS[number] for number in range(version, VERSION))
        connection.executescript(f"BEGIN IMMEDIATE; {steps} PRAGMA user_version = {VERSION}; COMMIT")


def write_ahead(connection: sqlite3.Connection, path: Path) -> None:
    """Let others read while a run writes, and make every commit last."""
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    # Every commit reaches the disk before it counts: a writer thread waits for it, not the loop.
    connection.execute("PRAGMA synchronous = FULL")
    if mode != "wal":
        raise InputError(
            f"ledger {path} is on a file system that cannot do SQLite's WAL; name one on a local disk with --ledger"
        )


def unusable(path: Path, exc: sqlite3.Error) -> BulkloadError:
    """What an error of SQLite's means where a ledger is opened, by its primary code."""
    match getattr(exc, "sqlite_errorcode", 0) & 0xFF:
        case sqlite3.SQLITE_NOTADB:
            return InputError(f"{path} is not a ledger ({exc}); name another file with --ledger")
        case sqlite3.SQLITE_CORRUPT:
            return InputError(f"ledger {path} is damaged ({exc}); name another with --ledger")
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
            advice = "make it and its folder writable, or name another with --ledger"
            return InputError(f"ledger {path} cannot be written: {exc}; {advice}")
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return InputError(f"ledger {path} is held by another program ({exc}); end that first")
        case _:
            return broken(path, exc)


def broken(path: Path, exc: sqlite3.Error) -> Halt:
    """What an error of SQLite's means for a run that had begun."""
    return Halt(
        f"ledger {path} cannot be written: {exc}; what it shows as settled is settled, "
        "make room and run the same command again"
    )
