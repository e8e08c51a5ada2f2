"""The upload: carries records to the hub, as many at a time as the pacer allows, until each settles.

Every id in hand is in one of these states, and at most one request for an id is on its way:

- *ready*: its record waits in `_waiting`, its id in the queue `_ready`;
- *resting*: its record waits in `_waiting`, a timer in `_resting` puts the id back into the queue;
- *in flight*: its id is in `_flying`; a later record of the same id may wait in `_waiting` meanwhile.

A record that comes while an earlier one of its id waits takes its place, and the earlier one is superseded. So the
last record of an id decides, whatever the concurrency.
"""

import asyncio
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from bulkload.errors import Halt, raised
from bulkload.pace import OF_FAILURE, OF_OUTAGE, TO_REACH, Pace, Pauses
from bulkload.record import Carried, Outcome
from bulkload.retry import (
    REFUSALS_FOR_NOTHING,
    USUAL,
    Backoff,
    Cause,
    History,
    Judgment,
    Outage,
    Reach,
    Traits,
    Unknown,
    Verdict,
    judge,
    retry_after,
)
from bulkload.sas import Signer
from bulkload.wire import OK, Answer, Fault, Transport

C = TypeVar("C", bound=Carried)

# Records in hand: enough to keep every worker busy while some rest, and never more than this many bytes.
IN_HAND = 2000
IN_HAND_PER_WORKER = 4
IN_HAND_BYTES = 32 * 1024 * 1024

# Of so many records in hand, when there is no room, this part may be left before more are taken.
REFILLED_AT = 0.75


@dataclass(slots=True)
class Requests:
    """What the requests of this session came to."""

    accepted: int = 0
    rejected: int = 0
    throttled: int = 0
    failed: int = 0
    retried: int = 0

    @property
    def sent(self) -> int:
        return self.accepted + self.rejected + self.throttled + self.failed


class Ending(NamedTuple):
    """How a record's way ended, with what its last answer said; `latency` in seconds."""

    outcome: Outcome
    status: int | None = None
    latency: float | None = None
    detail: str | None = None
    tracking_id: str | None = None


SUPERSEDED = Ending(Outcome.SUPERSEDED)


class Upload(Generic[C]):
    """Takes records by `admit` and tells each one's end by `settle`, until `drain` returns or `stop` is called.

    Those that the hub took at once it tells together by `accept`, with the time at which they were answered: what is
    done once for all answers of a turn of the loop is not done for each record (24 us of CPU for one instead of 33).
    Where the hub refuses the whole run it stops sending by itself and says why by `halt`.
    The first request leaves alone; once the hub has taken or rejected a record, up to `workers` are in flight. A bug
    ends the group `tasks`. `was_accepted` says whether an earlier session of the run saw the hub accept anything,
    `traits` how its answers are understood; `clock` gives seconds. A hub that is gone for longer than patience uses up
    attempts, since a record may be to blame, or `ends_when_gone`: then it is refused like the whole run.
    """

    def __init__(
        self,
        transport: Transport[C],
        signer: Signer,
        *,
        settle: Callable[[C, Ending], None],
        accept: Callable[[Sequence[C], float], None],
        halt: Callable[[Halt], None],
        pacer: Pace,
        backoff: Backoff,
        workers: int,
        tasks: asyncio.TaskGroup,
        clock: Callable[[], float],
        was_accepted: bool = False,
        ends_when_gone: bool = False,
        traits: Traits = USUAL,
    ) -> None:
        self.requests = Requests()
        self._transport = transport
        self._signer = signer
        self._settle = settle
        self._accept = accept
        self._halt = halt
        self._pacer = pacer
        self._backoff = backoff
        self._tasks = tasks
        self._clock = clock
        self._most = max(IN_HAND, IN_HAND_PER_WORKER * workers)

        self._waiting: dict[str, C] = {}
        self._flying: set[str] = set()
        self._taken: list[C] = []
        self._ready: deque[str] = deque()
        self._resting: dict[str, asyncio.TimerHandle] = {}
        self._count = 0
        self._bytes = 0

        # uvloop's timers do not tell when they fire.
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._changed = asyncio.Event()
        self._wakes_at = -1.0
        self._is_bound = False
        self._is_stopping = False
        self._is_broken = False

        self._traits = traits
        self._ends_when_gone = ends_when_gone
        self._history = History(was_accepted=was_accepted, now=clock(), traits=traits)
        self._unknown = Unknown()
        self._outage = Outage()

    def __repr__(self) -> str:
        return f"<Upload {self._count} in hand, {len(self._flying)} in flight, {len(self._resting)} resting>"

    @property
    def in_hand(self) -> int:
        """Records that are not settled."""
        return self._count

    @property
    def in_flight(self) -> int:
        """Requests that are waiting for their answer."""
        return len(self._flying)

    @property
    def processor(self) -> float:
        """Seconds of CPU that this process took so far."""
        return time.process_time()

    @property
    def ready(self) -> int:
        """Records that could leave at once, for all that the upload knows."""
        return len(self._ready)

    def holds(self, id: str) -> bool:  # noqa: A002
        """Whether a record of this id is in hand."""
        return id in self._waiting or id in self._flying

    async def admit(self, record: C) -> bool:
        """Take a record in hand as soon as there is room for it; False when the upload is stopping instead."""
        while not (taken := self.take(record)) and not self._is_stopping:
            # Not at the first room: to wake a task costs as much as a tenth of a record. Of large ones few are in hand.
            await self._change(self._count * REFILLED_AT if self._count >= self._most else self._count - 1)
        return taken

    def take(self, record: C) -> bool:
        """Take a record in hand, if there is room for it at once."""
        size, count = record.size, self._count
        if self._is_stopping or (
            count and (count >= self._most or self._bytes + size > IN_HAND_BYTES or self._history.is_down)
        ):
            return False
        self._count = count + 1
        self._bytes += size
        id_ = record.id
        earlier = self._waiting.get(id_)
        self._waiting[id_] = record
        if earlier is not None:
            self._end(earlier, SUPERSEDED)
            if id_ in self._resting:
                self._wake(id_)
        elif id_ not in self._flying:
            self._ready.append(id_)
            if not self._is_bound:
                self._pump()
        return True

    async def drain(self) -> None:
        """Wait until everything admitted is settled, or the upload is stopping."""
        while self._count and not self._is_stopping:
            await self._change(0)

    async def stop(self, grace: float) -> None:
        """Send nothing further, and give the requests in flight `grace` seconds to be answered."""
        self.stop_sending()
        with suppress(TimeoutError):
            async with asyncio.timeout(grace):
                while self._flying:
                    await self._change(0)
        self._transport.abandon()
        self._conclude_taken()
        self.requests.failed += len(self._flying)
        self._flying.clear()

    def resume(self) -> None:
        """The pacer may have room by now."""
        self._pump()

    def others_reached(self, *, is_accepted: bool) -> None:
        """The hub has answered others in this session; `is_accepted` says whether it accepted something in the run."""
        if self._history.reach is Reach.UNKNOWN:
            self._history.answered()
        self._history.was_accepted |= is_accepted

    def stop_sending(self) -> None:
        """From now on no request leaves; what waits or rests stays unsettled."""
        self._is_stopping = True
        if self._timer is not None:
            self._timer.cancel()
        for handle in self._resting.values():
            handle.cancel()
        self._wake_all()

    async def _change(self, count: float) -> None:
        """Wait until no more records than this are in hand, or something else has changed."""
        self._wakes_at = max(self._wakes_at, count)
        self._changed.clear()
        await self._changed.wait()

    def _wake_all(self) -> None:
        self._wakes_at = -1.0
        self._changed.set()

    def _pump(self) -> None:
        """Let ready records leave, as many as the pacer allows now, and look again when it says so."""
        if self._is_stopping:
            return
        try:
            self._let_leave()
        except Exception as exc:  # noqa: BLE001 - a timer's or an answer's call: nobody waits for what it raises
            self.broke(exc)

    def _let_leave(self) -> None:
        now = self._clock()
        ready, pacer = self._ready, self._pacer
        while ready:
            room = pacer.room(now)
            if not room:
                # With nothing but answers to wait for, records that come need not ask again.
                self._is_bound = pacer.wait == math.inf
                self._look_again(pacer.wait)
                return
            ids = [ready.popleft() for _ in range(min(room, len(ready)))]
            self._flying.update(ids)
            pacer.leave(len(ids))
            token = self._signer.token
            for id_ in ids:
                record = self._waiting.pop(id_)
                record.start(now)
                if record.has_failed:
                    record.has_failed = False
                    self.requests.retried += 1
                record.token = token
                self._transport.send(record, token, self)
        self._is_bound = False
        # A few that rest keep nobody from sending others, if there were any.
        self._pacer.idle(now, is_resting=2 * len(self._resting) > self._count)

    def _look_again(self, delay: float) -> None:
        if delay == math.inf:
            return
        loop = asyncio.get_running_loop()
        at = loop.time() + delay
        if self._timer is not None:
            if self._timer_at <= at:
                return
            self._timer.cancel()
        self._timer, self._timer_at = loop.call_at(at, self._is_time), at

    def _is_time(self) -> None:
        self._timer = None
        self._pump()

    def answered(self, carried: C, answer: Answer) -> None:
        """A request came to this: judge it, and let the next one leave."""
        # The usual answer is one object: to recognise it costs 10 ns, a call that judges it 60.
        if answer is OK:
            if not self._taken:
                asyncio.get_running_loop().call_soon(self._conclude_taken)
            self._taken.append(carried)
            return
        # What came before comes first.
        self._conclude_taken()
        self._flying.remove(carried.id)
        try:
            self._conclude(carried, answer, self._clock())
        except Halt as halt:
            self._again(carried)
            self.stop_sending()
            self._halt(halt)
        except Exception as exc:  # noqa: BLE001 - nobody waits here for what it raises
            self.broke(exc)
        if self._is_stopping:
            self._wake_all()
        self._pump()

    def _conclude_taken(self) -> None:
        """What the hub took since the last turn of the loop has settled."""
        records, self._taken = self._taken, []
        if not records:
            return
        try:
            now = self._clock()
            number = len(records)
            self.requests.accepted += number
            self._history.answered()
            self._history.accepted(number)
            # Those that left together are told together.
            for left, together in Counter([record.left for record in records]).items():
                self._served(left, now, together)
            ids = []
            for record in records:
                record.attempts += 1
                self._bytes -= record.size
                ids.append(record.id)
            self._count -= number
            self._flying.difference_update(ids)
            self._accept(records, now)
            if not self._waiting.keys().isdisjoint(ids):
                # Later ones of their ids may go now.
                self._ready.extend(id_ for id_ in ids if id_ in self._waiting)
            if self._count <= self._wakes_at or self._is_stopping:
                self._wake_all()
            self._pump()
        except Exception as exc:  # noqa: BLE001 - nobody waits here for what it raises
            self.broke(exc)

    def broke(self, failure: Exception) -> None:
        """A bug: it ends the group of tasks; of several the first is told."""
        if self._is_broken:
            return
        self._is_broken = True
        self.stop_sending()
        self._tasks.create_task(raised(failure))

    def _conclude(self, record: C, answer: Answer, now: float) -> None:
        """Turn an answer into the record's end or its next try."""
        left = record.left
        latency = now - left
        judgment = self._judge(record, answer)
        if answer.fault is None:
            self._history.answered()
        match judgment.verdict:
            case Verdict.ACCEPT:
                self.requests.accepted += 1
                record.attempts += 1
                self._history.accepted()
                self._served(left, now)
                self._finish(record, Ending(Outcome.ACCEPTED, answer.status, latency))
            case Verdict.REJECT:
                self.requests.rejected += 1
                record.attempts += 1
                self._history.served()
                self._served(left, now)
                self._finish(record, _ending(Outcome.REJECTED, answer, judgment, latency))
            case Verdict.THROTTLE:
                # The hub is slowed down; the record has used up no attempt, and comes again when the hub says so.
                self.requests.throttled += 1
                rest = self._history.throttled(record, judgment, now)
                asked = self._retry_after(answer)
                is_its_own = record.refusals > REFUSALS_FOR_NOTHING
                self._pacer.throttled(left, now, asked if rest is None else rest, is_its_own=is_its_own)
                if rest is not None:
                    self._pacer.block(now, Pauses(rest, rest, are_throttled=True))
                record.pause(now)
                # It may be alone in that: the next probe is another's. Only a full namespace is asked thrice by one.
                is_last = judgment.cause is not Cause.QUOTA
                self._again(record, max(asked or 0.0, self._backoff.refused(record.refusals)), is_last=is_last)
            case Verdict.RETRY:
                self.requests.failed += 1
                asked = self._retry_after(answer)
                # A hub with too much to do is slowed down for, whatever else becomes of the record.
                is_overload = judgment.cause is Cause.THROTTLE
                (self._pacer.throttled if is_overload else self._pacer.failed)(left, now, asked)
                self._failed(record, answer, judgment, latency, now, asked or 0.0)
            case Verdict.HALT:
                self.requests.failed += 1
                self._pacer.failed(left, now)
                self._renew(record, answer, judgment)
                self._again(record)

    def _served(self, left: float, now: float, number: int = 1) -> None:
        """The hub worked on records that had left then."""
        self._pacer.taken(left, now, number)
        if self._outage.since is not None:
            self._outage.end(now)
            self._wake_all()

    def _judge(self, record: C, answer: Answer) -> Judgment:
        """What an answer means, by what came before it; what nobody understands is told once."""
        hide = record.secrets if answer.body else ()
        judgment = judge(answer, traits=self._traits, was_accepted=self._history.was_accepted, hide=hide)
        if not judgment.is_understood:
            self._unknown.tell(answer, judgment, hide=hide)
        return judgment

    def _retry_after(self, answer: Answer) -> float | None:
        return retry_after(answer, longest=self._traits.longest_retry_after)

    def _failed(self, record: C, answer: Answer, judgment: Judgment, latency: float, now: float, asked: float) -> None:
        """A transient fault: the record rests, at least as long as the hub asked; or it is the hub that is away."""
        history = self._history
        record.has_failed = True
        if answer.fault is Fault.STALE:
            # Whoever closed the connection meanwhile, the record is not to blame, and neither is the hub. It goes again
            # over a connection that is new: what happens there is told as what it is.
            record.is_stale = True
            record.pause(now)
            self._again(record)
            return
        history.failed(record, answer, judgment)
        if history.reach is Reach.UNKNOWN:
            self._pacer.block(now, TO_REACH)
        elif history.reach is Reach.GONE:
            self._pacer.block(now, OF_OUTAGE)
            self._outage.begin(now, f"the hub does not answer any more ({judgment.reason})")
        elif history.is_down:
            self._pacer.block(now, OF_FAILURE)
            self._outage.begin(now, f"most requests fail ({judgment.reason})")
        # A hub that is away for longer than anybody waits may be so because of these very records.
        is_away = history.is_failing or history.reach is Reach.GONE
        is_patient = is_away and self._outage.length(now) < self._traits.patience
        if history.reach is Reach.GONE and self._ends_when_gone and not is_patient:
            raise Halt(f"the hub does not answer any more ({judgment.reason})")
        is_unsent = answer.fault is not None and answer.fault.is_unsent
        if history.reach is Reach.UNKNOWN or is_patient or is_unsent:
            # No record is to blame: one request at a time asks for the hub, each time another record's.
            record.pause(now)
            rest = self._backoff.unsent() if is_unsent and not is_away and history.reach is Reach.PRESENT else asked
            self._again(record, rest, is_last=True)
            return
        record.attempts += 1
        assert record.began is not None
        pause = self._backoff.rest(record.attempts, record.began, now, at_least=asked)
        if record.id in self._waiting:
            # A later one of its id is there already.
            self._again(record)
        elif pause is None:
            self._finish(record, _ending(Outcome.EXHAUSTED, answer, judgment, latency))
        else:
            # Its time runs while it rests, and not while the hub keeps it waiting after that.
            record.pause(now + pause)
            self._again(record, pause)

    def _renew(self, record: C, answer: Answer, judgment: Judgment) -> None:
        """A refused token is signed anew, once for each record: a clock may have jumped. Else the run has to stop."""
        if answer.status == 401 and not record.is_renewed:
            record.is_renewed = True
            self._signer.renew(record.token, hub_time=answer.date)
            return
        error = self._signer.clock_error
        clock = f"; this machine's clock is {abs(error):.0f} s {'ahead of' if error > 0 else 'behind'} the hub's"
        raise Halt(judgment.reason + (clock if error else ""))

    def _again(self, record: C, rest: float = 0.0, *, is_last: bool = False) -> None:
        """Put a record back that was in flight, unless a later one of its id came meanwhile.

        It goes first, or after its rest; or, with `is_last`, after all that is ready.
        """
        if record.id in self._waiting:
            self._end(record, SUPERSEDED)
            self._ready.append(record.id)
        else:
            self._waiting[record.id] = record
            if rest and not self._is_stopping:
                self._resting[record.id] = asyncio.get_running_loop().call_later(rest, self._wake, record.id)
            elif is_last:
                self._ready.append(record.id)
            else:
                self._ready.appendleft(record.id)

    def _wake(self, id: str) -> None:  # noqa: A002
        self._resting.pop(id).cancel()
        self._ready.append(id)
        self._pump()

    def _finish(self, record: C, ending: Ending) -> None:
        """End a record that was in flight; a later one of its id may go now."""
        self._end(record, ending)
        if record.id in self._waiting:
            self._ready.append(record.id)

    def _end(self, record: C, ending: Ending) -> None:
        self._count -= 1
        self._bytes -= record.size
        self._settle(record, ending)
        if self._count <= self._wakes_at:
            self._wake_all()


def _ending(outcome: Outcome, answer: Answer, judgment: Judgment, latency: float) -> Ending:
    """An end that people will look into."""
    return Ending(outcome, answer.status or None, latency, judgment.reason, answer.tracking_id)
