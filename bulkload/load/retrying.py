"""A retry from its ledger to its summary."""

import logging
import os
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Unpack

from bulkload.dead_letters import DeadLetters, stem_of
from bulkload.errors import InputError
from bulkload.hub import Hub
from bulkload.ledger import Ledger, State, read_state
from bulkload.ledger.lock import held
from bulkload.load.in_process import InProcess
from bulkload.load.job import Job, nothing_done
from bulkload.load.recipe import api_version_of, reading_of, sources_of
from bulkload.load.retried import Plan, Retried, plan
from bulkload.load.settings import SendingFlags, Settings
from bulkload.mapping import Intake
from bulkload.mapping.flags import Transform
from bulkload.reading import Reading
from bulkload.record import Outcome
from bulkload.report import Summary, summarize
from bulkload.report.summary import finished
from bulkload.report.text import count
from bulkload.source import Source
from bulkload.source.reading import in_thread

log = logging.getLogger("bulkload")


async def retry_failed(
    ledger: str | os.PathLike[str],
    *,
    hub: Hub,
    rejected: bool = False,
    transform: Transform | None = None,
    **flags: Unpack[SendingFlags],
) -> Summary:
    """Send a run's exhausted records again, with `rejected` its rejected ones too; the run's own mapping is used.

    `ledger` is that of a `load` into `hub`; `transform` is its function, where that was given from Python. The other
    keywords are those of `load`, see `Settings`; `api_version` is the run's where it is left out. Records of sources
    that cannot be read twice come from the dead letters. One whose id has a later accepted record becomes superseded.
    Returns the summary of the whole run, and raises as `load` does; also `InputError` where the ledger is not that
    hub's, or its source or mapping has changed.
    """
    return await Retrier(ledger, hub=hub, rejected=rejected, transform=transform, flags=flags).run()


class Retrier(Job):
    """One session that sends records of a run again; see `retry_failed`.

    `flags` are those of `Settings` that are given, `resume` is the command line that continues it.
    """

    def __init__(
        self,
        ledger: str | os.PathLike[str],
        *,
        hub: Hub,
        rejected: bool = False,
        transform: Transform | None = None,
        flags: Mapping[str, Any] | None = None,
        resume: str | None = None,
    ) -> None:
        path = Path(ledger)
        self._state = state = read_state(path)
        settings = Settings(**{"api_version": api_version_of(state), **(flags or {})})
        super().__init__(path, hub=hub, settings=settings, resume=resume)
        if state.run.hub != hub.identity:
            raise InputError(
                f"ledger {self._ledger_name} belongs to hub {state.run.hub}, not {hub.identity}; "
                "give that hub's connection string"
            )
        self._outcomes = (Outcome.EXHAUSTED, Outcome.REJECTED) if rejected else (Outcome.EXHAUSTED,)
        self._transform = transform
        self._wanted = 0

    @property
    def _names(self) -> tuple[str, ...]:
        return self._state.run.sources

    @property
    def _way(self) -> tuple[int, int | None]:
        return (self._live.settled, self._wanted) if self._live is not None else (0, None)

    async def _prepare(self) -> Ledger:
        return await held(lambda: Ledger(self._path, self._state.run), self._settings.wait_lock)

    async def _work(self, ledger: Ledger) -> Summary:
        self._state = state = ledger.state
        self._wanted = sum(state.totals[outcome] for outcome in self._outcomes)
        if not self._wanted and not state.is_broken_off:
            words = " or ".join(outcome.word for outcome in self._outcomes)
            log.info("%s: nothing to do, no record is %s", self._named(), words)
            return self._completed(state, nothing_done(summarize(state, ledger=self._path)))
        planned = await self._unless_stopped(self._plan(ledger, state))
        if planned is None:
            return self._stopped_before()
        sources, reading, intake, plan = planned
        log.info("%s: retries %s", self._named(), count(self._wanted, "record"))
        dead_letters = DeadLetters(stem_of(self._path), sources, encoding=reading.layout.encoding)
        supply = Retried(sources, plan=plan, ledger=ledger, state=state, intake=intake, dead_letters=dead_letters)
        # What continues the run is still the load.
        resume = state.session.resume if state.session is not None else None
        carriage = InProcess(self._hub, self._settings)
        return await self._carry_out(ledger, state, supply, carriage, dead_letters, resume=resume)

    async def _plan(self, ledger: Ledger, state: State) -> tuple[list[Source], Reading, Intake, Plan]:
        """Open the sources again, refuse what is not the run's any more, and find out what is to be sent."""
        reading = reading_of(state, self._ledger_name, transform=self._transform)
        intake = reading.intake(api_version=self._settings.api_version)
        sources = await in_thread(partial(sources_of, state, self._ledger_name, reading))
        for source, fingerprint in zip(sources, state.run.fingerprints, strict=True):
            if await source.fingerprint() != fingerprint:
                raise InputError(
                    f"source {source.name} has changed since ledger {self._ledger_name} was begun: what is to be "
                    "retried is not in it any more; mend and load the dead letters instead"
                )
        if reading.fingerprint(intake, sources) != state.run.mapping:
            raise InputError(
                f"ledger {self._ledger_name} was begun with another mapping, or its sources were read in another "
                "form: has its --transform file changed since, or bulkload? Load the dead letters instead"
            )
        if state.is_finished:
            ledger.reopen()
        return sources, reading, intake, await in_thread(partial(plan, ledger, state, self._outcomes))

    def _skipped(self, before: State) -> int:
        return before.settled - (self._live.settled if self._live is not None else 0)

    def _completed(self, state: State, summary: Summary) -> Summary:
        if state.is_finished:
            return finished(summary, is_clean=state.is_clean)
        reason = "the run itself is not finished; what is left of it is the load's"
        resume = state.session.resume if state.session is not None else None
        return replace(summary, outcome="stopped", exit_code=5, reason=reason, resume=resume)
