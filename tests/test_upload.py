"""Records are carried to a hub until each one settles; everything here happens under virtual time."""

import asyncio
import random
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import wraps
from itertools import pairwise
from typing import ParamSpec

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkload.emulator.limits import token_bucket
from bulkload.errors import Halt
from bulkload.pace import Pacer
from bulkload.record import Origin, Outcome, Record
from bulkload.retry import Backoff, Traits
from bulkload.sas import Signer
from bulkload.source import START
from bulkload.upload import IN_HAND, IN_HAND_BYTES, Ending, Upload
from bulkload.wire import OK, Answer, Fault, Sender
from tests.virtual_time import run_virtually

P = ParamSpec("P")

# Unix time at the beginning of every test.
EPOCH = 1_700_000_000.0

SERVER_ERROR = Answer(500, body=b"<Error><Code>500</Code><Detail>Internal.</Detail></Error>")
THROTTLED = Answer(429, {"Retry-After": "7"})
BARE_403 = Answer(403)
UNAUTHORIZED = Answer(401, body=b"<Error><Code>401</Code><Detail>InvalidSignature: no.</Detail></Error>")
NOT_FOUND = Answer(404, body=b"<Error><Code>404</Code><Detail>No service is hosted here.</Detail></Error>")
REJECTED = Answer(400, {"TrackingId": "t-1"}, b"<Error><Code>400</Code><Detail>Bad tag.</Detail></Error>")
NO_CONNECTION = Answer(0, fault=Fault.CONNECT, words="Connection refused")
UNTRUSTED = Answer(0, fault=Fault.TLS, words="unable to get local issuer certificate")


def virtually(test: Callable[P, Coroutine[None, None, None]]) -> Callable[P, None]:
    """Run a test under virtual time."""

    @wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        run_virtually(test(*args, **kwargs))

    return run


def now() -> float:
    return asyncio.get_running_loop().time()


@dataclass
class Request:
    """One request as the hub saw it; `ended` and `answer` are None while it is on its way."""

    number: int
    record: Record
    token: str
    began: float
    ended: float | None = None
    answer: Answer | None = None
    was_cancelled: bool = False


# What the hub answers to a request, asked at the request's end.
Script = Callable[[Request], Answer]


@dataclass
class Hub:
    """A transport whose other end is a script; fails when two requests for one id are on their way."""

    script: Script = lambda _: OK
    latency: Callable[[Request], float] = lambda _: 0.04
    name: str = "scripted"
    requests: list[Request] = field(default_factory=list)
    flying: dict[str, Request] = field(default_factory=dict)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    most_flying: int = 0
    is_closed: bool = False

    def send(self, carried: Record, token: str, sender: Sender[Record]) -> None:
        assert carried.id not in self.flying, f"two requests for {carried.id} are on their way"
        request = self.flying[carried.id] = Request(len(self.requests) + 1, carried, token, now())
        self.requests.append(request)
        self.most_flying = max(self.most_flying, len(self.flying))
        task = asyncio.create_task(self._carry(request, sender))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _carry(self, request: Request, sender: Sender[Record]) -> None:
        try:
            await asyncio.sleep(self.latency(request))
        except asyncio.CancelledError:
            request.was_cancelled = True
            raise
        finally:
            del self.flying[request.record.id]
        request.ended = now()
        try:
            request.answer = self.script(request)
        except Exception as exc:  # noqa: BLE001 - as a transport tells of a bug
            sender.broke(exc)
        else:
            sender.answered(request.record, request.answer)

    def abandon(self) -> None:
        for task in self.tasks:
            task.cancel()

    async def close(self) -> None:
        self.is_closed = True

    @property
    def last(self) -> Request:
        return self.requests[-1]

    def of(self, position: int) -> list[Request]:
        return [request for request in self.requests if request.record.position == position]

    @property
    def accepted(self) -> dict[str, list[int]]:
        """The positions that each id's installation was made of, in the order of acceptance."""
        found: dict[str, list[int]] = defaultdict(list)
        for request in sorted(self.requests, key=lambda request: request.ended or 0):
            if request.answer is not None and request.answer.status in (200, 201):
                found[request.record.id].append(request.record.position)
        return found


def in_order(answers: Iterable[Answer], then: Answer = OK) -> Script:
    """Give the answers one after the other, then always the last."""
    left = iter(answers)
    return lambda _: next(left, then)


def always(answer: Answer) -> Script:
    return lambda _: answer


def record(position: int, id: str | None = None, *, body: bytes = b"{}") -> Record:  # noqa: A002
    return Record(Origin(0, body, START), position, id or f"id-{position}", body)


def records(number: int) -> list[Record]:
    return [record(position) for position in range(number)]


class Desk:
    """An upload with what it told: endings by position, and why it halted."""

    def __init__(
        self,
        hub: Hub,
        tasks: asyncio.TaskGroup,
        *,
        workers: int,
        max_attempts: int,
        record_timeout: float,
        was_accepted: bool,
        traits: Traits,
        cap: float | None,
    ) -> None:
        self.hub = hub
        self.endings: dict[int, Ending] = {}
        self.halts: list[Halt] = []
        self.upload = Upload(
            hub,
            Signer("https://h/devices", "policy", "a key", clock=lambda: EPOCH + now()),
            settle=self._settle,
            accept=self._accept,
            halt=self.halts.append,
            pacer=Pacer(cap=cap, workers=workers, now=now()),
            backoff=Backoff(max_attempts=max_attempts, record_timeout=record_timeout, random=random.Random(1)),
            workers=workers,
            tasks=tasks,
            clock=now,
            was_accepted=was_accepted,
            traits=traits,
        )

    def _accept(self, accepted: Sequence[Record], at: float) -> None:
        for record in accepted:
            self._settle(record, Ending(Outcome.ACCEPTED, 200, at - record.left))

    def _settle(self, record: Record, ending: Ending) -> None:
        assert record.position not in self.endings, f"{record} settles twice"
        self.endings[record.position] = ending

    @property
    def outcomes(self) -> Counter[Outcome]:
        return Counter(ending.outcome for ending in self.endings.values())

    async def admit(self, batch: Iterable[Record]) -> bool:
        """Admit records in order; False where the upload stops instead."""
        for each in batch:
            if not await self.upload.admit(each):
                return False
        return True

    async def carry(self, batch: Iterable[Record]) -> None:
        await self.admit(batch)
        await self.upload.drain()

    def verify(self) -> None:
        """What holds for every upload at its end."""
        requests = self.upload.requests
        assert requests.sent == requests.accepted + requests.rejected + requests.throttled + requests.failed
        assert requests.sent == len(self.hub.requests)
        assert requests.accepted == sum(map(len, self.hub.accepted.values()))
        assert requests.accepted == self.outcomes[Outcome.ACCEPTED]
        assert requests.rejected == self.outcomes[Outcome.REJECTED]
        assert self.upload.in_flight == 0


@asynccontextmanager
async def uploading(
    hub: Hub,
    *,
    workers: int = 8,
    max_attempts: int = 8,
    record_timeout: float = 600.0,
    was_accepted: bool = False,
    traits: Traits | None = None,
    cap: float | None = None,
) -> AsyncIterator[Desk]:
    """An upload to a hub, verified once all its workers have gone home."""
    async with asyncio.TaskGroup() as tasks:
        desk = Desk(
            hub,
            tasks,
            workers=workers,
            max_attempts=max_attempts,
            record_timeout=record_timeout,
            was_accepted=was_accepted,
            traits=traits or Traits(),
            cap=cap,
        )
        yield desk
    desk.verify()


async def halted(hub: Hub, *, number: int = 50, was_accepted: bool = False) -> Desk:
    """Upload to a hub until it halts the run, in one line."""
    async with uploading(hub, was_accepted=was_accepted) as desk:
        await desk.carry(records(number))
        await desk.upload.stop(20)
    # Several requests may have been on their way; each says the same.
    assert len(set(map(str, desk.halts))) == 1
    assert "\n" not in str(desk.halts[0])
    return desk


def measured(ending: Ending) -> Ending:
    """An ending whose latency, a difference of two instants, is rounded to what was meant."""
    return ending._replace(latency=ending.latency and round(ending.latency, 6))


@virtually
async def test_every_record_settles() -> None:
    hub = Hub()
    async with uploading(hub) as desk:
        await desk.carry(records(300))
    assert desk.outcomes == {Outcome.ACCEPTED: 300}
    assert sorted(request.record.position for request in hub.requests) == list(range(300))


@virtually
async def test_an_ending_tells_the_answer() -> None:
    hub = Hub(in_order([OK, REJECTED]))
    async with uploading(hub) as desk:
        await desk.carry(records(2))
    assert measured(desk.endings[0]) == Ending(Outcome.ACCEPTED, 200, 0.04)
    assert measured(desk.endings[1]) == Ending(Outcome.REJECTED, 400, 0.04, "400 Bad tag., TrackingId t-1", "t-1")
    assert [request.record.attempts for request in hub.requests] == [1, 1]


@virtually
async def test_a_201_is_an_acceptance() -> None:
    async with uploading(Hub(always(Answer(201)))) as desk:
        await desk.carry(records(3))
    assert desk.outcomes == {Outcome.ACCEPTED: 3}
    assert desk.endings[0].status == 201


@virtually
async def test_draining_nothing_returns_at_once() -> None:
    async with uploading(Hub()) as desk:
        await desk.upload.drain()
    assert now() == 0


@virtually
async def test_no_more_requests_than_workers_are_in_flight() -> None:
    hub = Hub(latency=lambda _: 1.0)
    async with uploading(hub, workers=5) as desk:
        await desk.carry(records(101))
        took = now()
    assert hub.most_flying == 5
    # One alone, then a hundred by five.
    assert took == pytest.approx(21.0)


@pytest.mark.parametrize("first", [OK, REJECTED], ids=["accepted", "rejected"])
@virtually
async def test_the_first_request_leaves_alone_until_the_hub_took_or_rejected_it(first: Answer) -> None:
    hub = Hub(in_order([first]), latency=lambda _: 1.0)
    async with uploading(hub) as desk:
        await desk.carry(records(9))
    began = [request.began for request in hub.requests]
    assert began[0] == 0
    assert len(began) == 9
    assert all(1.0 <= at < 1.1 for at in began[1:])


@pytest.mark.parametrize(
    "answer", [SERVER_ERROR, THROTTLED, BARE_403, NO_CONNECTION], ids=["500", "429", "403", "fault"]
)
@virtually
async def test_an_answer_that_tells_nothing_of_records_opens_no_further_connection(answer: Answer) -> None:
    hub = Hub(in_order([answer] * 3), latency=lambda _: 1.0)
    async with uploading(hub) as desk:
        await desk.carry(records(20))
    for earlier, later in pairwise(hub.requests[:5]):
        assert earlier.ended is not None
        assert later.began >= earlier.ended or earlier.answer == OK
    assert desk.outcomes == {Outcome.ACCEPTED: 20}


@virtually
async def test_records_in_hand_are_bounded_by_number() -> None:
    hub = Hub(latency=lambda _: 60.0)
    async with uploading(hub) as desk:
        reading = asyncio.create_task(desk.admit(records(IN_HAND + 10)))
        await asyncio.sleep(59)
        assert not reading.done()
        assert repr(desk.upload) == f"<Upload {IN_HAND} in hand, 1 in flight, 0 resting>"
        await asyncio.sleep(2)
        # Nobody is woken for a few.
        assert repr(desk.upload) == f"<Upload {IN_HAND - 1} in hand, 8 in flight, 0 resting>"
        assert await reading
        await desk.upload.drain()
    assert desk.outcomes == {Outcome.ACCEPTED: IN_HAND + 10}


@virtually
async def test_many_workers_have_enough_in_hand() -> None:
    hub = Hub(latency=lambda _: 60.0)
    async with uploading(hub, workers=1000) as desk:
        reading = asyncio.create_task(desk.admit(records(5000)))
        await asyncio.sleep(59)
        assert repr(desk.upload).startswith("<Upload 4000 in hand")
        await reading
        await desk.upload.drain()


@virtually
async def test_records_in_hand_are_bounded_by_bytes() -> None:
    body = bytes(IN_HAND_BYTES // 8)
    hub = Hub(latency=lambda _: 60.0)
    async with uploading(hub) as desk:
        reading = asyncio.create_task(desk.admit(record(position, body=body) for position in range(12)))
        await asyncio.sleep(59)
        assert repr(desk.upload) == "<Upload 8 in hand, 1 in flight, 0 resting>"
        await asyncio.sleep(2)
        # One is settled, so there is room for one more.
        assert repr(desk.upload) == "<Upload 8 in hand, 8 in flight, 0 resting>"
        assert await reading
        await desk.upload.drain()
    assert desk.outcomes == {Outcome.ACCEPTED: 12}


@virtually
async def test_a_record_that_is_larger_than_the_bound_goes_alone() -> None:
    bodies = [b"{}", bytes(IN_HAND_BYTES + 1), b"{}"]
    hub = Hub(latency=lambda _: 1.0)
    async with uploading(hub) as desk:
        await desk.carry(record(position, body=body) for position, body in enumerate(bodies))
    assert desk.outcomes == {Outcome.ACCEPTED: 3}
    assert hub.most_flying == 1


# A moment between two records of the source, what a request takes, and what comes of it.
PAUSES = st.sampled_from([0.0, 0.0, 0.01, 0.3, 2.0])
LATENCIES = st.sampled_from([0.0, 0.001, 0.04, 0.5, 3.0])
TRANSIENT = st.sampled_from(
    [
        OK,
        SERVER_ERROR,
        NO_CONNECTION,
        THROTTLED,
        Answer(429),
        Answer(403, body=b"Request is throttled"),
        BARE_403,
    ]
)
SOURCE = st.lists(st.tuples(st.sampled_from("abc"), PAUSES), min_size=1, max_size=25)


async def played(
    source: Sequence[tuple[str, float]], hub: Hub, *, workers: int, max_attempts: int = 1000
) -> tuple[Desk, dict[str, list[int]]]:
    """Upload a source of (id, pause after it) to a hub that was reached before; returns also positions by id."""
    positions: dict[str, list[int]] = defaultdict(list)
    async with uploading(hub, workers=workers, max_attempts=max_attempts, record_timeout=1e9) as desk:
        await desk.carry([record(0, "first")])
        for position, (name, pause) in enumerate(source, start=1):
            positions[name].append(position)
            assert await desk.upload.admit(record(position, name))
            if pause:
                await asyncio.sleep(pause)
        await desk.upload.drain()
    assert desk.halts == []
    return desk, positions


def assert_the_last_decides(desk: Desk, positions: dict[str, list[int]]) -> None:
    assert desk.endings.keys() == {0, *(position for own in positions.values() for position in own)}
    for name, own in positions.items():
        sent = [request.record.position for request in desk.hub.requests if request.record.id == name]
        assert sent == sorted(sent), "one was sent after a later one of its id"
        # What is superseded is so by a later one.
        assert desk.endings[own[-1]].outcome is not Outcome.SUPERSEDED
        # What the hub took, in its order, is what settled as accepted, in the source's order.
        accepted = [position for position in own if desk.endings[position].outcome is Outcome.ACCEPTED]
        assert accepted == desk.hub.accepted[name]


@settings(max_examples=300, deadline=None)
@given(
    source=SOURCE,
    workers=st.integers(1, 8),
    latencies=st.lists(LATENCIES, max_size=40),
    answers=st.lists(TRANSIENT, max_size=40),
    refused_at=st.integers(0, 40),
)
def test_the_last_record_of_an_id_is_the_last_one_accepted(
    source: list[tuple[str, float]], workers: int, latencies: list[float], answers: list[Answer], refused_at: int
) -> None:
    delays = iter(latencies)
    # One refused token in a run is overcome; a second may halt it, and rightly.
    script = in_order([OK, *answers[:refused_at], UNAUTHORIZED, *answers[refused_at:]])
    hub = Hub(script, latency=lambda _: next(delays, 0.04))
    desk, positions = run_virtually(played(source, hub, workers=workers))
    assert_the_last_decides(desk, positions)
    for own in positions.values():
        assert desk.endings[own[-1]].outcome is Outcome.ACCEPTED
        assert {desk.endings[position].outcome for position in own} <= {Outcome.ACCEPTED, Outcome.SUPERSEDED}


@settings(max_examples=200, deadline=None)
@given(
    source=SOURCE,
    workers=st.integers(1, 8),
    latencies=st.lists(LATENCIES, max_size=40),
    answers=st.lists(TRANSIENT | st.just(REJECTED), max_size=40),
    max_attempts=st.integers(1, 3),
)
def test_a_record_that_is_refused_or_exhausted_never_lets_an_earlier_one_pass(
    source: list[tuple[str, float]],
    workers: int,
    latencies: list[float],
    answers: list[Answer],
    max_attempts: int,
) -> None:
    delays = iter(latencies)
    hub = Hub(in_order([OK, *answers]), latency=lambda _: next(delays, 0.04))
    desk, positions = run_virtually(played(source, hub, workers=workers, max_attempts=max_attempts))
    assert_the_last_decides(desk, positions)
    for request in hub.requests:
        assert request.record.attempts <= max_attempts


@virtually
async def test_a_later_record_waits_for_an_earlier_one_of_its_id_in_flight() -> None:
    hub = Hub(latency=lambda _: 1.0)
    async with uploading(hub) as desk:
        await desk.carry([record(0, "other")])
        await desk.admit([record(1, "a"), record(3, "b")])
        await asyncio.sleep(0.5)
        await desk.carry([record(4, "a")])
    assert {request.record.position: request.began for request in hub.requests} == pytest.approx(
        {0: 0.0, 1: 1.0, 3: 1.0, 4: 2.0}
    )
    assert desk.outcomes == {Outcome.ACCEPTED: 4}


@virtually
async def test_a_later_record_supersedes_one_that_waits() -> None:
    hub = Hub(latency=lambda _: 1.0)
    async with uploading(hub) as desk:
        await desk.admit([record(0, "a")])
        await asyncio.sleep(0.5)
        await desk.carry([record(1, "a"), record(2, "a")])
    assert [ending.outcome.word for _, ending in sorted(desk.endings.items())] == ["accepted", "superseded", "accepted"]
    assert desk.endings[1] == Ending(Outcome.SUPERSEDED)


@virtually
async def test_a_later_record_supersedes_one_that_rests_and_does_not_rest_itself() -> None:
    hub = Hub(in_order([OK, SERVER_ERROR]), latency=lambda _: 0.0)
    async with uploading(hub) as desk:
        await desk.carry([record(0)])
        # It fails at once and then rests, for half a second or so.
        await desk.admit([record(1, "a")])
        await asyncio.sleep(0.01)
        assert "1 resting" in repr(desk.upload)
        await desk.carry([record(2, "a")])
        assert now() < 0.1
    assert desk.endings[1].outcome is Outcome.SUPERSEDED
    assert desk.endings[2].outcome is Outcome.ACCEPTED


@virtually
async def test_a_record_that_fails_in_flight_makes_way_for_a_later_one_of_its_id() -> None:
    hub = Hub(in_order([OK, SERVER_ERROR]), latency=lambda _: 1.0)
    async with uploading(hub) as desk:
        await desk.carry([record(0)])
        await desk.admit([record(1, "a")])
        await asyncio.sleep(0.5)
        await desk.carry([record(2, "a")])
        took = now()
    assert took == pytest.approx(3.0)
    assert [desk.endings[position].outcome.word for position in (1, 2)] == ["superseded", "accepted"]


@virtually
async def test_a_retry_after_holds_its_own_record_while_others_are_accepted() -> None:
    hub = Hub(in_order([OK, THROTTLED]))
    async with uploading(hub, workers=4) as desk:
        await desk.carry(records(40))
    throttled = next(request for request in hub.requests if request.answer == THROTTLED)
    assert throttled.ended is not None
    first, second = hub.of(throttled.record.position)
    assert first is throttled
    assert second.began >= throttled.ended + 7
    assert second is hub.last
    assert hub.requests[-2].began < throttled.ended + 7
    assert desk.outcomes == {Outcome.ACCEPTED: 40}


@virtually
async def test_a_retry_after_holds_everyone_while_nothing_is_accepted() -> None:
    hub = Hub(lambda _: THROTTLED if 0.5 <= now() < 3 else OK)
    async with uploading(hub) as desk:
        await desk.carry(records(2000))
    refused = [request for request in hub.requests if request.answer == THROTTLED]
    assert refused[0].ended is not None
    after = [request.began for request in hub.requests if request.began > refused[0].ended + 0.5]
    assert min(after) >= refused[0].ended + 7
    # Then one goes, then 2, 4, 8, each after those before it.
    again = [at - after[0] for at in after[:15]]
    assert again == sorted(again)
    assert [sum(number * 0.04 - 0.001 <= at < (number + 1) * 0.04 - 0.001 for at in again) for number in range(2)] == [
        1,
        2,
    ]
    assert desk.outcomes == {Outcome.ACCEPTED: 2000}


@virtually
async def test_a_throttled_record_lets_others_go_first_since_it_may_be_alone_in_that() -> None:
    hub = Hub(in_order([OK, Answer(429)]))
    async with uploading(hub, workers=1) as desk:
        await desk.carry(records(5))
    assert [request.record.position for request in hub.requests] == [0, 1, 2, 3, 4, 1]


@virtually
async def test_time_spent_throttled_does_not_count_against_a_record() -> None:
    hold = Answer(429, {"Retry-After": "250"})
    hub = Hub(in_order([OK, hold, hold, hold, SERVER_ERROR]))
    async with uploading(hub, workers=1) as desk:
        await desk.carry(records(2))
    assert desk.outcomes == {Outcome.ACCEPTED: 2}


@virtually
async def test_a_failing_record_rests_between_attempts_and_is_exhausted_after_the_last() -> None:
    hub = Hub(lambda request: SERVER_ERROR if request.record.position == 1 else OK)
    async with uploading(hub, workers=1, max_attempts=5) as desk:
        await desk.carry(records(2))
    assert len(hub.of(1)) == 5
    assert desk.endings[0].outcome is Outcome.ACCEPTED
    assert measured(desk.endings[1]) == Ending(Outcome.EXHAUSTED, 500, 0.04, "500 Internal.")
    assert hub.of(1)[0].record.attempts == 5
    assert desk.upload.requests.retried == 4
    rests = [later.began - (earlier.ended or 0) for earlier, later in pairwise(hub.of(1))]
    assert all(0 <= rest <= 0.5 * 2**number for number, rest in enumerate(rests, start=1))


@virtually
async def test_a_record_that_was_never_answered_in_the_end_has_no_status() -> None:
    hub = Hub(lambda request: Answer(0, fault=Fault.TIMEOUT, words="60 s") if request.record.position == 1 else OK)
    async with uploading(hub, max_attempts=2) as desk:
        await desk.carry(records(2))
    assert measured(desk.endings[1]) == Ending(Outcome.EXHAUSTED, None, 0.04, "no answer in time: 60 s")


@virtually
async def test_a_resting_record_holds_nobody_up() -> None:
    hub = Hub(lambda request: SERVER_ERROR if request.record.position == 1 else OK)
    async with uploading(hub, workers=2, max_attempts=4) as desk:
        await desk.admit(records(100))
        # A hundred at 25/s for each of two workers.
        await asyncio.sleep(3)
        assert len(desk.endings) >= 99
        await desk.upload.drain()
    assert desk.outcomes == {Outcome.ACCEPTED: 99, Outcome.EXHAUSTED: 1}


@virtually
async def test_the_time_for_a_record_ends_it_too() -> None:
    hub = Hub(lambda request: SERVER_ERROR if request.record.position == 1 else OK, latency=lambda _: 50.0)
    async with uploading(hub, max_attempts=1000, record_timeout=120) as desk:
        await desk.carry(records(2))
    assert len(hub.of(1)) == 3
    assert desk.endings[1].outcome is Outcome.EXHAUSTED


def clock_of_the_hub(seconds_ahead: float) -> Answer:
    return Answer(401, {"Date": formatdate(EPOCH + now() + seconds_ahead, usegmt=True)}, UNAUTHORIZED.body)


@virtually
async def test_a_refused_token_is_signed_anew_once_before_the_run_halts() -> None:
    hub = Hub(always(UNAUTHORIZED), latency=lambda _: 2.0)
    desk = await halted(hub)
    assert len(hub.requests) == 2
    assert len({request.token for request in hub.requests}) == 2
    assert str(desk.halts[0]).startswith("the hub refuses the key; check SharedAccessKeyName and SharedAccessKey")
    assert desk.endings == {}
    assert desk.upload.requests.failed == 2


@virtually
async def test_a_wrong_key_halts_within_two_requests_also_in_the_second_in_which_it_was_signed() -> None:
    hub = Hub(always(UNAUTHORIZED), latency=lambda _: 0.01)
    desk = await halted(hub)
    assert len(hub.requests) == 2
    assert desk.endings == {}


@virtually
async def test_a_halt_tells_of_a_clock_that_is_wrong() -> None:
    desk = await halted(Hub(lambda _: clock_of_the_hub(-7200), latency=lambda _: 2.0))
    assert str(desk.halts[0]).endswith("; this machine's clock is 7200 s ahead of the hub's")
    desk = await halted(Hub(lambda _: clock_of_the_hub(300), latency=lambda _: 2.0))
    assert str(desk.halts[0]).endswith("; this machine's clock is 300 s behind the hub's")


@virtually
async def test_a_crowd_of_refusals_signs_once_and_loses_nothing() -> None:
    # The first token is good for the first request only: eight are then on their way with it.
    hub = Hub(
        lambda request: UNAUTHORIZED if request.number > 1 and request.token == hub.requests[0].token else OK,
        latency=lambda request: 10.0 + request.number,
    )
    async with uploading(hub, workers=8, max_attempts=1) as desk:
        await desk.carry(records(60))
    assert desk.halts == []
    assert desk.outcomes == {Outcome.ACCEPTED: 60}
    assert len({request.token for request in hub.requests}) == 2
    assert desk.upload.requests.failed == 8


@virtually
async def test_a_token_may_be_refused_again_once_the_new_one_was_good() -> None:
    hub = Hub(in_order([OK, UNAUTHORIZED, OK, UNAUTHORIZED, OK, UNAUTHORIZED]), latency=lambda _: 5.0)
    async with uploading(hub, workers=1, max_attempts=1) as desk:
        await desk.carry(records(6))
    assert desk.halts == []
    assert desk.outcomes == {Outcome.ACCEPTED: 6}


@virtually
async def test_a_record_for_which_every_token_is_refused_is_not_asked_on_and_on_beside_others() -> None:
    hub = Hub(lambda request: UNAUTHORIZED if request.record.position == 7 else OK)
    desk = await halted(hub)
    assert len(hub.of(7)) == 2
    assert str(desk.halts[0]).startswith("the hub refuses the key")


@pytest.mark.parametrize("date", ["", "yesterday", "Mon, 99999999999999999999 Jan 2020 00:00:00 GMT"])
@virtually
async def test_a_date_that_is_none_is_passed_over(date: str) -> None:
    desk = await halted(Hub(always(Answer(401, {"Date": date}))))
    assert desk.endings == {}


@virtually
async def test_a_missing_hub_halts_after_one_request() -> None:
    hub = Hub(always(NOT_FOUND))
    desk = await halted(hub)
    assert len(hub.requests) == 1
    assert "there is no such hub; check --hub and the Endpoint" in str(desk.halts[0])
    assert desk.endings == {}


@virtually
async def test_a_full_namespace_halts_and_says_so() -> None:
    hub = Hub(in_order([OK], then=detail_error(403, "The device quota is used up.")))
    desk = await halted(hub)
    assert str(desk.halts[0]).startswith("the namespace holds all the devices it may: devices must be split over")
    assert desk.outcomes == {Outcome.ACCEPTED: 1}
    assert max(Counter(request.record.id for request in hub.requests).values()) == 3
    assert {request.record.attempts for request in hub.requests[1:]} == {0}


@virtually
async def test_a_namespace_that_has_room_again_loses_nothing() -> None:
    full = detail_error(403, "Too many installations in this namespace.")
    tries: Counter[str] = Counter()

    def script(request: Request) -> Answer:
        tries[request.record.id] += 1
        return full if tries[request.record.id] < 3 else OK

    async with uploading(Hub(script), max_attempts=1) as desk:
        await desk.carry(records(30))
    assert desk.halts == []
    assert desk.outcomes == {Outcome.ACCEPTED: 30}
    assert desk.upload.requests.throttled == 60


@virtually
async def test_a_policy_without_the_right_halts_after_one_request_and_names_the_claims() -> None:
    hub = Hub(always(detail_error(403, "Manage claim is required for this operation.")))
    desk = await halted(hub)
    assert len(hub.requests) == 1
    assert "no right to write; check its claims Manage, Send, Listen" in str(desk.halts[0])
    assert desk.endings == {}


@pytest.mark.parametrize("was_accepted", [False, True])
@virtually
async def test_a_feature_of_another_tier_halts_or_where_others_were_accepted_ends_its_record(
    was_accepted: bool,
) -> None:
    refused = detail_error(403, "This operation is not available for your tier.")
    hub = Hub(lambda request: refused if request.record.position == 0 else OK)
    async with uploading(hub, was_accepted=was_accepted) as desk:
        await desk.carry(records(3))
    if was_accepted:
        assert desk.outcomes == {Outcome.ACCEPTED: 2, Outcome.REJECTED: 1}
        assert desk.endings[0].detail == "403 This operation is not available for your tier."
    else:
        assert len(hub.requests) == len(desk.halts) == 1
        assert "the namespace's tier does not take this" in str(desk.halts[0])
        assert desk.endings == {}


@virtually
async def test_a_record_that_alone_is_refused_without_a_cause_is_asked_ever_less_often() -> None:
    hub = Hub(lambda request: BARE_403 if request.record.id == "poison" and now() < 600 else OK)
    async with uploading(hub, workers=1) as desk:
        await desk.admit([record(0), record(1, "poison")])
        for position in range(2, 7000):
            await desk.admit([record(position)])
            await asyncio.sleep(0.1)
        await desk.upload.drain()
    assert desk.halts == []
    assert desk.outcomes == {Outcome.ACCEPTED: 7000}
    # A rest of 15 to 30 seconds in the end.
    assert 20 < len(hub.of(1)) < 55
    assert all(later.began - earlier.began >= 15 for earlier, later in pairwise(hub.of(1)[12:]))


@virtually
async def test_a_server_error_that_says_how_long_is_obeyed_for_its_record_alone() -> None:
    busy = Answer(503, {"Retry-After": "30"})
    hub = Hub(lambda request: busy if request.record.position == 1 and request.began < 25 else OK)
    async with uploading(hub, workers=2) as desk:
        await desk.carry(records(20))
    first, second = hub.of(1)
    assert first.ended is not None
    assert 30 <= second.began - first.ended <= 30.5
    assert all(request.began < 2 for request in hub.requests if request is not second)
    assert second.record.attempts == 2


@virtually
async def test_the_longest_time_that_a_hub_may_ask_for_is_a_setting() -> None:
    hub = Hub(in_order([OK, Answer(429, {"Retry-After": "250"}), Answer(503, {"Retry-After": "250"})]))
    async with uploading(hub, workers=1, traits=Traits(longest_retry_after=10.0)) as desk:
        await desk.carry(records(3))
        assert 10 < now() < 12
    assert desk.outcomes == {Outcome.ACCEPTED: 3}


@virtually
async def test_how_answers_are_understood_is_a_setting() -> None:
    traits = Traits(throttle_words=("langsamer",), retry_statuses=(404,), gone_after=2)
    hub = Hub(in_order([OK, detail_error(403, "Langsamer!"), NOT_FOUND, *[NO_CONNECTION] * 2]))
    async with uploading(hub, workers=1, traits=traits) as desk:
        await desk.carry(records(5))
    assert desk.halts == []
    assert desk.outcomes == {Outcome.ACCEPTED: 5}
    assert (desk.upload.requests.throttled, desk.upload.requests.failed) == (1, 3)


def test_an_answer_that_is_not_known_is_told_once_and_without_push_channels(caplog: pytest.LogCaptureFixture) -> None:
    async def upload() -> None:
        hub = Hub(in_order([OK, *[detail_error(403, f"Handle {TOKEN} is refused.")] * 3, *[Answer(418)] * 2]))
        async with uploading(hub) as desk:
            await desk.carry(record(position, body=orjson.dumps(PHONE)) for position in range(9))
        assert desk.outcomes == {Outcome.ACCEPTED: 7, Outcome.REJECTED: 2}

    run_virtually(upload())
    body = "<Error><Code>403</Code><Detail>Handle … is refused.</Detail></Error>"
    assert caplog.messages == [
        f"an answer that is not known is taken as throttle: status 403, TrackingId none, body {body}",
        "an answer that is not known is taken as reject: status 418, TrackingId none, body empty",
    ]


@virtually
async def test_a_hub_that_is_never_reached_halts_after_a_few_tries_with_nothing_settled() -> None:
    hub = Hub(always(NO_CONNECTION))
    desk = await halted(hub)
    assert 2 <= len(hub.requests) <= 5
    assert str(desk.halts[0]) == (
        "the hub cannot be reached: no connection: Connection refused; "
        "check the Endpoint of the connection string, and the network"
    )
    assert desk.endings == {}
    assert {request.record.attempts for request in hub.requests} == {0}


@pytest.mark.parametrize("number", [1, 50])
@virtually
async def test_a_hub_that_is_reached_a_second_late_is_reached(number: int) -> None:
    hub = Hub(lambda request: NO_CONNECTION if request.began < 1.0 else OK, latency=lambda _: 0.001)
    async with uploading(hub) as desk:
        await desk.carry(records(number))
    assert desk.halts == []
    assert desk.outcomes == {Outcome.ACCEPTED: number}


@virtually
async def test_a_hub_that_others_have_reached_is_away_for_a_while() -> None:
    hub = Hub(lambda request: NO_CONNECTION if request.began < 30.0 else OK)
    async with uploading(hub) as desk:
        desk.upload.others_reached(is_accepted=True)
        await desk.carry(records(50))
    assert desk.halts == []
    assert desk.outcomes == {Outcome.ACCEPTED: 50}


@virtually
async def test_that_others_reach_a_hub_does_not_hide_that_it_is_gone() -> None:
    hub = Hub(lambda request: OK if request.began < 0.1 else NO_CONNECTION, latency=lambda _: 0.01)
    async with uploading(hub) as desk:
        carrying = asyncio.create_task(desk.carry(records(3000)))
        for _ in range(100):
            desk.upload.others_reached(is_accepted=True)
            await asyncio.sleep(0.05)
        sent = len(hub.requests)
        for _ in range(200):
            desk.upload.others_reached(is_accepted=True)
            await asyncio.sleep(0.05)
        # One at a time asks for it by now, each after a longer pause.
        assert len(hub.requests) - sent <= 10
        await desk.upload.stop(0)
        await carrying


@virtually
async def test_an_untrusted_hub_halts_at_once_and_names_ca_file() -> None:
    hub = Hub(always(UNTRUSTED))
    desk = await halted(hub)
    assert len(hub.requests) == 1
    assert str(desk.halts[0]).endswith("; give its certificate authority with --ca-file")


@virtually
async def test_a_hub_that_answers_with_errors_was_reached() -> None:
    hub = Hub(in_order([SERVER_ERROR] + [NO_CONNECTION] * 10))
    async with uploading(hub) as desk:
        await desk.carry(records(30))
    assert desk.halts == []
    assert desk.outcomes == {Outcome.ACCEPTED: 30}


@pytest.mark.parametrize("fault", [Fault.CONNECT, Fault.NAME, Fault.TIMEOUT, Fault.BROKEN, Fault.TLS])
@virtually
async def test_a_hub_that_is_gone_exhausts_nothing_and_the_run_goes_on_by_itself(fault: Fault) -> None:
    gone = Answer(0, fault=fault, words="gone")
    hub = Hub(lambda _: gone if 5 <= now() < 3600 else OK, latency=lambda _: 0.05)
    async with uploading(hub, workers=16, max_attempts=3) as desk:
        await desk.carry(records(5000))
        took = now()
    assert desk.halts == []
    assert desk.outcomes == {Outcome.ACCEPTED: 5000}
    # The hub is asked for every half a minute at the least, and then the run has its old speed.
    assert took < 3600 + 30 + 5000 / (16 / 0.05) + 5


@virtually
async def test_a_hub_that_is_gone_is_asked_for_by_one_request_at_a_time() -> None:
    hub = Hub(lambda _: NO_CONNECTION if 5 <= now() < 3600 else OK, latency=lambda _: 0.05)
    async with uploading(hub, workers=16) as desk:
        await desk.carry(records(5000))
    meanwhile = [request for request in hub.requests if 10 <= request.began < 3600]
    assert len(meanwhile) < 3600 / 30 + 10
    for earlier, later in pairwise(meanwhile):
        assert earlier.ended is not None
        assert later.began >= earlier.ended


@virtually
async def test_a_record_that_breaks_every_connection_does_not_keep_the_run_from_a_hub_that_is_back() -> None:
    def script(request: Request) -> Answer:
        if request.record.id == "poison":
            return Answer(0, fault=Fault.BROKEN, words="reset")
        return NO_CONNECTION if 5 <= now() < 100 else OK

    hub = Hub(script)
    async with uploading(hub, workers=1, max_attempts=4) as desk:
        await desk.carry(records(10))
        await asyncio.sleep(6)
        # It is the one that fails when the hub begins to count as gone.
        await desk.admit([*(record(position) for position in range(10, 29)), record(29, "poison")])
        draining = asyncio.create_task(desk.upload.drain())
        await asyncio.wait([draining], timeout=3600)
        await desk.upload.stop(0)
        await draining
    assert desk.outcomes == {Outcome.ACCEPTED: 29, Outcome.EXHAUSTED: 1}


@virtually
async def test_a_run_whose_last_records_break_every_connection_ends() -> None:
    hub = Hub(lambda request: Answer(0, fault=Fault.BROKEN, words="reset") if request.record.position >= 100 else OK)
    async with uploading(hub) as desk:
        await desk.admit(records(105))
        draining = asyncio.create_task(desk.upload.drain())
        await asyncio.wait([draining], timeout=86_400)
        has_ended = draining.done()
        await desk.upload.stop(0)
        await draining
    assert has_ended


@virtually
async def test_a_403_without_a_cause_halts_after_five_more_tries_and_names_both_causes() -> None:
    hub = Hub(always(BARE_403))
    desk = await halted(hub)
    assert len(hub.requests) == 6
    # Five rests of two seconds: a throttle of a moment does not end a run.
    assert hub.last.began >= 10
    reason = str(desk.halts[0])
    assert "no right to write" in reason
    assert "throttled" in reason
    assert desk.endings == {}


@virtually
async def test_a_403_without_a_cause_is_a_throttle_where_the_hub_once_accepted() -> None:
    hub = Hub(in_order([BARE_403] * 20))
    async with uploading(hub, was_accepted=True) as desk:
        await desk.carry(records(3))
    assert desk.outcomes == {Outcome.ACCEPTED: 3}
    assert desk.upload.requests.throttled == 20


@virtually
async def test_a_403_without_a_cause_is_not_believed_for_ever() -> None:
    hub = Hub(in_order([OK], then=BARE_403))
    desk = await halted(hub)
    assert "accepted nothing for 15 minutes" in str(desk.halts[0])
    assert 15 * 60 <= now() < 17 * 60
    assert desk.outcomes == {Outcome.ACCEPTED: 1}


@virtually
async def test_a_throttle_that_says_so_is_believed_for_ever() -> None:
    hub = Hub(lambda _: Answer(403, body=b"throttled") if now() < 86400 else OK)
    async with uploading(hub) as desk:
        await desk.carry(records(3))
    assert desk.outcomes == {Outcome.ACCEPTED: 3}


@virtually
async def test_a_burst_of_403s_without_a_cause_is_one_try() -> None:
    hub = Hub(lambda _: REJECTED if now() < 1 else BARE_403 if now() < 3 else OK, latency=lambda _: 0.9)
    async with uploading(hub, workers=16) as desk:
        await desk.carry(records(30))
    assert desk.halts == []


@virtually
async def test_a_halted_upload_takes_nothing_further() -> None:
    async with uploading(Hub(always(NOT_FOUND))) as desk:
        assert await desk.admit(records(3))
        await desk.upload.drain()
        assert not await desk.upload.admit(record(3))


@virtually
async def test_a_halt_wakes_a_reader_that_waits_for_room() -> None:
    async with uploading(Hub(always(NOT_FOUND), latency=lambda _: 1.0)) as desk:
        assert not await desk.admit(records(IN_HAND + 1))
    assert len(desk.halts) == 1


@virtually
async def test_after_a_stop_what_is_in_flight_may_settle_and_nothing_else_does() -> None:
    hub = Hub(
        lambda request: SERVER_ERROR if request.record.position in (5, 6) else OK,
        latency=lambda request: 5.0 if request.number > 8 else 0.01,
    )
    async with uploading(hub, workers=4) as desk:
        await desk.admit(records(200))
        await asyncio.sleep(1)
        flying = {request.record.position for request in hub.flying.values()}
        settled, sent = set(desk.endings), len(hub.requests)
        assert len(flying) == 4
        await desk.upload.stop(20)
        assert now() < 7
        assert set(desk.endings) == settled | flying
        await asyncio.sleep(1000)
        assert len(hub.requests) == sent
    assert desk.outcomes[Outcome.ACCEPTED] == len(desk.endings)


@virtually
async def test_after_a_stop_a_failed_request_is_not_tried_again() -> None:
    hub = Hub(in_order([OK, SERVER_ERROR, THROTTLED, SERVER_ERROR]), latency=lambda _: 1.0)
    async with uploading(hub, workers=3, max_attempts=2) as desk:
        await desk.admit(records(8))
        await asyncio.sleep(1.5)
        await desk.upload.stop(20)
        assert now() == pytest.approx(2.0)
        await asyncio.sleep(1000)
    assert len(hub.requests) == 4
    assert set(desk.endings) == {0}


@virtually
async def test_when_the_grace_is_over_requests_are_given_up_and_counted_as_failed() -> None:
    hub = Hub(latency=lambda request: 0.01 if request.number == 1 else 100.0)
    async with uploading(hub, workers=3) as desk:
        await desk.admit(records(10))
        await asyncio.sleep(1)
        await desk.upload.stop(20)
        assert now() == pytest.approx(21.0)
        await asyncio.sleep(0)
    assert set(desk.endings) == {0}
    assert desk.upload.requests.failed == 3
    assert sum(request.was_cancelled for request in hub.requests) == 3


@virtually
async def test_a_stop_does_not_wait_for_those_who_wait_for_their_turn() -> None:
    hub = Hub(in_order([OK], then=Answer(429, {"Retry-After": "250"})))
    async with uploading(hub, workers=8) as desk:
        await desk.admit(records(50))
        await asyncio.sleep(100)
        sent = len(hub.requests)
        await desk.upload.stop(20)
        assert now() == 100
        await asyncio.sleep(1000)
        assert len(hub.requests) == sent
    assert set(desk.endings) == {0}


@virtually
async def test_nothing_leaves_after_a_stop() -> None:
    hub = Hub()
    async with uploading(hub) as desk:
        # The first leaves alone, at once.
        await desk.admit(records(3))
        await desk.upload.stop(20)
        assert not await desk.admit([record(3)])
        await asyncio.sleep(1000)
    assert [request.record.position for request in hub.requests] == [0]
    assert set(desk.endings) == {0}


@virtually
async def test_a_stopped_upload_has_nothing_to_drain() -> None:
    async with uploading(Hub(latency=lambda _: 100.0)) as desk:
        await desk.admit(records(5))
        await asyncio.sleep(1)
        draining = asyncio.create_task(desk.upload.drain())
        await asyncio.sleep(1)
        desk.upload.stop_sending()
        await draining
        assert now() == 2
        await desk.upload.stop(0)


@virtually
async def test_stopping_twice_is_stopping_once() -> None:
    async with uploading(Hub()) as desk:
        await desk.admit(records(5))
        await asyncio.sleep(0.01)
        desk.upload.stop_sending()
        await desk.upload.stop(20)
        await desk.upload.stop(20)
        assert now() < 1
    assert set(desk.endings) == {0}


TOKEN = "3488F87605E999F3842E7FC229540A6EB12AA1F6D42FDDBB7A86F7A243C71B9A"
PHONE = {"platform": "apns", "pushChannel": TOKEN}
BROWSER = {
    "platform": "browser",
    "pushChannel": {"endpoint": "https://push.example/x1", "p256dh": "BPub", "auth": "s3c"},
}
TILES = {"platform": "wns", "pushChannel": "https://wns.example/main", "secondaryTiles": {"t": {"pushChannel": TOKEN}}}


def detail_error(status: int, words: str) -> Answer:
    return Answer(status, body=f"<Error><Code>{status}</Code><Detail>{words}</Detail></Error>".encode())


async def details(answer: Answer, fields: object) -> list[str]:
    """Where the hub's words about one record end up: its detail, or the reason of a halt."""
    hub = Hub(in_order([OK], then=answer))
    async with uploading(hub, max_attempts=1) as desk:
        await desk.carry([record(0), record(1, body=orjson.dumps(fields))])
    ending = desk.endings.get(1)
    return [str(ending.detail) if ending else "", *map(str, desk.halts)]


@pytest.mark.parametrize("status", [400, 500])
@pytest.mark.parametrize(
    ("fields", "words", "shown"),
    [
        pytest.param(PHONE, f"DeviceToken {TOKEN} is bad, {TOKEN}!", "DeviceToken … is bad, …!", id="device token"),
        pytest.param(PHONE, f"DeviceToken {TOKEN.lower()} is bad", "DeviceToken … is bad", id="in the other case"),
        pytest.param(BROWSER, "https://push.example/x1 or BPub or s3c", "… or … or …", id="parts of a browser's"),
        pytest.param(
            BROWSER | {"pushChannel": orjson.dumps(BROWSER["pushChannel"]).decode()},
            "https://push.example/x1 or BPub",
            "… or …",
            id="parts of a browser's as a JSON text",
        ),
        pytest.param(TILES, f"https://wns.example/main, {TOKEN}", "…, …", id="secondary tile"),
        pytest.param(PHONE, f"{'x' * 280} {TOKEN}", f"{'x' * 280} …", id="where words are cut"),
    ],
)
@virtually
async def test_push_channels_are_cut_out_of_details(fields: object, words: str, shown: str, status: int) -> None:
    assert await details(detail_error(status, words), fields) == [f"{status} {shown}"]


@virtually
async def test_push_channels_are_cut_out_of_the_reason_of_a_halt() -> None:
    _, reason = await details(detail_error(403, f"quota: no room for {TOKEN}"), PHONE)
    assert "no room for …" in reason


@virtually
async def test_what_was_never_sent_is_never_exhausted() -> None:
    hub = Hub(lambda request: OK if request.record.position == 0 or now() > 3600 else NO_CONNECTION)
    async with uploading(hub, max_attempts=2) as desk:
        await desk.carry(records(3))
    assert desk.outcomes == {Outcome.ACCEPTED: 3}


@virtually
async def test_while_most_attempts_fail_nothing_is_read_and_no_record_fails() -> None:
    hub = Hub(lambda _: SERVER_ERROR if 1 <= now() < 300 else OK)
    async with uploading(hub, max_attempts=2) as desk:
        admitting = asyncio.create_task(desk.admit(records(20_000)))
        await asyncio.sleep(60)
        in_hand = desk.upload.in_hand
        await asyncio.sleep(60)
        assert desk.upload.in_hand == in_hand
        assert not admitting.done()
        await admitting
        await desk.upload.drain()
    assert desk.outcomes == {Outcome.ACCEPTED: 20_000}
    meanwhile = [request for request in hub.requests if 10 <= request.began < 300]
    assert len(meanwhile) <= 290


@virtually
async def test_a_throttle_as_the_very_first_answer_holds_everyone_for_as_long_as_it_says() -> None:
    hub = Hub(in_order([Answer(429, {"Retry-After": "30"})], then=OK))
    async with uploading(hub) as desk:
        await desk.carry(records(10))
    first, second, *_ = hub.requests
    assert second.began >= first.began + 30
    assert desk.outcomes == {Outcome.ACCEPTED: 10}


@pytest.mark.parametrize("busy", [Answer(503, {"Retry-After": "1"}), Answer(503, body=b"The server is busy")])
@virtually
async def test_a_hub_that_throttles_by_a_503_is_used_to_its_ceiling_all_the_same(busy: Answer) -> None:
    throttle = token_bucket("200:5%")
    hub = Hub(lambda _: OK if throttle.takes(now()) else busy)
    async with uploading(hub, workers=800, max_attempts=8) as desk:
        await desk.carry(records(4000))
        assert 4000 / now() > 0.95 * 200
    assert desk.outcomes == {Outcome.ACCEPTED: 4000}
    assert len(hub.requests) < 1.02 * 4000


@virtually
async def test_a_hub_that_fails_most_requests_is_asked_slowly_and_loses_no_record() -> None:
    chance = random.Random(1)
    hub = Hub(lambda _: OK if chance.random() < 0.3 else SERVER_ERROR)
    async with uploading(hub, workers=200, max_attempts=8) as desk:
        await desk.carry(records(5000))
        took = now()
    assert desk.outcomes == {Outcome.ACCEPTED: 5000}
    # Without failures its 40 ms would allow 5,000/s.
    assert 5000 / 300 < took < 5000 / 50


@virtually
async def test_the_last_records_of_a_run_that_all_fail_are_exhausted_once_nobody_waits_any_longer() -> None:
    hub = Hub(lambda request: SERVER_ERROR if request.record.position >= 1000 else OK)
    async with uploading(hub, max_attempts=8, traits=Traits(patience=60.0)) as desk:
        await desk.carry(records(1030))
        assert now() > 60
    assert desk.outcomes == {Outcome.ACCEPTED: 1000, Outcome.EXHAUSTED: 30}


@pytest.mark.parametrize("fault", [Fault.BROKEN, Fault.TIMEOUT])
@virtually
async def test_while_the_hub_is_gone_neither_attempts_nor_record_time_outs_run(fault: Fault) -> None:
    hub = Hub(lambda _: Answer(0, fault=fault, words="gone") if 1 <= now() < 700 else OK)
    async with uploading(hub, max_attempts=4, record_timeout=60) as desk:
        await desk.admit(records(3))
        await asyncio.sleep(2)
        # Twenty in a row make it gone; so many are not there, so each comes a few times.
        await desk.carry(record(position) for position in range(3, 13))
    assert desk.outcomes == {Outcome.ACCEPTED: 13}


@virtually
async def test_a_record_s_time_does_not_run_while_the_hub_keeps_it_waiting() -> None:
    # It rests after a failure, and then stands behind a throttle or an outage of eleven minutes.
    for refusal in (Answer(429, {"Retry-After": "60"}), Answer(0, fault=Fault.BROKEN, words="gone")):
        began = now()

        def script(request: Request, refusal: Answer = refusal, began: float = began) -> Answer:
            if 1 < now() - began < 700:
                return refusal
            return SERVER_ERROR if request.record.id == "id-7" and now() - began < 705 else OK

        async with uploading(Hub(script), max_attempts=20) as desk:
            await desk.carry(records(2000))
        assert desk.outcomes == {Outcome.ACCEPTED: 2000}


@virtually
async def test_retried_counts_what_is_sent_again_after_a_failure_and_nothing_else() -> None:
    hub = Hub(in_order([OK, SERVER_ERROR, THROTTLED, THROTTLED, NO_CONNECTION, THROTTLED]))
    async with uploading(hub, workers=1) as desk:
        await desk.carry(records(2))
    assert desk.outcomes == {Outcome.ACCEPTED: 2}
    assert (desk.upload.requests.failed, desk.upload.requests.retried) == (2, 2)


@virtually
async def test_a_last_attempt_that_fails_is_superseded_by_a_later_record_of_its_id() -> None:
    hub = Hub(in_order([OK, SERVER_ERROR]), latency=lambda _: 1.0)
    async with uploading(hub, max_attempts=1) as desk:
        await desk.admit([record(0)])
        await asyncio.sleep(1.5)
        await desk.admit([record(1, "x")])
        await asyncio.sleep(0.5)
        await desk.carry([record(2, "x")])
    assert {position: ending.outcome for position, ending in desk.endings.items()} == {
        0: Outcome.ACCEPTED,
        1: Outcome.SUPERSEDED,
        2: Outcome.ACCEPTED,
    }


@virtually
async def test_one_that_finds_no_connection_comes_back_with_jitter() -> None:
    hub = Hub(lambda request: NO_CONNECTION if request.record.position == 1 and request.number < 12 else OK)
    async with uploading(hub, workers=1) as desk:
        await desk.carry(records(2))
    rests = [later.began - (earlier.ended or 0) for earlier, later in pairwise(hub.of(1))]
    assert len(rests) == 10
    assert 0 < min(rests) < max(rests) <= 0.5


@virtually
async def test_a_hub_that_fails_and_says_when_to_come_back_is_not_asked_before() -> None:
    hub = Hub(lambda _: Answer(503, {"Retry-After": "120"}) if 1 < now() < 600 else OK)
    async with uploading(hub, workers=50) as desk:
        await desk.carry(records(2000))
    assert desk.outcomes == {Outcome.ACCEPTED: 2000}
    meanwhile = [request for request in hub.requests if 2 < request.began < 600]
    assert len(meanwhile) <= 5


@virtually
async def test_no_more_leave_in_any_second_than_the_cap_retries_counted() -> None:
    hub = Hub(lambda request: SERVER_ERROR if request.number % 3 == 0 else OK)
    async with uploading(hub, cap=50) as desk:
        await desk.carry(records(300))
    began = [request.began for request in hub.requests]
    assert max(bisect_left(began, at + 1 - 1e-6) - number for number, at in enumerate(began)) <= 50
    assert desk.outcomes == {Outcome.ACCEPTED: 300}


@virtually
async def test_a_connection_that_had_been_closed_costs_a_record_no_attempt() -> None:
    stale = Answer(0, fault=Fault.STALE, words="the hub closed it without an answer")
    hub = Hub(in_order([OK, stale, stale]))
    async with uploading(hub, workers=1, max_attempts=1) as desk:
        await desk.carry(records(2))
    assert [request.record.position for request in hub.requests] == [0, 1, 1, 1]
    assert [request.record.is_stale for request in hub.requests] == [False, True, True, True]
    assert hub.last.began - hub.requests[1].began < 0.3
    assert desk.outcomes == {Outcome.ACCEPTED: 2}
    requests = desk.upload.requests
    assert (requests.sent, requests.failed, requests.retried) == (4, 2, 2)


@virtually
async def test_a_bug_of_a_transport_comes_out_as_itself() -> None:
    def broken(request: Request) -> Answer:
        raise ZeroDivisionError

    with pytest.raises(ExceptionGroup) as raised:
        async with uploading(Hub(broken)) as desk:
            await desk.carry(records(2))
    assert isinstance(raised.value.exceptions[0], ZeroDivisionError)


@virtually
async def test_a_bug_where_a_timer_lets_records_leave_comes_out_as_itself() -> None:
    async def broken_off() -> None:
        async with uploading(Hub(), cap=1.0) as desk:
            await desk.admit(records(5))
            await asyncio.sleep(0.5)
            desk.upload._transport = None  # type: ignore[assignment]
            await desk.upload.drain()

    with pytest.raises(ExceptionGroup) as raised:
        await broken_off()
    assert isinstance(raised.value.exceptions[0], AttributeError)
