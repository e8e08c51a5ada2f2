"""A run from its sources to its summary."""

import logging
import os
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Unpack

from bulkload.dead_letters import DeadLetters, put_aside, stem_of
from bulkload.errors import BUG, InputError
from bulkload.hub import Hub
from bulkload.ledger import Ledger, Run, State
from bulkload.ledger.ledger import aside
from bulkload.ledger.lock import held
from bulkload.load.in_process import InProcess
from bulkload.load.job import Job, nothing_done
from bulkload.load.recipe import recipe
from bulkload.load.settings import Flags, Settings
from bulkload.load.taken import Taken
from bulkload.load.unsettled import Standing
from bulkload.process import usable_cores
from bulkload.reading import Reading
from bulkload.report import Summary, summarize
from bulkload.report.summary import finished
from bulkload.report.text import count
from bulkload.source import FileSource, Given, Source, opened, taken

log = logging.getLogger("bulkload")


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


class Loader(Job):
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
        settings = settings or Settings()
        self._reading = reading or Reading()
        self._intake = self._reading.intake(api_version=settings.api_version)
        self._sources = list(opened(sources, self._reading.layout))
        path = Path(ledger) if ledger is not None else _default_ledger(self._sources, suffix)
        super().__init__(path, hub=hub, settings=settings, resume=resume)
        if any(isinstance(source, FileSource) and _is_same(source.path, self._path) for source in self._sources):
            raise InputError(f"ledger {self._ledger_name} is the source itself; name another with --ledger")
        self._anew = anew
        self._processes = _processes(settings.processes, self._reading)

    @property
    def _names(self) -> tuple[str, ...]:
        return tuple(source.name for source in self._sources)

    @property
    def _way(self) -> tuple[int, int | None]:
        return taken(self._sources)

    async def _work(self, ledger: Ledger) -> Summary:
        if ledger.put_aside:
            log.warning("the source has changed: its earlier ledger is kept as %s", ledger.put_aside)
        if ledger.is_new:
            # Dead letters of another ledger may be what somebody is mending.
            put_aside(stem_of(self._path), stem_of(ledger.put_aside or aside(self._path)), is_kept=not self._anew)
        state = ledger.state
        if state.is_finished and not state.is_broken_off:
            log.info("%s: nothing to do, %s settled", self._named(), count(state.settled, "record"))
            return nothing_done(summarize(state, ledger=self._path))
        log.info("%s: %s", self._named(), _begins(state))
        dead_letters = DeadLetters(stem_of(self._path), self._sources, encoding=self._reading.layout.encoding)
        standing: Standing = {
            "ledger": ledger,
            "state": state,
            "dead_letters": dead_letters,
            "limit": self._settings.limit,
        }
        if self._processes > 1:
            return await self._in_processes(standing)
        taken = Taken(self._sources, intake=self._intake, **standing)
        carriage = InProcess(self._hub, self._settings)
        return await self._carry_out(ledger, state, taken, carriage, dead_letters, resume=self._resume)

    async def _in_processes(self, standing: Standing) -> Summary:
        # Here, since the start of a load in one process need not pay 7 ms for them.
        from bulkload.load.in_processes import InProcesses  # noqa: PLC0415
        from bulkload.load.shipped import Shipped  # noqa: PLC0415

        shipped = Shipped(self._sources, **standing)
        mapping = self._intake.fingerprint
        fleet = InProcesses(self._processes, self._hub, self._settings, self._reading, shipped, mapping=mapping)
        ledger, state, dead_letters = standing["ledger"], standing["state"], standing["dead_letters"]
        return await self._carry_out(ledger, state, shipped, fleet, dead_letters, resume=self._resume)

    def _skipped(self, before: State) -> int:
        return before.settled

    def _completed(self, state: State, summary: Summary) -> Summary:
        if pending := summary.records.pending:
            reason = f"{count(pending, 'record')} were read but not settled: a bug, report it"
            return replace(summary, exit_code=BUG, reason=reason, resume=self._resume)
        return finished(summary, is_clean=state.is_clean)

    async def _prepare(self) -> Ledger:
        """Everything before the session begins: the sources' identity, their length, the ledger."""
        fingerprints = [await source.fingerprint() for source in self._sources]
        for source in self._sources:
            self._reading.require_columns(source)
        shape = self._reading.fingerprint(self._intake, self._sources)
        run = Run(self._hub.identity, self._names, tuple(fingerprints), shape)
        known = self._known()
        if known is None or known.run != run or not known.is_finished:
            await self._require_records()
        kept = recipe(self._reading, self._sources, api_version=self._settings.api_version)
        is_restart = self._settings.when_changed == "restart"
        return await held(
            lambda: Ledger(self._path, run, recipe=kept, restart=is_restart, anew=self._anew), self._settings.wait_lock
        )

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


def _processes(wanted: int | str, reading: Reading) -> int:
    """How many uploaders there are; 1 means none but this process."""
    number = usable_cores() if wanted == "auto" else int(wanted)
    if number == 1:
        return 1
    if sys.platform == "win32":
        trouble = "on this system there is only one process"
    elif callable(reading.mapping.transform):
        trouble = "a Python function cannot be given to other processes; give its file as transform"
    else:
        return number
    if wanted == "auto":
        return 1
    raise InputError(f"--processes {number}: {trouble}")


def _default_ledger(sources: list[Source], suffix: str) -> Path:
    if not sources:
        raise InputError("no source is named; name a file, a pattern, or - for standard input")
    name = sources[0].ledger_name
    if name is None:
        raise InputError("standard input and iterables have no name for a ledger; name one with --ledger")
    return Path(f"{name}{suffix}")


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


def _begins(state: State) -> str:
    if not state.settled:
        return "starts" if state.session is None else "starts again, nothing is settled yet"
    return f"continues after {count(state.settled, 'settled record')}"
