"""Things are given out in order, those put off when their time has come, and never too many wait."""

import asyncio
from collections.abc import AsyncGenerator

from bulkload.migrate.revisiting import Revisiting


async def things(number: int) -> AsyncGenerator[int, None]:
    for each in range(number):
        yield each


async def test_each_thing_is_given_once_and_then_nothing() -> None:
    visits = Revisiting(things(3))
    given = []
    while (thing := await visits.next()) is not None:
        given.append(thing)
        visits.done()
    assert given == [0, 1, 2]
    assert await visits.next() is None


async def test_what_is_put_off_comes_again_after_its_time() -> None:
    visits = Revisiting(things(2))
    loop = asyncio.get_running_loop()
    assert await visits.next() == 0
    began = loop.time()
    visits.put_off(0, 0.1)
    assert await visits.next() == 1
    visits.done()
    assert await visits.next() == 0
    assert loop.time() - began >= 0.1
    visits.done()
    assert await visits.next() is None


async def test_while_too_many_wait_no_new_one_is_taken() -> None:
    visits = Revisiting(things(5), most_waiting=2)
    for expected, seconds in ((0, 0.05), (1, 3600)):
        assert await visits.next() == expected
        visits.put_off(expected, seconds)
    assert visits.waiting == 2
    assert [await visits.next(), await visits.next(), await visits.next()] == [0, 2, 3]


async def test_a_worker_that_waits_is_woken_by_what_another_puts_off() -> None:
    visits = Revisiting(things(1))
    assert await visits.next() == 0
    waiting = asyncio.create_task(visits.next())
    await asyncio.sleep(0)
    assert not waiting.done()
    visits.put_off(0, 0.01)
    assert await waiting == 0
    last = asyncio.create_task(visits.next())
    await asyncio.sleep(0)
    visits.done()
    assert await last is None


async def test_several_workers_share_all_things() -> None:
    visits = Revisiting(things(50))
    seen: list[int] = []

    async def work() -> None:
        while (thing := await visits.next()) is not None:
            await asyncio.sleep(0)
            if thing % 7 == 0 and seen.count(thing) < 2:
                seen.append(thing)
                visits.put_off(thing, 0.001)
            else:
                seen.append(thing)
                visits.done()

    await asyncio.gather(*(work() for _ in range(8)))
    assert set(seen) == set(range(50))
    assert all(seen.count(thing) == (3 if thing % 7 == 0 else 1) for thing in range(50))
