"""`bulkload.load` is the command's twin: the same runs, ledgers and summaries, from Python."""

import asyncio
import gc
import re
import shutil
import sqlite3
import threading
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import orjson
import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

import bulkload
from bulkload.emulator import Emulator
from bulkload.ledger import Commit, Ledger, Run, Writer
from bulkload.ledger.schema import connect as really_connect
from bulkload.pace import Pauses

Fields = dict[str, Any]

OK = web.Response


def device(number: int, **fields: Any) -> Fields:
    return {"installationId": f"device-{number}", "platform": "apns", "pushChannel": f"{number:064x}", **fields}


def devices(number: int, start: int = 0) -> list[Fields]:
    return [device(each) for each in range(start, start + number)]


def invalid(number: int) -> Fields:
    return {"installationId": f"device-{number}", "platform": "nokia", "pushChannel": "x"}


def file_of(path: Path, records: Iterable[Fields]) -> Path:
    path.write_bytes(b"".join(orjson.dumps(record) + b"\n" for record in records))
    return path


def size(path: Path) -> int:
    return path.stat().st_size


def lines_of(path: str) -> int:
    return Path(path).read_bytes().count(b"\n")


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def rows(ledger: str | Path, columns: str = "position, outcome") -> list[Any]:
    with closing(sqlite3.connect(ledger)) as connection:
        return connection.execute(f"SELECT {columns} FROM outcomes ORDER BY source, position").fetchall()


def assert_sound(summary: bulkload.Summary) -> None:
    """What holds for every summary, and that it says what its ledger shows."""
    records = summary.records
    settled = [records.accepted, records.invalid, records.rejected, records.exhausted, records.superseded]
    assert records.read == sum(settled) + records.pending
    assert min(settled) >= 0
    assert records.pending >= 0
    assert records.skipped is not None
    assert records.skipped <= records.read
    shown = Counter(outcome for _, outcome in rows(summary.ledger))
    assert settled == [shown[name] for name in ("accepted", "invalid", "rejected", "exhausted", "superseded")]
    requests = summary.requests
    assert requests.sent is not None
    assert requests.throttled is not None
    assert requests.failed is not None
    assert (summary.outcome == "stopped") == (summary.exit_code > 1)
    if records.skipped == 0 and "full" not in (summary.reason or ""):
        assert requests.sent == records.accepted + records.rejected + requests.throttled + requests.failed
    if summary.outcome != "stopped":
        assert records.pending == 0
        assert summary.exit_code == int(records.accepted + records.superseded != records.read)


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    async with Emulator(hub="devices") as emulator:
        yield emulator


@pytest.fixture
def hub(emulator: Emulator) -> bulkload.Hub:
    return bulkload.Hub.from_connection_string(emulator.connection_string)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Ten installations in a file."""
    return file_of(tmp_path / "devices.ndjson", devices(10))


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "own.ledger"


@dataclass
class ScriptedHub:
    """A hub on loopback whose answers are a script's; it keeps what it was sent, by id."""

    script: Callable[[str, int], web.Response] = lambda _id, _number: OK()
    bodies: defaultdict[str, list[bytes]] = field(default_factory=lambda: defaultdict(list))
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0

    def __post_init__(self) -> None:
        self.gate.set()

    @property
    def hub(self) -> bulkload.Hub:
        text = f"Endpoint=http://127.0.0.1:{self.port}/;SharedAccessKeyName=n;SharedAccessKey=k;EntityPath=devices"
        return bulkload.Hub.from_connection_string(text)

    @property
    def sent(self) -> int:
        return sum(map(len, self.bodies.values()))

    async def handle(self, request: web.BaseRequest) -> web.Response:
        name = request.path.rpartition("/")[2]
        self.bodies[name].append(await request.read())
        number = self.sent
        await self.gate.wait()
        return self.script(name, number)


@asynccontextmanager
async def scripted(
    script: Callable[[str, int], web.Response] = lambda _id, _number: OK(),
) -> AsyncIterator[ScriptedHub]:
    made = ScriptedHub(script)
    runner = web.ServerRunner(web.Server(made.handle, access_log=None), shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        made.port = runner.addresses[0][1]
        yield made
    finally:
        made.gate.set()
        await runner.cleanup()


async def until(holds: Callable[[], bool]) -> None:
    for _ in range(2000):
        if holds():
            return
        await asyncio.sleep(0.005)
    raise TimeoutError


async def test_a_file_is_loaded_and_the_summary_says_how(emulator: Emulator, source: Path) -> None:
    summary = await bulkload.load(source, hub=emulator.hub)
    assert_sound(summary)
    assert (summary.outcome, summary.exit_code, summary.reason, summary.resume) == ("complete", 0, None, None)
    assert summary.records == bulkload.Records(read=10, accepted=10, skipped=0)
    assert summary.requests == bulkload.Requests(sent=10, throttled=0, retried=0, failed=0)
    assert (summary.sources, summary.ledger) == ((str(source),), f"{source}.ledger")
    assert (summary.transport, summary.processes, summary.schema) == ("wire", 1, 1)
    assert {orjson.loads(body)["installationId"] for body in emulator.installations.values()} == {
        f"device-{number}" for number in range(10)
    }
    assert names(source.parent) == ["devices.ndjson", "devices.ndjson.ledger"]


async def test_every_public_name_has_a_type_that_its_users_can_name(hub: bulkload.Hub, source: Path) -> None:
    settings: bulkload.Settings = bulkload.Settings(workers=2, rate=10_000.0, max_errors="5%", limit=100)
    loader: bulkload.Loader = bulkload.Loader([source], hub=hub, settings=settings)
    before: bulkload.Progress = loader.progress
    assert (before.settled, before.accepted, before.in_flight, before.consumed) == (0, 0, 0, 0)
    summary: bulkload.Summary = await loader.run()
    records: bulkload.Records = summary.records
    requests: bulkload.Requests = summary.requests
    rate: bulkload.Rate = summary.rate
    latency: bulkload.Latency = summary.latency
    after: bulkload.Progress = loader.progress
    assert records.read == requests.sent == after.settled == after.accepted == 10
    assert after.consumed == after.size == size(source)
    assert rate.cap == 10_000.0
    assert rate.mean is not None
    assert rate.mean > 0
    assert latency.p50 is not None
    assert latency.max is not None
    assert 0 < latency.p50 <= latency.max
    assert bulkload.status(summary.ledger).records == replace(records, skipped=None)
    for error, exit_code in ((bulkload.InputError, 2), (bulkload.Halt, 4), (bulkload.LedgerLocked, 75)):
        assert issubclass(error, bulkload.BulkloadError)
        assert error.exit_code == exit_code


async def test_what_failed_is_sent_again_with_the_run_s_own_mapping(tmp_path: Path) -> None:
    def renamed(fields: Fields) -> Iterator[Fields]:
        yield {**fields, "installationId": f"x-{fields['installationId']}"}

    ledger = tmp_path / "l"
    async with scripted(lambda _id, number: web.Response(status=500 if number < 3 else 200)) as server:
        loaded = await bulkload.load(devices(2), hub=server.hub, ledger=ledger, transform=renamed, max_attempts=1)
        assert (loaded.exit_code, loaded.records.exhausted) == (1, 2)
        with pytest.raises(bulkload.InputError, match=r"the Python function .*renamed; give it as transform"):
            await bulkload.retry_failed(ledger, hub=server.hub)
        summary = await bulkload.retry_failed(ledger, hub=server.hub, transform=renamed, workers=2)
        assert_sound(replace(summary, requests=replace(summary.requests, sent=2)))
        assert (summary.exit_code, summary.records.accepted, summary.records.skipped) == (0, 2, 0)
        assert server.bodies.keys() == {"x-device-0", "x-device-1"}
        retrier = bulkload.Retrier(ledger, hub=server.hub, rejected=True)
        assert (await retrier.run()).requests.sent == retrier.progress.settled == 0


async def test_a_retry_of_several_iterables_is_refused(tmp_path: Path) -> None:
    ledger = tmp_path / "l"
    async with scripted(lambda _id, _number: web.Response(status=500)) as server:
        await bulkload.load(devices(1), devices(1, 1), hub=server.hub, ledger=ledger, max_attempts=1)
        with pytest.raises(bulkload.InputError, match="several sources called iterable"):
            await bulkload.retry_failed(ledger, hub=server.hub)


async def test_a_retry_that_is_stopped_leaves_the_rest_exhausted(tmp_path: Path, source: Path) -> None:
    async with scripted(lambda _id, _number: web.Response(status=500)) as server:
        loaded = await bulkload.load(source, hub=server.hub, max_attempts=1)
        server.script = lambda _id, _number: OK()
        retrier = bulkload.Retrier(loaded.ledger, hub=server.hub, flags={"workers": 1}, resume="again")
        server.gate.clear()
        running = asyncio.create_task(retrier.run())
        await until(lambda: server.sent == 11)
        retrier.stop(5, "enough")
        server.gate.set()
        summary = await running
        assert (summary.exit_code, summary.reason, summary.resume) == (5, "enough", "again")
        assert (summary.records.accepted, summary.records.exhausted, summary.records.skipped) == (1, 9, 9)
        assert lines_of(f"{loaded.ledger}.dead.ndjson") == 9
        assert (await bulkload.retry_failed(loaded.ledger, hub=server.hub)).exit_code == 0
        assert server.sent == 20


def test_the_library_s_tests_use_every_public_name() -> None:
    files = map(Path(__file__).with_name, ("test_library.py", "test_operations.py"))
    text = "".join(file.read_text(encoding="utf-8") for file in files)
    assert [name for name in bulkload.__all__ if not re.search(rf"\bbulkload\.{name}\b", text)] == []
    assert all(hasattr(bulkload, name) for name in bulkload.__all__)


def test_the_package_says_that_it_is_typed() -> None:
    assert Path(bulkload.__file__).with_name("py.typed").exists()


async def test_several_files_and_globs_are_loaded_in_order(emulator: Emulator, tmp_path: Path) -> None:
    for name, start in (("b", 0), ("part-2", 10), ("part-1", 20)):
        file_of(tmp_path / f"{name}.ndjson", [device(0, own=name), *devices(3, start)])
    summary = await bulkload.load(tmp_path / "b.ndjson", str(tmp_path / "part-*.ndjson"), hub=emulator.hub)
    assert_sound(summary)
    names = [f"{tmp_path}/{name}.ndjson" for name in ("b", "part-1", "part-2")]
    assert (list(summary.sources), summary.ledger) == (names, f"{names[0]}.ledger")
    assert summary.records.read == 12
    assert len(emulator.installations) == 9
    assert [row[0] for row in rows(summary.ledger, "source")] == [name for name in names for _ in range(4)]
    # The last of all sources decides.
    assert orjson.loads(emulator.installations["device-0"])["own"] == "part-2"


async def generated() -> AsyncIterator[Fields]:
    for each in devices(5):
        yield each
        await asyncio.sleep(0)


SOURCES: dict[str, Callable[[], Any]] = {
    "list": lambda: devices(5),
    "tuple": lambda: tuple(devices(5)),
    "generator": lambda: (device(number) for number in range(5)),
    "async generator": generated,
    "json texts": lambda: [orjson.dumps(each).decode() for each in devices(5)],
    "json bytes": lambda: map(orjson.dumps, devices(5)),
    "other mappings": lambda: map(MappingProxyType, devices(5)),
    "mixed": lambda: [device(0), orjson.dumps(device(1)), orjson.dumps(device(2)).decode(), *devices(2, 3)],
}


@pytest.mark.parametrize("kind", SOURCES)
async def test_an_iterable_is_a_source(emulator: Emulator, ledger: Path, kind: str) -> None:
    summary = await bulkload.load(SOURCES[kind](), hub=emulator.hub, ledger=ledger)
    assert_sound(summary)
    assert (summary.exit_code, summary.records.accepted, summary.sources) == (0, 5, ("iterable",))
    assert {name: orjson.loads(body) for name, body in emulator.installations.items()} == {
        each["installationId"]: each for each in devices(5)
    }


async def test_files_and_iterables_may_be_mixed(emulator: Emulator, source: Path) -> None:
    summary = await bulkload.load(source, devices(5, 100), iter(devices(5, 200)), hub=emulator.hub)
    assert_sound(summary)
    assert (summary.sources, summary.ledger) == ((str(source), "iterable", "iterable"), f"{source}.ledger")
    assert len(emulator.installations) == 20


@pytest.mark.parametrize("kind", ["list", "generator", "async generator"])
async def test_an_iterable_needs_a_ledger(hub: bulkload.Hub, kind: str) -> None:
    with pytest.raises(bulkload.InputError, match="have no name for a ledger; name one with --ledger"):
        await bulkload.load(SOURCES[kind](), hub=hub)


async def test_a_text_is_sent_byte_for_byte(emulator: Emulator, ledger: Path) -> None:
    text = '{ "installationId":"a",  "platform":"gcm", "pushChannel":"x", "own":"é" }'
    await bulkload.load([text], hub=emulator.hub, ledger=ledger)
    assert emulator.installations["a"] == text.encode()


@pytest.mark.parametrize(
    ("kind", "settled"),
    [("empty list", []), ("empty file", b""), ("blank lines", b"\n \r\n\n")],
    ids=str,
)
async def test_an_empty_source_is_complete(
    hub: bulkload.Hub, tmp_path: Path, ledger: Path, kind: str, settled: Any
) -> None:
    source = settled
    if isinstance(settled, bytes):
        source = tmp_path / kind
        source.write_bytes(settled)
    for _ in range(2):
        summary = await bulkload.load(source, hub=hub, ledger=ledger)
        assert_sound(summary)
        assert (summary.outcome, summary.exit_code, summary.records.read) == ("complete", 0, 0)


async def test_a_finished_run_has_nothing_to_do(emulator: Emulator, source: Path) -> None:
    await bulkload.load(source, hub=emulator.hub)
    seen = emulator.requests.seen
    summary = await bulkload.load(source, hub=emulator.hub)
    assert_sound(summary)
    assert (summary.outcome, summary.exit_code) == ("complete", 0)
    assert summary.records == bulkload.Records(read=10, accepted=10, skipped=10)
    assert summary.requests == bulkload.Requests(sent=0, throttled=0, retried=0, failed=0)
    assert emulator.requests.seen == seen


async def test_a_finished_run_keeps_the_code_that_its_counts_deserve(hub: bulkload.Hub, ledger: Path) -> None:
    source = [device(0), invalid(1)]
    summaries = [await bulkload.load(source, hub=hub, ledger=ledger) for _ in range(2)]
    assert [(summary.outcome, summary.exit_code) for summary in summaries] == [("partial", 1)] * 2
    assert_sound(summaries[1])


@pytest.mark.parametrize("kind", ["file", "list", "async"])
async def test_a_limited_run_goes_on_where_it_stopped(
    emulator: Emulator, source: Path, ledger: Path, kind: str
) -> None:
    async def feed() -> AsyncIterator[Fields]:
        for each in devices(10):
            yield each

    async def load(limit: int | None) -> bulkload.Summary:
        given: dict[str, Any] = {"file": source, "list": devices(10), "async": feed()}
        summary = await bulkload.load(given[kind], hub=emulator.hub, ledger=ledger, limit=limit)
        assert_sound(summary)
        return summary

    first, second, third = await load(3), await load(4), await load(None)
    assert (first.outcome, first.exit_code, first.reason) == ("stopped", 5, "--limit 3 is reached")
    assert first.records == bulkload.Records(read=3, accepted=3, skipped=0)
    assert second.records == bulkload.Records(read=7, accepted=7, skipped=3)
    assert second.exit_code == 5
    assert third.records == bulkload.Records(read=10, accepted=10, skipped=7)
    assert (third.outcome, third.exit_code, third.reason, third.requests.sent) == ("complete", 0, None, 3)
    assert emulator.requests.accepted == len(emulator.installations) == 10


async def test_a_limit_that_is_not_passed_does_not_stop(hub: bulkload.Hub, source: Path) -> None:
    summary = await bulkload.load(source, hub=hub, limit=10)
    assert (summary.outcome, summary.exit_code) == ("complete", 0)


@pytest.mark.parametrize("kind", ["file", "list", "async generator"])
async def test_too_few_records_are_refused_before_anything_is_sent(
    emulator: Emulator, source: Path, ledger: Path, kind: str
) -> None:
    given = source if kind == "file" else SOURCES[kind]()
    with pytest.raises(bulkload.InputError) as refusal:
        await bulkload.load(given, hub=emulator.hub, ledger=ledger, min_records=11)
    found = 10 if kind == "file" else 5
    assert str(refusal.value) == (
        f"the source has only {found} records, --min-records wants 11; nothing was sent, check the export"
    )
    assert emulator.requests.seen == 0
    assert ledger.name not in names(ledger.parent)


@pytest.mark.parametrize("kind", ["generator", "async generator", "list"])
async def test_what_was_counted_is_loaded(emulator: Emulator, ledger: Path, kind: str) -> None:
    summary = await bulkload.load(SOURCES[kind](), hub=emulator.hub, ledger=ledger, min_records=5)
    assert (summary.exit_code, summary.records.accepted) == (0, 5)


async def test_the_records_of_all_sources_count(hub: bulkload.Hub, source: Path, ledger: Path) -> None:
    summary = await bulkload.load(source, devices(5, 20), hub=hub, ledger=ledger, min_records=15)
    assert summary.exit_code == 0


async def test_more_failures_than_allowed_stop_the_run(emulator: Emulator, ledger: Path) -> None:
    source = [device(0), *(invalid(number) for number in range(1, 9)), device(9)]
    summary = await bulkload.load(source, hub=emulator.hub, ledger=ledger, max_errors=3)
    assert_sound(summary)
    assert (summary.outcome, summary.exit_code, summary.records.invalid) == ("stopped", 3, 4)
    assert summary.reason is not None
    assert summary.reason.startswith("--max-errors 3 is passed: 4 of ")
    # Those of an earlier session do not count.
    summary = await bulkload.load(source, hub=emulator.hub, ledger=ledger, max_errors=4)
    assert (summary.exit_code, summary.records.invalid, summary.records.accepted) == (1, 8, 2)
    assert_sound(summary)


async def test_a_part_of_failures_stops_the_run_from_the_thousandth_record_on(hub: bulkload.Hub, ledger: Path) -> None:
    source = [invalid(number) for number in range(1500)]
    summary = await bulkload.load(source, hub=hub, ledger=ledger, max_errors="50%")
    assert_sound(summary)
    assert (summary.exit_code, summary.records.invalid) == (3, 1000)


async def test_fewer_failures_than_allowed_stop_nothing(hub: bulkload.Hub, ledger: Path) -> None:
    source = [device(number) if number % 10 else invalid(number) for number in range(1200)]
    summary = await bulkload.load(source, hub=hub, ledger=ledger, max_errors="10%")
    assert_sound(summary)
    assert (summary.outcome, summary.exit_code, summary.records.invalid) == ("partial", 1, 120)


async def test_a_time_limit_stops_softly_and_the_next_call_completes(emulator: Emulator, ledger: Path) -> None:
    summary = await bulkload.load(devices(300), hub=emulator.hub, ledger=ledger, rate=50, max_duration=0.5)
    assert_sound(summary)
    assert (summary.outcome, summary.exit_code, summary.reason) == ("stopped", 5, "--max-duration 0.5 s is over")
    assert 0 < summary.records.accepted < 100
    summary = await bulkload.load(devices(300), hub=emulator.hub, ledger=ledger)
    assert_sound(summary)
    assert (summary.exit_code, summary.records.accepted) == (0, 300)
    # What had been sent was answered within the grace, so nothing went twice.
    assert emulator.requests.accepted == 300


@pytest.mark.parametrize("given", [0, 1, 150])
async def test_a_stop_ends_the_wait_for_a_silent_source(hub: bulkload.Hub, ledger: Path, given: int) -> None:
    is_silent = asyncio.Event()

    async def falls_silent() -> AsyncIterator[Fields]:
        for each in devices(given):
            yield each
        is_silent.set()
        await asyncio.Event().wait()

    # What tells an iterable apart are its first hundred records: nothing is sent before they are there.
    wanted = given if given >= 100 else 0
    loader = bulkload.Loader([falls_silent()], hub=hub, ledger=ledger)
    running = asyncio.create_task(loader.run())
    await is_silent.wait()
    await until(lambda: loader.progress.settled == wanted)
    loader.stop(5, "enough")
    async with asyncio.timeout(10):
        summary = await running
    assert (summary.outcome, summary.exit_code, summary.reason) == ("stopped", 5, "enough")
    assert summary.records == replace(bulkload.Records(), read=wanted, accepted=wanted, skipped=summary.records.skipped)


async def test_a_stop_ends_the_wait_for_a_source_that_blocks(hub: bulkload.Hub, ledger: Path) -> None:
    release = threading.Event()

    def blocks() -> Iterator[Fields]:
        yield from devices(300)
        release.wait(20)

    loader = bulkload.Loader([blocks()], hub=hub, ledger=ledger)
    running = asyncio.create_task(loader.run())
    try:
        await until(lambda: loader.progress.settled >= 256)
        loader.stop(5, "enough")
        async with asyncio.timeout(10):
            summary = await running
    finally:
        release.set()
    assert_sound(summary)
    assert (summary.exit_code, summary.reason) == (5, "enough")


async def test_a_time_limit_also_ends_the_wait_for_a_ledger(hub: bulkload.Hub, source: Path, ledger: Path) -> None:
    with closing(Ledger(ledger, Run("h/d", ("x",), ("y",)))):
        summary = await bulkload.load(source, hub=hub, ledger=ledger, wait_lock=60, max_duration=0.1)
    assert (summary.exit_code, summary.reason) == (5, "--max-duration 0.1 s is over")


@pytest.mark.parametrize("given", [0, 1, 99, 100, 299, 600])
@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_what_a_source_gave_before_it_failed_is_kept_and_the_exception_surfaces(
    emulator: Emulator, ledger: Path, given: int, kind: str
) -> None:
    failure = RuntimeError("the database went away")

    def fails() -> Iterator[Fields]:
        yield from devices(given)
        raise failure

    async def fails_too() -> AsyncIterator[Fields]:
        for each in devices(given):
            yield each
        raise failure

    with pytest.raises(RuntimeError) as raised:
        await bulkload.load(fails() if kind == "sync" else fails_too(), hub=emulator.hub, ledger=ledger)
    assert raised.value is failure
    assert len(emulator.installations) == given
    if given:
        assert rows(ledger) == [(position, "accepted") for position in range(given)]
    if given >= 100:
        # Its first hundred records tell that it is the same.
        summary = await bulkload.load(devices(given + 10), hub=emulator.hub, ledger=ledger)
        assert (summary.exit_code, summary.records.skipped, summary.records.accepted) == (0, given, given + 10)


async def test_an_exception_of_a_source_keeps_its_cause(hub: bulkload.Hub, ledger: Path) -> None:
    async def fails() -> AsyncIterator[Fields]:
        for each in devices(200):
            yield each
        raise RuntimeError("no more rows") from ConnectionResetError("by peer")

    with pytest.raises(RuntimeError) as raised:
        await bulkload.load(fails(), hub=hub, ledger=ledger)
    assert isinstance(raised.value.__cause__, ConnectionResetError)


async def test_a_group_that_a_source_raises_stays_a_group(hub: bulkload.Hub, ledger: Path) -> None:
    group = ExceptionGroup("two shards failed", [RuntimeError("a"), RuntimeError("b")])

    async def fails() -> AsyncIterator[Fields]:
        for each in devices(200):
            yield each
        raise group

    with pytest.raises(ExceptionGroup) as raised:
        await bulkload.load(fails(), hub=hub, ledger=ledger)
    assert raised.value is group


async def test_a_source_may_say_by_a_halt_that_it_breaks_off(hub: bulkload.Hub, ledger: Path) -> None:
    async def breaks_off() -> AsyncIterator[Fields]:
        for each in devices(200):
            yield each
        raise bulkload.Halt("the export breaks off")

    summary = await bulkload.load(breaks_off(), hub=hub, ledger=ledger)
    assert_sound(summary)
    assert (summary.outcome, summary.exit_code, summary.reason) == ("stopped", 4, "the export breaks off")
    assert summary.records.accepted == 200


async def test_a_database_cursor_that_may_be_read_in_any_thread_is_a_source(emulator: Emulator, ledger: Path) -> None:
    with closing(sqlite3.connect(":memory:", check_same_thread=False)) as database:
        database.execute("CREATE TABLE devices (number INTEGER)")
        database.executemany("INSERT INTO devices VALUES (?)", [(number,) for number in range(20)])
        found = database.execute("SELECT number FROM devices")
        summary = await bulkload.load((device(number) for (number,) in found), hub=emulator.hub, ledger=ledger)
    assert_sound(summary)
    assert summary.records.accepted == 20


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_stopped_load_lets_its_source_clean_up(hub: bulkload.Hub, ledger: Path, kind: str) -> None:
    is_closed = threading.Event()

    def feed() -> Iterator[Fields]:
        try:
            yield from devices(5000)
        finally:
            is_closed.set()

    async def feed_too() -> AsyncIterator[Fields]:
        try:
            for each in devices(5000):
                yield each
        finally:
            is_closed.set()

    await bulkload.load(feed() if kind == "sync" else feed_too(), hub=hub, ledger=ledger, limit=1)
    try:
        assert is_closed.wait(5)
    finally:
        # Whatever was left open closes here, and not within another test.
        gc.collect()
        await asyncio.sleep(0)


async def test_a_cancelled_load_keeps_what_was_settled(ledger: Path) -> None:
    async with scripted() as server:
        release, given = asyncio.Event(), devices(200)

        async def feed() -> AsyncIterator[Fields]:
            for each in given[:150]:
                yield each
            await release.wait()
            for each in given[150:]:
                yield each

        loading = asyncio.create_task(bulkload.load(feed(), hub=server.hub, ledger=ledger))
        await until(lambda: server.sent == 150)
        await until(lambda: ledger.exists() and bulkload.status(ledger).records.accepted == 150)
        server.gate.clear()
        release.set()
        await until(lambda: server.sent > 150)
        loading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await loading
        state = bulkload.status(ledger)
        assert (state.outcome, state.exit_code, state.records.accepted) == ("stopped", 5, 150)
        server.gate.set()
        summary = await bulkload.load(given, hub=server.hub, ledger=ledger)
        assert_sound(summary)
        assert summary.records == bulkload.Records(read=200, accepted=200, skipped=150)
        assert all(len(server.bodies[f"device-{number}"]) == 1 for number in range(150))


async def test_a_load_that_is_cancelled_at_once_keeps_what_was_settled_in_the_last_moment(ledger: Path) -> None:
    async with scripted() as server:
        forever = asyncio.Event()

        async def feed() -> AsyncIterator[Fields]:
            for each in devices(120):
                yield each
            await forever.wait()

        loading = asyncio.create_task(bulkload.load(feed(), hub=server.hub, ledger=ledger))
        await until(lambda: server.sent == 120)
        loading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await loading
    # All were answered but for those on their way in this very moment.
    assert bulkload.status(ledger).records.accepted >= 120 - 64


async def test_a_load_that_is_cancelled_twice_keeps_what_was_settled(
    ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, disk = Writer._write, threading.Event()

    def write_slowly(writer: Writer, commit: Commit) -> None:
        disk.wait(10)
        write(writer, commit)

    monkeypatch.setattr(Writer, "_write", write_slowly)
    async with scripted() as server:
        loader = bulkload.Loader([devices(20)], hub=server.hub, ledger=ledger)

        def script(_: str, number: int) -> web.Response:
            # The last record's answer stays away.
            if number == 19:
                server.gate.clear()
            return OK()

        server.script = script
        loading = asyncio.create_task(loader.run())
        await until(lambda: loader.progress.settled >= 10)
        settled = loader.progress.settled
        # From a thread of its own, since a second cancellation may hold the loop until the disk has done its work.
        releasing = threading.Timer(0.1, disk.set)
        releasing.start()
        for _ in range(2):
            loading.cancel()
            for _ in range(10):
                await asyncio.sleep(0)
        releasing.join()
        with pytest.raises(asyncio.CancelledError):
            await loading
    assert bulkload.status(ledger).records.accepted >= settled


async def test_a_load_ends_with_its_timeout(ledger: Path) -> None:
    async with scripted() as server:
        server.gate.clear()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await bulkload.load(devices(5), hub=server.hub, ledger=ledger, grace=60)
    assert bulkload.status(ledger).records.accepted == 0


async def test_two_loads_run_side_by_side(emulator: Emulator, tmp_path: Path) -> None:
    summaries = await asyncio.gather(
        *(
            bulkload.load(devices(100, start), hub=emulator.hub, ledger=tmp_path / str(start))
            for start in (0, 1000, 2000)
        )
    )
    assert [summary.records.accepted for summary in summaries] == [100] * 3
    assert len(emulator.installations) == 300


async def test_one_ledger_is_for_one_load_at_a_time(ledger: Path) -> None:
    async with scripted() as server:
        server.gate.clear()
        first = asyncio.create_task(bulkload.load(devices(5), hub=server.hub, ledger=ledger))
        await until(lambda: server.sent > 0)
        with pytest.raises(bulkload.LedgerLocked, match="another run holds ledger"):
            await bulkload.load(devices(5), hub=server.hub, ledger=ledger)
        second = asyncio.create_task(bulkload.load(devices(5), hub=server.hub, ledger=ledger, wait_lock=30))
        server.gate.set()
        assert (await first).requests.sent == 5
        summary = await second
        assert_sound(summary)
        assert (summary.exit_code, summary.requests.sent, summary.records.skipped) == (0, 0, 5)


async def test_a_loader_can_be_stopped(ledger: Path) -> None:
    async with scripted() as server:
        loader = bulkload.Loader([devices(500)], hub=server.hub, ledger=ledger, resume="the same again")
        assert repr(loader) == f"<Loader iterable to {server.hub.identity}>"

        def script(_: str, number: int) -> web.Response:
            if number == 20:
                loader.stop(5, "enough")
            return OK()

        server.script = script
        summary = await loader.run()
    assert_sound(summary)
    assert (summary.outcome, summary.exit_code, summary.reason) == ("stopped", 5, "enough")
    assert summary.resume == "the same again"
    assert 20 <= summary.records.accepted < 500


async def test_the_ledger_s_session_counts_what_the_summary_counts(ledger: Path) -> None:
    async with scripted() as server:
        server.gate.clear()
        loader = bulkload.Loader(
            [devices(500)], hub=server.hub, ledger=ledger, settings=bulkload.Settings(workers=4, grace=0)
        )
        running = asyncio.create_task(loader.run())
        await until(lambda: server.sent == 1)
        loader.stop(5, "enough")
        requests = (await running).requests
    assert (requests.sent, requests.failed) == (1, 1)
    with closing(sqlite3.connect(ledger)) as connection:
        counted = connection.execute("SELECT sent, throttled, retried, failed FROM sessions").fetchall()
    assert counted == [(requests.sent, requests.throttled, requests.retried, requests.failed)]


@settings(max_examples=12, deadline=None)
@given(
    names=st.lists(st.sampled_from("abcdef"), min_size=1, max_size=60),
    interruptions=st.lists(st.tuples(st.sampled_from(["limit", "stop", "cancel"]), st.integers(1, 12)), max_size=4),
    workers=st.integers(1, 8),
)
async def test_however_often_a_run_is_interrupted_it_ends_as_one_that_was_not(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], interruptions: list[tuple[str, int]], workers: int
) -> None:
    source = [device(0, installationId=name, own=number) for number, name in enumerate(names)]
    ledger = tmp_path_factory.mktemp("run") / "own.ledger"
    async with scripted() as server:
        for kind, after in interruptions:
            limit = after if kind == "limit" else None
            loader = bulkload.Loader(
                [source], hub=server.hub, ledger=ledger, settings=bulkload.Settings(workers=workers, limit=limit)
            )
            loading = asyncio.create_task(loader.run())
            last = server.sent + after

            def interrupt(
                _: str, number: int, kind: str = kind, last: int = last, loading: Any = loading, loader: Any = loader
            ) -> web.Response:
                if number == last and kind == "stop":
                    loader.stop(5, "enough")
                if number == last and kind == "cancel":
                    loading.cancel()
                return OK()

            server.script = interrupt
            with suppress(asyncio.CancelledError):
                assert_sound(await loading)
        server.script = lambda _id, _number: OK()
        summary = await bulkload.load(source, hub=server.hub, ledger=ledger, workers=workers)
    assert_sound(summary)
    assert summary.exit_code == 0
    assert rows(ledger, "position, installation_id") == list(enumerate(names))
    assert {name: orjson.loads(bodies[-1])["own"] for name, bodies in server.bodies.items()} == {
        name: number for number, name in enumerate(names)
    }
    shutil.rmtree(ledger.parent)


async def test_a_loader_that_is_stopped_before_it_runs_sends_nothing(emulator: Emulator, source: Path) -> None:
    loader = bulkload.Loader([source], hub=emulator.hub)
    loader.stop(5, "no need")
    summary = await loader.run()
    assert (summary.outcome, summary.exit_code, summary.reason) == ("stopped", 5, "no need")
    assert emulator.requests.seen == 0


async def test_invalid_records_settle_as_such_with_their_line(hub: bulkload.Hub, tmp_path: Path) -> None:
    source = tmp_path / "devices.ndjson"
    good = orjson.dumps(device(0))
    source.write_bytes(b"\n".join([good, b"", b"{", orjson.dumps(invalid(7)), b"[]"]))
    summary = await bulkload.load(source, hub=hub)
    assert_sound(summary)
    assert (summary.outcome, summary.exit_code, summary.records.invalid) == ("partial", 1, 3)
    accepted, *flawed = rows(summary.ledger, "outcome, installation_id, status, attempts, detail")
    assert accepted == ("accepted", "device-0", 200, 1, None)
    assert [row[:4] for row in flawed] == [
        ("invalid", None, None, 0),
        ("invalid", "device-7", None, 0),
        ("invalid", None, None, 0),
    ]
    assert [row[4].split(": ")[:2] for row in flawed] == [
        ["line 3", "not-json"],
        ["line 4", "platform-unknown"],
        ["line 5", "not-an-object"],
    ]


@pytest.mark.parametrize(
    "element",
    [
        {"installationId": {1, 2}},
        {"x": ...},
        5,
        None,
        ["a"],
        "",
        b"",
        "nonsense",
        "\ud800",
        {1: 2},
        [("a", 1)],
        pytest.param(device(5, own="x" * 2**20), id="more than a mebibyte"),
    ],
    ids=repr,
)
async def test_whatever_an_iterable_gives_is_a_record(hub: bulkload.Hub, ledger: Path, element: Any) -> None:
    summary = await bulkload.load([device(0), element, device(1)], hub=hub, ledger=ledger)
    assert_sound(summary)
    assert (summary.exit_code, summary.records.accepted, summary.records.invalid) == (1, 2, 1)


async def test_the_last_of_several_records_of_an_id_decides(emulator: Emulator, ledger: Path) -> None:
    source = [device(number % 7, own=number) for number in range(200)]
    summary = await bulkload.load(source, hub=emulator.hub, ledger=ledger, workers=16)
    assert_sound(summary)
    assert summary.exit_code == 0
    assert summary.records.accepted + summary.records.superseded == 200
    assert summary.records.superseded > 0
    assert {name: orjson.loads(body)["own"] for name, body in emulator.installations.items()} == {
        f"device-{number % 7}": number for number in range(193, 200)
    }


async def test_rejected_and_exhausted_records_are_told_apart(ledger: Path) -> None:
    def script(name: str, _number: int) -> web.Response:
        if name == "device-1":
            return web.Response(
                status=400,
                text="<Error><Code>400</Code><Detail>Bad tag.</Detail></Error>",
                headers={"TrackingId": "t-1"},
            )
        return web.Response(status=500) if name == "device-2" else OK()

    async with scripted(script) as server:
        summary = await bulkload.load(devices(4), hub=server.hub, ledger=ledger, max_attempts=2)
    assert_sound(summary)
    assert summary.records == bulkload.Records(read=4, accepted=2, rejected=1, exhausted=1, skipped=0)
    assert summary.requests == bulkload.Requests(sent=5, throttled=0, retried=1, failed=2)
    assert (summary.outcome, summary.exit_code) == ("partial", 1)
    assert rows(ledger, "outcome, status, attempts, detail, tracking_id")[1:3] == [
        ("rejected", 400, 1, "400 Bad tag., TrackingId t-1", "t-1"),
        ("exhausted", 500, 2, "500 without a word", None),
    ]


async def test_throttles_are_counted_and_lose_nothing(ledger: Path) -> None:
    async with scripted(lambda _, number: web.Response(status=429) if number in (2, 3) else OK()) as server:
        summary = await bulkload.load(devices(10), hub=server.hub, ledger=ledger, workers=2, max_attempts=1)
    assert_sound(summary)
    assert summary.records.accepted == 10
    assert summary.requests == bulkload.Requests(sent=12, throttled=2, retried=0, failed=0)


async def test_how_a_hub_s_answers_are_understood_is_a_keyword(ledger: Path) -> None:
    traits = bulkload.Traits(throttle_statuses=(420,), retry_statuses=(404,), longest_retry_after=0.01)

    def script(_: str, number: int) -> web.Response:
        statuses = {2: 420, 3: 404}
        return web.Response(status=statuses[number], headers={"Retry-After": "99"}) if number in statuses else OK()

    async with scripted(script) as server:
        summary = await bulkload.load(devices(4), hub=server.hub, ledger=ledger, workers=1, traits=traits)
    assert_sound(summary)
    assert summary.records.accepted == 4
    assert summary.requests == bulkload.Requests(sent=6, throttled=1, retried=1, failed=1)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub that cannot be reached is given up without the rests between its tries."""
    monkeypatch.setattr("bulkload.upload.TO_REACH", Pauses(0.01, 0.01))


async def stopped(hub: bulkload.hub.Hub, source: Path, **flags: Any) -> str:
    """Load to a hub that refuses the run; returns why it stopped."""
    summary = await bulkload.load(source, hub=hub, **flags)
    assert_sound(summary)
    assert (summary.outcome, summary.exit_code) == ("stopped", 4)
    assert summary.records.pending == summary.records.read > 0
    assert summary.reason is not None
    assert "\n" not in summary.reason
    assert hub.key not in summary.reason
    assert bulkload.status(summary.ledger).exit_code == 4
    return summary.reason


async def completed(emulator: Emulator, source: Path) -> None:
    summary = await bulkload.load(source, hub=emulator.hub, ca_file=emulator.ca_file)
    assert_sound(summary)
    assert (summary.exit_code, summary.records.accepted, len(emulator.installations)) == (0, 10, 10)


async def test_a_wrong_key_stops_the_run_and_the_right_one_completes_it(emulator: Emulator, source: Path) -> None:
    reason = await stopped(replace(emulator.hub, key="wrong, but a secret"), source)
    assert reason.startswith("the hub refuses the key; check SharedAccessKeyName and SharedAccessKey")
    assert emulator.requests.seen <= 2
    await completed(emulator, source)


async def test_a_hub_that_is_not_there_yet_stops_the_run(source: Path) -> None:
    async with Emulator(hub="other") as other:
        reason = await stopped(replace(other.hub, name="devices"), source)
        assert reason.startswith("there is no such hub; check --hub and the Endpoint of the connection string")
        assert other.requests.seen == 1
    async with Emulator(hub="devices", port=int(other.hub.host.rpartition(":")[2])) as emulator:
        await completed(emulator, source)


@pytest.mark.usefixtures("impatient")
async def test_a_hub_that_does_not_listen_stops_the_run(source: Path) -> None:
    async with Emulator(hub="devices") as gone:
        pass
    reason = await stopped(gone.hub, source)
    assert reason.startswith("the hub cannot be reached: no connection: ")
    assert reason.endswith("; check the Endpoint of the connection string, and the network")
    async with Emulator(hub="devices", port=int(gone.hub.host.rpartition(":")[2])) as emulator:
        await completed(emulator, source)


async def test_a_policy_without_the_right_to_write_stops_the_run(
    emulator: Emulator, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bulkload.retry.history.REST_OF_BARE_403", 0.01)
    listening = bulkload.Hub.from_connection_string(emulator.listen_connection_string)
    reason = await stopped(listening, source)
    assert "no right to write" in reason
    await completed(emulator, source)


@pytest.mark.usefixtures("impatient")
async def test_tls_needs_the_authority_s_file(source: Path) -> None:
    async with Emulator(hub="devices", tls=True) as emulator:
        reason = await stopped(emulator.hub, source)
        assert "--ca-file" in reason
        assert emulator.requests.seen == 0
        await completed(emulator, source)


async def test_a_ca_file_that_is_none_is_refused(source: Path, tmp_path: Path) -> None:
    async with Emulator(hub="devices", tls=True) as emulator:
        with pytest.raises(bulkload.InputError, match=r"--ca-file .* cannot be used"):
            await bulkload.load(source, hub=emulator.hub, ca_file=tmp_path / "missing.pem")
        await completed(emulator, source)


async def test_another_hub_s_ledger_is_refused(emulator: Emulator, source: Path) -> None:
    await bulkload.load(source, hub=emulator.hub, limit=5)
    with pytest.raises(bulkload.InputError, match=r"belongs to hub 127\.0\.0\.1:\d+/devices, not .*/other;"):
        await bulkload.load(source, hub=replace(emulator.hub, name="other"))
    assert emulator.requests.seen == 5


async def test_a_changed_source_is_refused_or_begun_anew(emulator: Emulator, source: Path, tmp_path: Path) -> None:
    await bulkload.load(source, hub=emulator.hub)
    file_of(source, devices(12))
    with pytest.raises(bulkload.InputError, match=r"has changed since ledger .* --when-changed restart"):
        await bulkload.load(source, hub=emulator.hub)
    summary = await bulkload.load(source, hub=emulator.hub, when_changed="restart")
    assert_sound(summary)
    assert summary.records == bulkload.Records(read=12, accepted=12, skipped=0)
    (aside,) = set(names(tmp_path)) - {"devices.ndjson", "devices.ndjson.ledger"}
    assert bulkload.status(tmp_path / aside).records.accepted == 10


async def test_another_iterable_is_refused(hub: bulkload.Hub, ledger: Path) -> None:
    await bulkload.load(devices(10), hub=hub, ledger=ledger, limit=5)
    with pytest.raises(bulkload.InputError, match="iterable has changed since ledger"):
        await bulkload.load(devices(10, 50), hub=hub, ledger=ledger)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"workers": 0}, "--workers is at least 1"),
        ({"rate": 0}, "--rate is"),
        ({"rate": float("nan")}, "--rate is"),
        ({"max_attempts": 0}, "--max-attempts is at least 1"),
        ({"record_timeout": 0}, "--record-timeout is above 0"),
        ({"max_errors": "many"}, "--max-errors many is neither"),
        ({"max_errors": -1}, "--max-errors -1 is neither"),
        ({"max_errors": "101%"}, "--max-errors 101% is neither"),
        ({"max_errors": "nan%"}, "--max-errors nan% is neither"),
        ({"max_duration": 0}, "--max-duration is above 0"),
        ({"grace": -1}, "--grace is 0 or more"),
        ({"wait_lock": -1}, "--wait-lock is 0 or more"),
        ({"limit": 0}, "--limit is at least 1"),
        ({"min_records": -1}, "--min-records is 0 or more"),
        ({"when_changed": "ask"}, "--when-changed is refuse or restart"),
        ({"transport": "pigeon"}, "--transport is"),
        ({"api_version": "2015-01&x=y"}, "--api-version is"),
        ({"workers": "5"}, "--workers is at least 1, not '5'"),
        ({"traits": {"patience": 5}}, "traits is a bulkload.Traits, not"),
        ({"rate": True}, "--rate is"),
        ({"map": {"userId": 5}}, "--map is a table of texts"),
        ({"map": "userId=a"}, "--map is a table of texts"),
        ({"map_value": {"platform": "x"}}, "--map-value is for each field a table"),
        ({"map_value": {5: {}}}, "--map-value is for each field a table"),
        ({"set": {"tags": ["a"]}}, "--set is a table of texts"),
        ({"where": 5}, "--where is a text"),
        ({"preset": 5}, "--preset is a text"),
        ({"tag": 5}, "--tag is a list of texts"),
        ({"tag": [5]}, "--tag is a list of texts"),
        ({"tag": {"a": 1}}, "--tag is a list of texts"),
        ({"transform": 5}, "--transform is a file or a function"),
        ({"convert_gcm_templates": "no"}, "--convert-gcm-templates is true or false"),
    ],
    ids=str,
)
async def test_a_flag_that_is_of_no_use_is_refused(
    emulator: Emulator, source: Path, flags: dict[str, Any], words: str
) -> None:
    with pytest.raises(bulkload.InputError, match=re.escape(words)):
        await bulkload.load(source, hub=emulator.hub, **flags)
    assert emulator.requests.seen == 0
    assert names(source.parent) == [source.name]


async def test_a_number_may_be_of_another_library(hub: bulkload.Hub, source: Path) -> None:
    flags: dict[str, Any] = {"workers": np.int64(4), "rate": np.int64(500), "limit": np.int64(5)}
    summary = await bulkload.load(source, hub=hub, **flags)
    assert summary.records.accepted == 5


async def test_a_single_text_is_a_list_of_it(emulator: Emulator, source: Path) -> None:
    report = await bulkload.check(source, tag="abc", repair="tags", allow="tag-characters")
    assert [used.tag for used in report.tags.commonest] == ["abc"]


@pytest.mark.parametrize("given", [None, 5])
async def test_what_is_no_source_is_refused(given: Any) -> None:
    with pytest.raises(bulkload.InputError, match="a source is"):
        await bulkload.check(given)


async def test_a_source_that_cannot_be_used_is_refused(hub: bulkload.Hub, source: Path, tmp_path: Path) -> None:
    with pytest.raises(bulkload.InputError, match="no source is named"):
        await bulkload.load(hub=hub)
    with pytest.raises(bulkload.InputError, match=r"missing\.ndjson does not exist"):
        await bulkload.load(tmp_path / "missing.ndjson", hub=hub)
    with pytest.raises(bulkload.InputError, match="no file matches"):
        await bulkload.load(tmp_path / "*.csv", hub=hub)
    with pytest.raises(bulkload.InputError, match="is named twice"):
        await bulkload.load(source, tmp_path / "*.ndjson", hub=hub)
    (tmp_path / "empty").mkdir()
    with pytest.raises(bulkload.InputError, match="is a folder without a file"):
        await bulkload.load(tmp_path / "empty", hub=hub)
    assert names(tmp_path) == [source.name, "empty"]


async def test_a_folder_is_all_the_files_in_it(emulator: Emulator, tmp_path: Path) -> None:
    file_of(tmp_path / "b.ndjson", devices(5, 5))
    file_of(tmp_path / "a.ndjson", devices(5))
    for _ in range(2):
        # What the first call leaves there is no source of the second.
        summary = await bulkload.load(tmp_path, hub=emulator.hub)
        assert_sound(summary)
        assert (summary.exit_code, summary.records.accepted) == (0, 10)
    assert [Path(name).name for name in summary.sources] == ["a.ndjson", "b.ndjson"]
    assert emulator.requests.accepted == 10


async def test_any_source_is_mapped_and_checked(emulator: Emulator, ledger: Path) -> None:
    def devices_of(user: Fields) -> Iterator[Fields]:
        for device_id in user["devices"]:
            yield {"installationId": device_id, "platform": "gcm", "pushChannel": "t", "userId": user["id"]}

    users = [{"id": "u", "devices": ["a", "b"]}, {"id": "v", "devices": []}, {"id": "w x", "devices": ["c"]}]
    summary = await bulkload.load(users, hub=emulator.hub, ledger=ledger, transform=devices_of, tag=("all",))
    assert_sound(summary)
    assert summary.records == bulkload.Records(read=3, accepted=2, invalid=1, filtered=1, skipped=0)
    assert orjson.loads(emulator.installations["b"]) == {
        "installationId": "b",
        "platform": "gcm",
        "pushChannel": "t",
        "userId": "u",
        "tags": ["all"],
    }


async def test_a_check_is_the_rehearsal_of_a_load(source: Path) -> None:
    report: bulkload.CheckReport = await bulkload.check(source, [device(3), invalid(1)], rate=5)
    assert (report.outcome, report.exit_code) == ("flaws", 1)
    assert (report.records.read, report.records.valid, report.records.invalid) == (12, 11, 1)
    assert report.duplicates.ids.records == 1
    assert names(source.parent) == [source.name]


async def test_a_full_disk_stops_the_run_and_nothing_is_claimed_that_is_not_on_it(
    emulator: Emulator, ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def connect(path: Path, **options: Any) -> sqlite3.Connection:
        connection = really_connect(path, **options)
        connection.execute("PRAGMA max_page_count = 25")
        return connection

    with monkeypatch.context() as patched:
        patched.setattr("bulkload.ledger.ledger.connect", connect)
        summary = await bulkload.load(devices(3000), hub=emulator.hub, ledger=ledger)
    assert_sound(summary)
    assert (summary.outcome, summary.exit_code) == ("stopped", 4)
    assert summary.reason is not None
    assert "database or disk is full" in summary.reason
    kept = summary.records.accepted
    assert kept < 3000
    summary = await bulkload.load(devices(3000), hub=emulator.hub, ledger=ledger)
    assert_sound(summary)
    assert (summary.exit_code, summary.records.accepted, summary.records.skipped) == (0, 3000, kept)


async def test_a_killed_run_s_ledger_goes_on(emulator: Emulator, source: Path, tmp_path: Path) -> None:
    await bulkload.load(source, hub=emulator.hub, limit=4)
    copy = tmp_path / "copy.ledger"
    # A session that never wrote its end.
    with closing(sqlite3.connect(f"{source}.ledger")) as connection, connection:
        connection.execute("UPDATE sessions SET ended_at = NULL, exit_code = NULL, outcome = NULL, reason = NULL")
    shutil.copy(f"{source}.ledger", copy)
    assert bulkload.status(copy).reason == "a session is running, or was killed"
    summary = await bulkload.load(source, hub=emulator.hub, ledger=copy)
    assert_sound(summary)
    assert summary.records == bulkload.Records(read=10, accepted=10, skipped=4)
    assert emulator.requests.accepted == 10
