"""Several uploaders as one: ships parcels to them, lets requests leave, and keeps what became of each record.

What a record costs here is a part of what its parcel and its report cost; nothing is done for each record by itself
but set arithmetic and the ledger's row.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from bulkload.errors import Halt, raised
from bulkload.fleet.claims import Claims, Turn, unpacked
from bulkload.fleet.leasing import LASTS, LATENESS, Leasing
from bulkload.fleet.member import Member
from bulkload.fleet.messages import (
    Broke,
    Cease,
    Claim,
    End,
    Ended,
    FromUploader,
    Grant,
    Halted,
    Release,
    Report,
    Said,
    Settled,
    Watch,
    Work,
    shipment,
)
from bulkload.fleet.parcel import Parcel, Terms
from bulkload.ledger import ACCEPTED_COLUMNS, Value
from bulkload.ledger.schema import POSITION_BITS
from bulkload.pace import Pacer
from bulkload.upload import IN_HAND, IN_HAND_PER_WORKER, Requests

log = logging.getLogger("bulkload")

# Bytes of parcels in hand at the most: one is kept whole, for an uploader that takes over, until all of it is settled.
KEPT = 64 * 1024 * 1024

# How often those are looked for that have fallen silent, in seconds.
LOOKED_EVERY = 0.25

# After its grace an uploader has so many seconds to tell the rest.
TELLS_WITHIN = 5.0

# So many uploaders that settled nothing may be lost, and one for each process, before another one settles something:
# then it is they, or what they are given.
MOST_LOST = 5

# What all uploaders say is told once in this time.
TOLD_EVERY = 60.0


class Books(Protocol):
    """Who keeps what became of the records, and knows what of a source is to be sent."""

    def enter(self, parcel: Parcel, claim: Claim) -> Terms:
        """A parcel was read, and all before it were entered: what of it may be sent. Nothing after what is left out."""

    def cut(self, parcel: Parcel, rest: Parcel) -> None:
        """What a parcel held behind what is left in it became a parcel of its own."""

    def accepted(self, rows: Sequence[Value]) -> None:
        """The hub queued records at once."""

    def settled(self, parcel: Parcel, settled: Settled) -> None:
        """A record ended in another way."""


class Fleet:
    """Uploaders, each in a process of its own, from `start` to `close`.

    `pacer` paces the sum of them. A bug, here or in an uploader, ends the group `tasks`; `stop` is called where the hub
    refuses the whole run. `ship` takes parcels, `drain` waits until all of them are settled.
    """

    def __init__(
        self,
        number: int,
        work: Work,
        *,
        books: Books,
        pacer: Pacer,
        stop: Callable[[int, str], None],
        tasks: asyncio.TaskGroup,
        clock: Callable[[], float],
    ) -> None:
        self.requests = Requests()
        self._number = number
        self._work = work
        self._books = books
        self._stop = stop
        self._tasks = tasks
        self._clock = clock
        self._most_in_hand = max(IN_HAND, IN_HAND_PER_WORKER * work.workers)

        self._members: list[Member] = []
        lasts = LATENESS if work.is_capped else LASTS
        self._leasing = Leasing(
            self._members, pacer, lasts=lasts, is_accepted=work.was_accepted, clock=clock, broke=self._break
        )
        self._claims = Claims()
        self._numbered = 0
        self._parcels: dict[int, Parcel] = {}
        self._kept = 0
        self._holders: dict[int, Member] = {}
        # In the order of the source: those that were not entered yet, and what a lost uploader left.
        self._entering: deque[Parcel] = deque()
        self._left: deque[Parcel] = deque()

        self._looking: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._is_stopping = False
        self._is_full = False
        self._is_closed = False
        self._is_broken = False
        self._lost = 0
        self._said: dict[str, tuple[Member, float]] = {}
        self._settled_keys: set[int] = set()

    def __repr__(self) -> str:
        return f"<Fleet of {len(self._members)}, {len(self._parcels)} parcels in hand>"

    @property
    def in_flight(self) -> int:
        """Requests that are waiting for their answer, by the last reports."""
        return sum(member.in_flight for member in self._members)

    @property
    def processor(self) -> float:
        """Seconds of CPU so far, of the busiest of all processes."""
        return max([time.process_time(), *(member.processor for member in self._members)])

    async def start(self) -> None:
        """Start the uploaders; raises `Halt` where one cannot be started."""
        for _ in range(self._number):
            await self._hire()
        self._looking = self._tasks.create_task(self._look_for_silent())

    async def close(self) -> None:
        """Let all uploaders go, at once where they are still at work."""
        self._is_closed = True
        await asyncio.gather(*(member.end() for member in self._members))

    # Shipping.

    async def ship(self, parcel: Parcel) -> bool:
        """Take a parcel as soon as there is room for it; False where nothing further is wanted."""
        while (member := self._roomy()) is None and not self._is_full:
            await self._change()
        if self._is_full:
            return False
        assert member is not None
        self._entering.append(parcel)
        self._take_in(parcel, member)
        return True

    async def entered(self) -> None:
        """Wait until all that was shipped is entered, or nothing further is wanted."""
        while self._entering and not self._is_stopping:
            await self._change()

    async def drain(self) -> None:
        """Wait until all that was shipped is settled, or the fleet is stopping."""
        while self._parcels and not self._is_stopping:
            await self._change()

    async def stop(self, grace: float) -> None:
        """Send nothing further, and give the requests in flight `grace` seconds to be answered."""
        self.stop_sending()
        for member in self._members:
            member.say(End(grace))
        try:
            async with asyncio.timeout(grace + TELLS_WITHIN):
                while not all(member.has_ended for member in self._members):
                    await self._change()
        except TimeoutError:
            log.warning("an uploader did not end in time: what it has not told is sent again by the next session")
        self.requests.failed += self.in_flight

    def stop_sending(self) -> None:
        """From now on no request leaves; what waits or rests stays unsettled."""
        if self._is_stopping:
            return
        self._is_stopping = self._is_full = True
        self._leasing.stop()
        if self._looking is not None:
            self._looking.cancel()
        for member in self._members:
            member.say(Cease())
        self._changed.set()

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    def _roomy(self) -> Member | None:
        """The uploader that has least in hand, where it takes more."""
        if self._kept >= KEPT or not self._members:
            return None
        member = min(self._members, key=_in_hand)
        return member if member.in_hand < self._most_in_hand else None

    def _hand(self, parcel: Parcel, member: Member) -> None:
        self._holders[parcel.number] = member
        member.parcels.add(parcel.number)
        member.in_hand += parcel.guess
        member.say(shipment(parcel.number, parcel.source, parcel.batch))

    # What uploaders say.

    def _hear(self, member: Member, message: FromUploader) -> None:
        try:
            match message:
                case Report():
                    self._take(member, message)
                case Claim():
                    self._claim(member, message)
                case Said():
                    self._say(member, message)
                case Halted():
                    self._stop(message.exit_code, message.reason)
                case Broke():
                    self._break(RuntimeError(f"an uploader failed:\n{message.words}"))
                case Ended():
                    member.has_ended = True
                    self._changed.set()
        except Exception as exc:  # noqa: BLE001 - nobody waits for what a callback raises
            self._break(exc)

    def _claim(self, member: Member, claim: Claim) -> None:
        parcel = self._parcels.get(claim.parcel)
        if parcel is None:
            # Nothing further was wanted meanwhile.
            return
        parcel.claim = claim
        if claim.is_part:
            self._cut(parcel, claim.objects)
        if parcel.terms is not None:
            self._grant(parcel, member, is_again=True)
            return
        while self._entering and (entered := self._entering[0].claim) is not None:
            parcel = self._entering.popleft()
            parcel.terms = self._books.enter(parcel, entered)
            for turn in self._claims.enter(parcel.number, unpacked(entered.digests)):
                self._holders[turn.parcel].say(Watch(*turn))
            self._grant(parcel, self._holders[parcel.number])
            if parcel.is_left:
                self._want_nothing_more()
        if not self._entering:
            self._changed.set()

    def _cut(self, parcel: Parcel, objects: int) -> None:
        """What of a parcel was not read, since it has so many records, is another parcel."""
        self._kept -= parcel.size
        rest = parcel.cut(objects)
        self._kept += parcel.size
        self._entering.insert(self._entering.index(parcel) + 1, rest)
        self._books.cut(parcel, rest)
        self._take_in(rest, min(self._members, key=_in_hand))

    def _take_in(self, parcel: Parcel, member: Member) -> None:
        parcel.number = self._numbered
        self._numbered += 1
        self._parcels[parcel.number] = parcel
        self._kept += parcel.size
        self._hand(parcel, member)

    def _grant(self, parcel: Parcel, member: Member, *, is_again: bool = False) -> None:
        terms, claim = parcel.terms, parcel.claim
        assert terms is not None
        assert claim is not None
        skipped = sorted(terms.skipped | self._settled_places(parcel, terms) if is_again else terms.skipped)
        member.in_hand += terms.number - len(skipped) - parcel.guess
        number = parcel.number
        member.say(Grant(number, terms.first, terms.number, skipped, self._claims.waits(number)))
        for each in self._claims.watched(number):
            member.say(Watch(number, each))

    def _settled_places(self, parcel: Parcel, terms: Terms) -> set[int]:
        """Which of its records a lost uploader settled."""
        first = _key(parcel, terms)
        return {key - first for key in self._settled_keys.intersection(range(first, first + terms.number))}

    def _want_nothing_more(self) -> None:
        """What was shipped and not entered yet is not wanted."""
        for parcel in self._entering:
            self._forget(parcel)
            if parcel in self._left:
                self._left.remove(parcel)
        self._entering.clear()
        self._is_full = True

    def _forget(self, parcel: Parcel) -> None:
        del self._parcels[parcel.number]
        self._kept -= parcel.size
        self._holders.pop(parcel.number).parcels.discard(parcel.number)

    def _take(self, member: Member, report: Report) -> None:
        rows, requests = report.rows, self.requests
        if rows:
            self._settled_keys.update(rows[::ACCEPTED_COLUMNS])  # type: ignore[arg-type]
            self._books.accepted(rows)
        for settled in report.settled:
            parcel = self._parcels[settled.parcel]
            assert parcel.terms is not None
            self._settled_keys.add(_key(parcel, parcel.terms) + settled.place)
            self._books.settled(parcel, settled)
        member.in_hand -= len(rows) // ACCEPTED_COLUMNS + len(report.settled)
        if rows or report.settled:
            self._lost, member.has_settled = 0, True
        for turn in report.released:
            self._pass(self._claims.release(*turn))
        for number in report.finished:
            self._finish(self._parcels[number])
        requests.accepted += report.accepted
        requests.rejected += report.rejected
        requests.throttled += report.throttled
        requests.failed += report.failed
        requests.retried += report.retried
        self._leasing.hear(member, report, self._clock())
        self._changed.set()

    def _pass(self, turn: Turn | None) -> None:
        """It is another parcel's turn with an id."""
        if turn is None:
            return
        holder = self._holders.get(turn.parcel)
        if holder is not None:
            holder.say(Release(turn.parcel, [turn.digest]))
            if self._claims.is_waited_for(turn.digest):
                holder.say(Watch(*turn))

    def _finish(self, parcel: Parcel) -> None:
        terms = parcel.terms
        assert terms is not None
        first = _key(parcel, terms)
        self._settled_keys.difference_update(range(first, first + terms.number))
        self._forget(parcel)
        for turn in self._claims.leave(parcel.number):
            self._pass(turn)
        parcel.settle()

    def _say(self, member: Member, said: Said) -> None:
        """Tell a line of the log, unless another uploader has told the like just now."""
        now = self._clock()
        teller, at = self._said.get(said.form, (member, now))
        if teller is not member and now - at < TOLD_EVERY and teller in self._members:
            return
        self._said[said.form] = (member, now)
        log.log(said.level, "%s", said.line)

    # Uploaders come and go.

    async def _look_for_silent(self) -> None:
        while True:
            await asyncio.sleep(LOOKED_EVERY)
            self._leasing.look_for_silent(self._clock())

    async def _hire(self) -> None:
        member = Member(self._hear, self._lose)
        await member.start()
        self._members.append(member)
        member.say(self._work)
        if not member.channel.is_open:
            self._lose(member)

    def _lose(self, member: Member) -> None:
        """An uploader is gone."""
        if self._is_closed or member not in self._members:
            return
        if member.has_ended or self._is_stopping:
            member.has_ended = True
            self._changed.set()
            return
        self._members.remove(member)
        self._leasing.lose(member)
        self.requests.failed += member.in_flight
        if not member.has_settled:
            self._lost += 1
        left = [parcel for number, parcel in self._parcels.items() if number in member.parcels]
        for parcel in left:
            if parcel.terms is None:
                # Whoever takes it over claims it anew, and is granted it then.
                parcel.claim = None
        self._left.extend(left)
        self._tasks.create_task(self._replace(member))

    async def _replace(self, member: Member) -> None:
        """Let another uploader take over what one left that is gone."""
        status = await member.end()
        if self._is_stopping:
            return
        how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        try:
            self._require_lasting(how)
            log.warning("uploader %d %s: another one takes over what it had in hand", member.pid, how)
            await self._hire()
        except Halt as exc:
            self._stop(exc.exit_code, str(exc))
            return
        while self._left and self._members:
            self._hand(self._left.popleft(), min(self._members, key=_in_hand))
        self._leasing.lease(self._clock())
        self._changed.set()

    def _require_lasting(self, how: str) -> None:
        """Raise `Halt` where uploaders end one after the other; it says where to look for what may end them."""
        if self._lost <= MOST_LOST + self._number:
            return
        unread = next((parcel for parcel in self._left if parcel.claim is None), None)
        where = f", reading lines {unread.start.line} to {unread.batch.end.line - 1}" if unread is not None else ""
        raise Halt(f"processes that were to send end one after the other: the last one {how}{where}")

    def _break(self, failure: Exception) -> None:
        """A bug: it ends the group of tasks; of several the first is told."""
        if not self._is_broken:
            self._is_broken = True
            self.stop_sending()
            self._tasks.create_task(raised(failure))


def _in_hand(member: Member) -> int:
    return member.in_hand


def _key(parcel: Parcel, terms: Terms) -> int:
    """The ledger's key of a parcel's first record."""
    return (parcel.source << POSITION_BITS) + terms.first
