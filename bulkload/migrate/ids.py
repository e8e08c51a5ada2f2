"""Creating many registration ids at once."""

import logging
from collections.abc import Awaitable, Callable

from bulkload.client import Client, Requesting
from bulkload.errors import CallFailed, Stop
from bulkload.hub import Hub
from bulkload.migrate.asking import Asked, Asking
from bulkload.migrate.channels import side_by_side
from bulkload.report.text import count

log = logging.getLogger("bulkload")


class RegistrationIds(Asking[int]):
    """Creates so many registration ids, each of which is told to `take`; what it comes to is an exit code."""

    def __init__(
        self, hub: Hub, requesting: Requesting, *, number: int, take: Callable[[str], Awaitable[None]]
    ) -> None:
        super().__init__(hub, requesting)
        self._number = number
        self._take = take
        self._left = number
        self.created = 0

    async def _ask(self, client: Client) -> int:
        async def create() -> None:
            while self._left:
                self._left -= 1
                try:
                    created = await client.create_registration_id()
                except CallFailed as exc:
                    self.failed(str(exc))
                    continue
                self.created += 1
                await self._take(created)

        await side_by_side(create, min(self._requesting.workers, self._number))
        return 1 if self.failures else 0

    def _stopped(self, stop: Stop) -> int:
        log.error("stopped after %s: %s", count(self.created, "registration id"), stop.reason)
        return stop.exit_code

    @property
    def progress(self) -> Asked:
        return Asked(f"{self.created:,} registration ids", self.created, self._number, self.elapsed)
