"""Deleting the old registrations of channels that have an installation by now.

A channel's old registrations go only after the hub itself has shown, in this very reading, an entry of the channel
that belongs to the installation. So no channel is ever without both, wherever this is interrupted.
"""

import asyncio
import logging
from abc import abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path

import orjson

from bulkload.client import Client, Requesting
from bulkload.errors import CallFailed, Stop
from bulkload.hub import Hub
from bulkload.ledger.lock import held
from bulkload.migrate.asking import Asked, Asking
from bulkload.migrate.channels import side_by_side
from bulkload.migrate.ledger import MigrationLedger
from bulkload.migrate.loaded import Loaded, LoadedChannel
from bulkload.migrate.revisiting import Revisiting
from bulkload.migrate.summary import DeletionSummary
from bulkload.registration import Registration

log = logging.getLogger("bulkload")

# An installation shows among the registrations within seconds; one that does not is looked for ever less often.
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0

# What was deleted is made to stay after so many channels.
COMMIT_AT = 50


@dataclass(slots=True)
class _Visit:
    """A channel that is looked at: when it was looked at first, and how long it rests before the next time."""

    channel: LoadedChannel
    since: float | None = None
    pause: float = FIRST_PAUSE


@dataclass(slots=True)
class _Counts:
    channels: int = 0
    earlier: int = 0
    not_visible: int = 0
    registrations: int = 0
    kept: int = 0


class OldRegistrations(Asking[DeletionSummary]):
    """Finds the old registrations of every channel in `loaded`; what becomes of them is its subclasses' to say.

    `visible_within` is how many seconds an installation may take to show among its channel's registrations; one that
    does not is left alone, and counted.
    """

    is_plan: bool

    def __init__(
        self,
        loaded: Loaded,
        hub: Hub,
        requesting: Requesting,
        *,
        visible_within: float,
        top: int,
        ledger: Path | None,
        wait_lock: float = 0.0,
        resume: str | None = None,
    ) -> None:
        super().__init__(hub, requesting)
        self._loaded = loaded
        self._visible_within = visible_within
        self._top = top
        self._hub = hub.identity
        self._path = ledger
        self._wait_lock = wait_lock
        self._resume = resume
        self._counts = _Counts()
        self._visits: Revisiting[_Visit] | None = None

    @abstractmethod
    async def _settle(self, client: Client, channel: LoadedChannel, old: list[Registration]) -> None:
        """A channel's installation is visible, and these are its old registrations; raises `CallFailed`."""

    def _is_done(self, channel: LoadedChannel) -> bool:  # noqa: ARG002 - nothing is, by itself
        """Whether a channel needs no visit any more."""
        return False

    async def _ask(self, client: Client) -> DeletionSummary:
        async with aclosing(self._all_visits()) as all_visits:
            visits = self._visits = Revisiting(all_visits)

            async def work() -> None:
                while (visit := await visits.next()) is not None:
                    if await self._visit(client, visit):
                        visits.done()
                    else:
                        visits.put_off(visit, visit.pause)
                        visit.pause = min(2 * visit.pause, LONGEST_PAUSE)

            await side_by_side(work, self._requesting.workers)
        return self._summary()

    async def _all_visits(self) -> AsyncGenerator[_Visit, None]:
        async with aclosing(self._loaded.channels()) as channels:
            async for channel in channels:
                if self._is_done(channel):
                    self._counts.earlier += 1
                else:
                    yield _Visit(channel)

    async def _visit(self, client: Client, visit: _Visit) -> bool:
        """Look at a channel; returns whether that was the last time."""
        now = asyncio.get_running_loop().time()
        visit.since = now if visit.since is None else visit.since
        channel = visit.channel
        try:
            entries = await self._entries(client, channel)
            if not any(one.installation_id == channel.installation_id for one in entries):
                left = self._visible_within - (now - visit.since)
                if left > 0:
                    # One last look when its time is over.
                    visit.pause = min(visit.pause, left)
                    return False
                self._counts.not_visible += 1
                return True
            await self._settle(client, channel, self._old(entries))
        except CallFailed as exc:
            self.failed(str(exc))
        else:
            self._counts.channels += 1
        return True

    async def _entries(self, client: Client, channel: LoadedChannel) -> list[Registration]:
        """All registrations of a channel, each once.

        Raises `CallFailed` where others are among them: what is to be deleted must not depend on a hub's filter alone.
        """
        found: dict[str | None, Registration] = {}
        for handle in channel.handles:
            async for registration in client.registrations(handle, top=self._top):
                if registration.handle is not None and registration.handle.key != handle.key:
                    raise CallFailed(f"channel {handle.digest}: the hub answers with registrations of other channels")
                found[registration.registration_id] = registration
        return list(found.values())

    def _old(self, entries: Iterable[Registration]) -> list[Registration]:
        """Those that an installation has taken the place of: of none, and of a kind of which it was made."""
        old = []
        for one in entries:
            if one.installation_id is not None or one.registration_id is None:
                continue
            if one.handle is None or one.secondary_tile is not None:
                self._counts.kept += 1
            else:
                old.append(one)
        return old

    def _stopped(self, stop: Stop) -> DeletionSummary:
        ended = replace(self._summary(), outcome="stopped", exit_code=stop.exit_code, reason=stop.reason)
        return replace(ended, resume=self._resume)

    def _summary(self) -> DeletionSummary:
        counts, loaded = self._counts, self._loaded
        not_accepted = loaded.records - loaded.accepted
        is_whole = not (self._is_anything_left or not_accepted)
        return DeletionSummary(
            is_plan=self.is_plan,
            outcome="complete" if is_whole else "partial",
            exit_code=0 if is_whole else 1,
            channels=counts.channels,
            earlier=counts.earlier,
            not_accepted=not_accepted,
            not_visible=counts.not_visible,
            failed=self.failures,
            registrations=counts.registrations,
            kept=counts.kept,
            requests=self._client.requests,
            elapsed=self.elapsed,
            ledger=str(self._path) if self._path is not None else None,
            # What was not accepted has to be loaded first.
            resume=self._resume if self._is_anything_left else None,
        )

    @property
    def _is_anything_left(self) -> bool:
        """Whether the same again would do more."""
        return bool(self.failures or self._counts.not_visible)

    @property
    def progress(self) -> Asked:
        counts = self._counts
        verb = "to be deleted" if self.is_plan else "deleted"
        waiting = self._visits.waiting if self._visits is not None else 0
        put_off = f", {waiting:,} channels not visible yet" if waiting else ""
        text = f"{counts.registrations:,} registrations {verb} of {counts.channels:,} channels{put_off}"
        settled = counts.channels + counts.earlier + counts.not_visible + self.failures
        return Asked(text, settled, self._loaded.size, self.elapsed)


class DeletionPlan(OldRegistrations):
    """Tells `take` what would be deleted, a JSON object for each registration, and deletes nothing."""

    is_plan = True

    def __init__(
        self,
        loaded: Loaded,
        hub: Hub,
        requesting: Requesting,
        *,
        top: int,
        take: Callable[[Iterable[bytes]], Awaitable[None]],
    ) -> None:
        super().__init__(loaded, hub, requesting, visible_within=0.0, top=top, ledger=None)
        self._take = take

    async def _settle(self, client: Client, channel: LoadedChannel, old: list[Registration]) -> None:  # noqa: ARG002
        self._counts.registrations += len(old)
        await self._take(
            orjson.dumps(
                {
                    "channel": channel.digest,
                    "installationId": channel.installation_id,
                    "registrationId": one.registration_id,
                    "kind": one.kind,
                    "tags": one.tags,
                }
            )
            for one in old
        )


class Deletion(OldRegistrations):
    """Deletes old registrations, and keeps in its ledger which channels are done."""

    is_plan = False
    _ledger: MigrationLedger
    _uncommitted = 0

    async def _ask(self, client: Client) -> DeletionSummary:
        with await held(lambda: MigrationLedger(self._path, hub=self._hub), self._wait_lock) as ledger:
            self._ledger = ledger
            log.info("%s, ledger %s: deletes what was replaced", self._loaded, self._path)
            summary = await super()._ask(client)
            if not self._is_anything_left:
                # Old registrations may come back, from devices that run an old app: next time all are looked at.
                ledger.all_deleted()
            return summary

    def _is_done(self, channel: LoadedChannel) -> bool:
        return self._ledger.is_deleted(channel.digest)

    async def _settle(self, client: Client, channel: LoadedChannel, old: list[Registration]) -> None:
        for one in old:
            assert one.registration_id is not None
            # One that is not there may have gone by a request whose answer was lost.
            await client.delete_registration(one.registration_id)
            self._counts.registrations += 1
        self._ledger.deleted(channel.digest, channel.installation_id, len(old))
        self._uncommitted += 1
        if self._uncommitted >= COMMIT_AT:
            self._uncommitted = 0
            self._ledger.commit()
