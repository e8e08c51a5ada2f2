"""One session at work: takes records from their supply, hands them to the upload, and keeps every settlement."""

import asyncio
import time
from collections.abc import Iterable, Sequence
from typing import Generic, Protocol, TypeVar

from bulkload.dead_letters import DeadLetters, Letter
from bulkload.errors import BUG, BulkloadError, Halt, Stop
from bulkload.ledger import ACCEPTED_COLUMNS, Commit, Ledger, Mark, Sample, Session, Value, Writer, accepted_rows
from bulkload.load.settings import ErrorLimit, Settings
from bulkload.pace import Pacer
from bulkload.record import Origin, Outcome, Record, Settlement
from bulkload.report import Meter
from bulkload.upload import Ending, Requests

# Settlements are written when so many are there, and at least this often: a kill costs less than a second's work.
COMMIT_AT = 2000
COMMIT_EVERY = 0.25
SAMPLE_EVERY = 1.0


class Carrier(Protocol):
    """What carries records to the hub until each settles."""

    requests: Requests

    @property
    def in_flight(self) -> int:
        """Requests that are waiting for their answer."""

    @property
    def processor(self) -> float:
        """Seconds of CPU so far, of the busiest of its processes."""

    async def drain(self) -> None:
        """Wait until all that was handed over is settled, or it is stopping."""

    async def stop(self, grace: float) -> None:
        """Send nothing further, and give the requests in flight `grace` seconds to be answered."""

    def stop_sending(self) -> None:
        """From now on no request leaves; what waits or rests stays unsettled."""


K = TypeVar("K", bound=Carrier)


class Supply(Protocol[K]):
    """Where a session's records come from, and what has to be kept there of those that are settled."""

    @property
    def is_again(self) -> bool:
        """Whether its records were settled before, so that their rows are replaced."""

    async def hand_over(self, session: "LiveSession[K]") -> Stop | None:
        """Give the session's carrier all its records; returns why it ended before them, if it did.

        Raises `Halt` where a source breaks off, and `SourceError` for what a user's own iterable raises.
        """

    def settle(self, records: Iterable[Record]) -> None:
        """Records that were handed over are settled."""

    def marks(self) -> dict[int, Mark]:
        """Where the sources under way can be taken up again; of one that is done, it is told once."""

    async def close(self) -> None:
        """Do what is left to do once all that was settled is on the disk; raises `Halt`."""


class SourceError(Exception):
    """A user's own iterable raised `failure`: what it gave before goes its way first."""

    def __init__(self, failure: Exception) -> None:
        super().__init__(str(failure))
        self.failure = failure


class Carriage(Protocol[K]):
    """Makes the carrier of one session, and closes it."""

    @property
    def transport(self) -> str:
        """The name of what its requests ride on."""

    @property
    def processes(self) -> int:
        """How many processes send."""

    @property
    def pacer(self) -> Pacer:
        """What paces the sum of them."""

    def carrier(self, session: "LiveSession[K]", tasks: asyncio.TaskGroup, *, was_accepted: bool) -> K:
        """The carrier, which tells the session how each record ended."""

    async def close(self) -> None:
        """Let go of all that it holds."""


class LiveSession(Generic[K]):
    """A session from its first record to its last commit.

    `stop` ends it early: nothing further is taken or sent, what is in flight may be answered within the grace.
    """

    def __init__(
        self,
        supply: Supply[K],
        carriage: Carriage[K],
        *,
        settings: Settings,
        ledger: Ledger,
        session: Session,
        meter: Meter,
        tasks: asyncio.TaskGroup,
        dead_letters: DeadLetters,
        was_accepted: bool,
    ) -> None:
        self.settled = 0
        self.bad = 0
        self.error: Exception | None = None
        self._supply = supply
        self._settings = settings
        self._session = session
        self._meter = meter
        self._tasks = tasks
        self._dead_letters = dead_letters
        self._errors = ErrorLimit.parse(settings.max_errors)
        self._accepted: list[Value] = []
        self._pending: list[Settlement] = []
        self._letters: list[Letter] = []
        self._samples: list[Sample] = []
        self._marks: dict[int, Mark] = {}
        self._stop: Stop | None = None
        self._end: Stop | None = None
        self._reader: asyncio.Task[None] | None = None
        self._writer = Writer(ledger.connection, ledger.path, self._unwritable, dead_letters, is_again=supply.is_again)
        self.pacer = carriage.pacer
        self.upload = carriage.carrier(self, tasks, was_accepted=was_accepted)

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
        self._reader = self._tasks.create_task(self._take_all())
        self._meter.start(self.upload.processor)
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
        try:
            await self._supply.close()
        except Halt as exc:
            self._end = self._end or Stop(exc.exit_code, str(exc))
        return self._stop or self._end

    async def _take_all(self) -> None:
        try:
            self._end = await self._supply.hand_over(self)
        except Halt as exc:
            # The source broke off: what came before it goes its way to the end first.
            self._end = Stop(exc.exit_code, str(exc))
        except SourceError as exc:
            self.error = exc.failure

    @property
    def is_stopping(self) -> bool:
        """Whether no further record is wanted."""
        return self._stop is not None

    async def catch_up(self) -> None:
        """Wait while the disk is behind."""
        await self._writer.catch_up()

    def restore(self, letter: Letter) -> None:
        """Write a letter with the next commit that was lost."""
        self._letters.append(letter)

    def bury(self, origin: Origin, position: int, outcome: Outcome, reason: str) -> None:
        """Put a source object among the dead letters, once."""
        if not origin.is_buried:
            origin.is_buried = True
            self._letters.append(Letter(origin, position, outcome, reason))

    def halt(self, halt: Halt) -> None:
        """The hub refuses the whole run."""
        self.stop(halt.exit_code, str(halt))

    def accept(self, records: Sequence[Record], now: float) -> None:
        """The hub queued records at once, the way of nearly all: 0.9 us for each."""
        self._supply.settle(records)
        latencies = [now - record.left for record in records]
        self.keep(accepted_rows(records, latencies, time.time()), latencies)

    def keep(self, rows: Sequence[Value], latencies: Sequence[float]) -> None:
        """Keep the rows of records that the hub queued for the next commit, and count them; see `accepted_rows`."""
        self._meter.add(latencies)
        self.settled += len(latencies)
        self._accepted += rows
        if len(self._accepted) >= COMMIT_AT * ACCEPTED_COLUMNS:
            self._commit()

    def settle(self, record: Record, ending: Ending) -> None:
        """A record ended in another way."""
        origin = record.origin
        self._supply.settle((record,))
        if not ending.outcome.is_good:
            self.bury(origin, record.position, ending.outcome, ending.detail or "")
        self.note(
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

    def note(self, settlement: Settlement) -> None:
        """Keep a settlement for the next commit, and count it."""
        if settlement.latency is not None:
            self._meter.add((settlement.latency,))
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
        upload, held = self.upload, self.pacer.held(time.monotonic())
        sample = self._meter.sample(upload.requests, held=held, processor=upload.processor, is_reading=is_reading)
        self._samples.append(sample)

    def _commit(self) -> None:
        """Post what was settled, with the marks that are true once it is on the disk."""
        marks = self._supply.marks()
        news = self._accepted or self._pending or self._samples or self._letters
        if not news and marks == self._marks:
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
                self._accepted,
            )
        )
        self._accepted = []
        self._pending = []
        self._letters = []
        self._samples = []
        self._marks = marks

    def _unwritable(self, failure: Exception) -> None:
        if isinstance(failure, BulkloadError):
            self.stop(failure.exit_code, str(failure))
        else:
            self.error = failure
            self.stop(BUG, "the ledger's writer failed")
