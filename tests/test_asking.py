"""A job that asks a hub ends when it is told to, whatever it is about, and says what has come of it."""

import asyncio
import logging
from contextlib import suppress

import pytest

from bulkload.errors import Halt, Stop
from bulkload.migrate.asking import MOST_TOLD, Asked, Stoppable
from tests.virtual_time import run_virtually


class Job(Stoppable[object]):
    """One that takes a minute, and a second to put things in order where it is ended."""

    def __init__(self, *, raising: Exception | None = None) -> None:
        super().__init__()
        self._raising = raising
        self.is_in_order = False

    @property
    def progress(self) -> Asked:
        return Asked("some", 0, None, self.elapsed)

    async def _work(self) -> object:
        if self._raising is not None:
            raise self._raising
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(1)
            self.is_in_order = True
        return "done"

    def _stopped(self, stop: Stop) -> object:
        return stop


STOP = Stop(5, "enough")


def test_a_job_that_nobody_ends_comes_to_its_end() -> None:
    assert run_virtually(Job().run()) == "done"


def test_a_job_that_is_ended_before_it_begins_does_nothing() -> None:
    job = Job()
    job.stop(*STOP)
    assert run_virtually(job.run()) == STOP


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_job_that_is_ended_puts_things_in_order_however_often_it_is_told(times: int) -> None:
    job = Job()

    async def main() -> tuple[object, int, float]:
        running = asyncio.create_task(job.run())
        for number in range(times):
            await asyncio.sleep(0.5)
            job.stop(5, "enough" if not number else "once more")
        return await running, running.cancelling(), asyncio.get_running_loop().time()

    assert run_virtually(main()) == (STOP, 0, 1.5)
    assert job.is_in_order


def test_a_halt_ends_a_job_with_its_words() -> None:
    assert run_virtually(Job(raising=Halt("no hub")).run()) == Stop(Halt.exit_code, "no hub")


def test_a_bug_comes_out_as_itself() -> None:
    with pytest.raises(ZeroDivisionError):
        run_virtually(Job(raising=ZeroDivisionError()).run())


def test_a_cancellation_by_others_passes() -> None:
    async def main() -> bool:
        running = asyncio.create_task(Job().run())
        await asyncio.sleep(0.5)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        return running.cancelled()

    assert run_virtually(main())


def test_a_cancellation_by_others_passes_also_where_it_was_told_to_end() -> None:
    async def main() -> bool:
        job = Job()
        running = asyncio.create_task(job.run())
        await asyncio.sleep(0.5)
        job.stop(*STOP)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        return running.cancelled()

    assert run_virtually(main())


def test_so_many_failures_are_told_and_all_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    job = Job()
    for number in range(MOST_TOLD + 5):
        job.failed(f"failure {number}")
    assert job.failures == MOST_TOLD + 5
    assert len(caplog.messages) == MOST_TOLD
    assert caplog.messages[-1] == f"failure {MOST_TOLD - 1}; others are counted only"
    assert repr(job) == f"<Job, {MOST_TOLD + 5} failures>"
