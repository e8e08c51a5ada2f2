"""Whatever the network and the hub do to a request, it comes to an answer: the same over every transport."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkload.client import AiohttpTransport
from bulkload.emulator import Emulator
from bulkload.errors import InputError
from bulkload.hub import Hub
from bulkload.record import Record
from bulkload.sas import Signer
from bulkload.source.lines import MAX_LINE
from bulkload.wire import ANSWER_TIMEOUT, CONNECT_TIMEOUT, KEPT_OF_BODY, OK, Answer, Fault, WireTransport
from tests.exchange import TRANSPORTS, exchange
from tests.serving import BODY, HUB, ORIGIN, RECORD, TOKEN, Handler, request, saying, served

# Long enough for a loopback, short enough for a test that wants it to pass.
SHORT = 0.1

# The transport that a test is about.
chosen: dict[str, Callable[..., AiohttpTransport | WireTransport]] = {}


@pytest.fixture(autouse=True, params=TRANSPORTS)
def choose(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(chosen, "transport", TRANSPORTS[request.param])


@asynccontextmanager
async def transport(hub: Hub = HUB, **options: Any) -> AsyncIterator[AiohttpTransport | WireTransport]:
    made = chosen["transport"](hub, **{"api_version": "2015-01", "connections": 4} | options)
    try:
        yield made
    finally:
        await made.close()


async def asked(hub: Hub, **options: Any) -> Answer:
    """What one request to a hub comes to; anything but an answer within seconds is a failure."""
    async with transport(hub, **options) as made, asyncio.timeout(5):
        return await exchange(made, RECORD, TOKEN)


async def answered(answer: bytes, **options: Any) -> Answer:
    async with served(saying(answer)) as hub:
        return await asked(hub, **options)


async def sent(record: Record = RECORD, **options: Any) -> tuple[str, dict[str, str], bytes]:
    """A request as a hub sees it: its first line, its headers as they are written, its body."""
    seen: list[tuple[bytes, bytes]] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await request(reader))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async with served(handle) as hub, transport(hub, **options) as made:
        assert await exchange(made, record, TOKEN) is OK
    ((head, body),) = seen
    line, *headers = head.decode().removesuffix("\r\n\r\n").split("\r\n")
    fields = dict(header.split(": ", 1) for header in headers)
    assert fields.pop("Host") == hub.host
    assert len(fields) == len(headers) - 1
    return line, fields, body


async def test_a_request_is_on_the_wire_what_the_service_s_page_says() -> None:
    line, headers, body = await sent()
    assert line == "PUT /devices/installations/a-1._B?api-version=2015-01 HTTP/1.1"
    assert headers == {
        "Content-Type": "application/json",
        "x-ms-version": "2015-01",
        "Authorization": TOKEN,
        "Content-Length": str(len(BODY)),
    }
    assert body == BODY


async def test_another_api_version_is_sent_in_both_places() -> None:
    line, headers, _ = await sent(api_version="2020-06")
    assert line == "PUT /devices/installations/a-1._B?api-version=2020-06 HTTP/1.1"
    assert headers["x-ms-version"] == "2020-06"


@pytest.mark.parametrize("id_", ["a", "...", "-", "_", "a.b-c_D9", "x" * 1000])
async def test_an_id_is_sent_as_it_is(id_: str) -> None:
    line, _, _ = await sent(Record(ORIGIN, 0, id_, b"{}"))
    assert line == f"PUT /devices/installations/{id_}?api-version=2015-01 HTTP/1.1"


@pytest.mark.parametrize("status", [201, 301, 400, 401, 403, 404, 409, 413, 429, 500, 503, 599])
async def test_an_answer_keeps_status_headers_and_body(status: int) -> None:
    head = f"HTTP/1.1 {status} Why\r\nTrackingId: t-1\r\nRetry-After: 7\r\nContent-Length: 8\r\n\r\n".encode()
    answer = await answered(head + b"<Error/>")
    assert (answer.status, answer.body, answer.fault, answer.words) == (status, b"<Error/>", None, "")
    assert answer.tracking_id == "t-1"
    assert answer.headers["Retry-After"] == "7"


@pytest.mark.parametrize(
    ("header", "tracking_id"),
    [(b"\xff\xfeabc", "abc"), (b"\x1b[31mred", "[31mred"), (b"a" * 7000, "a" * 100), (b"", None)],
)
async def test_a_tracking_id_is_taken_as_far_as_it_is_one(header: bytes, tracking_id: str | None) -> None:
    answer = await answered(b"HTTP/1.1 400 Bad\r\nContent-Length: 0\r\nTrackingId: " + header + b"\r\n\r\n")
    assert answer.tracking_id == tracking_id
    assert answer.status == 400


ECHOES = {
    "in the status line": b"HTTP/1.1 " + TOKEN.encode() + b" " + BODY + b"\r\n\r\n",
    "instead of one": TOKEN.encode() + BODY + b"\r\n\r\n",
    "in a header": b"HTTP/1.1 200 OK\r\nA: " + TOKEN.encode() + b"\x00" + BODY + b"\r\n\r\n",
    "as the request": b"PUT /x HTTP/1.1\r\nAuthorization: " + TOKEN.encode() + b"\r\n\r\n",
    "in a header's name": b"HTTP/1.1 200 OK\r\n" + TOKEN.encode() + BODY + b": 1\r\n\r\n",
}


@pytest.mark.parametrize("echo", ECHOES)
async def test_what_a_garbled_answer_repeats_is_in_no_words(echo: str) -> None:
    answer = await answered(ECHOES[echo])
    assert (answer.fault, answer.words) == (Fault.BROKEN, "what came is no HTTP answer")


@pytest.mark.parametrize("head", ["204 No Content", "500 Oops\r\nContent-Length: 0", "401 No\r\nConnection: close"])
async def test_an_answer_may_come_without_a_body(head: str) -> None:
    answer = await answered(f"HTTP/1.1 {head}\r\n\r\n".encode())
    assert (answer.status, answer.body) == (int(head[:3]), b"")


async def test_a_plain_acceptance_is_one_object() -> None:
    assert await answered(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nTrackingId: t\r\n\r\n") is OK
    assert await answered(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello") is OK
    assert await answered(b"HTTP/1.0 200 OK\r\n\r\n") is OK


async def test_headers_are_found_in_any_case() -> None:
    date = b"Tue, 14 Nov 2023 22:13:20 GMT"
    answer = await answered(
        b"HTTP/1.1 429 Too Many Requests\r\nTRACKINGID: t-1\r\nretry-AFTER: 3\r\ndate: " + date + b"\r\n"
        b"content-length: 0\r\n\r\n"
    )
    assert (answer.status, answer.tracking_id, answer.date) == (429, "t-1", 1_700_000_000.0)
    assert answer.headers["Retry-After"] == "3"
    assert "Retry-After" in answer.headers


async def test_a_redirect_is_not_followed() -> None:
    seen: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append((await request(reader))[0])
        writer.write(b"HTTP/1.1 307 Temporary Redirect\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n")

    async with served(handle) as hub:
        answer = await asked(hub)
    assert (answer.status, answer.headers["Location"]) == (307, "/elsewhere")
    assert len(seen) == 1


async def test_of_a_long_body_its_beginning_is_kept() -> None:
    body = b"x" * 3_000_000
    answer = await answered(b"HTTP/1.1 500 Oops\r\nContent-Length: 3000000\r\n\r\n" + body)
    assert (answer.status, answer.body) == (500, body[:KEPT_OF_BODY])


async def test_a_body_without_end_is_left() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(b"HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not writer.is_closing():
            writer.write(b"400\r\n" + bytes(1024) + b"\r\n")
            await writer.drain()

    async with served(handle) as hub:
        answer = await asked(hub)
    assert (answer.status, len(answer.body)) == (503, KEPT_OF_BODY)


async def test_a_connection_is_used_again_also_after_an_error() -> None:
    connections: list[int] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(0)
        for answer in (b"500 Oops\r\nContent-Length: 4\r\n\r\nOops", b"200 OK\r\nContent-Length: 0\r\n\r\n") * 2:
            await request(reader)
            connections[-1] += 1
            writer.write(b"HTTP/1.1 " + answer)
            await writer.drain()

    async with served(handle) as hub, transport(hub) as made:
        assert [(await exchange(made, RECORD, TOKEN)).status for _ in range(4)] == [500, 200, 500, 200]
    assert connections == [4]


async def test_a_connection_is_used_again_after_a_200_whose_body_comes_late() -> None:
    connections: list[int] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(0)
        for _ in range(3):
            await request(reader)
            connections[-1] += 1
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n")
            await writer.drain()
            await asyncio.sleep(0.01)
            writer.write(b"<entry>")

    async with served(handle) as hub, transport(hub) as made:
        assert [await exchange(made, RECORD, TOKEN) for _ in range(3)] == [OK] * 3
    assert connections == [3]


async def test_no_more_connections_are_opened_than_allowed() -> None:
    connections: list[asyncio.StreamWriter] = []
    all_there = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        if len(connections) == 2:
            all_there.set()
        while True:
            await request(reader)
            await all_there.wait()
            # Others that might, have their chance to connect.
            for _ in range(20):
                await asyncio.sleep(0)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()

    async with served(handle) as hub, transport(hub, connections=2) as made:
        answers = await asyncio.gather(*(exchange(made, RECORD, TOKEN) for _ in range(10)))
    assert answers == [OK] * 10
    assert len(connections) == 2


async def test_a_cookie_is_not_kept() -> None:
    heads: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            heads.append((await request(reader))[0])
            writer.write(b"HTTP/1.1 400 No\r\nSet-Cookie: a=b; Path=/\r\nContent-Length: 0\r\n\r\n")

    async with served(handle) as hub, AsyncExitStack() as stack:
        # By its name, since nobody keeps the cookies of a bare address.
        named = replace(hub, host=hub.host.replace("127.0.0.1", "localhost"))
        made = await stack.enter_async_context(transport(named))
        assert [(await exchange(made, RECORD, TOKEN)).status for _ in range(2)] == [400, 400]
    assert heads[0] == heads[1]
    assert b"ookie" not in heads[1]


BROKEN_ANSWERS = {
    "nothing": b"",
    "not http": b"SSH-2.0-OpenSSH_9.6\r\n",
    "binary": bytes(range(256)),
    "half a head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "half a body": b"HTTP/1.1 400 Bad\r\nContent-Length: 100\r\n\r\nabc",
    "half the body of a 200": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc",
    "bad chunk": b"HTTP/1.1 500 Oops\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "two lengths": b"HTTP/1.1 500 Oops\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "bad length": b"HTTP/1.1 500 Oops\r\nContent-Length: -5\r\n\r\n",
    "long header": b"HTTP/1.1 500 Oops\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
    "bad status": b"HTTP/1.1 abc OK\r\n\r\n",
    "continue only": b"HTTP/1.1 100 Continue\r\n\r\n",
}


@pytest.mark.parametrize("name", BROKEN_ANSWERS)
async def test_an_answer_that_is_none_is_a_broken_connection(name: str) -> None:
    answer = await answered(BROKEN_ANSWERS[name])
    assert (answer.status, answer.fault) == (0, Fault.BROKEN)
    assert answer.words
    assert TOKEN not in answer.words


@pytest.mark.parametrize(
    "encoding", [b"Content-Encoding: gzip", b"Content-Encoding: br", b"Content-Type: text/html; charset=klingon"]
)
async def test_a_body_is_taken_as_it_is_whatever_is_said_of_it(encoding: bytes) -> None:
    answer = await answered(b"HTTP/1.1 502 Bad\r\n" + encoding + b"\r\nContent-Length: 3\r\n\r\n\xff\xfe\x00")
    assert (answer.status, answer.body) == (502, b"\xff\xfe\x00")


@settings(max_examples=60, deadline=None)
@given(
    start=st.sampled_from(
        [b"", b"HTTP/1.1 ", b"HTTP/1.1 500 Oops\r\n", b"HTTP/1.1 403 No\r\nContent-Length: 4\r\n\r\n"]
    ),
    garbage=st.binary(max_size=60) | st.text("HTP/1.20: \r\nabcf0", max_size=60).map(str.encode),
)
async def test_garbage_is_never_an_exception(start: bytes, garbage: bytes) -> None:
    answer = await answered(start + garbage, answer_timeout=SHORT)
    assert bool(answer.status) != bool(answer.fault)


async def test_a_connection_that_closes_at_once_is_broken() -> None:
    async def handle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with served(handle) as hub:
        assert (await asked(hub)).fault is Fault.BROKEN


async def test_a_connection_that_is_reset_is_broken() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.transport.abort()

    async with served(handle) as hub:
        assert (await asked(hub)).fault is Fault.BROKEN


async def test_a_connection_that_the_hub_has_closed_meanwhile_is_a_fault_or_replaced_and_never_sent_twice() -> None:
    seen: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append((await request(reader))[1])
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n")

    async with served(handle) as hub, transport(hub) as made:
        answers = [await exchange(made, RECORD, TOKEN) for _ in range(5)]
    assert {answer.status or answer.fault for answer in answers} <= {200, Fault.BROKEN, Fault.STALE}
    assert len(seen) == answers.count(OK)


async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def half_an_error(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await request(reader)
    writer.write(b"HTTP/1.1 500 Oops\r\nContent-Length: 100\r\n\r\nabc")
    await writer.drain()
    await reader.read()


@pytest.mark.parametrize("handler", [silence, half_an_error])
async def test_a_hub_that_does_not_answer_in_time_is_a_timeout(handler: Handler) -> None:
    async with served(handler) as hub:
        answer = await asked(hub, answer_timeout=SHORT)
    assert answer.fault is Fault.TIMEOUT
    assert answer.words


def test_the_usual_times_are_those_of_a_service_that_answers_in_milliseconds() -> None:
    assert (CONNECT_TIMEOUT, ANSWER_TIMEOUT) == (10, 60)


async def test_nobody_listening_is_no_connection() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        hub = replace(HUB, host=f"127.0.0.1:{free.getsockname()[1]}", scheme="http")
        answer = await asked(hub)
    assert answer.fault is Fault.CONNECT
    assert "refused" in answer.words or "Connect call failed" in answer.words


async def test_an_unknown_host_is_an_unknown_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> object:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    answer = await asked(replace(HUB, host="no.such.host.example"))
    assert (answer.fault, answer.words) == (Fault.NAME, "Name or service not known")


async def test_tls_needs_an_authority_that_is_trusted() -> None:
    async with Emulator(hub="devices", tls=True) as emulator:
        hub = emulator.hub
        untrusted = await asked(hub)
        assert untrusted.fault is Fault.TLS
        assert "certificate" in untrusted.words
        token = Signer(hub.url, hub.key_name, hub.key).token
        body = b'{"installationId":"a-1._B","platform":"apns","pushChannel":"00"}'
        async with transport(hub, ca_file=emulator.ca_file) as made:
            assert await exchange(made, Record(ORIGIN, 0, "a-1._B", body), token) is OK
    assert emulator.installations == {"a-1._B": body}


async def test_a_server_that_speaks_no_tls_is_a_fault() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with served(handle) as hub:
        answer = await asked(replace(hub, scheme="https"))
    assert answer.fault in (Fault.TLS, Fault.CONNECT, Fault.BROKEN)
    assert answer.words


@pytest.mark.parametrize("content", [None, "not a certificate"], ids=["missing", "no PEM"])
async def test_a_ca_file_that_is_none_is_refused(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=r"--ca-file .*ca.pem cannot be used: .*; it holds certificates in PEM form"):
        chosen["transport"](HUB, connections=1, api_version="2015-01", ca_file=path)


async def test_a_body_of_the_largest_size_is_sent_without_a_warning() -> None:
    lengths: list[int] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        lengths.append(int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]))
        while lengths[-1] > 0:
            lengths[-1] -= len(await reader.read(2**20))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async with served(handle) as hub, transport(hub) as made, asyncio.timeout(5):
        assert await exchange(made, Record(ORIGIN, 0, "a", bytes(MAX_LINE)), TOKEN) is OK
    assert lengths == [0]
