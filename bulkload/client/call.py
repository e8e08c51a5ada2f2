"""One REST operation on its way, and what carries it."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from bulkload.client.tasks import TaskTransport
from bulkload.hub import Hub
from bulkload.record import Carried
from bulkload.wire import OK, Answer

# Of an answer that is wanted. A page of a hundred registrations has some 200 KB, one with large templates a few MB.
LARGEST_ANSWER = 16 * 1024 * 1024

# What the service says of a hub that is not there; anything else that is not there may be a good answer.
_NO_HUB = b"No service is hosted"


class Call(Carried):
    """A request that ends with its `answer`: one whose status is among `accepts`.

    `path` is what follows the hub's name, with its query but for the api-version, encoded.
    """

    __slots__ = ("_secrets", "accepts", "answer", "body", "ended", "headers", "method", "path")

    def __init__(
        self,
        id: str,  # noqa: A002
        method: str,
        path: str,
        *,
        headers: Mapping[str, str],
        body: bytes,
        accepts: Collection[int],
        secrets: Sequence[str],
    ) -> None:
        super().__init__(id, len(body))
        self.method = method
        self.path = path
        self.headers = headers
        self.body = body
        self.accepts = accepts
        self.answer: Answer | None = None
        self.ended: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._secrets = secrets

    def __repr__(self) -> str:
        return f"<Call {self.id} {self.method}>"

    @property
    def secrets(self) -> Sequence[str]:
        return self._secrets

    def takes(self, answer: Answer) -> bool:
        """Whether an answer is what was asked for."""
        is_no_hub = answer.status == 404 and _NO_HUB in answer.body
        return answer.status in self.accepts and not is_no_hub


class CallTransport(TaskTransport[Call]):
    """Carries calls over a pool of aiohttp connections."""

    def __init__(
        self, hub: Hub, *, connections: int, api_version: str, ca_file: Path | None, answer_timeout: float
    ) -> None:
        # One more byte tells that there is more.
        kept = LARGEST_ANSWER + 1
        super().__init__(hub, limit=connections, ca_file=ca_file, kept=kept, answer_timeout=answer_timeout)
        self._base = hub.url
        self._api_version = api_version

    async def _request(self, carried: Call, token: str) -> Answer:
        path = carried.path
        address = f"{self._base}{path}{'&' if '?' in path else '?'}api-version={self._api_version}"
        headers = {**carried.headers, "x-ms-version": self._api_version, "Authorization": token}
        answer = await self._connections.request(carried.method, address, headers, carried.body)
        if not carried.takes(answer):
            return answer
        carried.answer = answer
        return OK
