"""What of the sources is not settled yet, mapped and checked in this process."""

import asyncio
import time
from collections.abc import Iterable, Sequence
from contextlib import aclosing, closing
from itertools import groupby
from typing import Unpack

from bulkload.installation import Flaw, Installation
from bulkload.ledger import Checkpoint, Mark
from bulkload.load.session import LiveSession
from bulkload.load.unsettled import Passing, Standing, Unsettled, batches_of
from bulkload.mapping import Intake
from bulkload.record import Origin, Outcome, Record, Settlement
from bulkload.source import START, Broken, Place, Source
from bulkload.upload import Upload


class Taken(Unsettled[Upload[Record]]):
    """Records are read, mapped and checked one by one, and handed to an upload in this process."""

    def __init__(self, sources: Sequence[Source], *, intake: Intake, **standing: Unpack[Standing]) -> None:
        super().__init__(sources, **standing)
        self._intake = intake
        self._checkpoints: dict[int, Checkpoint] = {}

    def settle(self, records: Iterable[Record]) -> None:
        for source, together in groupby(records, key=_source):
            self._checkpoints[source].settle(*[record.position for record in together])

    def marks(self) -> dict[int, Mark]:
        marks = {number: checkpoint.mark() for number, checkpoint in self._checkpoints.items()}
        for number in [number for number, mark in marks.items() if mark.is_finished]:
            del self._checkpoints[number]
        return marks

    async def _read(self, session: LiveSession[Upload[Record]], number: int, source: Source) -> bool:
        """Take a source's records from where it was left; False where reading ends before the source does."""
        start = self._starts[number]
        graves = self._graves.get(number)
        buried = self._buried.get(number, set())
        checkpoint = self._checkpoints[number] = Checkpoint(start)
        upload, record_of = session.upload, self._intake.record
        # As Place() does, in half its time.
        new_place = tuple.__new__
        with closing(self._ledger.settled(number, start)) as settled:
            passing = Passing(settled)
            async with aclosing(batches_of(source, START if graves else start.place)) as batches:
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

    async def _take(
        self, session: LiveSession[Upload[Record]], checkpoint: Checkpoint, origin: Origin, passing: Passing
    ) -> bool:
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

    def _pass(self, session: LiveSession[Upload[Record]], position: int, origin: Origin, passing: Passing) -> None:
        """Leave a record alone that an earlier session settled; its dead letter comes back where it was lost."""
        assert passing.next is not None
        _, outcome, detail = passing.next
        passing.advance()
        if not outcome.is_good:
            session.bury(origin, position, outcome, detail or "")

    def _refuse(self, session: LiveSession[Upload[Record]], origin: Origin, position: int, flaw: Flaw) -> None:
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
