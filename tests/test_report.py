"""A run's numbers are right, and told in the forms that people and scripts rely on."""

import math
import re
import shlex
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkload.errors import InputError
from bulkload.ledger import Commit, Ledger, Mark, Run, Session, State, Writer
from bulkload.pace import Constraint
from bulkload.record import Outcome, Settlement
from bulkload.report import Latencies, Latency, Meter, Rate, Records, Requests, Summary, describe, summarize
from bulkload.report.status import status
from bulkload.report.summary import finished
from bulkload.report.text import duration
from bulkload.source import START
from bulkload.upload import Requests as Counts

RUN = Run("h.example/devices", ("devices.ndjson",), ("file:100:aa",))

KEYS = {
    "schema": None,
    "outcome": None,
    "exit_code": None,
    "reason": None,
    "records": ["read", "accepted", "invalid", "rejected", "exhausted", "superseded", "filtered", "pending", "skipped"],
    "requests": ["sent", "throttled", "retried", "failed"],
    "rate": ["mean", "peak", "ceiling", "cap"],
    "latency": ["p50", "p95", "p99", "max"],
    "elapsed": None,
    "limited_by": None,
    "transport": None,
    "processes": None,
    "sources": None,
    "ledger": None,
    "dead_letters": None,
    "resume": None,
}

COMPLETE = Summary(
    outcome="complete",
    exit_code=0,
    reason=None,
    records=Records(read=1234567, accepted=1234567, skipped=0),
    requests=Requests(sent=1234570, throttled=2, retried=1, failed=1),
    rate=Rate(mean=812.4, peak=900.0, cap=None),
    latency=Latency(p50=0.0412, p95=0.08, p99=0.1234, max=1.5),
    elapsed=1519.6,
    limited_by="hub latency",
    transport="wire",
    processes=1,
    sources=("devices.ndjson",),
    ledger="devices.ndjson.ledger",
)


def measured(values: Iterable[float]) -> Latencies:
    latencies = Latencies()
    latencies.add(list(values))
    return latencies


@given(
    values=st.lists(st.floats(1e-6, 1e5), min_size=1, max_size=300),
    percent=st.sampled_from([0.1, 1, 25, 50, 90, 95, 99, 99.9, 100]),
)
def test_a_percentile_is_within_two_percent_of_the_exact_one(values: list[float], percent: float) -> None:
    exact = sorted(values)[math.ceil(len(values) * percent / 100) - 1]
    found = measured(values).percentile(percent)
    assert found == pytest.approx(exact, rel=0.02)


@given(values=st.lists(st.floats(0, 1e9), min_size=1))
def test_percentiles_grow_and_never_pass_the_largest(values: list[float]) -> None:
    latencies = measured(values)
    found = [latencies.percentile(percent) or 0.0 for percent in (1, 50, 95, 99, 100)]
    assert found == sorted(found)
    assert found[-1] <= latencies.max == max(values)
    assert latencies.count == len(values)


def test_many_latencies_need_no_more_memory_than_few() -> None:
    latencies = measured(0.001 + number % 997 / 997 for number in range(20_000))
    assert latencies.count == 20_000
    assert len(latencies._buckets) < 400


def test_without_requests_there_is_no_latency() -> None:
    latencies = Latencies()
    assert latencies.percentile(50) is None
    assert repr(latencies) == "<Latencies of 0 requests>"


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def pass_(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    fake = SimpleNamespace(monotonic=lambda: clock.now)
    monkeypatch.setattr("bulkload.report.meter.time", fake)
    return clock


def test_a_sample_counts_what_came_since_the_last_one(clock: Clock) -> None:
    meter = Meter()
    meter.add([0.1, 0.3])
    clock.pass_(2)
    first = meter.sample(
        Counts(accepted=10, rejected=2, throttled=3, failed=1), held={}, processor=0.0, is_reading=True
    )
    clock.pass_(1)
    second = meter.sample(
        Counts(accepted=15, rejected=2, throttled=3, failed=4), held={}, processor=0.0, is_reading=True
    )
    assert (first.accepted, first.throttled, first.failed, first.rate) == (10, 3, 1, 8.0)
    assert first.p50 == pytest.approx(0.1, rel=0.02)
    assert first.p99 == pytest.approx(0.3, rel=0.02)
    assert (second.accepted, second.throttled, second.failed, second.rate) == (5, 0, 3, 8.0)
    assert (second.p50, second.p99) == (None, None)
    assert (meter.peak, meter.elapsed) == (8.0, 3.0)
    assert meter.latencies.count == 2


def test_a_short_last_slice_makes_no_peak(clock: Clock) -> None:
    meter = Meter()
    clock.pass_(1)
    meter.sample(Counts(accepted=100), held={}, processor=0.0, is_reading=True)
    clock.pass_(0.01)
    meter.sample(Counts(accepted=150), held={}, processor=0.0, is_reading=True)
    assert meter.peak == 100
    clock.pass_(0)
    assert meter.sample(Counts(accepted=150), held={}, processor=0.0, is_reading=True).rate == 0


@pytest.mark.parametrize(
    ("held", "busy", "is_reading", "limit"),
    [
        ({}, 0.1, True, "hub latency"),
        ({"in flight": 0.8, "nothing to send": 0.1}, 0.1, True, "hub latency"),
        ({"nothing to send": 0.8, "in flight": 0.1}, 0.1, True, "reader"),
        ({"nothing to send": 0.8}, 0.1, False, "hub latency"),
        ({"nothing to send": 0.8}, 0.9, True, "processor"),
        ({"in flight": 0.8}, 0.9, True, "processor"),
        ({"ramp": 0.8}, 0.1, True, "hub latency"),
        ({"cap": 0.5, "in flight": 0.4}, 0.9, True, "cap"),
        ({"throttling": 0.5, "cap": 0.4}, 0.9, True, "throttling"),
    ],
)
def test_what_limits_a_second_is_told(
    clock: Clock, held: dict[Constraint, float], busy: float, is_reading: bool, limit: str
) -> None:
    meter = Meter()
    assert meter.limited_by is None
    clock.pass_(1)
    meter.sample(Counts(accepted=50), held=held, processor=busy, is_reading=is_reading)
    assert meter.limited_by == limit


def test_each_second_is_limited_by_what_came_in_it(clock: Clock) -> None:
    meter = Meter()
    seconds: list[dict[Constraint, float]] = [
        {"cap": 0.9},
        {"cap": 0.9, "throttling": 0.8},
        {"cap": 0.9, "throttling": 1.7},
    ]
    for held in seconds:
        clock.pass_(1)
        meter.sample(Counts(accepted=50), held=held, processor=0.0, is_reading=True)
    assert meter.limited_by == "throttling"


def shape(document: dict[str, Any]) -> dict[str, list[str] | None]:
    return {key: list(value) if isinstance(value, dict) else None for key, value in document.items()}


def test_the_summary_s_keys_are_those_of_the_contract_in_their_order() -> None:
    text = COMPLETE.to_json()
    assert b"\n" not in text
    document = orjson.loads(text)
    assert document == COMPLETE.to_dict()
    assert shape(document) == KEYS
    assert list(document) == list(KEYS)
    for key, inner in KEYS.items():
        assert inner is None or list(document[key]) == inner


def test_the_summary_s_values_are_plain() -> None:
    document = COMPLETE.to_dict()
    assert document["schema"] == 1
    assert (document["outcome"], document["exit_code"], document["reason"]) == ("complete", 0, None)
    assert document["records"]["accepted"] == 1234567
    assert document["requests"] == {"sent": 1234570, "throttled": 2, "retried": 1, "failed": 1}
    assert document["latency"]["p99"] == 0.1234
    assert document["sources"] == ["devices.ndjson"]
    assert document["dead_letters"] is None


def session(**fields: Any) -> Session:
    return Session(1, "wire", "2026-01-02T03:04:05.000Z", **{"resume": "bulkload load x", **fields})


def state(totals: dict[Outcome, int], **fields: Any) -> State:
    given: dict[str, Any] = {
        "run": RUN,
        "marks": (Mark(START, 3, 4, 20),),
        "totals": dict.fromkeys(Outcome, 0) | totals,
        "finished_at": None,
        "session": None,
    }
    return State(**(given | fields))


def test_a_ledger_alone_tells_the_records() -> None:
    marks = (Mark(START, 3, 4, 20), Mark(START, 0, 1, 7))
    totals = {outcome: number for number, outcome in enumerate(Outcome, start=1)}
    summary = summarize(state(totals, marks=marks), ledger=Path("x.ledger"))
    assert summary.records == Records(
        read=27, accepted=1, invalid=2, rejected=3, exhausted=4, superseded=5, filtered=5, pending=12, skipped=None
    )
    assert (summary.requests, summary.rate, summary.latency) == (Requests(), Rate(), Latency())


def test_a_run_without_an_end_is_stopped_and_can_be_continued() -> None:
    summary = summarize(state({}, session=session()), ledger=Path("x.ledger"))
    assert (summary.outcome, summary.exit_code, summary.resume) == ("stopped", 5, "bulkload load x")
    assert summary.reason == "a session is running, or was killed"


def test_a_stopped_run_tells_why() -> None:
    ended = session(ended_at="2026-01-02T03:05:05.000Z", outcome="stopped", exit_code=4, reason="the hub refuses")
    summary = summarize(state({}, session=ended), ledger=Path("x.ledger"))
    assert (summary.outcome, summary.exit_code, summary.reason) == ("stopped", 4, "the hub refuses")
    assert summary.resume == "bulkload load x"


@pytest.mark.parametrize(
    ("totals", "outcome", "exit_code"),
    [
        ({}, "complete", 0),
        ({Outcome.ACCEPTED: 12, Outcome.SUPERSEDED: 8}, "complete", 0),
        ({Outcome.ACCEPTED: 19, Outcome.INVALID: 1}, "partial", 1),
        ({Outcome.ACCEPTED: 19, Outcome.REJECTED: 1}, "partial", 1),
        ({Outcome.ACCEPTED: 19, Outcome.EXHAUSTED: 1}, "partial", 1),
    ],
)
def test_a_finished_run_has_the_exit_code_that_its_counts_deserve(
    totals: dict[Outcome, int], outcome: str, exit_code: int
) -> None:
    done = state(totals, finished_at="2026-01-02T03:04:05.000Z", session=session())
    summary = summarize(done, ledger=Path("x.ledger"))
    assert (summary.outcome, summary.exit_code, summary.reason, summary.resume) == (outcome, exit_code, None, None)
    assert summary == finished(summary, is_clean=exit_code == 0)


async def kept(path: Path, settlements: list[Settlement], *, exit_code: int | None = None) -> None:
    """Leave a ledger behind with these settlements, and the end of its session where there is one."""
    with closing(Ledger(path, RUN)) as ledger:
        begun = ledger.begin_session(version="1", transport="wire", resume="bulkload load devices.ndjson")
        writer = Writer(ledger.connection, path, lambda _: None)
        mark = Mark(START, 0, 0, len(settlements))
        writer.post(Commit(begun.number, settlements, {0: mark}, [], len(settlements), 0, 0, 0))
        await writer.close()
        if exit_code is not None:
            ledger.end_session(begun, outcome="stopped" if exit_code else "complete", exit_code=exit_code, reason="why")


def settled(position: int, outcome: Outcome = Outcome.ACCEPTED, detail: str | None = None) -> Settlement:
    return Settlement(0, position, f"id-{position}", outcome, 200, 1, 0.04, 1_700_000_000.0, detail)


async def test_the_status_of_a_ledger_has_the_same_keys_and_null_where_only_a_session_knows(tmp_path: Path) -> None:
    path = tmp_path / "x.ledger"
    await kept(path, [settled(0), settled(1)])
    document = orjson.loads(status(path).to_json())
    assert list(document) == list(KEYS)
    for key in ("rate", "latency", "requests"):
        assert document[key] == dict.fromkeys(KEYS[key] or ())
    assert document["elapsed"] is document["limited_by"] is document["processes"] is document["dead_letters"] is None
    assert list(document["records"]) == KEYS["records"]
    assert document["records"]["skipped"] is None
    assert document["records"]["accepted"] == document["records"]["read"] == 2
    assert (document["sources"], document["ledger"]) == (["devices.ndjson"], str(path))
    assert document["resume"] == "bulkload load devices.ndjson"


@pytest.mark.parametrize(
    ("exit_code", "outcome", "reason"),
    [(None, "stopped", "a session is running, or was killed"), (5, "stopped", "why"), (0, "complete", None)],
)
async def test_a_status_tells_how_the_last_session_ended(
    tmp_path: Path, exit_code: int | None, outcome: str, reason: str | None
) -> None:
    path = tmp_path / "x.ledger"
    await kept(path, [settled(0)], exit_code=exit_code)
    summary = status(str(path))
    assert (summary.outcome, summary.reason) == (outcome, reason)
    assert summary.exit_code == (5 if exit_code is None else exit_code)


def test_the_status_of_what_is_no_ledger_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        status(tmp_path / "x.ledger")


def test_a_complete_run_is_described_in_a_few_lines() -> None:
    assert describe(COMPLETE).splitlines() == [
        "complete in 25 min 20 s: 1,234,567 records settled",
        "  accepted      1,234,567  queued by the hub",
        (
            "requests: 1,234,570 sent, 812/s, 2 throttled, 1 retried, 1 failed, p50 41.2 ms, p99 123.4 ms, "
            "limited by hub latency"
        ),
        "ledger: devices.ndjson.ledger",
    ]


def test_a_run_that_the_hub_throttled_tells_the_ceiling_that_was_found() -> None:
    throttled = replace(COMPLETE, limited_by="throttling", rate=replace(COMPLETE.rate, ceiling=997.6))
    assert describe(throttled).splitlines()[2].endswith("limited by throttling (the hub takes 998/s)")


def test_a_partial_run_says_how_to_see_what_failed() -> None:
    summary = replace(
        COMPLETE,
        outcome="partial",
        exit_code=1,
        records=Records(read=20, accepted=9, invalid=1, rejected=2, exhausted=3, superseded=5, filtered=6, skipped=12),
        requests=Requests(sent=8, throttled=0, retried=0, failed=0),
        latency=Latency(),
        limited_by=None,
        elapsed=3.14,
    )
    lines = describe(summary).splitlines()
    assert lines[:-2] == [
        "partial in 3.1 s: 20 records settled (12 of them earlier), 6 failed",
        "  accepted              9  queued by the hub",
        "  superseded            5  replaced by a later record of the same id",
        "  invalid               1  never sent: broken",
        "  rejected              2  refused by the hub",
        "  exhausted             3  every attempt failed",
        "  filtered              6  left out by the mapping",
        "requests: 8 sent, 812/s",
        "ledger: devices.ndjson.ledger",
    ]
    assert lines[-2].startswith("what failed: sqlite3 -readonly devices.ndjson.ledger ")
    assert lines[-1] == "to send what is exhausted again: bulkload retry devices.ndjson.ledger"
    assert describe(summary, can_retry=False).splitlines() == lines[:-1]


async def test_the_command_that_shows_what_failed_shows_it(tmp_path: Path) -> None:
    path = tmp_path / 'it\'s "mine" $HOME.ledger'
    bad = [Outcome.INVALID, Outcome.REJECTED, Outcome.EXHAUSTED]
    await kept(path, [settled(position, outcome) for position, outcome in enumerate(Outcome)], exit_code=5)
    (line,) = [line for line in describe(status(path)).splitlines() if line.startswith("what failed: ")]
    program, flag, ledger, query = shlex.split(line.removeprefix("what failed: "))
    assert (program, flag, ledger) == ("sqlite3", "-readonly", str(path))
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        shown = connection.execute(query)
        outcome = [column[0] for column in shown.description].index("outcome")
        assert [row[outcome] for row in shown] == [each.word for each in bad]


def test_a_stopped_run_says_why_and_what_to_type_next() -> None:
    summary = Summary(
        exit_code=5,
        reason="SIGINT was received",
        records=Records(read=100, accepted=60, pending=40, skipped=0),
        sources=("a",),
        ledger="a.ledger",
        resume="bulkload load a",
    )
    assert describe(summary).splitlines() == [
        "stopped: SIGINT was received",
        "  accepted             60  queued by the hub",
        "  pending              40  read, not settled yet",
        "ledger: a.ledger",
        "to continue: bulkload load a",
    ]
    failed = replace(summary, records=replace(summary.records, rejected=1), elapsed=0.04)
    assert describe(failed).splitlines()[0] == "stopped in 0.0 s: SIGINT was received"
    assert any(line.startswith("what failed: ") for line in describe(failed).splitlines())


def test_a_run_in_which_nothing_was_accepted_says_so() -> None:
    nothing = Summary(outcome="complete", exit_code=0, records=Records(), sources=("a",), ledger="a.ledger")
    assert describe(nothing).splitlines() == [
        "complete: 0 records settled",
        "  accepted              0  queued by the hub",
        "ledger: a.ledger",
    ]


def test_one_record_is_one_record() -> None:
    one = Summary(outcome="complete", exit_code=0, records=Records(read=1, accepted=1), sources=("a",), ledger="l")
    assert describe(one).splitlines()[0] == "complete: 1 record settled"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "0.0 s"),
        (0.84, "0.8 s"),
        (9.94, "9.9 s"),
        (10.4, "10 s"),
        (42.0, "42 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (200.0, "3 min 20 s"),
        (3599.4, "59 min 59 s"),
        (3599.6, "1 h 0 min"),
        (7500.0, "2 h 5 min"),
        (360_000.0, "100 h 0 min"),
        (9.96, "10 s"),
    ],
)
def test_a_duration_is_told_as_people_say_it(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@given(st.floats(0, 1e7))
def test_a_duration_is_never_told_with_sixty_of_anything(seconds: float) -> None:
    assert not re.match(r"60 (s|min)", duration(seconds))
    assert " 60 " not in duration(seconds)
