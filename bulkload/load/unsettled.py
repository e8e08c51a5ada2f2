"""What of the sources is not settled yet, as a session takes it."""

import logging
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import aclosing, closing
from functools import partial
from typing import Generic, TypedDict

from bulkload.dead_letters import DeadLetters
from bulkload.errors import Halt, Stop
from bulkload.installation import Finding
from bulkload.ledger import Ledger, Mark, Settled, State
from bulkload.load.graves import Graves, letters
from bulkload.load.session import K, LiveSession, SourceError
from bulkload.record import Record
from bulkload.report.text import count
from bulkload.source import Batch, Place, Source
from bulkload.source.reading import in_thread

log = logging.getLogger("bulkload")


class Standing(TypedDict):
    """Where a run stands, as every supply of it has to know; see `Unsettled`."""

    ledger: Ledger
    state: State
    dead_letters: DeadLetters
    limit: int | None


class Unsettled(ABC, Generic[K]):
    """The supply of a load: the records of all sources, save those that earlier sessions settled.

    At most `limit` of them are handed over. Its subclasses say how.
    """

    is_again = False

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        ledger: Ledger,
        state: State,
        dead_letters: DeadLetters,
        limit: int | None,
    ) -> None:
        self._sources = sources
        self._ledger = ledger
        self._starts = state.marks
        self._dead_letters = dead_letters
        self._limit = limit
        self._taken = 0
        self._is_limited = False
        # Of sources whose letters come back on the way; of others, the offsets of those beyond the mark that are there.
        self._graves: dict[int, Graves] = {}
        self._buried: dict[int, set[int]] = {}
        self._warnings = Warnings()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}, {self._taken} taken>"

    async def hand_over(self, session: LiveSession[K]) -> Stop | None:
        try:
            await self._rebuild_letters()
            for number, source in enumerate(self._sources):
                is_finished = self._starts[number].is_finished and number not in self._graves
                if not is_finished and not await self._read(session, number, source):
                    break
        finally:
            for graves in self._graves.values():
                graves.close()
        return self._limit_reached

    @property
    def _limit_reached(self) -> Stop | None:
        return Stop(5, f"--limit {self._limit} is reached") if self._is_limited else None

    @abstractmethod
    async def _read(self, session: LiveSession[K], number: int, source: Source) -> bool:
        """Take a source's records from where it was left; False where reading ends before the source does."""

    @abstractmethod
    def settle(self, records: Iterable[Record]) -> None:
        """Records that were handed over are settled."""

    @abstractmethod
    def marks(self) -> dict[int, Mark]:
        """Where the sources under way can be taken up again; of one that is done, it is told once."""

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


class Passing:
    """What earlier sessions settled beyond the mark: the next of it, in the order of positions."""

    def __init__(self, settled: Iterator[Settled]) -> None:
        self._settled = settled
        self.next = next(settled, None)

    def advance(self) -> None:
        self.next = next(self._settled, None)


class Warnings:
    """What there is to say of records that are sent all the same: the first of each kind at once, the number later."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def add(self, finding: Finding, source: str, line: int, number: int = 1) -> None:
        """So many records have this; the first one is at that line."""
        self._counts[finding.code] += number
        if self._counts[finding.code] == number:
            # At the level of what a quiet run keeps for itself: the record goes its way.
            log.info("note: %s line %d: %s", source, line, finding)

    def sum_up(self) -> None:
        for code, number in self._counts.items():
            if number > 1:
                log.info("note: %s: %s in all", code, count(number, "record"))


async def batches_of(source: Source, start: Place) -> AsyncGenerator[Batch, None]:
    """What a source gives from a place on; raises `SourceError` for what a user's own iterable raises, and `Halt`."""
    async with aclosing(source.batches(start)) as batches:
        try:
            async for batch in batches:
                yield batch
        except Halt:
            raise
        except Exception as exc:
            raise SourceError(exc) from exc
