"""The upload path over aiohttp: where a proxy stands between."""

from pathlib import Path

from bulkload.client.settings import API_VERSION
from bulkload.client.tasks import TaskTransport
from bulkload.hub import Hub
from bulkload.record import Record
from bulkload.wire import ANSWER_TIMEOUT, OK, Answer


class AiohttpTransport(TaskTransport[Record]):
    """PUTs records over a pool of aiohttp connections, `connections` at most."""

    def __init__(
        self,
        hub: Hub,
        *,
        connections: int,
        api_version: str = API_VERSION,
        ca_file: Path | None = None,
        answer_timeout: float = ANSWER_TIMEOUT,
    ) -> None:
        super().__init__(hub, limit=connections, ca_file=ca_file, answer_timeout=answer_timeout)
        self._base = f"{hub.url}/installations/"
        self._query = f"?api-version={api_version}"
        self._headers = {"Content-Type": "application/json", "x-ms-version": api_version}

    async def _request(self, carried: Record, token: str) -> Answer:
        # The id passed the check: it holds no character that a URL would need encoded.
        address = f"{self._base}{carried.id}{self._query}"
        headers = {**self._headers, "Authorization": token}
        answer = await self._connections.request("PUT", address, headers, carried.body)
        return OK if answer.status == 200 else answer
