"""What is aiohttp's own: proxies, and what it raises."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aioresponses import aioresponses

from bulkload.client import AiohttpTransport, TransportName, transport_for
from bulkload.errors import InputError
from bulkload.hub import Hub
from bulkload.wire import OK, Answer, Fault
from tests.exchange import exchange
from tests.serving import HUB, RECORD, TOKEN, saying, served

ADDRESS = "https://h.example/devices/installations/a-1._B?api-version=2015-01"


@asynccontextmanager
async def transport(hub: Hub = HUB) -> AsyncIterator[AiohttpTransport]:
    made = AiohttpTransport(hub, connections=4)
    try:
        yield made
    finally:
        await made.close()


async def asked(hub: Hub) -> Answer:
    async with transport(hub) as made, asyncio.timeout(5):
        return await exchange(made, RECORD, TOKEN)


@pytest.mark.parametrize(
    ("exception", "fault"),
    [
        (aiohttp.ServerDisconnectedError(), Fault.BROKEN),
        (aiohttp.ClientPayloadError("Response payload is not completed"), Fault.BROKEN),
        (aiohttp.ConnectionTimeoutError("Connection timeout to host"), Fault.CONNECT),
        (aiohttp.ServerTimeoutError(), Fault.TIMEOUT),
        (TimeoutError(), Fault.TIMEOUT),
        (aiohttp.InvalidURL("x"), Fault.BROKEN),
        (ConnectionResetError(104, "Connection reset by peer"), Fault.BROKEN),
        (BrokenPipeError(), Fault.BROKEN),
        (OSError(24, "Too many open files"), Fault.BROKEN),
        (UnicodeDecodeError("ascii", b"\xff", 0, 1, "ordinal not in range(128)"), Fault.BROKEN),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
async def test_what_the_network_raises_is_a_fault_with_words(exception: Exception, fault: Fault) -> None:
    with aioresponses() as mocked:
        mocked.put(ADDRESS, exception=exception)
        async with transport() as made:
            answer = await exchange(made, RECORD, TOKEN)
    assert (answer.status, answer.fault) == (0, fault)
    assert answer.words


async def test_no_address_is_in_the_words_of_a_request_that_could_not_be_written() -> None:
    with aioresponses() as mocked:
        mocked.put(ADDRESS, exception=aiohttp.ClientOSError(32, f"Can not write request body for {ADDRESS}"))
        async with transport() as made:
            answer = await exchange(made, RECORD, TOKEN)
    assert (answer.fault, answer.words) == (Fault.BROKEN, "Broken pipe")


async def test_a_bug_is_not_taken_for_a_fault() -> None:
    with aioresponses() as mocked:
        mocked.put(ADDRESS, exception=AttributeError("a bug"))
        async with transport() as made:
            with pytest.raises(AttributeError):
                await exchange(made, RECORD, TOKEN)


@pytest.fixture
def proxied(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Name a proxy for every host, as an environment does."""

    def name(url: str) -> None:
        for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "no_proxy", "NO_PROXY"):
            monkeypatch.delenv(variable, raising=False)
        monkeypatch.setenv("https_proxy", url)
        monkeypatch.setenv("http_proxy", url)

    return name


async def test_a_hub_on_this_machine_is_never_asked_by_way_of_a_proxy(proxied: Callable[[str], None]) -> None:
    proxied("http://127.0.0.1:1")
    async with served(saying(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")) as hub:
        assert await asked(hub) is OK


@asynccontextmanager
async def refusing_proxy(seen: list[bytes]) -> AsyncIterator[str]:
    """A proxy that wants a password; yields where it is."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")

    async with served(handle) as proxy:
        yield proxy.host


async def test_the_environment_s_proxy_is_asked_for_a_hub_elsewhere(proxied: Callable[[str], None]) -> None:
    seen: list[bytes] = []
    async with refusing_proxy(seen) as proxy:
        proxied(f"http://{proxy}")
        await asked(HUB)
    assert len(seen) == 1
    assert seen[0].startswith(b"CONNECT h.example:443 HTTP/1.1\r\n")
    # The token is for the hub, not for whoever stands between.
    assert TOKEN.encode() not in seen[0]


async def test_a_proxy_that_wants_a_password_is_told_as_such(proxied: Callable[[str], None]) -> None:
    async with refusing_proxy([]) as proxy:
        proxied(f"http://{proxy}")
        answer = await asked(HUB)
    assert (answer.status, answer.fault) == (407, None)


async def test_a_proxy_s_password_is_not_told(proxied: Callable[[str], None]) -> None:
    async with refusing_proxy([]) as proxy:
        proxied(f"http://user:secret@{proxy}")
        answer = await asked(HUB)
    assert answer.fault or answer.status
    assert "secret" not in repr(answer)


async def test_a_proxy_that_is_not_there_is_no_connection(proxied: Callable[[str], None]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        proxied(f"http://user:secret@127.0.0.1:{free.getsockname()[1]}")
        answer = await asked(HUB)
    assert answer.fault is Fault.CONNECT
    assert "secret" not in answer.words


@pytest.mark.parametrize(
    ("choice", "proxy", "name"),
    [
        ("auto", None, "wire"),
        ("wire", None, "wire"),
        ("aiohttp", None, "aiohttp"),
        ("auto", "http://proxy.example", "aiohttp"),
        ("aiohttp", "http://proxy.example", "aiohttp"),
    ],
)
async def test_our_own_connections_are_taken_unless_a_proxy_stands_between(
    choice: TransportName, proxy: str | None, name: str, proxied: Callable[[str], None]
) -> None:
    proxied(proxy or "")
    made = transport_for(HUB, choice, connections=1, api_version="2015-01", ca_file=None)
    await made.close()
    assert made.name == name


def test_our_own_connections_are_refused_where_a_proxy_stands_between(proxied: Callable[[str], None]) -> None:
    proxied("http://user:secret@proxy.example")
    with pytest.raises(InputError, match=r"^--transport wire does not speak with proxies, .* NO_PROXY$"):
        transport_for(HUB, "wire", connections=1, api_version="2015-01", ca_file=None)
