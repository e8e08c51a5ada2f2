"""A run from its sources to its summary."""

import asyncio
import logging
import os
import time
from collections.abc import Coroutine, Iterable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar, Unpack

from bulkload.client import AiohttpTransport
from bulkload.dead_letters import DeadLetters, put_aside, stem_of
from bulkload.errors import BUG, BulkloadError, InputError, LedgerLocked, Stop
from bulkload.hub import Hub
from bulkload.ledger import Ledger, Run, Session, State, read_state
from bulkload.ledger.ledger import aside
from bulkload.load.session import LiveSession
from bulkload.load.settings import Flags, Settings
from bulkload.reading import LEAVES_ALL_OUT, Reading
from bulkload.report import Latency, Meter, Progress, Rate, Records, Requests, Summary, summarize
from bulkload.report.summary import finished
from bulkload.report.text import count
from bulkload.sas import Signer
from bulkload.source import FileSource, Given, Source, opened, taken
from bulkload.source.files import printable

T = TypeVar("T")

log = logging.getLogger("bulkload")

VERSION = version("bulkload")

# How often a ledger that another run holds is tried again.
LOCK_PAUSE = 0.2


async def load(
    *sources: Given,
    hub: Hub,
    ledger: str | os.PathLike[str] | None = None,
    **flags: Unpack[Flags],
) -> Summary:
    """Bring installations into `hub`, or continue where an earlier call with the same ledger stopped.

    A source is a path, a glob, ``-`` for standard input, or an iterable (also asynchronous) of records: mappings or
    JSON texts. The keywords are the command's flags, see `Settings` and `Reading`; `ledger` may be left out where the
    first source is a file. Returns the summary, also of a session that the hub or this machine stopped: its `exit_code`
    says so. Raises `InputError` for what cannot be used as given, `LedgerLocked` while another run holds the ledger,
    `Halt` where this machine fails before the session begins, and what an iterable raises, once all that it gave before
    is settled. When the calling task is cancelled, what was settled is kept.
    """
    reading, others = Reading.out_of(flags)
    return await Loader(sources, hub=hub, ledger=ledger, settings=Settings(**others), reading=reading).run()


class Loader:
    """One session of a run: `run` carries it out, `stop` ends it early, `progress` tells where it is.

    Without `ledger`, the ledger is the first source's name with `suffix`. With `anew`, a finished ledger is begun anew
    instead of answering that there is nothing to do. `resume` is the command line that continues the run.
    """

    def __init__(
        self,
        sources: Iterable[Given],
        *,
        hub: Hub,
        ledger: str | os.PathLike[str] | None = None,
        settings: Settings | None = None,
        reading: Reading | None = None,
        suffix: str = ".ledger",
        anew: bool = False,
        resume: str | None = None,
    ) -> None:
        self._hub = hub
        self._settings = settings or Settings()
        self._reading = reading or Reading()
        self._intake = self._reading.intake(api_version=self._settings.api_version)
        self._sources = list(opened(sources, self._reading.layout))
        self._path = Path(ledger) if ledger is not None else _default_ledger(self._sources, suffix)
        if any(isinstance(source, FileSource) and _is_same(source.path, self._path) for source in self._sources):
            raise InputError(f"ledger {self._ledger_name} is the source itself; name another with --ledger")
        self._anew = anew
        self._resume = resume
        self._meter = Meter()
        self._live: LiveSession | None = None
        self._step: asyncio.Task[Any] | None = None
        self._stop: Stop | None = None

    def __repr__(self) -> str:
        return f"<Loader {', '.join(source.name for source in self._sources)} to {self._hub.identity}>"

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
        consumed, size = taken(self._sources)
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
            if ledger.put_aside:
                log.warning("the source has changed: its earlier ledger is kept as %s", ledger.put_aside)
            if ledger.is_new:
                # Dead letters of another ledger may be what somebody is mending.
                put_aside(stem_of(self._path), stem_of(ledger.put_aside or aside(self._path)), is_kept=not self._anew)
            state = ledger.state
            if state.is_finished:
                log.info("%s: nothing to do, %s settled", self._named(), count(state.settled, "record"))
                return _nothing_done(summarize(state, ledger=self._path))
            log.info("%s: %s", self._named(), _begins(state))
            return await self._carry_out(ledger, state)
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
            names = tuple(source.name for source in self._sources)
            summary = Summary(records=Records(), sources=names, ledger=self._ledger_name)
        return replace(summary, exit_code=self._stop.exit_code, reason=self._stop.reason, resume=self._resume)

    async def _prepare(self) -> Ledger:
        """Everything before the session begins: the sources' identity, their length, the ledger."""
        fingerprints = [await source.fingerprint() for source in self._sources]
        for source in self._sources:
            self._reading.require_columns(source)
        names = tuple(source.name for source in self._sources)
        shape = self._reading.fingerprint(self._intake, self._sources)
        run = Run(self._hub.identity, names, tuple(fingerprints), shape)
        known = self._known()
        if known is None or known.run != run or not known.is_finished:
            await self._require_records()
        return await self._take(run)

    def _known(self) -> State | None:
        """Where the ledger stands before it is held, if there is one."""
        try:
            return read_state(self._path)
        except BulkloadError:
            return None

    async def _require_records(self) -> None:
        """Refuse a source that is shorter than anybody expects, before anything is sent or put aside."""
        wanted = self._settings.min_records
        found = 0
        for source in self._sources:
            if found < wanted:
                found += await source.count(wanted - found)
        if found < wanted:
            raise InputError(
                f"the source has only {count(found, 'record')}, --min-records wants {wanted:,}; "
                "nothing was sent, check the export"
            )

    async def _take(self, run: Run) -> Ledger:
        """The ledger, waiting while another run holds it."""
        give_up = time.monotonic() + self._settings.wait_lock
        while True:
            try:
                return Ledger(self._path, run, restart=self._settings.when_changed == "restart", anew=self._anew)
            except LedgerLocked:
                if time.monotonic() >= give_up:
                    raise
                await asyncio.sleep(LOCK_PAUSE)

    def _named(self) -> str:
        sources = ", ".join(source.name for source in self._sources)
        return f"{sources} to hub {self._hub.name} at {self._hub.host}, ledger {self._ledger_name}"

    async def _carry_out(self, ledger: Ledger, state: State) -> Summary:
        settings = self._settings
        ca_file = Path(settings.ca_file) if settings.ca_file is not None else None
        transport = AiohttpTransport(
            self._hub, connections=settings.workers, api_version=settings.api_version, ca_file=ca_file
        )
        try:
            session = ledger.begin_session(version=VERSION, transport=transport.name, resume=self._resume)
            async with asyncio.TaskGroup() as tasks:
                self._live = LiveSession(
                    self._sources,
                    settings=settings,
                    ledger=ledger,
                    state=state,
                    session=session,
                    transport=transport,
                    signer=Signer(self._hub.url, self._hub.key_name, self._hub.key),
                    meter=self._meter,
                    tasks=tasks,
                    intake=self._intake,
                    dead_letters=DeadLetters(
                        stem_of(self._path), self._sources, encoding=self._reading.layout.encoding
                    ),
                )
                if self._stop is not None:
                    self._live.stop(*self._stop)
                stop = await self._live.carry_out()
        except BaseExceptionGroup as group:
            # One failure surfaces as one exception, with the cause that it came with.
            failure = group.exceptions[0]
            raise failure from failure.__cause__
        finally:
            await transport.close()
        if self._live.error is not None:
            failure = self._live.error
            where = stop.reason if stop is not None else "the source failed"
            reason = f"{where}: {type(failure).__name__}: {failure}"
            _write_end(ledger, session, self._summed_up(ledger.state, state, Stop(BUG, reason)))
            raise failure
        return self._end(ledger, state, session, stop)

    def _end(self, ledger: Ledger, before: State, session: Session, stop: Stop | None) -> Summary:
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
        return self._measured(summary)

    def _summed_up(self, state: State, before: State, stop: Stop | None) -> Summary:
        summary = summarize(state, ledger=self._path)
        summary = replace(summary, records=replace(summary.records, skipped=before.settled))
        if stop is None and summary.records.pending:
            stop = Stop(BUG, f"{count(summary.records.pending, 'record')} were read but not settled: a bug, report it")
        if stop is None:
            return finished(summary, is_clean=state.is_clean)
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
            processes=1,
        )


def _default_ledger(sources: list[Source], suffix: str) -> Path:
    if not sources:
        raise InputError("no source is named; name a file, a pattern, or - for standard input")
    name = sources[0].ledger_name
    if name is None:
        raise InputError("standard input and iterables have no name for a ledger; name one with --ledger")
    return Path(f"{name}{suffix}")


def _write_end(ledger: Ledger, session: Session, summary: Summary) -> None:
    ledger.end_session(session, outcome=summary.outcome, exit_code=summary.exit_code, reason=summary.reason)


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


def _nothing_done(summary: Summary) -> Summary:
    """A session that found everything settled."""
    records = summary.records
    return replace(
        summary,
        records=replace(records, skipped=records.read),
        requests=Requests(0, 0, 0, 0),
        elapsed=0.0,
        transport=None,
        processes=1,
    )


def _begins(state: State) -> str:
    if not state.settled:
        return "starts" if state.session is None else "starts again, nothing is settled yet"
    return f"continues after {count(state.settled, 'settled record')}"
