"""A check from its sources to its report; it sends nothing and leaves nothing behind."""

import asyncio
import os
import time
from collections.abc import Awaitable, Iterable
from contextlib import ExitStack, aclosing, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, Unpack

from bulkload.check.gathering import Gathering
from bulkload.check.refused import Refused
from bulkload.check.settings import Flags, Settings
from bulkload.check.spill import Spill
from bulkload.errors import Halt, Stop
from bulkload.reading import LEAVES_ALL_OUT, Reading
from bulkload.report.checked import CheckOutcome, CheckReport, LoadTime, Shown
from bulkload.source import START, Given, Source, opened, taken
from bulkload.source.files import printable
from bulkload.source.reading import in_thread

T = TypeVar("T")

# Requests per second for the load's time where nobody says what the hub takes.
USUAL_RATE = 1000.0


async def check(*sources: Given, invalid: str | os.PathLike[str] | None = None, **flags: Unpack[Flags]) -> CheckReport:
    """Check all records of the sources by the rules, and find what would be sent more than once; sends nothing.

    A source is a path, a glob, ``-`` for standard input, or an iterable (also asynchronous) of records: mappings or
    JSON texts. The keywords are the command's flags, see `Settings` and `Reading`; `invalid` is a file to which the
    source objects of invalid records are written. Returns the report, also where a source breaks off: its `exit_code`
    says so. Raises `InputError` for what cannot be used as given, `Halt` where there is no room for the digests of many
    records or for `invalid`, and what an iterable raises.
    """
    reading, others = Reading.out_of(flags)
    return await Check(sources, settings=Settings(**others), reading=reading, invalid=invalid).run()


@dataclass(frozen=True, slots=True)
class Progress:
    """A check at this moment; sizes are in bytes."""

    read: int
    invalid: int
    consumed: int
    size: int | None
    elapsed: float

    def __str__(self) -> str:
        flaws = f", {self.invalid:,} invalid" if self.invalid else ""
        return f"{self.read:,} records{flaws}, {self.read / max(self.elapsed, 0.001):,.0f}/s"

    @property
    def at_length(self) -> str:
        """The same for a line that stands by itself."""
        return str(self)


class Check:
    """One check: `run` carries it out, `stop` ends it early, `progress` tells where it is.

    With `invalid`, the source objects of invalid records are written to that file.
    """

    def __init__(
        self,
        sources: Iterable[Given],
        *,
        settings: Settings | None = None,
        reading: Reading | None = None,
        invalid: str | os.PathLike[str] | None = None,
    ) -> None:
        self._settings = settings or Settings()
        self._reading = reading = reading or Reading()
        self._intake = reading.intake(api_version=self._settings.api_version)
        self._sources = list(opened(sources, reading.layout))
        self._names = tuple(source.name for source in self._sources)
        self._invalid = Path(invalid) if invalid is not None else None
        self._began = time.monotonic()
        self._gathering: Gathering | None = None
        self._shown: list[Shown] = []
        self._warnings: list[str] = []
        self._reader: asyncio.Task[None] | None = None
        self._stop: Stop | None = None

    def __repr__(self) -> str:
        return f"<Check of {', '.join(self._names)}>"

    def stop(self, exit_code: int, reason: str) -> None:
        """Read no further; the report tells of what was read by now."""
        self._stop = self._stop or Stop(exit_code, reason)
        if self._reader is not None:
            self._reader.cancel()

    @property
    def progress(self) -> Progress:
        """Where the check is at this moment."""
        gathering = self._gathering
        consumed, size = taken(self._sources)
        return Progress(
            read=gathering.read if gathering else 0,
            invalid=gathering.invalid if gathering else 0,
            consumed=consumed,
            size=size,
            elapsed=time.monotonic() - self._began,
        )

    async def run(self) -> CheckReport:
        """Carry out the check to its end; see `check` for what it returns and raises."""
        self._began = time.monotonic()
        with closing(Spill()) as spill, ExitStack() as files:
            gathering = self._gathering = Gathering(self._intake, spill, self._names)
            self._reader = asyncio.create_task(self._read_all(gathering, files))
            if self._stop is not None:
                self._reader.cancel()
            try:
                await self._reader
            except asyncio.CancelledError:
                if self._stop is None:
                    raise
            gathering.close_bundle()
            # Off the loop: of 50 million records it takes some ten seconds, in which a signal may still come.
            return await in_thread(lambda: self._report(gathering))

    async def _read_all(self, gathering: Gathering, files: ExitStack) -> None:
        for source in self._sources:
            # How a source's rows are laid out is known then, and so what is written of them.
            if await self._unless_broken(source.fingerprint()) is None:
                return
            self._reading.require_columns(source)
        if self._invalid is not None:
            encoding = self._reading.layout.encoding
            gathering.refuse = files.enter_context(closing(Refused(self._invalid, self._sources, encoding=encoding)))
        for number, source in enumerate(self._sources):
            gathering.begin(number)
            before = gathering.source_objects, gathering.read
            await self._read(source, gathering)
            if self._stop is not None:
                return
            if gathering.source_objects == before[0]:
                self._warnings.append(f"{source.name} is empty")
            elif gathering.read == before[1]:
                self._warnings.append(f"{source.name}: {LEAVES_ALL_OUT}")

    async def _read(self, source: Source, gathering: Gathering) -> None:
        async with aclosing(source.batches(START)) as batches:
            while (batch := await self._unless_broken(anext(batches, None))) is not None:
                if (wanted := self._settings.show - len(self._shown)) > 0:
                    self._shown += gathering.show(batch, wanted)
                gathering.take(batch)
                # Others may run between two batches, also when the next one is there already.
                await asyncio.sleep(0)

    async def _unless_broken(self, reading: Awaitable[T]) -> T | None:
        """What a source gives; None where it breaks off, which stops the check."""
        try:
            return await reading
        except Halt as exc:
            self._stop = Stop(exc.exit_code, str(exc))
            return None

    def _report(self, gathering: Gathering) -> CheckReport:
        outcome: CheckOutcome = "flaws" if gathering.invalid else "clean"
        exit_code, reason = int(gathering.invalid > 0), None
        if self._stop is not None:
            outcome = "stopped"
            exit_code, reason = self._stop
        rate = self._settings.rate or USUAL_RATE
        valid = gathering.valid
        return CheckReport(
            outcome=outcome,
            exit_code=exit_code,
            reason=reason,
            records=gathering.records,
            rules=gathering.tally.rules(),
            platforms=gathering.platforms,
            tags=gathering.tags(),
            duplicates=gathering.duplicates(),
            load=LoadTime(valid, rate, valid / rate),
            warnings=tuple(self._warnings),
            shown=tuple(self._shown),
            elapsed=round(time.monotonic() - self._began, 3),
            sources=self._names,
            invalid_file=printable(str(self._invalid)) if self._invalid is not None else None,
        )
