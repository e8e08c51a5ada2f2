"""One session at work: reads, checks, hands to the upload, and keeps every settlement."""

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, closing
from typing import NamedTuple

from bulkload.errors import BUG, BulkloadError, Halt
from bulkload.installation import Flaw, check
from bulkload.ledger import Checkpoint, Commit, Ledger, Mark, Sample, Session, State, Writer
from bulkload.load.settings import ErrorLimit, Settings
from bulkload.pace import Pacer
from bulkload.record import Outcome, Record, Settlement
from bulkload.report import Meter
from bulkload.retry import Backoff
from bulkload.sas import Signer
from bulkload.source import Batch, Broken, Datum, Place, Source
from bulkload.upload import Ending, Upload
from bulkload.wire import Transport

# Settlements are written when so many are there, and at least this often: a kill costs less than a second's work.
COMMIT_AT = 2000
COMMIT_EVERY = 0.25
SAMPLE_EVERY = 1.0


class Stop(NamedTuple):
    """Why a session ends before its run does."""

    exit_code: int
    reason: str


class LiveSession:
    """A session from its first read to its last commit.

    `stop` ends it early: nothing further is read or sent, what is in flight may be answered within the grace.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        settings: Settings,
        ledger: Ledger,
        state: State,
        session: Session,
        transport: Transport,
        signer: Signer,
        meter: Meter,
        tasks: asyncio.TaskGroup,
    ) -> None:
        self.settled = 0
        self.bad = 0
        self.error: Exception | None = None
        self._sources = sources
        self._settings = settings
        self._ledger = ledger
        self._session = session
        self._meter = meter
        self._tasks = tasks
        self._starts = state.marks
        self._errors = ErrorLimit.parse(settings.max_errors)
        self._taken = 0
        self._checkpoints: dict[int, Checkpoint] = {}
        self._pending: list[Settlement] = []
        self._samples: list[Sample] = []
        self._marks: dict[int, Mark] = {}
        self._stop: Stop | None = None
        self._end: Stop | None = None
        self._reader: asyncio.Task[None] | None = None
        self._writer = Writer(ledger.connection, ledger.path, self._unwritable)
        self.upload = Upload(
            transport,
            signer,
            settle=self._settle,
            halt=lambda halt: self.stop(halt.exit_code, str(halt)),
            pacer=Pacer(settings.rate, clock=time.monotonic),
            backoff=Backoff(max_attempts=settings.max_attempts, record_timeout=settings.record_timeout),
            workers=settings.workers,
            tasks=tasks,
            clock=time.monotonic,
            was_accepted=bool(state.totals[Outcome.ACCEPTED]),
        )

    def __repr__(self) -> str:
        return f"<LiveSession {self._session.number}, {self.settled} settled>"

    def stop(self, exit_code: int, reason: str) -> None:
        """End early; the first reason counts."""
        if self._stop is not None:
            return
        self._stop = Stop(exit_code, reason)
        self.upload.stop_sending()
        if self._reader is not None:
            self._reader.cancel()

    async def carry_out(self) -> Stop | None:
        """Work until all is settled (None) or something stops it; what was settled is on the disk afterwards."""
        self._reader = self._tasks.create_task(self._read_all())
        self._meter.start()
        keeper = self._tasks.create_task(self._keep())
        if self._stop is not None:
            self._reader.cancel()
        try:
            await asyncio.wait([self._reader])
            await self.upload.drain()
            if self._stop is not None:
                await self.upload.stop(self._settings.grace)
        finally:
            # Also when the caller cancels: what is settled by now is kept.
            keeper.cancel()
            self.upload.stop_sending()
            self._sample()
            self._commit()
            await self._writer.close()
        return self._stop or self._end

    async def _read_all(self) -> None:
        try:
            for number, source in enumerate(self._sources):
                if not self._starts[number].is_finished and not await self._read(number, source):
                    return
        except Halt as exc:
            # The source broke off: what came before it goes its way to the end first.
            self._end = Stop(exc.exit_code, str(exc))
        except _SourceError as exc:
            self.error = exc.failure

    async def _read(self, number: int, source: Source) -> bool:
        """Take a source's records from where it was left; False where reading ends before the source does."""
        start = self._starts[number]
        checkpoint = self._checkpoints[number] = Checkpoint(start)
        with closing(self._ledger.settled(number, start)) as settled:
            skip = next(settled, None)
            async with aclosing(_batches(source, start.place)) as batches:
                async for batch in batches:
                    for datum, offset, line in batch.placed():
                        checkpoint.reach(Place(offset, line))
                        if checkpoint.position == skip:
                            checkpoint.take()
                            skip = next(settled, None)
                        elif not await self._take(number, checkpoint, datum, line):
                            return False
                    checkpoint.reach(batch.end)
                    # Others may run between two batches, also when nothing of a batch was sent.
                    await asyncio.sleep(0)
                    await self._writer.catch_up()
        checkpoint.is_at_end = True
        return True

    async def _take(self, number: int, checkpoint: Checkpoint, datum: Datum, line: int) -> bool:
        """Check one source object and hand it on; False where no further one is wanted."""
        if self._taken == self._settings.limit:
            self._end = Stop(5, f"--limit {self._settings.limit} is reached")
            return False
        self._taken += 1
        position = checkpoint.take()
        assert not isinstance(datum, dict)
        checked = datum.flaw if isinstance(datum, Broken) else check(datum)
        if isinstance(checked, Flaw):
            detail = f"line {line}: {checked}"
            self._note(Settlement(number, position, checked.id, Outcome.INVALID, None, 0, None, time.time(), detail))
            return self._stop is None
        checkpoint.hold(position)
        return await self.upload.admit(Record(number, position, checked.id, checked.body))

    def _settle(self, record: Record, ending: Ending) -> None:
        if ending.latency is not None:
            self._meter.add(ending.latency)
        self._checkpoints[record.source].settle(record.position)
        self._note(
            Settlement(
                record.source,
                record.position,
                record.id,
                ending.outcome,
                ending.status,
                record.attempts,
                ending.latency,
                time.time(),
                ending.detail,
                ending.tracking_id,
            )
        )

    def _note(self, settlement: Settlement) -> None:
        """Keep a settlement for the next commit, and count it."""
        self.settled += 1
        self._pending.append(settlement)
        if not settlement.outcome.is_good:
            self.bad += 1
            if self._errors.is_passed(self.bad, self.settled):
                self.stop(
                    3, f"--max-errors {self._settings.max_errors} is passed: {self.bad:,} of {self.settled:,} failed"
                )
        if len(self._pending) >= COMMIT_AT:
            self._commit()

    async def _keep(self) -> None:
        """Commit and sample at their times until cancelled."""
        sampled = time.monotonic()
        while True:
            await asyncio.sleep(COMMIT_EVERY)
            if time.monotonic() - sampled >= SAMPLE_EVERY:
                sampled = time.monotonic()
                self._sample()
            self._commit()

    def _sample(self) -> None:
        is_reading = self._reader is not None and not self._reader.done()
        is_starved = is_reading and self.upload.is_starved
        self._samples.append(self._meter.sample(self.upload.requests, is_starved=is_starved))

    def _commit(self) -> None:
        """Post what was settled, with the marks that are true once it is on the disk."""
        marks = {number: checkpoint.mark() for number, checkpoint in self._checkpoints.items()}
        if not self._pending and not self._samples and marks == self._marks:
            return
        requests = self.upload.requests
        self._writer.post(
            Commit(
                self._session.number,
                self._pending,
                marks,
                self._samples,
                requests.sent,
                requests.throttled,
                requests.retried,
                requests.failed,
            )
        )
        self._pending = []
        self._samples = []
        self._marks = marks
        for number in [number for number, mark in marks.items() if mark.is_finished]:
            del self._checkpoints[number]

    def _unwritable(self, failure: Exception) -> None:
        if isinstance(failure, BulkloadError):
            self.stop(failure.exit_code, str(failure))
        else:
            self.error = failure
            self.stop(BUG, "the ledger's writer failed")


class _SourceError(Exception):
    """A user's own iterable raised `failure`: what it gave before goes its way first."""

    def __init__(self, failure: Exception) -> None:
        super().__init__(str(failure))
        self.failure = failure


async def _batches(source: Source, start: Place) -> AsyncGenerator[Batch, None]:
    async with aclosing(source.batches(start)) as batches:
        try:
            async for batch in batches:
                yield batch
        except Halt:
            raise
        except Exception as exc:
            raise _SourceError(exc) from exc
