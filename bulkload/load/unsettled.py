"""What of the sources is not settled yet, as a session takes it: read, mapped and checked."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import aclosing, closing
from functools import partial
from itertools import groupby

from bulkload.dead_letters import DeadLetters
from bulkload.errors import Halt, Stop
from bulkload.installation import Finding, Flaw, Installation
from bulkload.ledger import Checkpoint, Ledger, Mark, Settled, State
from bulkload.load.graves import Graves, letters
from bulkload.load.session import LiveSession, SourceError
from bulkload.mapping import Intake
from bulkload.record import Origin, Outcome, Record, Settlement
from bulkload.report.text import count
from bulkload.source import START, Batch, Broken, Place, Source
from bulkload.source.reading import in_thread

log = logging.getLogger("bulkload")


class Unsettled:
    """The supply of a load: the records of all sources, save those that earlier sessions settled.

    At most `limit` of them are handed over.
    """

    is_again = False

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        ledger: Ledger,
        state: State,
        intake: Intake,
        dead_letters: DeadLetters,
        limit: int | None,
    ) -> None:
        self._sources = sources
        self._ledger = ledger
        self._starts = state.marks
        self._intake = intake
        self._dead_letters = dead_letters
        self._limit = limit
        self._taken = 0
        self._is_limited = False
        self._checkpoints: dict[int, Checkpoint] = {}
        # Of sources whose letters come back on the way; of others, the offsets of those beyond the mark that are there.
        self._graves: dict[int, Graves] = {}
        self._buried: dict[int, set[int]] = {}
        self._warnings = _Warnings()

    def __repr__(self) -> str:
        return f"<Unsettled, {self._taken} taken>"

    async def hand_over(self, session: LiveSession) -> Stop | None:
        try:
            await self._rebuild_letters()
            for number, source in enumerate(self._sources):
                is_finished = self._starts[number].is_finished and number not in self._graves
                if not is_finished and not await self._read(session, number, source):
                    break
        finally:
            for graves in self._graves.values():
                graves.close()
        return Stop(5, f"--limit {self._limit} is reached") if self._is_limited else None

    def settle(self, records: Iterable[Record]) -> None:
        for source, together in groupby(records, key=_source):
            self._checkpoints[source].settle(*[record.position for record in together])

    def marks(self) -> dict[int, Mark]:
        marks = {number: checkpoint.mark() for number, checkpoint in self._checkpoints.items()}
        for number in [number for number, mark in marks.items() if mark.is_finished]:
            del self._checkpoints[number]
        return marks

    async def close(self) -> None:
        self._warnings.sum_up()

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
                elif not await in_thread(partial(rebuild.keep, number, partial(self._ledger.dead_of, number), objects)):
                    self._graves[number] = Graves(self._ledger.dead(number, 0, start.position))
                    continue
                with closing(self._ledger.dead(number, start.position, start.read)) as dead:
                    self._buried[number] = {one.place.offset for one in dead}

    async def _read(self, session: LiveSession, number: int, source: Source) -> bool:
        """Take a source's records from where it was left; False where reading ends before the source does."""
        start = self._starts[number]
        graves = self._graves.get(number)
        buried = self._buried.get(number, set())
        checkpoint = self._checkpoints[number] = Checkpoint(start)
        upload, record_of = session.upload, self._intake.record
        # As Place() does, in half its time.
        new_place = tuple.__new__
        with closing(self._ledger.settled(number, start)) as settled:
            passing = _Passing(settled)
            async with aclosing(_batches(source, START if graves else start.place)) as batches:
                async for batch in batches:
                    is_plain = self._intake.leaves_texts and self._limit is None and not (graves or buried)
                    for datum, offset, line in batch.placed():
                        place = new_place(Place, (offset, line))
                        if is_plain and passing.next is None and type(datum) is bytes:
                            # The way of nearly all, without what the others need: 1.5 us less.
                            made = record_of(datum)
                            if type(made) is Installation and not made.warnings:
                                position = checkpoint.enter(place)
                                record = Record(Origin(number, datum, place), position, made.id, made.body)
                                if not upload.take(record) and not await upload.admit(record):
                                    return False
                                continue
                        if offset < start.place.offset:
                            assert graves is not None
                            if (grave := graves.of(datum, place)) is not None:
                                session.restore(grave.letter(number))
                            continue
                        checkpoint.reach(place)
                        origin = Origin(number, datum, place)
                        origin.is_buried = offset in buried
                        if not await self._take(session, checkpoint, origin, passing):
                            return False
                    if batch.end.offset >= start.place.offset:
                        checkpoint.reach(batch.end)
                    # Others may run between two batches, also when nothing of a batch was sent.
                    await asyncio.sleep(0)
                    await session.catch_up()
        checkpoint.is_at_end = True
        return True

    async def _take(self, session: LiveSession, checkpoint: Checkpoint, origin: Origin, passing: "_Passing") -> bool:
        """Map and check one source object and hand its records on; False where no further one is wanted."""
        datum = origin.datum
        for made in (datum.flaw,) if isinstance(datum, Broken) else self._intake.records(datum):
            if made is None:
                checkpoint.filter()
                continue
            if passing.next is not None and checkpoint.position == passing.next.position:
                self._pass(session, checkpoint.take(), origin, passing)
                continue
            if self._taken == self._limit:
                self._is_limited = True
                return False
            self._taken += 1
            position = checkpoint.take()
            if isinstance(made, Flaw):
                self._refuse(session, origin, position, made)
                if session.is_stopping:
                    return False
                continue
            for finding in made.warnings:
                self._warnings.add(finding, self._sources[origin.source].name, origin.place.line)
            checkpoint.hold(position)
            if not await session.upload.admit(Record(origin, position, made.id, made.body)):
                return False
        return True

    def _pass(self, session: LiveSession, position: int, origin: Origin, passing: "_Passing") -> None:
        """Leave a record alone that an earlier session settled; its dead letter comes back where it was lost."""
        assert passing.next is not None
        _, outcome, detail = passing.next
        passing.advance()
        if not outcome.is_good:
            session.bury(origin, position, outcome, detail or "")

    def _refuse(self, session: LiveSession, origin: Origin, position: int, flaw: Flaw) -> None:
        """Settle a record that cannot be sent."""
        detail = f"line {origin.place.line}: {flaw}"
        session.bury(origin, position, Outcome.INVALID, detail)
        session.note(
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


def _source(record: Record) -> int:
    return record.origin.source


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


async def _batches(source: Source, start: Place) -> AsyncGenerator[Batch, None]:
    async with aclosing(source.batches(start)) as batches:
        try:
            async for batch in batches:
                yield batch
        except Halt:
            raise
        except Exception as exc:
            raise SourceError(exc) from exc
