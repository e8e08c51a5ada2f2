"""The thread that writes settlements, so that neither SQLite nor the disk holds the loop."""

import asyncio
import queue
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import reduce
from itertools import chain
from pathlib import Path
from typing import NamedTuple, TypeVar

from bulkload.dead_letters import DeadLetters, Letter
from bulkload.ledger.checkpoint import Mark
from bulkload.ledger.schema import POSITION_BITS, broken
from bulkload.ledger.state import Sample
from bulkload.record import Outcome, Record, Settlement

T = TypeVar("T")

# Rows go in by one statement for so many. executemany gives up the interpreter lock for every row, and beside a busy
# loop each return of it waits for the switch interval: 33 rows/s were measured, against 24,000/s this way. A few fixed
# sizes, because SQLite's compiled statements are kept, and large ones are hundreds of kilobytes each.
ROWS_TOGETHER = (500, 25, 1)

# With a commit that has waited so long, in seconds, nothing further is read.
BEHIND = 0.5


def _of_sizes(statement: str, row: str) -> dict[int, str]:
    """A statement about so many rows, by the number of their values; ``{}`` is where they stand in it."""
    return {size * row.count("?"): statement.format(",".join([row] * size)) for size in ROWS_TOGETHER}


def _row_of(columns: int) -> str:
    return f"({','.join('?' * columns)})"


# The columns of an acceptance that are always the same are in the statement: half of what is bound takes half the time.
_ACCEPTANCE = f"(?, 0, ?, {Outcome.ACCEPTED.value}, 200, ?, ?, ?, NULL, NULL)"
_ACCEPTED = _of_sizes("INSERT INTO settlements VALUES {}", _ACCEPTANCE)
_ACCEPTED_AGAIN = _of_sizes("REPLACE INTO settlements VALUES {}", _ACCEPTANCE)
_SETTLEMENTS = _of_sizes("INSERT INTO settlements VALUES {}", _row_of(10))
_SETTLED_AGAIN = _of_sizes("REPLACE INTO settlements VALUES {}", _row_of(10))
_DEAD_LETTERS = _of_sizes("INSERT INTO dead_letters VALUES {}", _row_of(3))
_OUTCOMES = _of_sizes("SELECT outcome FROM settlements WHERE key IN ({})", "?")
_UPDATE_TOTALS = f"UPDATE runs SET {', '.join(f'{outcome.word} = {outcome.word} + ?' for outcome in Outcome)}"


# What a record that the hub queued has in its row that others of them have not: key, id, attempts, latency in
# microseconds, Unix time in milliseconds. The values of many rows stand in one list, as SQLite takes them.
Value = int | str
ACCEPTED_COLUMNS = 5
LATENCY_COLUMN = 3


def accepted_rows(records: Iterable[Record], latencies: Iterable[float], settled_at: float) -> list[Value]:
    """The rows of records that the hub queued: nearly all are, so they are made at once as they are written."""
    at = int(settled_at * 1000)
    values: list[Value] = []
    for record, latency in zip(records, latencies, strict=True):
        key = (record.origin.source << POSITION_BITS) | record.position
        values += (key, record.id, record.attempts, int(latency * 1e6), at)
    return values


class Commit(NamedTuple):
    """What goes to the disk together: settlements, and the marks, samples and counts that are true with them.

    `accepted` are the values of `accepted_rows`, `settlements` all others.
    `letters` are the dead letters that belong to the settlements; they are written before these count.
    """

    session: int
    settlements: Sequence[Settlement]
    marks: dict[int, Mark]
    samples: Sequence[Sample]
    sent: int
    throttled: int
    retried: int
    failed: int
    letters: Sequence[Letter] = ()
    accepted: Sequence[Value] = ()

    @property
    def size(self) -> int:
        """How many records it settles."""
        return len(self.settlements) + len(self.accepted) // ACCEPTED_COLUMNS


class Writer:
    """Writes commits in the order in which they are posted.

    After one could not be written, none is any more: a later mark would claim what is not on the disk. `on_failure`
    is called on the loop then, with the `Halt` that says why. With `is_again` its records were settled before, and the
    rows of these are replaced.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        path: Path,
        on_failure: Callable[[Exception], None],
        dead_letters: DeadLetters | None = None,
        *,
        is_again: bool = False,
    ) -> None:
        self._connection = connection
        self._path = path
        self._is_again = is_again
        self._dead_letters = dead_letters
        self._on_failure = on_failure
        self._loop = asyncio.get_running_loop()
        self._commits: queue.SimpleQueue[Commit | None] = queue.SimpleQueue()
        self._has_failed = False
        self._done = asyncio.Event()
        self._caught_up = asyncio.Event()
        self._posted: list[float] = []
        self.backlog = 0
        self._thread = threading.Thread(target=self._write_all, name="ledger")
        self._thread.start()

    def __repr__(self) -> str:
        return f"<Writer of {self._path}, {self.backlog} settlements behind>"

    def post(self, commit: Commit) -> None:
        self.backlog += commit.size
        self._posted.append(time.monotonic())
        self._commits.put(commit)

    async def catch_up(self) -> None:
        """Wait while the disk is behind: what is not on it yet would be sent again after a kill."""
        while self._posted and time.monotonic() - self._posted[0] > BEHIND:
            self._caught_up.clear()
            await self._caught_up.wait()

    async def close(self) -> None:
        """Wait until all that was posted is on the disk, or could not be written; also when cancelled meanwhile."""
        self._commits.put(None)
        try:
            await self._done.wait()
        finally:
            self._thread.join()

    def _write_all(self) -> None:
        try:
            while commits := self._waiting():
                commit = reduce(_together, commits)
                if not self._has_failed:
                    self._try(commit)
                self._loop.call_soon_threadsafe(self._written, len(commits), commit.size)
        finally:
            self._loop.call_soon_threadsafe(self._done.set)

    def _waiting(self) -> list[Commit]:
        """All commits that wait, at least one; none where there will be no further one.

        They reach the disk by one wait for it: on a slow one the waits would add up.
        """
        commits = []
        commit = self._commits.get()
        while commit is not None:
            commits.append(commit)
            try:
                commit = self._commits.get_nowait()
            except queue.Empty:
                return commits
        if commits:
            self._commits.put(None)
        return commits

    def _written(self, commits: int, settlements: int) -> None:
        self.backlog -= settlements
        del self._posted[:commits]
        self._caught_up.set()

    def _try(self, commit: Commit) -> None:
        try:
            self._write(commit)
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError) as exc:
            self._fail(exc)
        except sqlite3.Error as exc:
            self._fail(broken(self._path, exc))
        except Exception as exc:  # noqa: BLE001 - a bug has to reach the loop as well
            self._fail(exc)

    def _fail(self, failure: Exception) -> None:
        self._has_failed = True
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
        self._loop.call_soon_threadsafe(self._on_failure, failure)

    def _write(self, commit: Commit) -> None:
        if commit.letters:
            assert self._dead_letters is not None
            self._dead_letters.write(commit.letters)
        execute = self._connection.execute
        settlements = commit.settlements
        accepted = commit.accepted
        rows = list(chain.from_iterable(map(_row, settlements)))
        totals = Counter(settlement.outcome for settlement in settlements)
        totals[Outcome.ACCEPTED] += len(accepted) // ACCEPTED_COLUMNS
        execute("BEGIN IMMEDIATE")
        if self._is_again:
            keys = [key for key in accepted[::ACCEPTED_COLUMNS] if isinstance(key, int)]
            totals.subtract(self._outcomes([*keys, *map(_key, settlements)]))
            self._insert(_ACCEPTED_AGAIN, accepted)
            self._insert(_SETTLED_AGAIN, rows)
        else:
            self._insert(_ACCEPTED, accepted)
            self._insert(_SETTLEMENTS, rows)
            dead = [(_key(one), *one.place) for one in settlements if one.place is not None]
            self._insert(_DEAD_LETTERS, list(chain.from_iterable(dead)))
        execute(_UPDATE_TOTALS, [totals[outcome] for outcome in Outcome])
        for number, mark in commit.marks.items():
            execute(
                "UPDATE sources SET byte_offset = ?, line = ?, position = ?, filtered = ?, read = ?, is_finished = ? "
                "WHERE number = ?",
                (*mark.place, mark.position, mark.filtered, mark.read, mark.is_finished, number),
            )
        for sample in commit.samples:
            execute(
                "INSERT INTO samples VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    commit.session,
                    sample.at,
                    sample.accepted,
                    sample.throttled,
                    sample.failed,
                    sample.rate,
                    sample.p50,
                    sample.p99,
                ),
            )
        execute(
            "UPDATE sessions SET sent = ?, throttled = ?, retried = ?, failed = ? WHERE number = ?",
            (commit.sent, commit.throttled, commit.retried, commit.failed, commit.session),
        )
        execute("COMMIT")

    def _insert(self, statements: dict[int, str], values: Sequence[Value | None]) -> None:
        for statement, part in _parts(statements, values):
            self._connection.execute(statement, part)

    def _outcomes(self, keys: Sequence[int]) -> list[Outcome]:
        """How the records of these keys are settled by now."""
        found: list[Outcome] = []
        for statement, part in _parts(_OUTCOMES, keys):
            found += [Outcome(outcome) for (outcome,) in self._connection.execute(statement, part).fetchall()]
        return found


def _parts(statements: dict[int, str], values: Sequence[T]) -> Iterator[tuple[str, Sequence[T]]]:
    """The values in parts, each with the statement for as many."""
    start = 0
    for size, statement in statements.items():
        while len(values) - start >= size:
            yield statement, values[start : start + size]
            start += size


def _together(one: Commit, other: Commit) -> Commit:
    """Two commits as one; of marks and counts the later ones are true."""
    return other._replace(
        settlements=[*one.settlements, *other.settlements],
        marks=one.marks | other.marks,
        samples=[*one.samples, *other.samples],
        letters=[*one.letters, *other.letters],
        accepted=[*one.accepted, *other.accepted],
    )


def _row(settlement: Settlement) -> tuple[int | str | None, ...]:
    latency = settlement.latency
    return (
        _key(settlement),
        0,
        settlement.installation_id,
        settlement.outcome.value,
        settlement.status,
        settlement.attempts,
        None if latency is None else int(latency * 1e6),
        int(settlement.settled_at * 1000),
        settlement.detail,
        settlement.tracking_id,
    )


def _key(settlement: Settlement) -> int:
    return (settlement.source << POSITION_BITS) | settlement.position
