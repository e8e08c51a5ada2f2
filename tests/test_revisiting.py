"""Things are given out in their order, and again when their time has come, to however many workers."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from bulkload.migrate.revisiting import Revisiting
from tests.virtual_time import run_virtually


class Things:
    """So many numbers, and how many of them were taken."""

    def __init__(self, number: int, *, every: float = 0.0, failing_at: int | None = None) -> None:
        self._number = number
        self._every = every
        self._failing_at = failing_at
        self.taken = 0

    async def all(self) -> AsyncGenerator[int, None]:
        for each in range(self._number):
            await asyncio.sleep(self._every)
            if each == self._failing_at:
                raise ZeroDivisionError
            self.taken += 1
            yield each


def clock() -> float:
    return asyncio.get_running_loop().time()


async def gone_through(
    things: Revisiting[int], *, again: dict[int, list[float]] | None = None
) -> list[tuple[float, int]]:
    """What one worker gets and when; `again` says how long each is put off, visit by visit."""
    pauses = {thing: list(times) for thing, times in (again or {}).items()}
    seen = []
    while (thing := await things.next()) is not None:
        seen.append((clock(), thing))
        if pauses.get(thing):
            things.put_off(thing, pauses[thing].pop(0))
        else:
            things.done()
    return seen


def gone_through_by(
    workers: int, number: int, *, again: dict[int, list[float]], takes: float = 0.0, **options: int
) -> list[tuple[float, int]]:
    """The same for several workers, each visit taking so long."""
    pauses = {thing: list(times) for thing, times in again.items()}
    seen: list[tuple[float, int]] = []

    async def work(things: Revisiting[int]) -> None:
        while (thing := await things.next()) is not None:
            seen.append((clock(), thing))
            await asyncio.sleep(takes)
            if pauses.get(thing):
                things.put_off(thing, pauses[thing].pop(0))
            else:
                things.done()

    async def main() -> None:
        things = Revisiting(Things(number).all(), **options)
        async with asyncio.timeout(1000):
            await asyncio.gather(*(work(things) for _ in range(workers)))
        assert things.waiting == 0

    run_virtually(main())
    return seen


def test_things_come_in_their_order() -> None:
    assert run_virtually(gone_through(Revisiting(Things(3).all()))) == [(0, 0), (0, 1), (0, 2)]


def test_nothing_ends_at_once() -> None:
    assert run_virtually(gone_through(Revisiting(Things(0).all()))) == []


def test_what_is_put_off_comes_again_when_its_time_has_come_the_earliest_first() -> None:
    seen = run_virtually(gone_through(Revisiting(Things(3).all()), again={0: [5.0], 1: [2.0, 4.0], 2: []}))
    assert seen == [(0, 0), (0, 1), (0, 2), (2, 1), (5, 0), (6, 1)]


def test_what_was_put_off_for_the_same_time_comes_in_the_order_of_that() -> None:
    seen = run_virtually(gone_through(Revisiting(Things(4).all()), again={each: [1.0] for each in (2, 0, 3, 1)}))
    assert [thing for at, thing in seen if at == 1] == [0, 1, 2, 3]


def test_what_has_its_time_comes_before_what_is_new() -> None:
    seen = run_virtually(gone_through(Revisiting(Things(3).all()), again={0: [0.0]}))
    assert [thing for _, thing in seen] == [0, 0, 1, 2]


def test_no_new_ones_are_taken_while_too_many_wait() -> None:
    async def main() -> None:
        source = Things(10)
        things = Revisiting(source.all(), most_waiting=3)
        for _ in range(3):
            thing = await things.next()
            assert thing is not None
            things.put_off(thing, 10.0)
        assert (things.waiting, source.taken) == (3, 3)
        assert repr(things) == "<Revisiting: 0 in work, 3 put off>"
        assert (await things.next(), clock(), source.taken) == (0, 10.0, 3)
        # One of those that waited is in work: there is room for a new one, once those are given that have their time.
        assert [await things.next(), await things.next(), await things.next()] == [1, 2, 3]
        assert repr(things) == "<Revisiting: 4 in work, 0 put off>"

    run_virtually(main())


@pytest.mark.parametrize("workers", [1, 2, 7, 50])
def test_several_workers_visit_each_as_often_as_it_wants(workers: int) -> None:
    again = {each: [1.0] * (each % 4) for each in range(40)}
    seen = gone_through_by(workers, 40, again=again, takes=0.1, most_waiting=5)
    counts = {each: sum(thing == each for _, thing in seen) for each in range(40)}
    assert counts == {each: 1 + each % 4 for each in range(40)}


def test_several_workers_work_at_the_same_time() -> None:
    seen = gone_through_by(4, 8, again={}, takes=1.0)
    assert [at for at, _ in seen] == [0.0] * 4 + [1.0] * 4


def test_a_worker_waits_for_the_last_one_of_others_since_it_may_come_again() -> None:
    seen = gone_through_by(2, 1, again={0: [1.0]}, takes=3.0)
    assert seen == [(0, 0), (4.0, 0)]


def test_what_is_put_off_by_one_worker_wakes_another_that_waits_for_longer() -> None:
    async def main() -> list[object]:
        things = Revisiting(Things(2).all())
        first, second = await things.next(), await things.next()
        assert (first, second) == (0, 1)
        things.put_off(0, 10.0)
        waiting = asyncio.create_task(things.next())
        await asyncio.sleep(1)
        things.put_off(1, 2.0)
        return [await waiting, clock()]

    assert run_virtually(main()) == [1, 3.0]


def test_what_its_source_raises_is_raised_once_and_others_come_to_their_end() -> None:
    async def main() -> list[object]:
        things = Revisiting(Things(3, failing_at=1).all())
        first = await things.next()
        with pytest.raises(ZeroDivisionError):
            await things.next()
        things.done()
        return [first, await things.next()]

    assert run_virtually(main()) == [0, None]


def test_a_worker_that_is_cancelled_while_it_waits_takes_nothing_with_it() -> None:
    async def main() -> list[object]:
        things = Revisiting(Things(1).all())
        thing = await things.next()
        assert thing is not None
        things.put_off(thing, 5.0)
        waiting = asyncio.create_task(things.next())
        await asyncio.sleep(1)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        return [await things.next(), clock()]

    assert run_virtually(main()) == [0, 5.0]
