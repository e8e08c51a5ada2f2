"""A ledger belongs to one run, shows nothing that is not settled, and loses nothing that is."""

import asyncio
import os
import random
import re
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import astuple, replace
from itertools import count, islice
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkload.errors import Halt, InputError, LedgerLocked
from bulkload.ledger import Checkpoint, Commit, Kept, Ledger, Mark, Recipe, Run, Sample, Writer, read_state
from bulkload.ledger.lock import Lock
from bulkload.record import Outcome, Settlement
from bulkload.source import START, Place
from tests.contract import OUTCOME_COLUMNS

RUN = Run("h.example/devices", ("devices.ndjson",), ("file:100:aa",))

SAMPLE = Sample("2026-01-02T03:04:05.000Z", 10, 2, 1, 13.0, 0.04, 0.2)

NOTHING = Commit(1, [], {}, [], 0, 0, 0, 0)


def settlement(position: int, outcome: Outcome = Outcome.ACCEPTED, **fields: Any) -> Settlement:
    plain = Settlement(0, position, f"id-{position}", outcome, 200, 1, 0.04, 1_700_000_000.0)
    return plain._replace(**fields)


def settled(*positions: int) -> Commit:
    """A commit of accepted records, with a mark behind the last of them."""
    marks = {0: Mark(Place(positions[-1] * 10 + 10, positions[-1] + 2), positions[-1] + 1, 0, positions[-1] + 1)}
    return NOTHING._replace(settlements=[settlement(position) for position in positions], marks=marks)


async def write(ledger: Ledger, *commits: Commit, is_again: bool = False) -> list[Exception]:
    """Write commits as a session does; returns what it was told of failures."""
    failures: list[Exception] = []
    writer = Writer(ledger.connection, ledger.path, failures.append, is_again=is_again)
    for commit in commits:
        writer.post(commit)
    await writer.close()
    assert writer.backlog == 0
    return failures


async def kept(path: Path, run: Run = RUN, *, number: int = 1) -> None:
    """Leave a ledger behind in which so many records are settled."""
    with closing(Ledger(path, run)) as ledger:
        assert await write(ledger, settled(*range(number))) == []


def positions_of(ledger: Ledger, source: int, mark: Mark) -> list[int]:
    return [each.position for each in ledger.settled(source, mark)]


def begun(ledger: Ledger) -> int:
    return ledger.begin_session(version="1", transport="wire", resume="bulkload load x").number


def rows(path: Path, query: str = "SELECT * FROM outcomes ORDER BY position") -> list[Any]:
    """What sqlite3 shows, read as anybody may."""
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        return connection.execute(query).fetchall()


def content(path: Path) -> bytes:
    return path.read_bytes()


def wipe(path: Path) -> None:
    """Leave of a SQLite file its first page only, and nothing where the others were."""
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + bytes(len(whole) - 4096))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "devices.ndjson.ledger"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    with closing(Ledger(path, RUN)) as ledger:
        yield ledger


# What a source object comes to when it is read, and what happens next.
KINDS = st.lists(st.sampled_from(["record", "record", "invalid"]), min_size=1, max_size=20)
STEPS = st.lists(st.sampled_from(["read", "read", "settle", "settle", "interrupt"]), max_size=60)


class Reading:
    """A source of ten bytes a line, read as a session does, any number of times, with a ledger of what is settled."""

    def __init__(self, kinds: Sequence[str]) -> None:
        self.kinds = kinds
        self.settled: Counter[int] = Counter()
        self.resume(Mark())

    def resume(self, mark: Mark) -> None:
        self.checkpoint = Checkpoint(mark)
        self.next = mark.place.offset // 10
        self.held: list[int] = []
        self.skipped = {position for position in self.settled if mark.position <= position < mark.read}

    def read(self) -> None:
        if self.next == len(self.kinds):
            self.checkpoint.reach(Place(self.next * 10, self.next + 1))
            self.checkpoint.is_at_end = True
            return
        place = Place(self.next * 10, self.next + 1)
        kind = self.kinds[self.next]
        self.next += 1
        self.checkpoint.reach(place)
        position = self.checkpoint.take()
        assert position == place.offset // 10, "a record got another position than the first time"
        if position in self.skipped:
            return
        if kind == "invalid":
            self.settle(position)
            return
        self.checkpoint.hold(position)
        self.held.append(position)

    def settle(self, position: int) -> None:
        self.checkpoint.settle(position)
        self.settled[position] += 1

    def settle_one(self, dice: random.Random) -> None:
        if self.held:
            self.settle(self.held.pop(dice.randrange(len(self.held))))

    def verify(self) -> None:
        mark = self.checkpoint.mark()
        unsettled = [position for position in range(len(self.kinds)) if not self.settled[position]]
        assert mark.position <= min(unsettled, default=len(self.kinds))
        assert mark.place == Place(mark.position * 10, mark.position + 1)
        assert mark.read > max(self.settled, default=-1)
        again = [position for position in range(mark.position, len(self.kinds)) if not self.settled[position]]
        assert again == unsettled
        assert not mark.is_finished or not unsettled


@given(kinds=KINDS, steps=STEPS, seed=st.integers(0, 2**32))
def test_a_mark_never_stands_beyond_the_first_unsettled_record(kinds: list[str], steps: list[str], seed: int) -> None:
    dice = random.Random(seed)
    reading = Reading(kinds)
    for step in steps:
        if step == "read":
            reading.read()
        elif step == "settle":
            reading.settle_one(dice)
        else:
            reading.resume(reading.checkpoint.mark())
        reading.verify()
    # However it went, another session settles the rest, and each record is settled once.
    reading.resume(reading.checkpoint.mark())
    while not reading.checkpoint.is_at_end or reading.held:
        reading.read()
        reading.settle_one(dice)
        reading.verify()
    assert reading.settled == dict.fromkeys(range(len(kinds)), 1)
    end = Place(len(kinds) * 10, len(kinds) + 1)
    assert reading.checkpoint.mark() == Mark(end, len(kinds), 0, len(kinds), is_finished=True)


def test_a_checkpoint_counts_on_from_its_mark() -> None:
    checkpoint = Checkpoint(Mark(Place(70, 8), 5, 2, 9))
    assert checkpoint.mark() == Mark(Place(70, 8), 5, 2, 9)
    assert [checkpoint.take(), checkpoint.take()] == [5, 6]
    assert checkpoint.mark().read == 9
    assert repr(checkpoint) == "<Checkpoint at 7, 0 unsettled>"


def test_a_source_is_finished_when_its_end_is_reached_and_nothing_is_unsettled() -> None:
    checkpoint = Checkpoint(Mark())
    checkpoint.hold(checkpoint.take())
    checkpoint.reach(Place(10, 2))
    checkpoint.is_at_end = True
    assert not checkpoint.mark().is_finished
    checkpoint.settle(0)
    assert checkpoint.mark() == Mark(Place(10, 2), 1, 0, 1, is_finished=True)


def test_a_mark_stands_at_the_first_record_of_an_object_that_yielded_several() -> None:
    checkpoint = Checkpoint(Mark())
    checkpoint.reach(Place(0, 1))
    for _ in "ab":
        checkpoint.hold(checkpoint.take())
    checkpoint.reach(Place(10, 2))
    checkpoint.settle(0)
    assert checkpoint.mark() == Mark(Place(0, 1), 0, 0, 2)
    checkpoint.settle(1)
    assert checkpoint.mark() == Mark(Place(10, 2), 2, 0, 2)


def test_a_mark_remembers_what_was_filtered_before_it() -> None:
    checkpoint = Checkpoint(Mark(Place(20, 3), 2, 1, 2))
    checkpoint.filtered += 1
    checkpoint.reach(Place(30, 4))
    checkpoint.hold(checkpoint.take())
    checkpoint.filtered += 1
    checkpoint.reach(Place(50, 6))
    assert checkpoint.mark() == Mark(Place(30, 4), 2, 2, 3)
    checkpoint.settle(2)
    assert checkpoint.mark() == Mark(Place(50, 6), 3, 3, 3)


def test_a_new_ledger_knows_its_run_and_nothing_else(ledger: Ledger) -> None:
    state = ledger.state
    assert (state.run, state.marks, state.session) == (RUN, (Mark(),), None)
    assert (state.settled, state.read, state.filtered, state.is_finished, state.is_clean) == (0, 0, 0, False, True)
    assert ledger.is_new
    assert repr(ledger) == f"<Ledger {ledger.path}>"


async def test_a_ledger_is_its_owner_s_alone(path: Path) -> None:
    mask = os.umask(0)
    try:
        with closing(Ledger(path, RUN)) as ledger:
            await write(ledger, NOTHING)
            modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    finally:
        os.umask(mask)
    assert modes == {path.name + suffix: 0o600 for suffix in ("", "-wal", "-shm")}


async def test_the_view_s_columns_are_those_of_the_contract(ledger: Ledger, path: Path) -> None:
    session = begun(ledger)
    await write(
        ledger,
        NOTHING._replace(
            session=session,
            settlements=[
                settlement(0),
                settlement(1, Outcome.INVALID, installation_id=None, status=None, attempts=0, latency=None, detail="x"),
                settlement(2, Outcome.REJECTED, status=400, detail="400 Bad.", tracking_id="t-1"),
                settlement(3, Outcome.EXHAUSTED, status=503, attempts=8, settled_at=1_700_000_000.25),
                settlement(4, Outcome.SUPERSEDED, status=None, attempts=0, latency=None),
            ],
        ),
    )
    at = "2023-11-14T22:13:20.000Z"
    source, hub = RUN.sources[0], RUN.hub
    with closing(sqlite3.connect(path)) as connection:
        shown = connection.execute("SELECT * FROM outcomes ORDER BY position")
        assert [column[0] for column in shown.description] == OUTCOME_COLUMNS
        assert shown.fetchall() == [
            (source, 0, hub, "id-0", "accepted", 200, 1, 0.04, None, None, at),
            (source, 1, hub, None, "invalid", None, 0, None, "x", None, at),
            (source, 2, hub, "id-2", "rejected", 400, 1, 0.04, "400 Bad.", "t-1", at),
            (source, 3, hub, "id-3", "exhausted", 503, 8, 0.04, None, None, at.replace(".000", ".250")),
            (source, 4, hub, "id-4", "superseded", None, 0, None, None, None, at),
        ]


def test_the_schema_has_a_number_and_the_tables_of_the_contract(ledger: Ledger, path: Path) -> None:
    assert rows(path, "PRAGMA user_version") == [(3,)]
    tables = {name for (name,) in rows(path, "SELECT name FROM sqlite_master")}
    assert {"outcomes", "runs", "sessions", "sources", "samples"} <= tables
    assert ledger.state.run == RUN


async def test_many_sources_and_high_positions_do_not_meet(path: Path) -> None:
    run = Run("h/d", ("a", "b", "c"), ("1", "2", "3"))
    far = 2**40 - 1
    with closing(Ledger(path, run)) as ledger:
        await write(
            ledger,
            NOTHING._replace(
                settlements=[settlement(position, source=source) for source in (0, 2) for position in (0, 2**33, far)],
                marks={number: Mark(START, 0, 0, 2**40) for number in (0, 2)},
            ),
        )
        assert [positions_of(ledger, number, mark) for number, mark in enumerate(ledger.state.marks)] == [
            [0, 2**33, far],
            [],
            [0, 2**33, far],
        ]
    assert rows(path, "SELECT source, position FROM outcomes ORDER BY source, position") == [
        (source, position) for source in "ac" for position in (0, 2**33, far)
    ]


async def test_a_closed_ledger_is_one_file(path: Path) -> None:
    with closing(Ledger(path, RUN)) as ledger:
        await write(ledger, settled(0, 1, 2))
        assert len(list(path.parent.iterdir())) == 3
    assert list(path.parent.iterdir()) == [path]
    # A file in WAL mode could not be read where nothing can be written; the header's bytes 18 and 19 tell it.
    assert content(path)[18:20] == b"\x01\x01"
    assert len(rows(path)) == 3


@settings(max_examples=15, deadline=None)
@given(sizes=st.lists(st.sampled_from([0, 1, 2, 24, 25, 26, 49, 499, 500, 501, 1053]), min_size=1, max_size=4))
async def test_every_settlement_of_a_commit_is_written(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int]
) -> None:
    path = tmp_path_factory.mktemp("ledger") / "x.ledger"
    dice = random.Random(str(sizes))
    positions = iter(dice.sample(range(10_000), sum(sizes)))
    batches = [
        [settlement(position, dice.choice(list(Outcome))) for position in islice(positions, size)] for size in sizes
    ]
    with closing(Ledger(path, RUN)) as ledger:
        assert await write(ledger, *(NOTHING._replace(settlements=batch) for batch in batches)) == []
        expected = [one for batch in batches for one in batch]
        counted = Counter(one.outcome for one in expected)
        assert ledger.state.totals == {outcome: counted[outcome] for outcome in Outcome}
    assert rows(path, "SELECT position, outcome FROM outcomes ORDER BY position") == sorted(
        (one.position, one.outcome.word) for one in expected
    )
    shutil.rmtree(path.parent)


async def test_marks_totals_samples_and_counts_go_with_their_settlements(ledger: Ledger, path: Path) -> None:
    session = begun(ledger)
    mark = Mark(Place(120, 7), 4, 2, 9)
    first = settled(0, 1)._replace(session=session, marks={0: mark}, samples=[SAMPLE], sent=5, throttled=1, retried=1)
    last = Mark(Place(200, 9), 9, 2, 9, is_finished=True)
    assert await write(ledger, first) == []
    state = ledger.state
    assert (state.marks, state.settled, state.read, state.filtered) == ((mark,), 2, 9, 2)
    assert await write(ledger, NOTHING._replace(session=session, marks={0: last}, sent=9, failed=2)) == []
    assert ledger.state.marks == (last,)
    assert rows(path, "SELECT * FROM samples") == [(session, *astuple(SAMPLE))]
    assert rows(path, "SELECT sent, throttled, retried, failed FROM sessions") == [(9, 0, 0, 2)]


async def test_commits_are_written_in_the_order_in_which_they_were_posted(ledger: Ledger) -> None:
    marks = [Mark(Place(number, 1), number, 0, number) for number in range(1, 50)]
    await write(ledger, *(NOTHING._replace(marks={0: mark}) for mark in marks))
    assert ledger.state.marks == (marks[-1],)


async def test_a_reader_waits_while_the_disk_is_behind(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bulkload.ledger.writer.BEHIND", 0.0)
    writer = Writer(ledger.connection, ledger.path, lambda _: None)
    for first in range(0, 5000, 500):
        writer.post(NOTHING._replace(settlements=[settlement(position) for position in range(first, first + 500)]))
    assert writer.backlog == 5000
    assert repr(writer) == f"<Writer of {ledger.path}, 5000 settlements behind>"
    await asyncio.wait_for(writer.catch_up(), 10)
    assert writer.backlog == 0
    assert ledger.state.settled == 5000
    await writer.close()


async def test_a_second_settlement_of_a_record_is_a_bug_that_surfaces(ledger: Ledger) -> None:
    (failure,) = await write(ledger, settled(0), settled(1, 0), settled(2))
    assert isinstance(failure, sqlite3.IntegrityError)
    # It may have gone to the disk together with what came before it.
    assert ledger.state.totals[Outcome.ACCEPTED] <= 1


async def test_a_full_disk_halts_and_nothing_is_claimed_that_is_not_on_it(path: Path) -> None:
    with closing(Ledger(path, RUN)) as ledger:
        session = begun(ledger)
        await write(ledger, settled(*range(10))._replace(session=session, sent=10))
        before = ledger.state
        pages = ledger.connection.execute("PRAGMA page_count").fetchone()[0]
        ledger.connection.execute(f"PRAGMA max_page_count = {pages + 2}")
        failures = await write(
            ledger,
            settled(*range(10, 3000))._replace(session=session, samples=[SAMPLE], sent=3000),
            # Small enough for what is left, yet its mark would claim what could not be written.
            settled(3000)._replace(session=session, sent=3001),
        )
        assert [type(failure) for failure in failures] == [Halt]
        assert str(failures[0]) == (
            f"ledger {path} cannot be written: database or disk is full; "
            "what it shows as settled is settled, make room and run the same command again"
        )
        assert ledger.state == before
    assert list(path.parent.iterdir()) == [path]
    assert rows(path, "SELECT count(*), max(position) FROM outcomes") == [(10, 9)]
    assert rows(path, "SELECT sent FROM sessions") == [(10,)]
    # With room again, it goes on.
    with closing(Ledger(path, RUN)) as ledger:
        assert await write(ledger, settled(*range(10, 3001))._replace(session=session)) == []
        assert ledger.state.totals[Outcome.ACCEPTED] == 3001


def test_an_end_that_cannot_be_written_is_a_halt(ledger: Ledger) -> None:
    session = ledger.begin_session(version="1", transport="wire", resume=None)
    ledger.connection.execute("PRAGMA query_only = 1")
    with pytest.raises(Halt, match="cannot be written"):
        ledger.end_session(session, outcome="complete", exit_code=0, reason=None)
    with pytest.raises(Halt, match="cannot be written"):
        ledger.begin_session(version="1", transport="wire", resume=None)


@pytest.mark.parametrize("fetched_together", [1, 3, 10_000])
async def test_settled_gives_what_lies_beyond_the_mark(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, fetched_together: int
) -> None:
    monkeypatch.setattr("bulkload.ledger.ledger.FETCHED_TOGETHER", fetched_together)
    positions = [0, 1, 2, 5, 7, 8, 9, 15]
    await write(ledger, NOTHING._replace(settlements=[settlement(position) for position in positions]))
    assert positions_of(ledger, 0, Mark(START, 0, 0, 16)) == positions
    assert positions_of(ledger, 0, Mark(START, 3, 0, 9)) == [5, 7, 8]
    assert positions_of(ledger, 0, Mark(START, 9, 0, 9)) == []
    assert positions_of(ledger, 1, Mark(START, 0, 0, 16)) == []


async def test_settled_is_read_as_it_is_asked_for(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bulkload.ledger.ledger.FETCHED_TOGETHER", 10)
    await write(ledger, settled(*range(100)))
    with closing(ledger.settled(0, Mark(START, 0, 0, 100))) as found:
        assert next(found).position == 0
        ledger.connection.execute("DELETE FROM settlements WHERE key >= 50")
        assert [each.position for each in found] == list(range(1, 50))


async def test_a_session_is_kept_with_its_end(ledger: Ledger, path: Path) -> None:
    first = ledger.begin_session(version="1.2", transport="wire", resume="bulkload load 'a b'")
    assert ledger.state.session == first
    assert not ledger.state.is_finished
    ledger.end_session(first, outcome="stopped", exit_code=5, reason="SIGINT was received")
    state = ledger.state
    assert not state.is_finished
    assert state.session is not None
    assert state.session.ended_at is not None
    assert replace(state.session, ended_at=None) == replace(
        first, outcome="stopped", exit_code=5, reason="SIGINT was received"
    )
    second = ledger.begin_session(version="1.2", transport="wire", resume=None)
    assert second.number == first.number + 1
    ledger.end_session(second, outcome="complete", exit_code=0, reason=None)
    assert ledger.state.is_finished
    assert rows(path, "SELECT pid, version FROM sessions") == [(os.getpid(), "1.2")] * 2


async def test_what_settled_badly_is_told(ledger: Ledger) -> None:
    await write(ledger, NOTHING._replace(settlements=[settlement(0), settlement(1, Outcome.SUPERSEDED)]))
    assert ledger.state.is_clean
    await write(ledger, NOTHING._replace(settlements=[settlement(2, Outcome.EXHAUSTED)]))
    assert not ledger.state.is_clean


def dead_at(position: int, offset: int, outcome: Outcome = Outcome.EXHAUSTED) -> Settlement:
    return settlement(position, outcome, place=Place(offset, 1), detail="x")


async def test_rows_of_what_is_settled_again_are_replaced_and_counted_once(ledger: Ledger) -> None:
    session = begun(ledger)
    first = [dead_at(position, position) for position in range(600)]
    again = [settlement(position, Outcome.REJECTED if position == 7 else Outcome.ACCEPTED) for position in range(530)]
    assert await write(ledger, NOTHING._replace(session=session, settlements=first)) == []
    assert await write(ledger, NOTHING._replace(session=session, settlements=again), is_again=True) == []
    totals = ledger.state.totals
    assert (totals[Outcome.ACCEPTED], totals[Outcome.REJECTED], totals[Outcome.EXHAUSTED]) == (529, 1, 70)
    assert ledger.dead_objects(0) == 71
    assert [dead.position for dead in ledger.dead(0, 0, 600)] == [7, *range(530, 600)]
    assert [dead.position for dead in ledger.dead(0, 0, 600, [Outcome.REJECTED])] == [7]
    assert [each.position for each in ledger.accepted(0, 5, 9)] == [5, 6, 8]


async def test_a_letter_tells_of_what_of_its_object_is_dead_by_now(ledger: Ledger) -> None:
    session = begun(ledger)
    first = [dead_at(0, 0), *(dead_at(position, 10) for position in range(1, 5)), dead_at(5, 20)]
    await write(ledger, NOTHING._replace(session=session, settlements=first))
    again = [NOTHING._replace(session=session, settlements=[settlement(position)]) for position in (1, 2, 4, 3)]
    await write(ledger, *again[:3], is_again=True)
    found = [dead and dead.position for dead in (ledger.dead_of(0, position) for position in range(-1, 8))]
    assert found == [None, 0, 3, 3, 3, 3, 5, None, None]
    await write(ledger, again[3], is_again=True)
    assert [ledger.dead_of(0, position) for position in range(1, 5)] == [None] * 4


@pytest.mark.parametrize("address", ["/a/b.ndjson", os.fsdecode(b"/a/\xff.ndjson"), None])
async def test_what_a_retry_needs_is_kept_and_brought_up_to_date(path: Path, address: str | None) -> None:
    old = Recipe("{}", (Kept("/old", "ndjson", None, None),))
    new = Recipe('{"tag":["x"]}', (Kept(address, "csv", ";", ("a", "")),))
    with closing(Ledger(path, RUN, recipe=old)) as ledger:
        assert ledger.state.recipe == old
    with closing(Ledger(path, RUN, recipe=new)):
        pass
    assert read_state(path).recipe == new
    Ledger(path, RUN).close()
    assert read_state(path).recipe == new


async def test_ten_thousand_accepted_rows_take_less_than_85_bytes_each(path: Path) -> None:
    dice = random.Random(1)
    ids = (str(UUID(int=dice.getrandbits(128), version=4)) for _ in count())
    with closing(Ledger(path, RUN)) as ledger:
        empty = ledger.connection.execute("PRAGMA page_count").fetchone()[0]
        for first in range(0, 10_000, 2000):
            batch = [
                settlement(position, installation_id=next(ids), latency=dice.random(), settled_at=1.7e9 + position)
                for position in range(first, first + 2000)
            ]
            await write(ledger, NOTHING._replace(settlements=batch))
    assert (len(content(path)) - empty * 4096) / 10_000 < 85


async def test_the_same_run_goes_on(path: Path) -> None:
    with closing(Ledger(path, RUN)) as ledger:
        await write(ledger, settled(0, 1))
        before = ledger.state
    with closing(Ledger(path, RUN)) as ledger:
        assert not ledger.is_new
        assert ledger.put_aside is None
        assert ledger.state == before


async def test_a_source_may_be_called_by_another_path(path: Path) -> None:
    Ledger(path, RUN).close()
    Ledger(path, replace(RUN, sources=("/elsewhere/devices.ndjson",))).close()


OTHERS = {
    "hub": (
        replace(RUN, hub="h.example/other"),
        "belongs to hub h.example/devices, not h.example/other; name another ledger with --ledger",
    ),
    "mapping": (
        replace(RUN, mapping="m"),
        (
            "was begun with another mapping, or its sources were read in another form; use the same flags, "
            "or name another ledger with --ledger"
        ),
    ),
    "source": (
        replace(RUN, sources=("users.csv",), fingerprints=("file:1:bb",)),
        "belongs to another source (devices.ndjson), not users.csv; name another ledger with --ledger",
    ),
    "sources": (
        replace(RUN, sources=("devices.ndjson", "b"), fingerprints=("file:100:aa", "file:1:bb")),
        "belongs to another source (devices.ndjson), not devices.ndjson, b; name another ledger with --ledger",
    ),
}
CHANGED = replace(RUN, fingerprints=("file:101:cc",))


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("kind", OTHERS)
async def test_a_ledger_of_something_else_is_refused(path: Path, kind: str, restart: bool) -> None:
    await kept(path, number=2)
    other, words = OTHERS[kind]
    with pytest.raises(InputError) as refusal:
        Ledger(path, other, restart=restart)
    assert str(refusal.value) == f"ledger {path} {words}"
    assert list(path.parent.iterdir()) == [path]
    assert len(rows(path)) == 2
    Ledger(path, RUN).close()


async def test_many_sources_are_named_by_the_first_three(path: Path) -> None:
    await kept(path)
    names = tuple(f"part-{number}" for number in range(9))
    with pytest.raises(InputError, match=r"not part-0, part-1, part-2 and 6 more;"):
        Ledger(path, Run(RUN.hub, names, names))


@pytest.mark.parametrize("kind", OTHERS)
async def test_a_ledger_in_which_nothing_is_settled_belongs_to_nobody(path: Path, kind: str) -> None:
    with closing(Ledger(path, RUN)) as ledger:
        ledger.begin_session(version="1", transport="wire", resume=None)
    with closing(Ledger(path, OTHERS[kind][0])) as ledger:
        assert (ledger.state.run, ledger.state.session) == (OTHERS[kind][0], None)
        with pytest.raises(LedgerLocked):
            Ledger(path, RUN)
    assert list(path.parent.iterdir()) == [path]


async def test_a_refused_ledger_is_left_as_it_was(path: Path) -> None:
    await kept(path)
    before = content(path)
    with pytest.raises(InputError):
        Ledger(path, OTHERS["hub"][0])
    assert content(path) == before


async def test_a_changed_source_is_refused_and_both_ways_on_are_named(path: Path) -> None:
    await kept(path)
    with pytest.raises(InputError) as refusal:
        Ledger(path, CHANGED)
    assert str(refusal.value) == (
        f"source devices.ndjson has changed since ledger {path} was begun; begin a new one and keep this one aside "
        "with --when-changed restart, or name another with --ledger"
    )


async def test_a_restart_puts_the_ledger_of_the_earlier_version_aside(path: Path) -> None:
    await kept(path, number=2)
    with closing(Ledger(path, CHANGED, restart=True)) as ledger:
        assert ledger.is_new
        assert ledger.put_aside is not None
        assert re.fullmatch(re.escape(path.name) + r"\.\d{8}T\d{6}Z", ledger.put_aside.name)
        assert (ledger.state.run, ledger.state.settled) == (CHANGED, 0)
        assert (read_state(ledger.put_aside).run, read_state(ledger.put_aside).settled) == (RUN, 2)
        with pytest.raises(LedgerLocked):
            Ledger(path, CHANGED)
    assert sorted(path.parent.iterdir()) == [path, ledger.put_aside]


async def test_a_restart_of_the_same_version_goes_on(path: Path) -> None:
    await kept(path)
    with closing(Ledger(path, RUN, restart=True)) as ledger:
        assert ledger.put_aside is None
        assert ledger.state.settled == 1


async def test_restarts_within_one_second_lose_no_ledger(path: Path) -> None:
    versions = [replace(RUN, fingerprints=(f"file:{number}:aa",)) for number in range(4)]
    for version in versions:
        with closing(Ledger(path, version, restart=True)) as ledger:
            await write(ledger, settled(0))
    runs = [read_state(file).run for file in path.parent.iterdir()]
    assert sorted(run.fingerprints for run in runs) == [version.fingerprints for version in versions]


async def test_anew_replaces_a_finished_ledger_only(path: Path) -> None:
    with closing(Ledger(path, RUN)) as ledger:
        session = ledger.begin_session(version="1", transport="wire", resume=None)
        await write(ledger, settled(0))
    with closing(Ledger(path, RUN, anew=True)) as ledger:
        assert ledger.state.settled == 1
        ledger.end_session(session, outcome="complete", exit_code=0, reason=None)
    with pytest.raises(InputError, match="belongs to hub"):
        Ledger(path, OTHERS["hub"][0], anew=True)
    with closing(Ledger(path, CHANGED, anew=True)) as ledger:
        assert (ledger.state.run, ledger.state.settled) == (CHANGED, 0)
    assert list(path.parent.iterdir()) == [path]


async def test_a_run_that_takes_the_place_first_holds_the_ledger(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await kept(path)
    made: list[Path] = []

    def lock(path: Path) -> Lock:
        made.append(path)
        if len(made) == 2:
            raise LedgerLocked("another run was faster")
        return Lock(path)

    monkeypatch.setattr("bulkload.ledger.ledger.Lock", lock)
    with pytest.raises(LedgerLocked, match="another run was faster"):
        Ledger(path, CHANGED, restart=True)


def test_a_newer_ledger_is_refused(path: Path) -> None:
    Ledger(path, RUN).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    for use in (lambda: Ledger(path, RUN), lambda: read_state(path)):
        with pytest.raises(InputError) as refusal:
            use()
        assert str(refusal.value) == (
            f"ledger {path} is of a newer bulkload (schema 99, this one knows 3); update bulkload"
        )


def foreign_database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE places (url TEXT)")


def text(path: Path) -> None:
    path.write_text("my notes\n" * 500)


def short_text(path: Path) -> None:
    path.write_text("x")


@pytest.mark.parametrize("make", [foreign_database, text, short_text])
def test_what_is_not_a_ledger_is_refused_and_left_as_it_was(path: Path, make: Any) -> None:
    make(path)
    before = path.read_bytes()
    for use in (
        lambda: Ledger(path, RUN, restart=True),
        lambda: Ledger(path, RUN, anew=True),
        lambda: read_state(path),
    ):
        with pytest.raises(InputError, match="is not a ledger"):
            use()
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_an_empty_file_becomes_a_ledger(path: Path) -> None:
    path.touch()
    with closing(Ledger(path, RUN)) as ledger:
        assert ledger.is_new
        assert ledger.state.run == RUN


def test_a_ledger_whose_making_was_cut_short_is_made_again(path: Path) -> None:
    # What _create leaves after its first statement.
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    assert path.stat().st_size > 0
    Ledger(path, RUN).close()


@pytest.mark.parametrize("use", [lambda path: Ledger(path, RUN), read_state], ids=["load", "status"])
async def test_a_damaged_ledger_is_refused_with_a_line(path: Path, use: Any) -> None:
    with closing(Ledger(path, RUN)) as ledger:
        await write(ledger, settled(*range(1000)))
    wipe(path)
    with pytest.raises(InputError, match=r"damaged|cannot be read|is not a ledger"):
        use(path)


def test_a_ledger_s_folder_has_to_exist(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "x.ledger"
    with pytest.raises(InputError) as refusal:
        Ledger(path, RUN)
    assert str(refusal.value) == (
        f"ledger {path} cannot be written: No such file or directory; name another with --ledger"
    )


@pytest.mark.parametrize("name", ["", "file/x.ledger"], ids=["a folder itself", "below a file"])
def test_what_cannot_be_written_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"cannot be written: (Is|Not) a directory; name another with --ledger"):
        Ledger(tmp_path / name, RUN)


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not bind root")
def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match=r"cannot be written: Permission denied"):
        Ledger(tmp_path / "x.ledger", RUN)


def test_the_state_of_a_ledger_that_does_not_exist_is_an_input_error(path: Path) -> None:
    with pytest.raises(InputError) as refusal:
        read_state(path)
    assert str(refusal.value) == f"ledger {path} does not exist; check the path"
    assert not path.exists()


HOLDER = """
import sys
from pathlib import Path
from bulkload.ledger import Ledger, Run
ledger = Ledger(Path(sys.argv[1]), Run("h.example/devices", ("devices.ndjson",), ("file:100:aa",)))
ledger.begin_session(version="1", transport="wire", resume=None)
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def held(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process holds the ledger."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def test_a_ledger_that_another_process_holds_is_locked_until_that_one_is_gone(path: Path) -> None:
    with held(path) as process:
        for restart in (False, True):
            with pytest.raises(LedgerLocked) as refusal:
                Ledger(path, RUN, restart=restart)
            assert str(refusal.value) == (
                f"another run holds ledger {path}; wait for its end (--wait-lock 5m) or name another with --ledger"
            )
        assert read_state(path).session is not None
        process.kill()
        process.wait()
        with closing(Ledger(path, RUN)) as ledger:
            assert ledger.state.session is not None
            assert ledger.state.session.ended_at is None
    assert list(path.parent.iterdir()) == [path]


def test_a_ledger_is_locked_within_a_process_too(path: Path) -> None:
    with closing(Ledger(path, RUN)), pytest.raises(LedgerLocked):
        Ledger(path, RUN)
    Ledger(path, RUN).close()


async def test_others_may_read_while_a_run_writes(ledger: Ledger, path: Path) -> None:
    await write(ledger, settled(0, 1))
    ledger.connection.execute("BEGIN IMMEDIATE")
    ledger.connection.execute("DELETE FROM settlements")
    assert read_state(path).settled == 2
    assert len(rows(path)) == 2
    ledger.connection.execute("ROLLBACK")
    with closing(sqlite3.connect(path)) as reader:
        seen = reader.execute("SELECT position FROM outcomes")
        assert seen.fetchone() == (0,)
        assert await write(ledger, settled(2, 3)) == []
    assert read_state(path).settled == 4


async def test_a_ledger_that_somebody_reads_is_closed_all_the_same(path: Path) -> None:
    ledger = Ledger(path, RUN)
    await write(ledger, settled(0, 1))
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM outcomes").fetchone() == (2,)
        ledger.close()
        assert read_state(path).settled == 2
    Ledger(path, RUN).close()
    assert list(path.parent.iterdir()) == [path]


def test_a_closed_ledger_has_a_repr(path: Path) -> None:
    ledger = Ledger(path, RUN)
    ledger.close()
    assert str(path) in repr(ledger)


def test_a_ledger_in_a_transaction_has_a_repr(ledger: Ledger, path: Path) -> None:
    ledger.connection.execute("BEGIN IMMEDIATE")
    try:
        assert str(path) in repr(ledger)
    finally:
        ledger.connection.execute("ROLLBACK")


async def test_a_ledger_that_somebody_reads_is_not_put_aside_without_its_rows(path: Path) -> None:
    ledger = Ledger(path, RUN)
    await write(ledger, settled(*range(100)))
    with closing(sqlite3.connect(path)) as reader:
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM settlements").fetchone() == (100,)
        ledger.close()
        with pytest.raises(InputError, match="is being read by another program"):
            Ledger(path, CHANGED, restart=True)
    assert read_state(path).settled == 100
