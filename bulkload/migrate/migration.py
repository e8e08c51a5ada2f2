"""From registrations to installations: read them, group them by channel, fold each channel, write NDJSON."""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import orjson

from bulkload.client import Client, Requesting
from bulkload.errors import CallFailed, Halt, Stop
from bulkload.hub import Hub
from bulkload.installation import Fields, Flaw
from bulkload.ledger.lock import held
from bulkload.mapping import MappingFlags, build
from bulkload.mapping.mapping import Mapping as AnyMapping
from bulkload.migrate.asking import Asked, Stoppable
from bulkload.migrate.channels import read_channels
from bulkload.migrate.handles import Handles
from bulkload.migrate.ledger import MigrationLedger, Reached
from bulkload.migrate.output import Output
from bulkload.migrate.summary import MigrationSummary
from bulkload.registration import Conflict, FeedError, Handle, Registration, fold, read
from bulkload.source import START, Broken, FileSource, Source
from bulkload.source.files import printable
from bulkload.upload import Requests

log = logging.getLogger("bulkload")

# What is kept is made to stay after so many registrations: some tenths of a second's reading.
COMMIT_AT = 500

# Channels that are folded before others get their turn: some milliseconds.
FOLDED_TOGETHER = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Folding:
    """How installations are made of registrations; the names are those of the command's flags, as in a load."""

    map_value: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    id_from: str | None = None
    convert_gcm_templates: bool = False

    @property
    def platforms(self) -> dict[str, str]:
        """What a platform becomes: known before a channel is folded, so that it is no conflict after it."""
        return {name.lower(): value for name, value in self.map_value.get("platform", {}).items()}

    def mapping(self) -> AnyMapping | None:
        """What is done with an installation afterwards; raises `InputError`."""
        others = {name: table for name, table in self.map_value.items() if name != "platform"}
        return build(
            MappingFlags(map_value=others, id_from=self.id_from, convert_gcm_templates=self.convert_gcm_templates)
        )


@dataclass(slots=True)
class _Counts:
    """What a session came to."""

    read: int = 0
    channels: int = 0
    unknown: int = 0
    tiles: int = 0
    written: int = 0
    sharing: int = 0
    conflicts: Counter[Conflict] = field(default_factory=Counter)


class Migration(Stoppable[MigrationSummary]):
    """Writes the installations of registrations to `output`.

    The registrations are those of the devices that bear `handles`, or else those in the file `export`, or else all of
    the hub. `hub` may be left out for a file. `resume` is the command line that continues it. The constructor raises
    `InputError` for a folding that cannot be done.
    """

    def __init__(
        self,
        output: Output,
        *,
        hub: Hub | None,
        requesting: Requesting,
        handles: Handles | None = None,
        export: FileSource | None = None,
        folding: Folding,
        ledger: Path | None,
        wait_lock: float = 0.0,
        top: int,
        resume: str | None = None,
    ) -> None:
        super().__init__()
        self._output = output
        self._requesting = requesting
        self._client = Client(hub, requesting) if hub is not None else None
        self._hub = hub
        self._handles = handles
        self._export = export
        self._platforms = folding.platforms
        self._mapping = folding.mapping()
        self._path = ledger
        self._wait_lock = wait_lock
        self._top = top
        self._resume = resume
        self._is_anything_left = ledger is not None
        self._counts = _Counts()
        # Of all sessions, as far as the writing is.
        self._whole = _Counts()
        self._uncommitted = 0
        self._is_writing = False

    async def _work(self) -> MigrationSummary:
        what = await self._what()
        hub = self._hub.identity if self._hub is not None and self._export is None else None
        with await held(lambda: MigrationLedger(self._path, hub=hub, what=what), self._wait_lock) as ledger:
            self._ledger = ledger
            reached = ledger.reached
            log.info("%s: %s", self._named(what), _begins(reached))
            if reached.is_written:
                ledger.begin_anew(what)
            self.failures = ledger.reached.failed
            if not ledger.reached.is_read:
                await self._read(ledger)
            # A channel that could not be read may be read later; a line that is none, or what cannot be mapped, stays.
            is_whole = ledger.is_all_done
            if is_whole and self._handles is None:
                ledger.all_read()
            await self._write(ledger)
            if is_whole:
                ledger.written()
                self._is_anything_left = False
        return self._summary()

    async def _what(self) -> str:
        if self._export is not None:
            return f"the export {await self._export.fingerprint()}"
        return "handles" if self._handles is not None else "all registrations"

    def _named(self, what: str) -> str:
        where = f" of hub {self._hub.name} at {self._hub.host}" if self._hub is not None else ""
        source = self._export.name if self._export is not None else f"{what}{where}"
        ledger = f", ledger {printable(str(self._path))}" if self._path is not None else ""
        return f"{source} to {self._output.name or 'standard output'}{ledger}"

    # Reading.

    async def _read(self, ledger: MigrationLedger) -> None:
        if self._export is not None:
            await self._read_export(self._export, ledger)
            return
        assert self._client is not None
        async with self._client as client:
            if self._handles is not None:
                workers = self._requesting.workers
                await read_channels(client, self._handles, self, workers=workers, top=self._top)
            else:
                await self._read_all(client, ledger)

    async def _read_all(self, client: Client, ledger: MigrationLedger) -> None:
        token = ledger.reached.token
        try:
            await self._read_pages(client, ledger, token)
        except CallFailed as exc:
            if token is None or not exc.is_refused or ledger.reached.token != token:
                # A list that breaks off is not whole: what is there is kept for the next session.
                raise Halt(f"{exc}; what was read before is kept, run it again") from exc
            # Nobody promises how long a token is good for.
            log.warning("%s: the page at which the reading was left is not known any more, it begins anew", exc)
            ledger.begin_anew(ledger.what)
            await self._read_all(client, ledger)

    async def _read_pages(self, client: Client, ledger: MigrationLedger, token: str | None) -> None:
        async with aclosing(client.pages(top=self._top, token=token)) as pages:
            async for page in pages:
                self._keep(page.registrations)
                ledger.reach(token=page.token)
                self._settle(len(page.registrations))

    async def _read_export(self, export: Source, ledger: MigrationLedger) -> None:
        async with aclosing(export.batches(ledger.reached.place)) as batches:
            async for batch in batches:
                for datum, _, line in batch.placed():
                    self._take_line(datum, f"{export.name} line {line:,}")
                ledger.reach(place=batch.end, failed=self.failures)
                self._settle(len(batch.data))
                await asyncio.sleep(0)

    def _take_line(self, datum: object, place: str) -> None:
        if isinstance(datum, Broken) or not isinstance(datum, bytes):
            self.failed(f"{place}: {datum.flaw if isinstance(datum, Broken) else 'it is no text'}")
            return
        try:
            self._keep(read(datum))
        except FeedError as exc:
            self.failed(f"{place}: {exc}")

    def is_wanted(self, handle: Handle) -> bool:
        """Whether a channel was not read to its end before."""
        return self._ledger.want(handle)

    async def take(self, registrations: list[Registration]) -> None:
        self._keep(registrations)
        self._settle(len(registrations))

    def done(self, handle: Handle) -> None:
        self._ledger.done(handle)
        self._settle(1)

    def _keep(self, registrations: Sequence[Registration]) -> None:
        counts = self._counts
        counts.read += len(registrations)
        kept, left_out = [], []
        for one in registrations:
            if one.handle is None:
                counts.unknown += 1
                left_out.append(one)
            elif one.secondary_tile is not None:
                counts.tiles += 1
                left_out.append(one)
            else:
                kept.append(one)
        self._ledger.add(kept)
        if left_out:
            self._ledger.leave_out(left_out)

    def _settle(self, number: int) -> None:
        self._uncommitted += number
        if self._uncommitted >= COMMIT_AT:
            self._uncommitted = 0
            self._ledger.commit()

    # Writing.

    async def _write(self, ledger: MigrationLedger) -> None:
        """Fold channel after channel; the output is there once it is whole."""
        self._is_writing = True
        ledger.commit()
        async with self._output as output:
            channels = ledger.channels() if self._handles is None else ledger.wanted_channels()
            while lines := list(self._lines(islice(channels, FOLDED_TOGETHER))):
                await output.write(line for line in lines if line)
                await asyncio.sleep(0)
            await output.leave_out(self._left_out(ledger))
        self._whole.sharing = ledger.sharing_their_id()
        # From here on all sessions' registrations are counted, each once.
        self._counts = self._whole

    def _left_out(self, ledger: MigrationLedger) -> Iterator[bytes]:
        for line in ledger.left_out():
            self._whole.read += 1
            if "raw" in orjson.loads(line):
                self._whole.unknown += 1
            else:
                self._whole.tiles += 1
            yield line

    def _lines(self, channels: Iterator[list[Registration]]) -> Iterator[bytes]:
        whole = self._whole
        for registrations in channels:
            whole.channels += 1
            whole.read += len(registrations)
            folded = fold(registrations, platforms=self._platforms)
            whole.conflicts.update(folded.conflicts)
            if folded.conflicts:
                self._tell_conflict(registrations[0], folded.conflicts)
            fields = self._mapped(registrations[0], folded.fields)
            if fields is not None:
                whole.written += 1
                self._ledger.made(str(fields.get("installationId")))
            yield orjson.dumps(fields) if fields is not None else b""

    def _mapped(self, registration: Registration, fields: Fields) -> Fields | None:
        if self._mapping is None:
            return fields
        for mapped in self._mapping.installations(fields):
            if isinstance(mapped, Flaw):
                assert registration.handle is not None
                self.failed(f"channel {registration.handle.digest}: {mapped}")
                return None
            if mapped is not None:
                return mapped[0]
        return None

    def _tell_conflict(self, registration: Registration, conflicts: Sequence[Conflict]) -> None:
        for conflict in conflicts:
            if self._whole.conflicts[conflict] == 1:
                assert registration.handle is not None
                log.warning("channel %s: %s", registration.handle.digest, _CONFLICTS[conflict])

    # What it comes to.

    def _stopped(self, stop: Stop) -> MigrationSummary:
        return replace(self._summary(), outcome="stopped", exit_code=stop.exit_code, reason=stop.reason)

    def _summary(self) -> MigrationSummary:
        counts = self._counts
        requests = self._client.requests if self._client is not None else Requests()
        return MigrationSummary(
            outcome="partial" if self.failures else "complete",
            exit_code=1 if self.failures else 0,
            read=counts.read,
            unknown=counts.unknown,
            tiles=counts.tiles,
            channels=counts.channels,
            failed=self.failures,
            written=counts.written,
            sharing=counts.sharing,
            conflicts=dict(counts.conflicts),
            requests=requests,
            elapsed=self.elapsed,
            output=self._output.name,
            left_out=self._output.left_out,
            ledger=str(self._path) if self._path is not None else None,
            is_anything_left=self._is_anything_left,
            resume=self._resume if self._is_anything_left else None,
        )

    @property
    def progress(self) -> Asked:
        if self._is_writing:
            whole = self._whole
            return Asked(f"{whole.written:,} installations written", whole.channels, None, self.elapsed)
        counts = self._counts
        consumed, size = counts.read, None
        for part in (self._handles, self._export):
            if part is not None:
                consumed, size = part.consumed, part.size
        return Asked(f"{counts.read:,} registrations read", consumed, size, self.elapsed)


def _begins(reached: Reached) -> str:
    if reached.is_written:
        return "starts anew, it was finished before"
    return "continues" if reached.is_read or reached.token is not None or reached.place != START else "starts"


_CONFLICTS: dict[Conflict, str] = {
    "installation-id": "it has several installations; one decides",
    "user": "it has several users; one decides",
    "platform": "its registrations are of several platforms; those of one are taken",
    "template": "several templates of a name differ; one of each name is taken",
    "push-variable": "push variables of a name differ; one of each name is taken",
}
