"""A session whose records a fleet of other processes carries to the hub."""

import asyncio
import time
from pathlib import Path

from bulkload.client import transport_for
from bulkload.client.open_files import connections_within_limit
from bulkload.fleet import LATENESS, Books, Fleet, Work
from bulkload.hub import Hub
from bulkload.load.session import LiveSession
from bulkload.load.settings import Settings
from bulkload.pace import Pacer
from bulkload.reading import Reading


class InProcesses:
    """A fleet of uploaders; `books` is the supply of what they send, `mapping` the fingerprint of their mapping.

    Raises `InputError` for a transport that cannot be used.
    """

    def __init__(
        self, number: int, hub: Hub, settings: Settings, reading: Reading, books: Books, *, mapping: str
    ) -> None:
        self.processes = number
        self._hub = hub
        self._settings = settings
        self._reading = reading
        self._mapping = mapping
        self._books = books
        self._fleet: Fleet | None = None
        self._workers = connections_within_limit(settings.workers)
        self.pacer = Pacer(cap=settings.rate, workers=number * self._workers, now=time.monotonic(), lateness=LATENESS)
        ca_file = Path(settings.ca_file).absolute() if settings.ca_file is not None else None
        self._ca_file = str(ca_file) if ca_file is not None else None
        # Nothing is sent over it: what cannot be used is refused here, before there are others.
        self._transport = transport_for(
            hub, settings.transport, connections=self._workers, api_version=settings.api_version, ca_file=ca_file
        )
        self.transport = self._transport.name

    def __repr__(self) -> str:
        return f"<InProcesses, {self.processes} over {self.transport}>"

    def carrier(self, session: LiveSession[Fleet], tasks: asyncio.TaskGroup, *, was_accepted: bool) -> Fleet:
        settings = self._settings
        work = Work(
            hub=self._hub,
            flags=self._reading.kept(),
            mapping=self._mapping,
            transport=settings.transport,
            workers=self._workers,
            max_attempts=settings.max_attempts,
            record_timeout=settings.record_timeout,
            api_version=settings.api_version,
            ca_file=self._ca_file,
            traits=settings.traits,
            was_accepted=was_accepted,
            is_capped=settings.rate is not None,
        )
        self._fleet = Fleet(
            self.processes,
            work,
            books=self._books,
            pacer=self.pacer,
            stop=session.stop,
            tasks=tasks,
            clock=time.monotonic,
        )
        return self._fleet

    async def close(self) -> None:
        await self._transport.close()
        if self._fleet is not None:
            await self._fleet.close()
