"""What a retry takes up again: records that an earlier session settled badly."""

import asyncio
import logging
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Generator, Iterable, Sequence
from contextlib import aclosing, closing
from functools import partial
from typing import NamedTuple

from bulkload.dead_letters import MODE, DeadLetters, failing
from bulkload.errors import Stop
from bulkload.installation import Flaw, Installation
from bulkload.ledger import Dead, Ledger, Mark, State
from bulkload.ledger.ledger import aside
from bulkload.load.graves import TOGETHER, Grave, Graves, letters, visited
from bulkload.load.remains import Remains
from bulkload.load.session import LiveSession
from bulkload.mapping import Intake
from bulkload.record import Origin, Outcome, Record, Settlement
from bulkload.report.text import count
from bulkload.source import Broken, Source
from bulkload.source.reading import in_thread
from bulkload.upload import Upload

log = logging.getLogger("bulkload")


class Ordinal(NamedTuple):
    """Where a record stands in the order of all sources."""

    source: int
    position: int


# Before all records.
NOWHERE = Ordinal(-1, -1)


class Plan(NamedTuple):
    """What is to be retried: records of these outcomes, so many, and for their ids where each was last accepted."""

    outcomes: Collection[Outcome]
    wanted: int
    accepted: dict[str, Ordinal]

    def is_superseded(self, source: int, dead: Dead) -> bool:
        """Whether a later record of the same id was accepted."""
        assert dead.installation_id is not None
        return self.accepted[dead.installation_id] > (source, dead.position)


def plan(ledger: Ledger, state: State, outcomes: Collection[Outcome]) -> Plan:
    """Collect the ids of what is to be retried, and look in one pass over the ledger where they were accepted.

    All those ids are in memory: some hundred bytes for each.
    """
    accepted: dict[str, Ordinal] = {}
    first = None
    for number, mark in enumerate(state.marks):
        for dead in ledger.dead(number, 0, mark.read, outcomes):
            assert dead.installation_id is not None
            accepted[dead.installation_id] = NOWHERE
            first = first or Ordinal(number, dead.position)
    if first is not None:
        for number, mark in enumerate(state.marks[first.source :], first.source):
            start = first.position if number == first.source else 0
            for position, id_ in ledger.accepted(number, start, mark.read):
                if id_ in accepted:
                    accepted[id_] = Ordinal(number, position)
    return Plan(outcomes, sum(state.totals[outcome] for outcome in outcomes), accepted)


class Retried:
    """The supply of a retry: what is planned, read again from the sources or from their dead letters.

    The dead letters are built anew before and after: from the sources, and then from themselves, since a source may be
    another by then.
    """

    is_again = True

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        plan: Plan,
        ledger: Ledger,
        state: State,
        intake: Intake,
        dead_letters: DeadLetters,
    ) -> None:
        self._sources = sources
        self._plan = plan
        self._ledger = ledger
        self._ends = [mark.read for mark in state.marks]
        self._intake = intake
        self._dead_letters = dead_letters
        self._found = 0
        self._unmade = 0
        self._is_whole = False

    def __repr__(self) -> str:
        return f"<Retried, {self._found} of {self._plan.wanted} found>"

    async def hand_over(self, session: LiveSession[Upload[Record]]) -> Stop | None:
        await in_thread(self._spare_broken_letters)
        await self._rebuild_letters(lambda source: source.can_reread)
        await self._gather_remains()
        await self._supersede(session)
        for number, source in enumerate(self._sources):
            if not await self._read(session, number, source):
                return None
        self._is_whole = True
        return None

    def settle(self, records: Iterable[Record]) -> None:
        """Nothing is to be kept of them: a retry that is stopped begins with what is not settled well."""

    def marks(self) -> dict[int, Mark]:
        return {}

    async def close(self) -> None:
        for source in self._sources:
            if isinstance(source, Remains):
                source.close()
        await self._rebuild_letters(lambda source: not self._dead_letters.can_tell(source.name))
        if not self._is_whole:
            return
        if self._unmade:
            log.warning("the mapping no longer yields %s: left as they are", count(self._unmade, "record"))
        if lost := self._plan.wanted - self._found:
            log.warning(
                "%s could not be found again, in the source or among the dead letters: left as they are",
                count(lost, "record"),
            )

    def _spare_broken_letters(self) -> None:
        """Keep aside what somebody broke on mending it, where there may be no other copy."""
        once = [number for number, source in enumerate(self._sources) if not source.can_reread]
        for path in self._dead_letters.broken(once):
            kept = aside(path)
            with failing(kept):
                kept.touch(MODE)
                shutil.copyfile(path, kept)
            words = "not all in dead letters %s can be read: as they are they are kept as %s; mend and load that"
            log.warning(words, path, kept)

    async def _rebuild_letters(self, is_read: Callable[[Source], bool]) -> None:
        """Make the dead letters equal to the ledger: from sources that are read, and else as far as they are there."""
        with self._dead_letters.rebuilding() as rebuild:
            for number, source in enumerate(self._sources):
                if not is_read(source):
                    await in_thread(partial(rebuild.keep, number, partial(self._ledger.dead_of, number), 0))
                    continue
                with closing(Graves(self._ledger.dead(number, 0, self._ends[number]))) as graves:
                    async with aclosing(letters(number, source, graves)) as found:
                        async for some in found:
                            await in_thread(partial(rebuild.write, some))

    async def _gather_remains(self) -> None:
        for number, source in enumerate(self._sources):
            if isinstance(source, Remains):
                objects = self._dead_letters.objects(number)
                await in_thread(partial(source.gather, objects, partial(self._ledger.dead_of, number)))

    async def _supersede(self, session: LiveSession[Upload[Record]]) -> None:
        """Settle what a later accepted record of the same id has made needless."""
        for number in range(len(self._sources)):
            with closing(self._dead(number)) as all_dead:
                for dead in all_dead:
                    if not self._plan.is_superseded(number, dead):
                        continue
                    self._found += 1
                    session.note(
                        Settlement(
                            number,
                            dead.position,
                            dead.installation_id,
                            Outcome.SUPERSEDED,
                            None,
                            0,
                            None,
                            time.time(),
                        )
                    )
                    if self._found % TOGETHER == 0:
                        await asyncio.sleep(0)
                        await session.catch_up()

    def _dead(self, number: int) -> Generator[Dead, None, None]:
        return self._ledger.dead(number, 0, self._ends[number], self._plan.outcomes)

    def _to_send(self, number: int) -> Generator[Dead, None, None]:
        with closing(self._dead(number)) as all_dead:
            for dead in all_dead:
                if not self._plan.is_superseded(number, dead):
                    yield dead

    async def _read(self, session: LiveSession[Upload[Record]], number: int, source: Source) -> bool:
        """Hand over what is to be sent of a source; False where no further record is wanted."""
        with closing(Graves(self._to_send(number))) as graves:
            async with aclosing(visited(source, graves)) as found:
                async for some in found:
                    for grave in some:
                        if not await self._take(session, number, grave):
                            return False
                    await session.catch_up()
        return True

    async def _take(self, session: LiveSession[Upload[Record]], number: int, grave: Grave) -> bool:
        origin = Origin(number, grave.datum, grave.place)
        # Its letter is there, and is written anew at the end.
        origin.is_buried = True
        made = () if isinstance(grave.datum, Broken) else self._intake.records(grave.datum)
        for dead, installation in matched(grave.dead, made):
            self._found += 1
            if installation is None:
                self._unmade += 1
            elif not await session.upload.admit(Record(origin, dead.position, installation.id, installation.body)):
                return False
        return True


def matched(dead: Sequence[Dead], made: Iterable[Installation | Flaw | None]) -> list[tuple[Dead, Installation | None]]:
    """An object's dead records, each with what the mapping makes of it now: the same id, in the same order.

    Of more installations of an id than there are dead ones, the last are theirs: they decided.
    """
    by_id: defaultdict[str, list[Installation]] = defaultdict(list)
    for each in made:
        if isinstance(each, Installation):
            by_id[each.id].append(each)
    pairs: list[tuple[Dead, Installation | None]] = []
    for one in reversed(dead):
        ones = by_id[one.installation_id or ""]
        pairs.append((one, ones.pop() if ones else None))
    return pairs[::-1]
