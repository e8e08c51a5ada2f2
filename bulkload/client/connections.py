"""A pool of connections to a hub over aiohttp: a request goes out, and whatever happens, an answer comes back."""

import os
from collections.abc import Mapping
from pathlib import Path

import aiohttp
from yarl import URL

from bulkload.client.proxy import proxy_of
from bulkload.hub import Hub
from bulkload.wire import ANSWER_TIMEOUT, CONNECT_TIMEOUT, KEPT_OF_BODY, Answer, Fault, trusting, words_of


class Connections:
    """At most `limit` connections; of an answer's body the first `kept` bytes are kept."""

    def __init__(
        self,
        hub: Hub,
        *,
        limit: int,
        ca_file: Path | None = None,
        answer_timeout: float = ANSWER_TIMEOUT,
        kept: int = KEPT_OF_BODY,
    ) -> None:
        self._kept = kept
        self._proxy = proxy_of(hub)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=limit, ssl=trusting(ca_file) if hub.scheme == "https" else True),
            timeout=aiohttp.ClientTimeout(total=answer_timeout, sock_connect=CONNECT_TIMEOUT),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
        )
        # By itself aiohttp sends a request again on a connection that broke: past the count and past the cap.
        self._session._retry_connection = False  # noqa: SLF001

    async def request(self, method: str, address: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Send a request to an address that is encoded as it has to be; never raises for what becomes of it."""
        try:
            async with self._session.request(
                method,
                URL(address, encoded=True),
                data=body,
                headers=headers,
                proxy=self._proxy,
                allow_redirects=False,
            ) as response:
                content = response.content
                # An answer counts once all of it has come that would be kept.
                kept = b"" if content.at_eof() else await _head(content, self._kept)
                return Answer(response.status, response.headers, kept)
        except aiohttp.ClientHttpProxyError as exc:
            # Its own words hold the proxy's address, and that may hold a password.
            return Answer(407) if exc.status == 407 else Answer(0, fault=Fault.CONNECT, words=f"proxy: {exc.status}")
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as exc:
            fault = _fault(exc)
            return Answer(0, fault=fault, words=_words(exc, fault))

    async def close(self) -> None:
        await self._session.close()


async def _head(content: aiohttp.StreamReader, size: int) -> bytes:
    parts: list[bytes] = []
    while size > 0 and (part := await content.readany()):
        parts.append(part[:size])
        size -= len(part)
    return b"".join(parts)


def _fault(exc: Exception) -> Fault:
    match exc:
        case aiohttp.ClientConnectorDNSError():
            return Fault.NAME
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError():
            return Fault.TLS
        case aiohttp.ClientConnectorError() | aiohttp.ConnectionTimeoutError():
            return Fault.CONNECT
        case TimeoutError():
            return Fault.TIMEOUT
        case _:
            return Fault.BROKEN


def _words(exc: Exception, fault: Fault) -> str:
    """What went wrong; never what came instead of an answer, which may hold the token or the record."""
    match exc:
        case aiohttp.ServerDisconnectedError():
            return "the hub closed it without an answer"
        case aiohttp.ClientPayloadError():
            return "the answer was cut short"
        case aiohttp.ConnectionTimeoutError():
            # Its own words hold the address, and that may hold a handle.
            return f"not within {CONNECT_TIMEOUT:g} s"
        case aiohttp.ClientResponseError() | ValueError() if fault is Fault.BROKEN:
            return "what came is no HTTP answer"
        case aiohttp.ClientConnectorError():
            pass
        case aiohttp.ClientOSError() if exc.errno:
            # The same, as the system says it.
            return os.strerror(exc.errno)
    cause = getattr(exc, "os_error", None) or getattr(exc, "certificate_error", None) or exc
    return words_of(cause)
