"""An uploader: reads, maps and checks the parcels that it is given, sends their records, and reports how they ended."""

import asyncio
import math
import signal
import socket
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from typing import Any

import msgspec

from bulkload.client import transport_for
from bulkload.errors import BulkloadError, Halt, InputError, as_one_failure, raised
from bulkload.fleet.claims import Turn, digest, packed
from bulkload.fleet.leases import BY_AND_BY, LeasedPace
from bulkload.fleet.messages import (
    Broke,
    Cease,
    Channel,
    Claim,
    End,
    Ended,
    FromCoordinator,
    Grant,
    Halted,
    Lease,
    Message,
    Note,
    Recall,
    Release,
    Report,
    Said,
    Settled,
    Shipment,
    Watch,
    Work,
)
from bulkload.installation import Finding, Flaw, Installation
from bulkload.ledger import Value, accepted_rows
from bulkload.mapping import Intake
from bulkload.reading import Reading
from bulkload.record import Origin, Outcome, Record
from bulkload.retry import Backoff
from bulkload.sas import Signer
from bulkload.source import START, Broken
from bulkload.source.lines import Chunk, split
from bulkload.upload import Ending, Requests, Upload
from bulkload.wire import Transport

# One that has nothing to tell says so, this often: that it is there.
REPORT_AT_LEAST = 0.25

# A parcel ends after the source object that gives it so many records: with some mappings one gives thousands.
MOST_MADE = 4000

_ORIGIN = attrgetter("origin")


class Parcel(Origin):
    """What of a parcel is in hand. Its records have it as their origin: the source objects stay with the coordinator.

    `left` counts the records that are not settled. Of these, those of `held` wait for others of their ids, by their
    digests; those of `released` have waited, and with those from position `at` on wait for room.
    """

    __slots__ = ("_places", "at", "first", "held", "left", "made", "number", "released", "skipped")

    def __init__(self, number: int, source: int, made: list[Installation | Flaw]) -> None:
        super().__init__(source, b"", START)
        self.number = number
        self.made = made
        self.first = 0
        self.left = 0
        self.at: float = 0
        self.skipped: frozenset[int] = frozenset()
        self.held: dict[int, list[Record]] = {}
        self.released: set[int] = set()
        self._places: defaultdict[int, list[int]] | None = None

    def __repr__(self) -> str:
        return f"<Parcel {self.number}, {self.left} left>"

    def places(self, wanted: int) -> Sequence[int]:
        """At which places among its records those of an id are, by its digest."""
        if self._places is None:
            self._places = defaultdict(list)
            for place, made in enumerate(self.made):
                if type(made) is Installation:
                    self._places[digest(made.id)].append(place)
        return self._places.get(wanted, ())

    def has_waiting(self, wanted: int) -> bool:
        """Whether a record of an id is not in hand yet, and has to be."""
        if wanted in self.held or wanted in self.released:
            return True
        return any(self.first + place >= self.at and place not in self.skipped for place in self.places(wanted))


class Uploader:
    """Does what a coordinator says, until that says `End` or is gone: then `run` returns."""

    def __init__(self) -> None:
        self._channel = Channel(FromCoordinator, self._hear, self._lose)
        self._ended = asyncio.Event()
        self._tasks: asyncio.TaskGroup
        self._working: list[asyncio.Task[None]] = []
        self._is_of_use = False
        self._does: dict[type[Message], Callable[[Any], None]] = {
            Work: self._begin,
            Shipment: self._read,
            Grant: self._enter,
            Release: self._release,
            Watch: self._watch,
            Lease: self._lease,
            Recall: self._recall,
            Cease: self._cease,
            End: self._end,
        }
        self._intake: Intake
        self._pace: LeasedPace
        self._transport: Transport[Record]
        self._upload: Upload[Record]
        self._parcels: dict[int, Parcel] = {}
        self._granted: asyncio.Queue[tuple[Parcel, int | None, list[Record]]] = asyncio.Queue()
        # By their ids, the turns that others wait for.
        self._watched: defaultdict[str, list[Turn]] = defaultdict(list)

        # What the next report tells.
        self._rows: list[Value] = []
        self._settled: list[Settled] = []
        self._finished: list[int] = []
        self._released: list[Turn] = []
        self._told = Requests()
        self._timer: asyncio.TimerHandle | None = None
        # How soon it was to be made.
        self._within = math.inf

    def __repr__(self) -> str:
        return f"<Uploader with {len(self._parcels)} parcels>"

    async def run(self, stream: socket.socket) -> None:
        """Work until the end; a bug is told to the coordinator, at the other end of the stream."""
        loop = asyncio.get_running_loop()
        try:
            with as_one_failure():
                async with asyncio.TaskGroup() as self._tasks:
                    await loop.create_unix_connection(lambda: self._channel, sock=stream)
                    await self._ended.wait()
                    for task in self._working:
                        task.cancel()
        except Exception as exc:  # noqa: BLE001 - told where somebody reads it
            self._channel.send(Broke("".join(traceback.format_exception(exc))))
        self._channel.close()

    def say(self, level: int, form: str, line: str) -> None:
        """Tell a line of the log."""
        self._channel.send(Said(level, form, line))

    # What it hears.

    def _hear(self, message: FromCoordinator) -> None:
        try:
            if self._is_of_use or isinstance(message, Work | End):
                self._does[type(message)](message)
        except BulkloadError as exc:
            self._channel.send(Halted(Halt.exit_code, f"a process that was to send cannot begin: {exc}"))
        except KeyboardInterrupt:
            # A user's function raised it; it would end the loop, as it does where there is one process.
            self._channel.send(Halted(128 + signal.SIGINT, "a user's function raised KeyboardInterrupt"))
        except Exception as exc:  # noqa: BLE001 - a bug: nobody waits for what a callback raises
            self._tasks.create_task(raised(exc))

    def _lose(self) -> None:
        """The coordinator is gone: nothing that happens here would be kept."""
        self._ended.set()

    def _begin(self, work: Work) -> None:
        now = time.monotonic()
        self._intake = Reading.of(work.flags).intake(api_version=work.api_version)
        if self._intake.fingerprint != work.mapping:
            raise InputError("the mapping has changed since the run began; run it again with a mapping that stays")
        ca_file = Path(work.ca_file) if work.ca_file is not None else None
        self._pace = LeasedPace(is_capped=work.is_capped, now=now, tell=self._tell)
        self._transport = transport_for(
            work.hub, work.transport, connections=work.workers, api_version=work.api_version, ca_file=ca_file
        )
        self._upload = Upload(
            self._transport,
            Signer(work.hub.url, work.hub.key_name, work.hub.key),
            settle=self._settle,
            accept=self._accept,
            halt=self._halt,
            pacer=self._pace,
            backoff=Backoff(max_attempts=work.max_attempts, record_timeout=work.record_timeout),
            workers=work.workers,
            tasks=self._tasks,
            clock=time.monotonic,
            was_accepted=work.was_accepted,
            traits=work.traits,
        )
        self._working.append(self._tasks.create_task(self._admit()))
        self._is_of_use = True

    def _lease(self, lease: Lease) -> None:
        self._pace.take(lease, time.monotonic())
        if lease.is_reached:
            self._upload.others_reached(is_accepted=lease.is_accepted)
        self._upload.resume()
        self._tell()

    def _recall(self, _: Recall) -> None:
        self._pace.recall()

    def _cease(self, _: Cease) -> None:
        self._upload.stop_sending()

    def _end(self, end: End) -> None:
        self._tasks.create_task(self._stop(end.grace))

    async def _stop(self, grace: float) -> None:
        if self._is_of_use:
            await self._upload.stop(grace)
            await self._transport.close()
            self._report()
        self._channel.send(Ended())
        self._ended.set()

    # Parcels.

    def _read(self, shipment: Shipment) -> None:
        """Map and check a parcel's source objects, and claim their ids."""
        made: list[Installation | Flaw] = []
        places: list[int] = []
        filtered = 0
        leaves_texts, record, records = self._intake.leaves_texts, self._intake.record, self._intake.records
        data = shipment.data
        objects = split(Chunk(data, START, START)).data if isinstance(data, bytes) else data
        for datum in objects:
            if len(made) >= MOST_MADE:
                break
            before = len(made)
            if type(datum) is bytes and leaves_texts:
                made.append(record(datum))
            elif isinstance(datum, Broken):
                made.append(datum.flaw)
            elif isinstance(datum, list):
                made.append(_flaw(datum))
            else:
                for each in records(datum):
                    if each is None:
                        filtered += 1
                    else:
                        made.append(each)
            places.append(len(made) - before)
        is_plain = places.count(1) == len(places)
        number = shipment.parcel
        self._parcels[number] = Parcel(number, shipment.source, made)
        digests = packed([digest(each.id) for each in made if type(each) is Installation])
        self._channel.send(
            Claim(
                number,
                len(places),
                len(places) < len(objects),
                len(made),
                digests,
                None if is_plain else places,
                filtered,
                _notes(made),
            )
        )

    def _enter(self, grant: Grant) -> None:
        """Take the records of a parcel that may be sent."""
        parcel = self._parcels[grant.parcel]
        first = parcel.first = grant.first
        skipped, held = frozenset(grant.skipped), frozenset(grant.held)
        parcel.skipped = skipped
        records: list[Record] = []
        flaws: list[tuple[int, Flaw]] = []
        for place, made in enumerate(parcel.made[: grant.count]):
            if place in skipped:
                continue
            if isinstance(made, Flaw):
                flaws.append((place, made))
                continue
            record = Record(parcel, first + place, made.id, made.body)
            if held and (each := digest(made.id)) in held:
                parcel.held.setdefault(each, []).append(record)
            else:
                records.append(record)
        parcel.left = len(records) + len(flaws) + sum(map(len, parcel.held.values()))
        self._granted.put_nowait((parcel, None, records))
        for place, flaw in flaws:
            self._keep(parcel, place, flaw.id, Ending(Outcome.INVALID, detail=str(flaw)))
        if parcel.left:
            self._count(parcel, len(flaws))
        else:
            self._finish(parcel)
        self._tell()

    async def _admit(self) -> None:
        """Take in hand what was granted or released, as soon as there is room for it."""
        take, admit = self._upload.take, self._upload.admit
        while True:
            parcel, released, records = await self._granted.get()
            for record in records:
                if not take(record):
                    if released is None:
                        parcel.at = record.position
                    if not await admit(record):
                        return
            if released is None:
                parcel.at = math.inf
            else:
                parcel.released.discard(released)
            if self._watched:
                self._look(list(self._watched))

    def _finish(self, parcel: Parcel) -> None:
        del self._parcels[parcel.number]
        self._finished.append(parcel.number)

    def _count(self, parcel: Parcel, number: int) -> None:
        """So many records of a parcel have settled."""
        parcel.left -= number
        if number and not parcel.left:
            self._finish(parcel)

    def _release(self, release: Release) -> None:
        """Records have waited for those of their ids that come before them."""
        parcel = self._parcels.get(release.parcel)
        if parcel is None:
            # It had nothing to send of them.
            return
        for each in release.digests:
            if records := parcel.held.pop(each, None):
                parcel.released.add(each)
                self._granted.put_nowait((parcel, each, records))

    def _watch(self, watch: Watch) -> None:
        """Others wait for the records of an id: tell when none of them is unsettled."""
        parcel = self._parcels.get(watch.parcel)
        if parcel is None:
            # All of it is settled, and that was told.
            return
        ids = {parcel.made[place].id or "" for place in parcel.places(watch.digest)}
        for id_ in ids:
            self._watched[id_].append(Turn(watch.parcel, watch.digest))
        self._look(ids)

    def _look(self, ids: Iterable[str]) -> None:
        """Tell of those ids of which nothing is unsettled any more, where others wait for them."""
        for id_ in ids:
            if turns := self._watched.get(id_):
                over = [turn for turn in turns if self._is_over(turn, id_)]
                self._released += over
                left = [turn for turn in turns if turn not in over]
                if left:
                    self._watched[id_] = left
                else:
                    del self._watched[id_]
                self._tell()

    def _is_over(self, turn: Turn, id_: str) -> bool:
        parcel = self._parcels.get(turn.parcel)
        if parcel is None:
            return True
        return not (parcel.has_waiting(turn.digest) or self._upload.holds(id_))

    # Records.

    def _accept(self, records: Sequence[Record], now: float) -> None:
        self._rows += accepted_rows(records, [now - record.left for record in records], time.time())
        for parcel, number in Counter(map(_ORIGIN, records)).items():
            self._count(parcel, number)
        if self._watched:
            self._look([record.id for record in records])

    def _settle(self, record: Record, ending: Ending) -> None:
        parcel = record.origin
        assert isinstance(parcel, Parcel)
        self._keep(parcel, record.position - parcel.first, record.id, ending, record.attempts)
        self._count(parcel, 1)
        if self._watched:
            self._look([record.id])
        self._tell()

    def _keep(self, parcel: Parcel, place: int, id_: str | None, ending: Ending, attempts: int = 0) -> None:
        self._settled.append(
            Settled(
                parcel.number,
                place,
                id_,
                ending.outcome,
                ending.status,
                attempts,
                ending.latency,
                time.time(),
                ending.detail,
                ending.tracking_id,
            )
        )

    def _halt(self, halt: Halt) -> None:
        self._channel.send(Halted(halt.exit_code, str(halt)))

    # Reports.

    def _tell(self, within: float = BY_AND_BY) -> None:
        """There is something to report within so many seconds."""
        if within < self._within:
            self._within = within
            if self._timer is not None:
                self._timer.cancel()
            self._timer = asyncio.get_running_loop().call_later(within, self._report)

    def _report(self) -> None:
        self._within = math.inf
        self._tell(REPORT_AT_LEAST)
        pace, upload, told = self._pace, self._upload, self._told
        requests = upload.requests
        self._channel.send(
            Report(
                rows=self._rows,
                settled=self._settled,
                finished=self._finished,
                released=self._released,
                events=pace.events,
                accepted=requests.accepted - told.accepted,
                rejected=requests.rejected - told.rejected,
                throttled=requests.throttled - told.throttled,
                failed=requests.failed - told.failed,
                retried=requests.retried - told.retried,
                in_flight=upload.in_flight,
                asked=pace.asks(upload.ready, time.monotonic()),
                given_back=pace.given_back,
                constraint=pace.constraint,
                processor=time.process_time(),
            )
        )
        self._told = replace(requests)
        self._rows, self._settled, self._finished, self._released = [], [], [], []
        pace.events, pace.given_back = [], 0


def _flaw(broken: list[Any]) -> Flaw:
    """What is wrong with a source object that could not be taken apart."""
    return msgspec.convert(broken[0], Flaw)


def _notes(made: Iterable[Installation | Flaw]) -> list[Note]:
    """What there is to say of installations that are sent all the same."""
    first: dict[str, tuple[Finding, int]] = {}
    numbers: Counter[str] = Counter()
    for place, each in enumerate(made):
        if type(each) is Installation and each.warnings:
            for finding in each.warnings:
                first.setdefault(finding.code, (finding, place))
                numbers[finding.code] += 1
    return [Note(finding, place, numbers[code]) for code, (finding, place) in first.items()]
