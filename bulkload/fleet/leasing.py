"""Who may send how much: what the pacer allows the sum of all uploaders is leased to those that want it."""

import asyncio
import math
from collections.abc import Callable

from bulkload.fleet.member import Member
from bulkload.fleet.messages import Blocked, Event, Failed, Lease, Recall, Report, Taken, Throttled
from bulkload.pace import Pacer, Pauses

# A lease is used within this time or given back: a short one under a cap, which has to hold in each second.
LASTS = 1.0
LATENESS = 0.02

# An uploader that reports nothing for so many seconds has no leases any more, until it is heard of again: it reports
# more often than that whatever happens, unless it stands still.
SILENT = 1.0

# Leases are made no more often than this, in seconds.
SHORTEST = 0.002


class Leasing:
    """Leases to `members`, whoever these are at a time; a lease is used within `lasts` seconds.

    What may be in flight in all is shared out to those that have something to send, apart from what is leased: while
    the hub answers at once, a request that is answered makes room for the next one without a word.
    `is_accepted` says whether the hub has accepted something in the run's life; `broke` is told of a bug in a timer's
    call.
    """

    def __init__(
        self,
        members: list[Member],
        pacer: Pacer,
        *,
        lasts: float,
        is_accepted: bool,
        clock: Callable[[], float],
        broke: Callable[[Exception], None],
    ) -> None:
        self._members = members
        self._pacer = pacer
        self._lasts = lasts
        self._is_reached = False
        self._is_accepted = is_accepted
        self._clock = clock
        self._broke = broke
        self._timer: asyncio.TimerHandle | None = None
        self._is_stopping = False

    def __repr__(self) -> str:
        return f"<Leasing, {sum(member.out for member in self._members)} out>"

    def stop(self) -> None:
        """Lease nothing any more."""
        self._is_stopping = True
        if self._timer is not None:
            self._timer.cancel()

    def hear(self, member: Member, report: Report, now: float) -> None:
        """One of them has reported: what it told of its requests, and what it wants."""
        if report.accepted or report.rejected or report.throttled:
            self._is_reached = True
        if report.accepted:
            self._is_accepted = True
            if self._members[0] is not member:
                # All have their turn at being first, while the hub takes what is sent.
                self._members.append(self._members.pop(0))
        member.in_flight = report.in_flight
        member.asked = report.asked
        member.constraint = report.constraint
        member.processor = report.processor
        member.is_recalled = False
        member.heard_at = now
        if member.lapsed:
            self._pacer.take_again(member.lapsed)
            member.out += member.lapsed
            member.lapsed = 0
        if report.constraint == "in flight":
            self._pacer.bind()
        if report.given_back:
            member.out -= report.given_back
            self._pacer.give_back(report.given_back)
        for event in report.events:
            self._hear_of(member, event, now)
        self.lease(now)

    def look_for_silent(self, now: float) -> None:
        """Let the leases of those lapse of whom nothing is heard."""
        for member in self._members:
            if member.out and now - member.heard_at > SILENT:
                self._pacer.give_back(member.out)
                member.lapsed += member.out
                member.out = 0
        self.lease(now)

    def lose(self, member: Member) -> None:
        """One of them is gone: what was leased to it will not be heard of."""
        self._pacer.give_back(member.out)

    def _hear_of(self, member: Member, event: Event, now: float) -> None:
        pacer = self._pacer
        match event:
            case Taken(at, number, latency):
                member.out -= number
                pacer.taken(at, now, number, latency=latency)
            case Throttled(at, retry_after, is_its_own):
                member.out -= 1
                pacer.throttled(at, now, retry_after, is_its_own=is_its_own)
                if not is_its_own:
                    self._recall(member)
            case Failed(at, retry_after):
                member.out -= 1
                pacer.failed(at, now, retry_after)
            case Blocked():
                pacer.block(now, Pauses(event.first, event.longest, event.growth, event.are_throttled))
                self._recall(member)

    def _recall(self, teller: Member) -> None:
        """The hub throttles, as one of them tells: what the others were leased would be refused as well."""
        for member in self._members:
            if member is not teller and not member.is_recalled and member.out > member.in_flight:
                member.is_recalled = True
                member.say(Recall())

    def lease(self, now: float) -> None:
        """Let requests leave, as many as the pacer allows now, and look again when it says so."""
        if self._is_stopping:
            return
        pacer = self._pacer
        leases = dict.fromkeys(self._limited(), 0)
        while waiting := [member for member in self._members if member.wants > 0]:
            room = pacer.paced(now)
            if not room:
                if pacer.wait != math.inf:
                    self._look_again(pacer.wait)
                break
            for member in waiting:
                number = min(member.wants, -(-room // len(waiting)), room)
                if number <= 0:
                    break
                room -= number
                pacer.leave(number)
                member.leased += number
                member.out += number
                leases[member] = leases.get(member, 0) + number
        else:
            self._constrain(now)
        for member, number in leases.items():
            member.say(Lease(now, number, self._lasts, member.limit, self._is_reached, self._is_accepted))

    def _limited(self) -> list[Member]:
        """Share out what may be in flight; returns those that have to be told of a new limit."""
        busy = self._busy
        share, over = divmod(self._pacer.limit, len(busy))
        changed = []
        for number, member in enumerate(busy):
            limit = max(1, share + (number < over))
            if limit != member.limit:
                member.limit = limit
                changed.append(member)
        return changed

    @property
    def _busy(self) -> list[Member]:
        """Those that have something in hand; all, where nobody has."""
        return [member for member in self._members if member.in_hand] or self._members

    def _constrain(self, now: float) -> None:
        """It is not the pacer that keeps requests back: what most of the uploaders say that have something in hand."""
        constraints = [member.constraint for member in self._busy if member.constraint is not None]
        if constraints:
            constraint = max(constraints, key=constraints.count)
            if constraint == "in flight":
                self._pacer.constrain("in flight", now)
            else:
                self._pacer.idle(now, is_resting=constraint == "rests")

    def _look_again(self, delay: float) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(max(SHORTEST, delay), self._is_time)

    def _is_time(self) -> None:
        self._timer = None
        try:
            self.lease(self._clock())
        except Exception as exc:  # noqa: BLE001 - nobody waits for what a callback raises
            self._broke(exc)
