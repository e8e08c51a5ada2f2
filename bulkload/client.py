"""The hub's REST operations over aiohttp."""

import ssl
from pathlib import Path
from urllib.request import getproxies, proxy_bypass

import aiohttp
from yarl import URL

from bulkload.errors import InputError
from bulkload.hub import Hub
from bulkload.record import Record
from bulkload.wire import OK, Answer, Fault

# The version of the specification; see --api-version for others.
API_VERSION = "2015-01"

# The service answers in tens of milliseconds; past these a connection or an answer is taken for lost.
CONNECT_TIMEOUT = 10.0
ANSWER_TIMEOUT = 60.0

# A body of an error says its cause in its first lines; a proxy's page is not worth more memory.
KEPT_OF_BODY = 16 * 1024


class AiohttpTransport:
    """PUTs over a pool of aiohttp connections, `connections` at most."""

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
        self._proxy = _proxy(hub)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=connections, ssl=_tls(ca_file) if hub.scheme == "https" else True),
            timeout=aiohttp.ClientTimeout(total=answer_timeout, sock_connect=CONNECT_TIMEOUT),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
        )
        # By itself aiohttp sends a PUT again on a connection that broke: past the count and past the cap.
        self._session._retry_connection = False  # noqa: SLF001

    async def put(self, record: Record, token: str) -> Answer:
        # The id passed the check: it holds no character that a URL would need encoded.
        url = URL(f"{self._base}{record.id}{self._query}", encoded=True)
        try:
            async with self._session.put(
                url,
                data=record.body,
                headers={**self._headers, "Authorization": token},
                proxy=self._proxy,
                allow_redirects=False,
            ) as response:
                content = response.content
                # An answer counts once all of it has come that would be kept.
                body = b"" if content.at_eof() else await _head(content)
                return OK if response.status == 200 else Answer(response.status, response.headers, body)
        except aiohttp.ClientHttpProxyError as exc:
            # Its own words hold the proxy's address, and that may hold a password.
            return Answer(407) if exc.status == 407 else Answer(0, fault=Fault.CONNECT, words=f"proxy: {exc.status}")
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as exc:
            fault = _fault(exc)
            return Answer(0, fault=fault, words=_words(exc, fault))

    async def close(self) -> None:
        await self._session.close()


async def _head(content: aiohttp.StreamReader) -> bytes:
    body = b""
    while len(body) < KEPT_OF_BODY and (part := await content.readany()):
        body += part
    return body[:KEPT_OF_BODY]


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
        case aiohttp.ClientResponseError() | ValueError() if fault is Fault.BROKEN:
            return "what came is no HTTP answer"
    cause = getattr(exc, "os_error", None) or getattr(exc, "certificate_error", None) or exc
    return getattr(cause, "strerror", None) or str(cause) or type(cause).__name__


def _tls(ca_file: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca_file is not None:
        try:
            context.load_verify_locations(ca_file)
        except (OSError, ssl.SSLError) as exc:
            raise InputError(
                f"--ca-file {ca_file} cannot be used: {exc.strerror or exc}; it holds certificates in PEM form"
            ) from exc
    return context


def _proxy(hub: Hub) -> URL | None:
    """The proxy that the environment names for the hub, looked up once rather than for each request."""
    if hub.is_loopback:
        return None
    proxy = getproxies().get(hub.scheme)
    return URL(proxy) if proxy and not proxy_bypass(hub.host) else None
