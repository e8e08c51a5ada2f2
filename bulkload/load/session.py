"""One session at work: reads, checks, hands to the upload, and keeps every settlement."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, closing
from functools import partial

from bulkload.dead_letters import DeadLetters, Letter
from bulkload.errors import BUG, BulkloadError, Halt, Stop
from bulkload.installation import Finding, Flaw
from bulkload.ledger import Checkpoint, Commit, Ledger, Mark, Sample, Session, Settled, State, Writer
from bulkload.load.graves import Graves, letters
from bulkload.load.settings import ErrorLimit, Settings
from bulkload.mapping import Intake
from bulkload.pace import Pacer
from bulkload.record import Origin, Outcome, Record, Settlement
from bulkload.report import Meter
from bulkload.report.text import count
from bulkload.retry import Backoff
from bulkload.sas import Signer
from bulkload.source import START, Batch, Broken, Place, Source
from bulkload.source.reading import in_thread
from bulkload.upload import Ending, Upload
from bulkload.wire import Transport

log = logging.getLogger("bulkload")

# Settlements are written when so many are there, and at least this often: a kill costs less than a second's work.
COMMIT_AT = 2000
COMMIT_EVERY = 0.25
SAMPLE_EVERY = 1.0


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
        intake: Intake,
        dead_letters: DeadLetters,
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
        self._intake = intake
        self._dead_letters = dead_letters
        self._starts = state.marks
        self._errors = ErrorLimit.parse(settings.max_errors)
        self._taken = 0
        self._checkpoints: dict[int, Checkpoint] = {}
        self._pending: list[Settlement] = []
        self._letters: list[Letter] = []
        # Of sources whose letters come back on the way; of others, the offsets of those beyond the mark that are there.
        self._graves: dict[int, Graves] = {}
        self._buried: dict[int, set[int]] = {}
        self._warnings = _Warnings()
        self._samples: list[Sample] = []
        self._marks: dict[int, Mark] = {}
        self._stop: Stop | None = None
        self._end: Stop | None = None
        self._reader: asyncio.Task[None] | None = None
        self._writer = Writer(ledger.connection, ledger.path, self._unwritable, dead_letters)
        self.pacer = Pacer(cap=settings.rate, workers=settings.workers, now=time.monotonic())
        self.upload = Upload(
            transport,
            signer,
            settle=self._settle,
            halt=lambda halt: self.stop(halt.exit_code, str(halt)),
            pacer=self.pacer,
            backoff=Backoff(max_attempts=settings.max_attempts, record_timeout=settings.record_timeout),
            workers=settings.workers,
            tasks=tasks,
            clock=time.monotonic,
            was_accepted=bool(state.totals[Outcome.ACCEPTED]),
            traits=settings.traits,
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
            self._dead_letters.close()
            for graves in self._graves.values():
                graves.close()
            self._warnings.sum_up()
        return self._stop or self._end

    async def _read_all(self) -> None:
        try:
            await self._rebuild_letters()
            for number, source in enumerate(self._sources):
                is_finished = self._starts[number].is_finished and number not in self._graves
                if not is_finished and not await self._read(number, source):
                    return
        except Halt as exc:
            # The source broke off: what came before it goes its way to the end first.
            self._end = Stop(exc.exit_code, str(exc))
        except _SourceError as exc:
            self.error = exc.failure

    async def _rebuild_letters(self) -> None:
        """Make the dead letters equal to the ledger.

        Those of a source that can be read only once are taken over; where some are gone, all of that source come back
        on the way, while it is read.
        """
        with self._dead_letters.rebuilding() as rebuild:
            for number, source in enumerate(self._sources):
                objects = self._ledger.dead_objects(number)
                if not objects:
                    continue
                start = self._starts[number]
                if source.can_reread:
                    with closing(Graves(self._ledger.dead(number, 0, start.read))) as graves:
                        async with aclosing(letters(number, source, graves)) as found:
                            async for some in found:
                                await in_thread(partial(rebuild.write, some))
                elif not await in_thread(partial(rebuild.keep, number, partial(self._ledger.is_dead, number), objects)):
                    self._graves[number] = Graves(self._ledger.dead(number, 0, start.position))
                    continue
                with closing(self._ledger.dead(number, start.position, start.read)) as dead:
                    self._buried[number] = {one.place.offset for one in dead}

    async def _read(self, number: int, source: Source) -> bool:
        """Take a source's records from where it was left; False where reading ends before the source does."""
        start = self._starts[number]
        graves = self._graves.get(number)
        buried = self._buried.get(number, set())
        checkpoint = self._checkpoints[number] = Checkpoint(start)
        with closing(self._ledger.settled(number, start)) as settled:
            passing = _Passing(settled)
            async with aclosing(_batches(source, START if graves else start.place)) as batches:
                async for batch in batches:
                    for datum, offset, line in batch.placed():
                        place = Place(offset, line)
                        if offset < start.place.offset:
                            assert graves is not None
                            if (letter := graves.letter(number, datum, place)) is not None:
                                self._letters.append(letter)
                            continue
                        checkpoint.reach(place)
                        origin = Origin(number, datum, place)
                        origin.is_buried = offset in buried
                        if not await self._take(checkpoint, origin, passing):
                            return False
                    if batch.end.offset >= start.place.offset:
                        checkpoint.reach(batch.end)
                    # Others may run between two batches, also when nothing of a batch was sent.
                    await asyncio.sleep(0)
                    await self._writer.catch_up()
        checkpoint.is_at_end = True
        return True

    async def _take(self, checkpoint: Checkpoint, origin: Origin, passing: "_Passing") -> bool:
        """Map and check one source object and hand its records on; False where no further one is wanted."""
        datum = origin.datum
        for made in (datum.flaw,) if isinstance(datum, Broken) else self._intake.records(datum):
            if made is None:
                checkpoint.filter()
                continue
            if passing.next is not None and checkpoint.position == passing.next.position:
                self._pass(checkpoint.take(), origin, passing)
                continue
            if self._taken == self._settings.limit:
                self._end = Stop(5, f"--limit {self._settings.limit} is reached")
                return False
            self._taken += 1
            position = checkpoint.take()
            if isinstance(made, Flaw):
                self._refuse(origin, position, made)
                if self._stop is not None:
                    return False
                continue
            for finding in made.warnings:
                self._warnings.add(finding, self._sources[origin.source].name, origin.place.line)
            checkpoint.hold(position)
            if not await self.upload.admit(Record(origin, position, made.id, made.body)):
                return False
        return True

    def _pass(self, position: int, origin: Origin, passing: "_Passing") -> None:
        """Leave a record alone that an earlier session settled; its dead letter comes back where it was lost."""
        assert passing.next is not None
        _, outcome, detail = passing.next
        passing.advance()
        if not outcome.is_good:
            self._bury(origin, position, outcome, detail or "")

    def _refuse(self, origin: Origin, position: int, flaw: Flaw) -> None:
        """Settle a record that cannot be sent."""
        detail = f"line {origin.place.line}: {flaw}"
        self._bury(origin, position, Outcome.INVALID, detail)
        self._note(
            Settlement(
                origin.source,
                position,
                flaw.id,
                Outcome.INVALID,
                None,
                0,
                None,
                time.time(),
                detail,
                place=origin.place,
            )
        )

    def _bury(self, origin: Origin, position: int, outcome: Outcome, reason: str) -> None:
        """Put a source object among the dead letters, once."""
        if not origin.is_buried:
            origin.is_buried = True
            self._letters.append(Letter(origin, position, outcome, reason))

    def _settle(self, record: Record, ending: Ending) -> None:
        if ending.latency is not None:
            self._meter.add(ending.latency)
        origin = record.origin
        self._checkpoints[origin.source].settle(record.position)
        if not ending.outcome.is_good:
            self._bury(origin, record.position, ending.outcome, ending.detail or "")
        self._note(
            Settlement(
                origin.source,
                record.position,
                record.id,
                ending.outcome,
                ending.status,
                record.attempts,
                ending.latency,
                time.time(),
                ending.detail,
                ending.tracking_id,
                None if ending.outcome.is_good else origin.place,
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
        sample = self._meter.sample(self.upload.requests, held=self.pacer.held, is_reading=is_reading)
        self._samples.append(sample)

    def _commit(self) -> None:
        """Post what was settled, with the marks that are true once it is on the disk."""
        marks = {number: checkpoint.mark() for number, checkpoint in self._checkpoints.items()}
        if not self._pending and not self._samples and not self._letters and marks == self._marks:
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
                self._letters,
            )
        )
        self._pending = []
        self._letters = []
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


class _Passing:
    """What earlier sessions settled beyond the mark: the next of it, in the order of positions."""

    def __init__(self, settled: Iterator[Settled]) -> None:
        self._settled = settled
        self.next = next(settled, None)

    def advance(self) -> None:
        self.next = next(self._settled, None)


class _Warnings:
    """What there is to say of records that are sent all the same: the first of each kind at once, the number later."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def add(self, finding: Finding, source: str, line: int) -> None:
        self._counts[finding.code] += 1
        if self._counts[finding.code] == 1:
            # At the level of what a quiet run keeps for itself: the record goes its way.
            log.info("note: %s line %d: %s", source, line, finding)

    def sum_up(self) -> None:
        for code, number in self._counts.items():
            if number > 1:
                log.info("note: %s: %s in all", code, count(number, "record"))


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
