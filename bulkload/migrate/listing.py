"""Reading registrations to hand them on: those of many channels, of a tag, or of the whole hub."""

import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import aclosing

from bulkload.client import Client, Requesting
from bulkload.errors import CallFailed, Halt, Stop
from bulkload.hub import Hub
from bulkload.migrate.asking import Asked, Asking, requests_of
from bulkload.migrate.channels import read_channels
from bulkload.migrate.handles import Handles
from bulkload.registration import Handle, Registration
from bulkload.report.text import count, duration

log = logging.getLogger("bulkload")

Take = Callable[[list[Registration]], Awaitable[None]]


class Listing(Asking[int]):
    """Reads registrations and gives them to `take`, some at a time; what it comes to is an exit code.

    They are those of `handles`, or else those that bear `tag`, or else all of the hub.
    """

    def __init__(
        self,
        hub: Hub,
        requesting: Requesting,
        *,
        handles: Handles | None = None,
        tag: str | None = None,
        top: int,
        take: Take,
    ) -> None:
        super().__init__(hub, requesting)
        self._handles = handles
        self._tag = tag
        self._top = top
        self._take = take
        self.channels = 0
        self.registrations = 0
        self._unknown: Counter[str] = Counter()
        self._reason: str | None = None

    async def _ask(self, client: Client) -> int:
        if self._handles is not None:
            await read_channels(client, self._handles, self, workers=self._requesting.workers, top=self._top)
        else:
            await self._read_list(client)
        return 1 if self.failures else 0

    async def _read_list(self, client: Client) -> None:
        top = self._top
        pages = client.pages_with_tag(self._tag, top=top) if self._tag is not None else client.pages(top=top)
        try:
            async with aclosing(pages):
                async for page in pages:
                    await self.take(page.registrations)
        except CallFailed as exc:
            # A list that breaks off is not whole, whatever came before.
            raise Halt(str(exc)) from exc

    def _stopped(self, stop: Stop) -> int:
        self._reason = stop.reason
        return stop.exit_code

    def is_wanted(self, handle: Handle) -> bool:  # noqa: ARG002 - all that are named are
        """Whether a channel is to be read."""
        return True

    async def take(self, registrations: list[Registration]) -> None:
        """Some registrations."""
        self.registrations += len(registrations)
        for registration in registrations:
            if registration.handle is None:
                self._unknown[registration.kind] += 1
                if self._unknown[registration.kind] == 1:
                    kind = registration.kind
                    log.warning("registrations of kind %s are not known, or without a handle: kept raw", kind)
        await self._take(registrations)

    def done(self, handle: Handle) -> None:  # noqa: ARG002 - which one it was is nobody's business here
        """A channel was read to its end."""
        self.channels += 1

    @property
    def progress(self) -> Asked:
        handles = self._handles
        consumed, size = (handles.consumed, handles.size) if handles is not None else (self.registrations, None)
        return Asked(f"{self.registrations:,} registrations", consumed, size, self.elapsed)

    def __str__(self) -> str:
        channels = f" of {count(self.channels, 'channel')}" if self._handles is not None else ""
        failed = f", {count(self.failures, 'channel')} failed" if self.failures else ""
        read = f"{count(self.registrations, 'registration')}{channels}{failed}"
        took = duration(self.elapsed)
        head = f"read in {took}" if self._reason is None else f"stopped in {took}: {self._reason}"
        return f"{head}{':' if self._reason is None else ';'} {read}; {requests_of(self._client)}"
