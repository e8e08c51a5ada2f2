"""The upload path over aiohttp."""

from pathlib import Path

from bulkload.client.connections import ANSWER_TIMEOUT, Connections
from bulkload.client.settings import API_VERSION
from bulkload.hub import Hub
from bulkload.record import Record
from bulkload.wire import OK, Answer


class AiohttpTransport:
    """PUTs records over a pool of aiohttp connections, `connections` at most."""

    name = "aiohttp"

    def __init__(
        self,
        hub: Hub,
        *,
        connections: int,
        api_version: str = API_VERSION,
        ca_file: Path | None = None,
        answer_timeout: float = ANSWER_TIMEOUT,
    ) -> None:
        self._base = f"{hub.url}/installations/"
        self._query = f"?api-version={api_version}"
        self._headers = {"Content-Type": "application/json", "x-ms-version": api_version}
        self._connections = Connections(hub, limit=connections, ca_file=ca_file, answer_timeout=answer_timeout)

    async def send(self, record: Record, token: str) -> Answer:
        # The id passed the check: it holds no character that a URL would need encoded.
        address = f"{self._base}{record.id}{self._query}"
        headers = {**self._headers, "Authorization": token}
        answer = await self._connections.request("PUT", address, headers, record.body)
        return OK if answer.status == 200 else answer

    async def close(self) -> None:
        await self._connections.close()
