"""What of the sources is not settled yet, shipped to a fleet as it was read."""

from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, aclosing, closing
from typing import Unpack

from bulkload.errors import Stop
from bulkload.fleet import Claim, Fleet, Parcel, Settled, Terms
from bulkload.ledger import ACCEPTED_COLUMNS, LATENCY_COLUMN, Mark, Value
from bulkload.load.graves import Graves
from bulkload.load.session import LiveSession
from bulkload.load.unsettled import Passing, Standing, Unsettled, batches_of
from bulkload.record import Origin, Outcome, Record, Settlement
from bulkload.source import START, Batch, Place, Source


class Shipped(Unsettled[Fleet]):
    """Source objects go to uploaders as they are; positions, marks and dead letters are kept here, parcel by parcel.

    A parcel's records have their positions once it was read and all parcels before it were.
    """

    def __init__(self, sources: Sequence[Source], **standing: Unpack[Standing]) -> None:
        super().__init__(sources, **standing)
        self._session: LiveSession[Fleet]
        self._ways: dict[int, _Way] = {}
        self._open = ExitStack()

    async def hand_over(self, session: LiveSession[Fleet]) -> Stop | None:
        self._session = session
        await session.upload.start()
        await super().hand_over(session)
        await session.upload.entered()
        return self._limit_reached

    async def _read(self, session: LiveSession[Fleet], number: int, source: Source) -> bool:
        mark = self._starts[number]
        graves = self._graves.get(number)
        passing = Passing(self._open.enter_context(closing(self._ledger.settled(number, mark))))
        way = self._ways[number] = _Way(mark, passing, self._buried.get(number, set()))
        start = START if graves else mark.place
        async with aclosing(batches_of(source, start)) as batches:
            async for batch in batches:
                if graves is not None and start.offset < mark.place.offset:
                    batch = self._restored(number, batch, graves, mark.place)  # noqa: PLW2901
                if batch.text or batch.data:
                    parcel = Parcel(number, batch, max(start, mark.place))
                    way.parcels.append(parcel)
                    if not await session.upload.ship(parcel):
                        return False
                else:
                    way.pass_by(batch.end)
                start = batch.end
                await session.catch_up()
        way.is_at_end = True
        return True

    def _restored(self, number: int, batch: Batch, graves: Graves, start: Place) -> Batch:
        """Bring back the letters of what is settled, and return what stands at `start` or after it."""
        left = []
        for datum, offset, line in batch.placed():
            if offset >= start.offset:
                left.append((datum, offset, line))
            elif (grave := graves.of(datum, Place(offset, line))) is not None:
                self._session.restore(grave.letter(number))
        data, offsets, lines = zip(*left, strict=True) if left else ((), (), ())
        return Batch(data, lines, offsets, batch.end)

    def settle(self, records: Iterable[Record]) -> None:
        """Nothing: no record is settled in this process."""

    def marks(self) -> dict[int, Mark]:
        marks = {number: way.mark() for number, way in self._ways.items()}
        for number in [number for number, mark in marks.items() if mark.is_finished]:
            del self._ways[number]
        return marks

    async def close(self) -> None:
        self._open.close()
        await super().close()

    # The fleet's books.

    def enter(self, parcel: Parcel, claim: Claim) -> Terms:
        way = self._ways[parcel.source]
        first, count = way.next, claim.records
        skipped = self._passed(way, parcel, first, count)
        left = count - len(skipped)
        if self._limit is not None:
            room = self._limit - self._taken
            if left > room:
                # It ends before the first record that is too many.
                self._is_limited = parcel.is_left = True
                count = [place for place in range(count) if place not in skipped][room]
                left = room
            self._taken += left
        way.next = first + count
        for note in claim.notes:
            _, place = parcel.object_of(note.place)
            self._warnings.add(note.finding, self._sources[parcel.source].name, place.line, note.number)
        return Terms(first, count, frozenset(place for place in skipped if place < count))

    def _passed(self, way: "_Way", parcel: Parcel, first: int, count: int) -> set[int]:
        """The places of what earlier sessions settled; its dead letters come back where they were lost."""
        places: set[int] = set()
        while (settled := way.passing.next) is not None and settled.position < first + count:
            place = settled.position - first
            places.add(place)
            if not settled.outcome.is_good:
                self._bury(parcel, first, place, settled.outcome, settled.detail)
            way.passing.advance()
        return places

    def _bury(self, parcel: Parcel, first: int, place: int, outcome: Outcome, detail: str | None) -> Place:
        """Put a record's source object among the dead letters, once; returns where it begins."""
        datum, where = parcel.object_of(place)
        if where.offset not in parcel.buried and where.offset not in self._ways[parcel.source].buried:
            parcel.buried.add(where.offset)
            self._session.bury(Origin(parcel.source, datum, where), first + place, outcome, detail or "")
        return where

    def cut(self, parcel: Parcel, rest: Parcel) -> None:
        parcels = self._ways[parcel.source].parcels
        parcels.insert(parcels.index(parcel) + 1, rest)

    def accepted(self, rows: Sequence[Value]) -> None:
        microseconds = rows[LATENCY_COLUMN::ACCEPTED_COLUMNS]
        self._session.keep(rows, [latency * 1e-6 for latency in microseconds])  # type: ignore[operator]

    def settled(self, parcel: Parcel, settled: Settled) -> None:
        assert parcel.terms is not None
        first, place, outcome = parcel.terms.first, settled.place, settled.outcome
        detail, where = settled.detail, None
        if self._session.is_stopping and outcome is Outcome.INVALID:
            # As if it had not been read any more.
            parcel.is_left = True
            return
        if outcome is Outcome.INVALID:
            detail = f"line {parcel.object_of(place)[1].line}: {detail}"
        if not outcome.is_good:
            where = self._bury(parcel, first, place, outcome, detail)
        self._session.note(
            Settlement(
                parcel.source,
                first + place,
                settled.installation_id,
                outcome,
                settled.status,
                settled.attempts,
                settled.latency,
                settled.settled_at,
                detail,
                settled.tracking_id,
                where,
            )
        )


class _Way:
    """Where one source is: its parcels in hand, in their order, and what stands before the first of them.

    `next` is the position of the next record that is entered; `passing` is what earlier sessions settled beyond the
    mark, and `buried` where that of it begins which is among the dead letters.
    """

    def __init__(self, mark: Mark, passing: Passing, buried: set[int]) -> None:
        self.parcels: deque[Parcel] = deque()
        self.next = mark.position
        self.passing = passing
        self.buried = buried
        self.is_at_end = False
        self._mark = mark

    def pass_by(self, end: Place) -> None:
        """There is no source object up to here."""
        if self.parcels:
            self.parcels[-1].batch.end = end
        elif end.offset >= self._mark.place.offset:
            self._mark = self._mark._replace(place=end)

    def mark(self) -> Mark:
        """Where a later session goes on if this one ends now: before the first parcel that is not wholly settled."""
        place, position, filtered, read, _ = self._mark
        parcels = self.parcels
        while parcels and parcels[0].is_over:
            parcel = parcels.popleft()
            assert parcel.claim is not None
            place = parcel.batch.end
            position += parcel.claim.records
            filtered += parcel.claim.filtered
        is_finished = self.is_at_end and not parcels
        self._mark = Mark(place, position, filtered, max(read, self.next), is_finished)
        return self._mark
