"""No second ever holds more requests than the cap, and the pacer tells what keeps requests back."""

import asyncio
import math
import random
from bisect import bisect_left
from collections.abc import Awaitable, Callable
from functools import cache
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bulkload.pace import OF_OUTAGE, Pacer
from bulkload.pace.cap import Cap
from bulkload.pace.concurrency import FIRST, LEAST, Concurrency
from bulkload.pace.pacer import SHORTEST_DELAY
from tests.virtual_time import VirtualLoop

CAPS = [0.5, 1, 1.5, 2, 3, 10, 50, 64, 100, 150, 1000, 50_000]

# A machine with much else to do is no failure.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

# Two instants that differ by less are one: the clock's sums are not exact.
INSTANT = 1e-6

Script = Callable[["TickingLoop"], Awaitable[None]]


class TickingLoop(VirtualLoop):
    """Virtual time in which a look at the clock takes a nanosecond.

    The limiter's sums may put its timer a last digit before the time that it waits for: were the clock to stand still
    meanwhile, it would set that timer forever.
    """

    def time(self) -> float:
        self._jumping.now += 1e-9
        return super().time()

    def stall(self, seconds: float) -> None:
        """Do nothing for a while, as a loop does whose process is not let run."""
        self._jumping.now += seconds


def departures(rate: float, script: Script, *, takers: int = 100, pause: Callable[[], float] = float) -> list[float]:
    """When requests left while `script` ran, with many takers that each pause before their next."""
    left: list[float] = []
    loop = TickingLoop()

    async def main() -> None:
        cap = Cap(rate)

        async def take() -> None:
            while True:
                while delay := cap.delay():  # noqa: ASYNC110 - the cap says when to look again
                    await asyncio.sleep(max(delay, SHORTEST_DELAY))
                cap.leave()
                left.append(loop.time())
                await asyncio.sleep(pause())

        async with asyncio.TaskGroup() as tasks:
            workers = [tasks.create_task(take()) for _ in range(takers)]
            await script(loop)
            for worker in workers:
                worker.cancel()

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(main())
    return left


def waiting(seconds: float) -> Script:
    async def script(_: TickingLoop) -> None:
        await asyncio.sleep(seconds)

    return script


def busiest_second(left: list[float]) -> int:
    """The most departures within any second, wherever it begins."""
    return max((bisect_left(left, start + 1 - INSTANT) - number for number, start in enumerate(left)), default=0)


def longest_gap(left: list[float]) -> float:
    return max(later - earlier for earlier, later in pairwise(left))


def span(cap: float) -> float:
    """Long enough for a thousand departures, or for dozens where they are rare."""
    return min(100.0, max(1.05, 1000 / cap))


@cache
def undisturbed(cap: float) -> list[float]:
    return departures(cap, waiting(span(cap)))


@pytest.mark.parametrize("cap", CAPS)
def test_no_second_holds_more_departures_than_the_cap(cap: float) -> None:
    assert 1 <= busiest_second(undisturbed(cap)) <= max(1, cap)


@pytest.mark.parametrize("cap", CAPS)
def test_the_first_second_holds_no_more_than_any_other(cap: float) -> None:
    left = undisturbed(cap)
    assert left[0] < INSTANT
    assert sum(at < 1 for at in left) <= max(1, cap)


@pytest.mark.parametrize("cap", CAPS)
def test_the_rate_comes_close_to_the_cap(cap: float) -> None:
    # Of a cap of less than ten every part of a request counts: 1.5 lets out one a second, as 1 does.
    least = {1.5: 0.98}.get(cap, cap * 0.98)
    assert least <= (len(undisturbed(cap)) + 1) / span(cap)


@pytest.mark.parametrize("cap", CAPS)
def test_departures_are_spread_over_the_second(cap: float) -> None:
    # A fiftieth of the cap may leave at once, so that it takes a thirtieth of a second to make up for it.
    assert longest_gap(undisturbed(cap)) < max(1 / 30, 1.03 / max(min(cap, int(cap)), 0.5))


@settings(UNHURRIED, max_examples=40)
@given(
    cap=st.sampled_from(CAPS[:-2]) | st.floats(min_value=0.2, max_value=300),
    seed=st.integers(0, 2**32),
    takers=st.integers(1, 100),
)
def test_the_cap_holds_whatever_comes_and_however_late_the_loop_wakes(cap: float, seed: int, takers: int) -> None:
    chance = random.Random(seed)

    async def script(loop: TickingLoop) -> None:
        for _ in range(10):
            await asyncio.sleep(chance.uniform(0, 0.5))
            loop.stall(chance.choice([0.0, 0.02, 0.3, 1.0, 5.0]) * chance.random())

    def pause() -> float:
        return chance.choice([0.0, 0.0, 0.1, 2.0]) * chance.random()

    assert 1 <= busiest_second(departures(cap, script, takers=takers, pause=pause)) <= max(1, cap)


@pytest.mark.parametrize("cap", [1, 10, 64, 150])
def test_a_loop_that_wakes_late_by_a_fiftieth_of_a_second_loses_nothing_of_a_large_cap(cap: float) -> None:
    async def script(loop: TickingLoop) -> None:
        while loop.time() < 20:
            await asyncio.sleep(0.005)
            loop.stall(0.005)

    rate = len(departures(cap, script)) / 20
    assert rate >= cap * (0.97 if cap >= 100 else 0.85)


def test_one_that_waits_for_the_cap_is_told_when_to_look_again() -> None:
    async def main() -> None:
        pacer = Pacer(cap=1, workers=8, now=0.0)
        assert pacer.room(0.0) == 1
        pacer.leave()
        pacer.taken(0.0, 0.5)
        assert pacer.room(0.5) == 0
        assert 1 < pacer.wait < 1.03
        assert pacer.held(1.0)["cap"] == pytest.approx(0.5)

    asyncio.run(main())


def test_no_more_are_in_flight_than_workers() -> None:
    pacer = Pacer(workers=3, now=0.0)
    pacer.leave()
    pacer.taken(0.0, 0.01)
    now = 0.01
    for _ in range(3):
        now += 0.01
        assert pacer.room(now)
        pacer.leave()
    assert pacer.room(now + 0.01) == 0
    assert pacer.wait == math.inf
    assert pacer.held(now + 1.01)["in flight"] == pytest.approx(1.0)


def test_what_keeps_requests_back_is_told_also_while_it_still_does() -> None:
    pacer = Pacer(workers=3, now=0.0)
    pacer.leave()
    pacer.taken(0.0, 0.04)
    pacer.idle(1.0, is_resting=False)
    pacer.room(3.0)
    for _ in range(5):
        pacer.leave()
    for _ in range(5):
        pacer.throttled(3.0, 3.0, 20.0)
    assert pacer.room(3.0) == 0
    assert pacer.wait == pytest.approx(20.0)
    assert dict(pacer.held(4.0)) == pytest.approx({"nothing to send": 2.0, "throttling": 1.0})
    assert dict(pacer.held(5.5)) == pytest.approx({"nothing to send": 2.0, "throttling": 2.5})


def test_a_hub_that_is_out_of_reach_is_no_throttle() -> None:
    pacer = Pacer(workers=3, now=0.0)
    pacer.block(0.0, OF_OUTAGE)
    assert pacer.room(0.0) == 0
    assert pacer.wait == pytest.approx(1.0)
    assert "throttling" not in pacer.held(5.0)


def rounds(concurrency: Concurrency, latency: Callable[[int], float], *, seconds: float) -> None:
    """Requests that keep the limit busy; the latency follows from how many are in flight."""
    now = 0.0
    while now < seconds:
        number = concurrency.limit
        concurrency.bind()
        passing = latency(number)
        left = now + 1e-6
        now += passing
        for _ in range(number):
            concurrency.answered(left, now, 1, now - left)


@pytest.mark.parametrize(("rate", "least"), [(1000, 0.04), (5000, 0.1), (8000, 0.005)])
def test_as_many_are_in_flight_as_raise_the_rate(rate: float, least: float) -> None:
    concurrency = Concurrency(2000, 0.0)
    rounds(concurrency, lambda number: max(least, number / rate), seconds=10.0)
    assert min(rate * least, FIRST) * 0.8 <= concurrency.limit <= max(4 * rate * least, FIRST)
    assert concurrency.limit >= min(rate * least, 2000) * 0.8


def test_a_latency_that_rises_by_itself_leaves_the_limit_where_it_is() -> None:
    concurrency = Concurrency(1000, 0.0)
    rounds(concurrency, lambda number: max(0.04, number / 2000), seconds=5.0)
    before = concurrency.limit
    rounds(concurrency, lambda number: 0.4, seconds=10.0)
    assert concurrency.limit >= before
    assert LEAST <= concurrency.limit <= 1000


def test_a_pacer_tells_its_state() -> None:
    assert repr(Pacer(cap=2000, workers=8, now=0.0)) == (
        "<Pacer <AdaptiveRate ramps at 500/s>, <Cap 2000/s>, <Concurrency 8 of 8>>"
    )
    assert "no cap" in repr(Pacer(workers=8, now=0.0))


@pytest.mark.parametrize("looks", [0.0, 0.125, 0.03], ids=["at its own times", "by two others", "by eight others"])
def test_a_rate_grows_again_however_often_others_look_at_it(looks: float) -> None:
    now, sent = 0.0, 0
    pacer = Pacer(workers=800, now=now)
    # The first request is throttled: one at a time goes then, and the rate begins anew at one a second.
    pacer.leave()
    pacer.throttled(now, 0.001)
    on_their_way: list[tuple[float, float]] = []
    while now < 60:
        for left, answered in [each for each in on_their_way if each[1] <= now]:
            on_their_way.remove((left, answered))
            pacer.taken(left, now)
        room = pacer.room(now)
        if room:
            pacer.leave(room)
            sent += room
            on_their_way += [(now, now + 0.002)] * room
        nexts = [answered for _, answered in on_their_way]
        nexts.append(now + (0.001 if room else pacer.wait))
        if looks:
            nexts.append((int(now / looks + 1e-6) + 1) * looks)
        now = max(now + 1e-4, min(nexts))
        if sent > 5000:
            return
    pytest.fail(f"{sent} requests in a minute")
