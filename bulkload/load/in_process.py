"""A session whose records an upload in this process carries to the hub."""

import asyncio
import time
from pathlib import Path

from bulkload.client import transport_for
from bulkload.client.open_files import connections_within_limit
from bulkload.hub import Hub
from bulkload.load.session import LiveSession
from bulkload.load.settings import Settings
from bulkload.pace import Pacer
from bulkload.record import Record
from bulkload.retry import Backoff
from bulkload.sas import Signer
from bulkload.upload import Upload


class InProcess:
    """An upload in this process. Raises `InputError` for a transport that cannot be used."""

    processes = 1

    def __init__(self, hub: Hub, settings: Settings) -> None:
        self._hub = hub
        self._settings = settings
        self._workers = connections_within_limit(settings.workers)
        ca_file = Path(settings.ca_file) if settings.ca_file is not None else None
        self._transport = transport_for(
            hub, settings.transport, connections=self._workers, api_version=settings.api_version, ca_file=ca_file
        )
        self.transport = self._transport.name
        self.pacer = Pacer(cap=settings.rate, workers=self._workers, now=time.monotonic())

    def __repr__(self) -> str:
        return f"<InProcess over {self.transport}>"

    def carrier(
        self, session: LiveSession[Upload[Record]], tasks: asyncio.TaskGroup, *, was_accepted: bool
    ) -> Upload[Record]:
        settings = self._settings
        return Upload(
            self._transport,
            Signer(self._hub.url, self._hub.key_name, self._hub.key),
            settle=session.settle,
            accept=session.accept,
            halt=session.halt,
            pacer=self.pacer,
            backoff=Backoff(max_attempts=settings.max_attempts, record_timeout=settings.record_timeout),
            workers=self._workers,
            tasks=tasks,
            clock=time.monotonic,
            was_accepted=was_accepted,
            traits=settings.traits,
        )

    async def close(self) -> None:
        await self._transport.close()
