"""No second ever holds more requests than the cap, a hold stops everyone, and what it saved up does not burst out."""

import asyncio
import random
from bisect import bisect_left
from collections.abc import Awaitable, Callable
from functools import cache
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bulkload.pace import FIRST_HOLD, LONGEST_HOLD, Pacer
from tests.virtual_time import VirtualLoop, run_virtually

CAPS = [0.5, 1, 1.5, 2, 3, 10, 50, 64, 100, 150, 1000, 50_000]

# A machine with much else to do is no failure.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

# Two instants that differ by less are one: the clock's sums are not exact.
INSTANT = 1e-6

Script = Callable[[Pacer, "TickingLoop"], Awaitable[None]]


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


def departures(
    cap: float | None, script: Script, *, takers: int = 100, pause: Callable[[], float] = float
) -> list[float]:
    """When requests left while `script` ran, with many takers that each pause before their next."""
    left: list[float] = []
    loop = TickingLoop()

    async def main() -> None:
        pacer = Pacer(cap, clock=loop.time)

        async def take() -> None:
            while True:
                await pacer.turn()
                left.append(loop.time())
                await asyncio.sleep(pause())

        async with asyncio.TaskGroup() as tasks:
            workers = [tasks.create_task(take()) for _ in range(takers)]
            await script(pacer, loop)
            for worker in workers:
                worker.cancel()

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(main())
    return left


def waiting(seconds: float) -> Script:
    async def script(_: Pacer, __: TickingLoop) -> None:
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

    async def script(pacer: Pacer, loop: TickingLoop) -> None:
        for _ in range(10):
            await asyncio.sleep(chance.uniform(0, 0.5))
            loop.stall(chance.choice([0.0, 0.02, 0.3, 1.0, 5.0]) * chance.random())

    def pause() -> float:
        return chance.choice([0.0, 0.0, 0.1, 2.0]) * chance.random()

    assert 1 <= busiest_second(departures(cap, script, takers=takers, pause=pause)) <= max(1, cap)


@pytest.mark.parametrize("cap", [1, 10, 64, 150])
def test_a_loop_that_wakes_late_by_a_fiftieth_of_a_second_loses_nothing_of_a_large_cap(cap: float) -> None:
    async def script(_: Pacer, loop: TickingLoop) -> None:
        while loop.time() < 20:
            await asyncio.sleep(0.005)
            loop.stall(0.005)

    rate = len(departures(cap, script)) / 20
    assert rate >= cap * (0.97 if cap >= 100 else 0.85)


@pytest.mark.parametrize("cap", [1, 50, 150])
def test_takers_who_give_up_cost_the_others_nothing(cap: float) -> None:
    async def main() -> list[float]:
        left: list[float] = []
        pacer = Pacer(cap, clock=loop.time)

        async def take() -> None:
            await pacer.turn()
            left.append(loop.time())

        async with asyncio.TaskGroup() as tasks:
            workers = [tasks.create_task(take()) for _ in range(int(cap) * 8)]
            await asyncio.sleep(0.5)
            for worker in workers[::2]:
                worker.cancel()
        return left

    loop = TickingLoop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        left = runner.run(main())
    assert busiest_second(left) <= cap
    assert len(left) / (left[-1] + 1 / cap) >= cap * 0.95


def test_without_a_cap_a_turn_is_free_and_takes_no_turn_of_the_loop() -> None:
    pacer = Pacer(clock=lambda: 5.0)
    assert pacer.is_free
    with pytest.raises(StopIteration):
        pacer.turn().__await__().send(None)


def test_with_a_cap_every_turn_is_counted() -> None:
    assert not Pacer(1, clock=lambda: 5.0).is_free


@pytest.mark.parametrize("cap", [None, 1, 10, 50, 64, 150, 1000])
def test_a_hold_stops_everyone_and_ends_on_time(cap: float | None) -> None:
    async def script(pacer: Pacer, _: TickingLoop) -> None:
        await asyncio.sleep(2.5)
        pacer.hold(3.0)
        assert not pacer.is_free
        await asyncio.sleep(6.5)

    left = departures(cap, script, pause=lambda: 0.1)
    before = [at for at in left if at <= 2.5 + INSTANT]
    after = [at for at in left if at > 2.5 + INSTANT]
    assert before
    assert 5.5 <= after[0] < 5.5 + 1.03 / (cap or 1000)


@pytest.mark.parametrize("cap", [1, 10, 50, 64, 150, 1000])
def test_after_a_hold_no_burst_makes_up_for_it(cap: float) -> None:
    async def script(pacer: Pacer, _: TickingLoop) -> None:
        await asyncio.sleep(1.2)
        pacer.hold(10.0)
        await asyncio.sleep(13.0)

    left = departures(cap, script, takers=max(200, 2 * int(cap)))
    assert busiest_second(left) <= cap
    after = [at for at in left if at > 11.2]
    assert sum(at < 12.2 - INSTANT for at in after) <= cap
    assert len(after) >= 3 * cap * 0.95 - 1


@settings(UNHURRIED, max_examples=40)
@given(
    cap=st.sampled_from([None, 0.5, 1, 3, 10, 50, 64, 150]),
    holds=st.lists(
        st.tuples(st.floats(0, 3), st.none() | st.floats(0, 4)),
        min_size=1,
        max_size=6,
    ),
)
def test_whatever_is_held_nobody_leaves_meanwhile_and_the_cap_holds(
    cap: float | None, holds: list[tuple[float, float | None]]
) -> None:
    held: list[tuple[float, float]] = []

    async def script(pacer: Pacer, loop: TickingLoop) -> None:
        for rest, seconds in holds:
            await asyncio.sleep(rest)
            now = loop.time()
            pacer.hold(seconds)
            # How long one holds that names no time is another rule's.
            held.append((now, now + (seconds or 0.0)))
        # The longest of them, and the longest time between two requests.
        await asyncio.sleep(8 + 2 * 2)

    left = departures(cap, script, takers=20, pause=lambda: 0.1)
    for begin, end in held:
        assert not [at for at in left if begin < at < end - INSTANT]
    assert cap is None or busiest_second(left) <= max(1, cap)
    assert left[-1] > held[-1][0]


def resumption(*holds: float | None) -> float:
    """When the next request leaves after these holds, all called for at 0."""

    async def main() -> float:
        loop = asyncio.get_running_loop()
        pacer = Pacer(clock=loop.time)
        for seconds in holds:
            pacer.hold(seconds)
        await pacer.turn()
        return loop.time()

    return run_virtually(main())


@pytest.mark.parametrize(
    ("holds", "expected"),
    [
        ([10.0, 5.0], 10.0),
        ([5.0, 10.0], 10.0),
        ([5.0] * 64, 5.0),
        ([None, 5.0], 5.0),
        ([5.0, None], 5.0),
        ([None, 0.1], FIRST_HOLD),
        ([0.1, None], 0.1),
        ([None], FIRST_HOLD),
        ([None] * 64, FIRST_HOLD),
    ],
)
def test_of_several_holds_the_longest_counts_and_a_crowd_counts_once(
    holds: list[float | None], expected: float
) -> None:
    assert resumption(*holds) == pytest.approx(expected)


def test_a_hold_that_is_extended_while_everyone_waits_is_waited_out() -> None:
    async def main() -> float:
        loop = asyncio.get_running_loop()
        pacer = Pacer(clock=loop.time)
        pacer.hold(1.0)
        loop.call_at(0.5, pacer.hold, 5.0)
        await pacer.turn()
        return loop.time()

    assert run_virtually(main()) == pytest.approx(5.5)


def throttled(pacer: Pacer, loop: asyncio.AbstractEventLoop) -> Callable[[], Awaitable[float]]:
    """A throttle that names no time, and how long the next request waits for it."""

    async def throttle() -> float:
        began = loop.time()
        pacer.hold(None)
        await pacer.turn()
        return loop.time() - began

    return throttle


def test_each_throttle_that_names_no_time_holds_twice_as_long_up_to_a_limit() -> None:
    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        throttle = throttled(Pacer(clock=loop.time), loop)
        return [await throttle() for _ in range(10)]

    doubled = [FIRST_HOLD * 2**number for number in range(7)]
    assert run_virtually(main()) == pytest.approx([*doubled, LONGEST_HOLD, LONGEST_HOLD, LONGEST_HOLD])


def test_an_acceptance_makes_the_next_throttle_a_new_one() -> None:
    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        pacer = Pacer(clock=loop.time)
        throttle = throttled(pacer, loop)
        waits = [await throttle() for _ in range(4)]
        pacer.accepted()
        return [*waits, await throttle()]

    assert run_virtually(main()) == pytest.approx([0.25, 0.5, 1.0, 2.0, 0.25])


def test_a_throttle_that_names_its_time_does_not_lengthen_the_next() -> None:
    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        pacer = Pacer(clock=loop.time)
        throttle = throttled(pacer, loop)
        waits = []
        for _ in range(3):
            pacer.hold(20.0)
            await pacer.turn()
            waits.append(await throttle())
        return waits

    assert run_virtually(main()) == pytest.approx([0.25, 0.5, 1.0])


def test_a_throttle_that_asks_for_no_time_at_all_is_like_one_that_names_none() -> None:
    # Retry-After: 0, or a date that has passed by this machine's clock.
    assert resumption(0.0) == pytest.approx(FIRST_HOLD)


async def test_a_sleep_that_ends_early_is_slept_on() -> None:
    now = 100.0
    slept = []

    async def sleep(seconds: float) -> None:
        nonlocal now
        slept.append(seconds)
        now += min(seconds, 0.4)

    pacer = Pacer(clock=lambda: now, sleep=sleep)
    pacer.hold(1.0)
    await pacer.turn()
    assert slept == pytest.approx([1.0, 0.6, 0.2])
    assert now == pytest.approx(101.0)


def test_a_pacer_shows_its_cap_and_its_hold() -> None:
    now = 100.0
    pacer = Pacer(2000, clock=lambda: now)
    assert repr(pacer) == "<Pacer 2000/s>"
    pacer.hold(4.12)
    assert repr(pacer) == "<Pacer 2000/s, held 4.1s>"
    now = 110.0
    assert repr(pacer) == "<Pacer 2000/s>"
    assert repr(Pacer(0.5, clock=lambda: now)) == "<Pacer 0.5/s>"
    assert repr(Pacer(clock=lambda: now)) == "<Pacer uncapped>"
