"""One session of a run from its beginning to its summary, wherever its records come from."""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from bulkload.dead_letters import DeadLetters
from bulkload.errors import BUG, BulkloadError, Stop, as_one_failure
from bulkload.hub import Hub
from bulkload.ledger import Ledger, Session, State, read_state
from bulkload.load.session import Carriage, Carrier, LiveSession, Supply
from bulkload.load.settings import Settings
from bulkload.reading import LEAVES_ALL_OUT
from bulkload.record import Outcome
from bulkload.report import Latency, Meter, Progress, Rate, Records, Requests, Summary, summarize
from bulkload.source.files import printable

T = TypeVar("T")
K = TypeVar("K", bound=Carrier)

log = logging.getLogger("bulkload")

VERSION = version("bulkload")


class Job(ABC):
    """One session of a run: `run` carries it out, `stop` ends it early, `progress` tells where it is.

    Its subclasses hold the ledger at `path` and say what is to be done with it. `resume` is the command line that
    continues a session which was stopped.
    """

    def __init__(self, path: Path, *, hub: Hub, settings: Settings, resume: str | None) -> None:
        self._path = path
        self._hub = hub
        self._settings = settings
        self._resume = resume
        self._meter = Meter()
        self._live: LiveSession[Any] | None = None
        self._step: asyncio.Task[Any] | None = None
        self._stop: Stop | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {', '.join(self._names)} to {self._hub.identity}>"

    @property
    @abstractmethod
    def _names(self) -> tuple[str, ...]:
        """The sources' names."""

    @property
    @abstractmethod
    def _way(self) -> tuple[int, int | None]:
        """How much of what there is to do is done, and how much there is, where that is known."""

    @abstractmethod
    async def _prepare(self) -> Ledger:
        """Everything before the ledger is held, and the ledger."""

    @abstractmethod
    async def _work(self, ledger: Ledger) -> Summary:
        """Do what is to be done."""

    @abstractmethod
    def _skipped(self, before: State) -> int:
        """How many records the session found settled, and left alone."""

    @abstractmethod
    def _completed(self, state: State, summary: Summary) -> Summary:
        """The summary of a session that nothing stopped."""

    @property
    def _ledger_name(self) -> str:
        return printable(str(self._path))

    def stop(self, exit_code: int, reason: str) -> None:
        """End the session early; what is in flight may be answered within the grace."""
        self._stop = self._stop or Stop(exit_code, reason)
        if self._live is not None:
            self._live.stop(exit_code, reason)
        elif self._step is not None:
            self._step.cancel()

    @property
    def progress(self) -> Progress:
        """Where the run is at this moment."""
        live, last = self._live, self._meter.last
        consumed, size = self._way
        return Progress(
            settled=live.settled if live else 0,
            accepted=live.upload.requests.accepted if live else 0,
            failed=live.bad if live else 0,
            throttled=live.upload.requests.throttled if live else 0,
            in_flight=live.upload.in_flight if live else 0,
            rate=self._meter.rate,
            consumed=consumed,
            size=size,
            elapsed=self._meter.elapsed,
            p50=last.p50 if last else None,
            p99=last.p99 if last else None,
        )

    async def run(self) -> Summary:
        """Carry out the session to its end; see `load` for what it returns and raises."""
        deadline = None
        if self._settings.max_duration is not None:
            words = f"--max-duration {self._settings.max_duration:g} s is over"
            deadline = asyncio.get_running_loop().call_later(self._settings.max_duration, self.stop, 5, words)
        try:
            return await self._run()
        finally:
            if deadline is not None:
                deadline.cancel()

    async def _run(self) -> Summary:
        ledger = await self._unless_stopped(self._prepare())
        if ledger is None:
            return self._stopped_before()
        try:
            return await self._work(ledger)
        finally:
            ledger.close()

    async def _unless_stopped(self, step: Coroutine[Any, Any, T]) -> T | None:
        """The result of a step that may wait for long, for a pipe or a lock; None where a stop comes first."""
        task = asyncio.create_task(step)
        self._step = task
        try:
            return await task
        except asyncio.CancelledError:
            if self._stop is None:
                raise
            return None
        finally:
            self._step = None

    def _stopped_before(self) -> Summary:
        """The summary of a session that was stopped before it held its ledger."""
        assert self._stop is not None
        known = self._known()
        if known is not None:
            summary = summarize(known, ledger=self._path)
        else:
            summary = Summary(records=Records(), sources=self._names, ledger=self._ledger_name)
        return replace(summary, exit_code=self._stop.exit_code, reason=self._stop.reason, resume=self._resume)

    def _known(self) -> State | None:
        """Where the ledger stands before it is held, if there is one."""
        try:
            return read_state(self._path)
        except BulkloadError:
            return None

    def _named(self) -> str:
        return f"{', '.join(self._names)} to hub {self._hub.name} at {self._hub.host}, ledger {self._ledger_name}"

    async def _carry_out(
        self,
        ledger: Ledger,
        state: State,
        supply: Supply[K],
        carriage: Carriage[K],
        dead_letters: DeadLetters,
        *,
        resume: str | None,
    ) -> Summary:
        """Send what a supply gives, and sum up; `resume` is the command line that continues the run."""
        try:
            session = ledger.begin_session(version=VERSION, transport=carriage.transport, resume=resume)
            with as_one_failure():
                async with asyncio.TaskGroup() as tasks:
                    self._live = LiveSession(
                        supply,
                        carriage,
                        settings=self._settings,
                        ledger=ledger,
                        session=session,
                        meter=self._meter,
                        tasks=tasks,
                        dead_letters=dead_letters,
                        was_accepted=bool(state.totals[Outcome.ACCEPTED]),
                    )
                    if self._stop is not None:
                        self._live.stop(*self._stop)
                    stop = await self._live.carry_out()
        finally:
            await carriage.close()
        if self._live.error is not None:
            failure = self._live.error
            where = stop.reason if stop is not None else "the source failed"
            reason = f"{where}: {type(failure).__name__}: {failure}"
            _write_end(ledger, session, self._summed_up(ledger.state, state, Stop(BUG, reason)))
            raise failure
        return self._end(ledger, state, session, stop, processes=carriage.processes)

    def _end(self, ledger: Ledger, before: State, session: Session, stop: Stop | None, *, processes: int) -> Summary:
        """Sum up by what is on the disk, and write the end down there."""
        state = ledger.state
        if stop is None and not state.read:
            why = LEAVES_ALL_OUT if state.filtered else "the source is empty"
            log.warning("%s: %s, nothing was sent", self._named(), why)
        summary = self._summed_up(state, before, stop)
        try:
            _write_end(ledger, session, summary)
        except BulkloadError as exc:
            summary = self._summed_up(state, before, stop or Stop(exc.exit_code, str(exc)))
        return replace(self._measured(summary), processes=processes)

    def _summed_up(self, state: State, before: State, stop: Stop | None) -> Summary:
        summary = summarize(state, ledger=self._path)
        summary = replace(summary, records=replace(summary.records, skipped=self._skipped(before)))
        if stop is None:
            return self._completed(state, summary)
        return replace(summary, outcome="stopped", exit_code=stop.exit_code, reason=stop.reason, resume=self._resume)

    def _measured(self, summary: Summary) -> Summary:
        """The summary with what only this session measured."""
        assert self._live is not None
        requests, meter = self._live.upload.requests, self._meter
        latencies = meter.latencies
        ceiling = self._live.pacer.ceiling
        return replace(
            summary,
            requests=Requests(requests.sent, requests.throttled, requests.retried, requests.failed),
            rate=Rate(
                mean=round(requests.sent / meter.elapsed, 3),
                peak=round(meter.peak, 3),
                ceiling=ceiling and round(ceiling, 3),
                cap=self._settings.rate,
            ),
            latency=Latency(
                latencies.percentile(50), latencies.percentile(95), latencies.percentile(99), latencies.max or None
            ),
            elapsed=round(meter.elapsed, 3),
            limited_by=meter.limited_by,
        )


def _write_end(ledger: Ledger, session: Session, summary: Summary) -> None:
    ledger.end_session(session, outcome=summary.outcome, exit_code=summary.exit_code, reason=summary.reason)


def nothing_done(summary: Summary) -> Summary:
    """A session that found everything settled."""
    records = summary.records
    return replace(
        summary,
        records=replace(records, skipped=records.read - records.pending),
        requests=Requests(0, 0, 0, 0),
        elapsed=0.0,
        transport=None,
        processes=1,
    )
