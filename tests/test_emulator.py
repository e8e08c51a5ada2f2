"""The emulator answers like the service, keeps tokens' rules, and goes when it is told to or left alone."""

import asyncio
import io
import logging
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from yarl import URL

from bulkload import sas
from bulkload.emulator import EmbeddedHub, Emulator, process
from bulkload.errors import InputError
from bulkload.hub import Hub

GUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
BODY = {"installationId": "a1", "platform": "apns", "pushChannel": "00ff", "tags": ["x"]}
SOON = 5.0


@dataclass(frozen=True)
class Reply:
    """What a client saw."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def detail(self) -> str:
        """The text of the error's Detail before the tracking id; checks the frame on the way."""
        error = ET.fromstring(self.body)
        assert error.findtext("Code") == str(self.status)
        match = re.fullmatch(
            rf"(.*)\.TrackingId:({GUID})_G3,TimeStamp:\d+/\d+/\d+ \d+:\d\d:\d\d [AP]M",
            error.findtext("Detail", ""),
            re.DOTALL,
        )
        assert match is not None
        assert match[2] == self.headers["TrackingId"]
        return match[1]


class Client:
    """Speaks to one hub over real HTTP, with a good token unless told otherwise."""

    def __init__(self, session: aiohttp.ClientSession, hub: Hub) -> None:
        self.session = session
        self.hub = hub

    def token(self, *, audience: str | None = None, key: str | None = None, expires: float | None = None) -> str:
        until = int(time.time() + 600 if expires is None else expires)
        return sas.sign(audience or self.hub.url, self.hub.key_name, key or self.hub.key, until)

    async def ask(
        self,
        method: str,
        path: str = "/installations/a1",
        *,
        url: str | None = None,
        query: str = "?api-version=2015-01",
        data: bytes | None = None,
        authorization: str | None = "",
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        sent = dict(headers or {})
        if authorization is not None:
            sent["Authorization"] = authorization or self.token()
        target = URL((url or self.hub.url) + path + query, encoded=True)
        # Wrapped, since aiohttp warns of large bodies that are bare bytes.
        body = None if data is None else io.BytesIO(data)
        async with self.session.request(method, target, data=body, headers=sent) as response:
            return Reply(response.status, response.headers, await response.read())

    async def put(self, fields: Mapping[str, Any] = BODY, **options: Any) -> Reply:
        return await self.ask("PUT", f"/installations/{fields['installationId']}", data=orjson.dumps(fields), **options)


def put_head(client: Client, *, length: int) -> bytes:
    """A PUT as bytes, up to where its body of so many begins."""
    lines = (
        "PUT /devices/installations/a1?api-version=2015-01 HTTP/1.1",
        f"Host: {client.hub.host}",
        f"Authorization: {client.token()}",
        f"Content-Length: {length}",
        "\r\n",
    )
    return "\r\n".join(lines).encode()


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for what the emulator in this very loop is about to do."""
    async with asyncio.timeout(SOON):
        while not is_so():  # noqa: ASYNC110 - it counts, and tells nobody
            await asyncio.sleep(0)


def trusting(ca_file: Path | None) -> aiohttp.ClientSession:
    """A session that believes the emulator's authority, where there is one."""
    context = ssl.create_default_context(cafile=ca_file) if ca_file else True
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context))


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    async with Emulator(hub="devices") as emulator:
        yield emulator


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
def client(session: aiohttp.ClientSession, emulator: Emulator) -> Client:
    return Client(session, emulator.hub)


async def test_the_connection_string_names_the_hub(emulator: Emulator) -> None:
    hub = Hub.from_connection_string(emulator.connection_string)
    assert hub == emulator.hub
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/devices", hub.url)
    assert hub.key_name == "RootManageSharedAccessKey"


async def test_a_connection_string_survives_a_restart() -> None:
    async with Emulator(hub="devices") as first:
        before = first.connection_string
    async with Emulator(hub="devices", port=int(first.hub.host.rpartition(":")[2])) as second:
        assert second.connection_string == before


async def test_a_key_of_ones_own_opens_the_hub(session: aiohttp.ClientSession) -> None:
    async with Emulator(hub="devices", key="of=my=own=") as emulator:
        assert emulator.hub.key == "of=my=own="
        assert (await Client(session, emulator.hub).put()).status == 200


def test_a_key_that_a_connection_string_cannot_hold_is_refused() -> None:
    with pytest.raises(InputError, match="cannot stand in a connection string"):
        Emulator(hub="devices", key="a;b")


def test_a_hub_name_that_is_none_is_refused() -> None:
    with pytest.raises(InputError, match="hub name 'a b'"):
        Emulator(hub="a b")


def test_a_port_that_is_none_is_refused() -> None:
    with pytest.raises(InputError, match="port 65536 is not one"):
        Emulator(hub="devices", port=65536)


async def test_the_hub_s_name_is_read_in_any_case(client: Client) -> None:
    assert (await client.put(url=client.hub.url.replace("devices", "Devices"))).status == 200


async def test_repr_tells_the_state(emulator: Emulator, client: Client) -> None:
    await client.put()
    assert repr(emulator) == f"<Emulator {emulator.hub.url}, 1 installations>"


async def test_a_put_is_queued_with_an_empty_answer(emulator: Emulator, client: Client) -> None:
    reply = await client.put()
    assert (reply.status, reply.body) == (200, b"")
    assert reply.headers["Content-Type"] == "application/xml; charset=utf-8"
    assert reply.headers["Content-Location"] == f"{client.hub.url}/installations/a1"
    assert emulator.installations == {"a1": orjson.dumps(BODY)}


async def test_a_put_overwrites(emulator: Emulator, client: Client) -> None:
    await client.put()
    await client.put(BODY | {"pushChannel": "11ee"})
    assert orjson.loads(emulator.installations["a1"])["pushChannel"] == "11ee"


async def test_a_body_is_stored_byte_for_byte(emulator: Emulator, client: Client) -> None:
    body = b'{ "pushChannel":"00ff",\n"platform" : "apns", "installationId":"a1", "own": "\xc3\xa9" }'
    await client.ask("PUT", data=body)
    assert emulator.installations["a1"] == body


@pytest.mark.parametrize("platform", ["APNS", "Apns", "apns"])
async def test_a_platform_is_taken_in_any_case_and_stored_in_lower_case(client: Client, platform: str) -> None:
    assert (await client.put(BODY | {"platform": platform})).status == 200
    assert orjson.loads((await client.ask("GET")).body)["platform"] == "apns"


async def test_a_get_shows_the_installation_with_the_service_s_own_fields(client: Client) -> None:
    await client.put()
    reply = await client.ask("GET")
    assert reply.status == 200
    assert reply.headers["Content-Type"] == "application/xml; charset=utf-8"
    assert orjson.loads(reply.body) == BODY | {
        "expirationTime": "9999-12-31T23:59:59.9999999Z",
        "pushChannelExpired": False,
    }


async def test_a_get_keeps_an_expiration_time_that_was_set(client: Client) -> None:
    await client.put(BODY | {"expirationTime": "2030-01-01T00:00:00Z"})
    assert orjson.loads((await client.ask("GET")).body)["expirationTime"] == "2030-01-01T00:00:00Z"


async def test_a_get_of_what_is_not_there_is_answered_404(client: Client) -> None:
    reply = await client.ask("GET")
    assert (reply.status, reply.detail) == (404, "Installation not found")


async def test_a_delete_removes_and_is_answered_204_even_when_nothing_is_there(
    emulator: Emulator, client: Client
) -> None:
    await client.put()
    assert (await client.ask("DELETE")).status == 204
    assert emulator.installations == {}
    assert (await client.ask("DELETE")).status == 204


async def test_an_id_is_percent_decoded(emulator: Emulator, client: Client) -> None:
    reply = await client.ask("PUT", "/installations/%61%31", data=orjson.dumps(BODY))
    assert reply.status == 200
    assert list(emulator.installations) == ["a1"]
    assert (await client.ask("GET", "/installations/a%31")).status == 200


async def test_any_api_version_will_do(client: Client) -> None:
    for query in ("?api-version=2020-06", "?x=1&Api-Version=2017-04"):
        assert (await client.put(query=query)).status == 200


async def test_an_expected_100_continue_is_sent(client: Client) -> None:
    async with client.session.put(
        f"{client.hub.url}/installations/a1?api-version=2015-01",
        data=orjson.dumps(BODY),
        headers={"Authorization": client.token()},
        expect100=True,
        timeout=aiohttp.ClientTimeout(SOON),
    ) as response:
        assert response.status == 200


async def test_requests_are_counted_by_how_they_were_answered(emulator: Emulator, client: Client) -> None:
    await client.put()
    await client.put()
    await client.ask("GET")
    await client.ask("DELETE")
    await client.ask("GET")
    counted = emulator.requests
    assert (counted.seen, counted.accepted, counted.read, counted.deleted, counted.refused) == (5, 2, 1, 1, 1)


async def test_every_answer_carries_the_service_s_headers(client: Client) -> None:
    replies = [await client.put(), await client.ask("GET"), await client.ask("DELETE"), await client.ask("POST")]
    assert [reply.status for reply in replies] == [200, 200, 204, 405]
    for reply in replies:
        assert reply.headers["Server"] == "Microsoft-HTTPAPI/2.0"
        assert reply.headers["Strict-Transport-Security"] == "max-age=2592000"
        assert re.fullmatch(GUID, reply.headers["TrackingId"])
        assert re.fullmatch(GUID, reply.headers["x-ms-correlation-request-id"])
    ids = {reply.headers[name] for reply in replies for name in ("TrackingId", "x-ms-correlation-request-id")}
    assert len(ids) == 8


@pytest.mark.parametrize(
    ("now", "text"),
    [
        ("2018-11-07T00:18:37", "11/7/2018 12:18:37 AM"),
        ("2020-07-02T12:03:05", "7/2/2020 12:03:05 PM"),
        ("2023-03-13T23:49:29", "3/13/2023 11:49:29 PM"),
    ],
)
async def test_an_error_s_time_is_utc_in_the_service_s_form(
    session: aiohttp.ClientSession, now: str, text: str
) -> None:
    clock = datetime.fromisoformat(now).replace(tzinfo=UTC).timestamp()
    async with Emulator(hub="devices", clock=lambda: clock) as emulator:
        client = Client(session, emulator.hub)
        reply = await client.ask("GET", authorization=client.token(expires=clock + 1))
    assert reply.body.decode().endswith(f",TimeStamp:{text}</Detail></Error>")


async def test_an_error_s_text_is_escaped(client: Client) -> None:
    reply = await client.put(BODY | {"platform": "<&>"})
    assert b"&lt;&amp;&gt;" in reply.body
    assert "'<&>'" in reply.detail


async def test_an_error_looks_like_the_recorded_one(client: Client) -> None:
    reply = await client.ask("GET")
    assert reply.body.startswith(b"<Error><Code>404</Code><Detail>Installation not found.TrackingId:")


async def test_a_request_without_a_token_is_refused(client: Client) -> None:
    reply = await client.put(authorization=None)
    assert (reply.status, reply.detail) == (401, "MissingToken: The Authorization header was not found.")


async def test_a_malformed_token_is_refused(client: Client) -> None:
    reply = await client.put(authorization="Bearer of=bad&news=here")
    assert (reply.status, reply.detail) == (401, "MalformedToken: The token is malformed.")


async def test_a_token_signed_with_another_key_is_refused(emulator: Emulator, client: Client) -> None:
    reply = await client.put(authorization=client.token(key="another"))
    assert (reply.status, reply.detail) == (401, "InvalidSignature: The token has an invalid signature.")
    assert emulator.installations == {}


async def test_an_expired_token_is_refused(client: Client) -> None:
    reply = await client.put(authorization=client.token(expires=time.time() - 1))
    assert (reply.status, reply.detail) == (401, "ExpiredToken: The token is expired.")


@pytest.mark.parametrize("place", ["http://elsewhere/devices", "other hub", "other installation"])
async def test_a_token_for_another_place_is_refused(client: Client, place: str) -> None:
    audience = {
        "other hub": client.hub.url.replace("devices", "device"),
        "other installation": client.hub.url + "/installations/a",
    }.get(place, place)
    reply = await client.put(authorization=client.token(audience=audience))
    assert (reply.status, reply.detail) == (401, "40104: Invalid authorization token audience.")


@pytest.mark.parametrize("path", ["", "/devices", "/devices/installations", "/devices/installations/a1"])
async def test_a_token_for_the_resource_or_a_parent_of_it_is_taken(client: Client, path: str) -> None:
    audience = f"http://{client.hub.host}{path}"
    assert (await client.put(authorization=client.token(audience=audience))).status == 200


async def test_a_token_for_one_installation_opens_no_other_even_after_it_was_good(client: Client) -> None:
    token = client.token(audience=f"{client.hub.url}/installations/a1")
    assert (await client.put(authorization=token)).status == 200
    assert (await client.put(BODY | {"installationId": "a2"}, authorization=token)).status == 401


async def test_a_token_that_was_good_is_refused_once_it_has_expired(session: aiohttp.ClientSession) -> None:
    now = 1_000_000.0
    async with Emulator(hub="devices", clock=lambda: now) as emulator:
        client = Client(session, emulator.hub)
        token = client.token(expires=1_000_002)
        assert (await client.put(authorization=token)).status == 200
        now = 1_000_001.99
        assert (await client.put(authorization=token)).status == 200
        now = 1_000_002.0
        assert (await client.put(authorization=token)).status == 401


@pytest.mark.parametrize("method", ["PUT", "GET", "DELETE"])
async def test_a_policy_that_may_only_listen_is_refused_without_a_word(
    emulator: Emulator, session: aiohttp.ClientSession, method: str
) -> None:
    listener = Client(session, Hub.from_connection_string(emulator.listen_connection_string))
    assert listener.hub.key_name == "DefaultListenSharedAccessSignature"
    reply = await listener.ask(method, data=orjson.dumps(BODY) if method == "PUT" else None)
    assert (reply.status, reply.body) == (403, b"")
    assert "Retry-After" not in reply.headers
    assert emulator.installations == {}


async def test_the_host_a_token_is_checked_against_is_the_one_the_client_named(client: Client) -> None:
    port = client.hub.host.rpartition(":")[2]
    by_name = client.token(audience=f"http://localhost:{port}/devices")
    assert (await client.put(authorization=by_name, headers={"Host": f"localhost:{port}"})).status == 200
    assert (await client.put(authorization=by_name)).status == 401


async def test_an_unknown_hub_is_answered_404(client: Client) -> None:
    url = client.hub.url.replace("devices", "gadgets")
    reply = await client.put(url=url, authorization=client.token(audience=url))
    assert (reply.status, reply.detail) == (404, "No service is hosted at the specified address.")


@pytest.mark.parametrize("path", ["", "/", "/installations", "/installations/", "/installations/a1/x", "/messages"])
async def test_an_unknown_path_is_answered_404(client: Client, path: str) -> None:
    reply = await client.ask("GET", path)
    assert (reply.status, reply.detail) == (404, "No service is hosted at the specified address.")


@pytest.mark.parametrize("query", ["", "?api-version=", "?version=2015-01", "?x-api-version=2015-01"])
async def test_a_missing_api_version_is_answered_400(client: Client, query: str) -> None:
    reply = await client.put(query=query)
    assert (reply.status, reply.detail) == (400, "The api-version query parameter is missing")


@pytest.mark.parametrize("method", ["POST", "OPTIONS"])
async def test_an_unsupported_method_is_answered_405(client: Client, method: str) -> None:
    reply = await client.ask(method)
    assert (reply.status, reply.detail) == (405, f"{method} is not supported here")
    assert reply.headers["Allow"] == "DELETE, GET, PATCH, PUT"


@pytest.mark.parametrize(
    ("body", "flaw"),
    [
        (b"{", "not a JSON text: "),
        (b"[]", "an installation is a JSON object, this is an array"),
        (b'{"installationId": "a1", "platform": "apns"}', "pushChannel is missing"),
        (b'{"installationId": "a1", "platform": "fax", "pushChannel": "1"}', "platform 'fax' is not one of "),
        (orjson.dumps(BODY | {"installationId": "a2"}), "installationId 'a2' is not the address's 'a1'"),
        (b"", "not a JSON text: "),
    ],
)
async def test_a_flawed_body_is_answered_400_with_its_flaw(
    emulator: Emulator, client: Client, body: bytes, flaw: str
) -> None:
    reply = await client.ask("PUT", data=body)
    assert reply.status == 400
    assert reply.detail.startswith("Installation validation failed with following error(s):\r\n" + flaw)
    assert emulator.installations == {}


async def test_a_body_over_one_mebibyte_is_answered_413(emulator: Emulator, client: Client) -> None:
    reply = await client.ask("PUT", data=b" " * (1024 * 1024 + 1))
    assert (reply.status, reply.detail) == (413, "The request's body is larger than 1048576 bytes")
    just_fits = orjson.dumps(BODY).ljust(1024 * 1024)
    assert (await client.ask("PUT", data=just_fits)).status == 200
    assert emulator.installations["a1"] == just_fits


async def test_a_body_that_is_too_large_is_refused_before_all_of_it_has_come(client: Client) -> None:
    host, port = client.hub.host.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(put_head(client, length=100 * 1024 * 1024) + b" " * (1024 * 1024 + 1))
    async with asyncio.timeout(SOON):
        assert (await reader.readline()).startswith(b"HTTP/1.1 413 ")
    writer.close()


async def test_a_client_that_breaks_off_leaves_no_trace(
    emulator: Emulator, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    host, port = client.hub.host.split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(put_head(client, length=100) + b"half")
    await until(lambda: emulator.requests.seen == 1)
    writer.transport.abort()
    await until(lambda: emulator.requests.refused == 1)
    assert emulator.installations == {}
    assert caplog.text == ""


async def test_tls_is_believed_with_the_authority_and_only_with_it() -> None:
    async with Emulator(hub="devices", tls=True) as emulator:
        assert emulator.connection_string.startswith("Endpoint=sb://127.0.0.1:")
        assert emulator.hub.scheme == "https"
        async with trusting(emulator.ca_file) as session:
            reply = await Client(session, emulator.hub).put()
        assert reply.status == 200
        assert reply.headers["Content-Location"] == f"{emulator.hub.url}/installations/a1"
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.ClientConnectorCertificateError):
                await Client(session, emulator.hub).put()


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "::1"])
async def test_the_certificate_is_good_for_every_loopback_name(name: str) -> None:
    async with Emulator(hub="devices", tls=True) as emulator:
        host, port = emulator.hub.host.split(":")
        context = ssl.create_default_context(cafile=emulator.ca_file)
        _, writer = await asyncio.open_connection(host, int(port), ssl=context, server_hostname=name)
        writer.close()
        await writer.wait_closed()


async def test_the_authority_s_file_is_private_and_goes_with_the_emulator() -> None:
    async with Emulator(hub="devices", tls=True) as emulator:
        assert emulator.ca_file is not None
        assert emulator.ca_file.stat().st_mode & 0o777 == 0o600
        assert b"PRIVATE KEY" not in emulator.ca_file.read_bytes()
    assert not emulator.ca_file.exists()


async def test_without_tls_there_is_no_authority(emulator: Emulator) -> None:
    assert emulator.ca_file is None


async def test_a_port_in_use_is_refused_with_one_line(emulator: Emulator) -> None:
    port = int(emulator.hub.host.rpartition(":")[2])
    with pytest.raises(InputError, match=rf"^port {port} is in use; choose another with --port$"):
        async with Emulator(hub="devices", port=port):
            pass


@pytest.mark.parametrize("tls", [False, True])
async def test_open_connections_do_not_hold_up_the_end(tls: bool) -> None:
    async with AsyncExitStack() as clients:
        async with Emulator(hub="devices", tls=tls) as emulator:
            session = await clients.enter_async_context(trusting(emulator.ca_file))
            await Client(session, emulator.hub).put()
            host, port = emulator.hub.host.split(":")
            _, silent = await asyncio.open_connection(host, int(port))
            _, halfway = await asyncio.open_connection(host, int(port))
            clients.callback(silent.close)
            clients.callback(halfway.close)
            halfway.write(put_head(Client(session, emulator.hub), length=9))
            await until(lambda: tls or emulator.requests.seen == 2)
            began = time.monotonic()
        assert time.monotonic() - began < 1
        assert not is_listening(emulator.hub)


def serve(*options: str) -> "subprocess.Popen[str]":
    """Start the program with a pipe at each end."""
    return subprocess.Popen(
        [sys.executable, "-m", "bulkload.emulator", "--hub", "devices", *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )


@contextmanager
def serving(*options: str) -> Iterator["subprocess.Popen[str]"]:
    """The program, which ends with the block at the latest."""
    with serve(*options) as child:
        try:
            yield child
        finally:
            child.kill()


def line(child: "subprocess.Popen[str]") -> str:
    assert child.stdout is not None
    return child.stdout.readline().rstrip("\n")


def rest(child: "subprocess.Popen[str]") -> tuple[str, str]:
    """What it still said on both streams until it ended."""
    assert child.stdout is not None
    assert child.stderr is not None
    child.wait(SOON)
    return child.stdout.read(), child.stderr.read()


def is_listening(hub: Hub) -> bool:
    host, port = hub.host.split(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except ConnectionRefusedError:
        return False
    return True


def await_end(hub: Hub, ca_file: Path) -> None:
    """Wait until the hub is gone, and its authority's file with it."""
    deadline = time.monotonic() + SOON
    while is_listening(hub) or ca_file.exists():
        assert time.monotonic() < deadline, "the emulator is still there"
        time.sleep(0.01)


async def test_the_program_listens_where_it_was_told_and_prints_only_that(session: aiohttp.ClientSession) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    with serving("--port", str(port)) as child:
        hub = Hub.from_connection_string(line(child))
        assert hub.host == f"127.0.0.1:{port}"
        assert (await Client(session, hub).put()).status == 200
        child.send_signal(signal.SIGINT)
        assert rest(child) == ("", "")
        assert child.returncode == 0, "SIGINT ends it cleanly"


def test_with_tls_the_program_prints_the_authority_s_file_and_removes_it_at_the_end() -> None:
    with serving("--tls") as child:
        assert line(child).startswith("Endpoint=sb://127.0.0.1:")
        ca_file = Path(line(child))
        assert ca_file.read_bytes().startswith(b"-----BEGIN CERTIFICATE-----")
        child.send_signal(signal.SIGTERM)
        assert rest(child) == ("", "")
        assert child.returncode == 0, "SIGTERM ends it cleanly"
        assert not ca_file.exists()


def test_the_end_of_standard_input_ends_the_program_cleanly() -> None:
    with serving() as child:
        line(child)
        assert child.stdin is not None
        child.stdin.write("whatever is said is not heard\n")
        child.stdin.close()
        assert rest(child) == ("", "")
        assert child.returncode == 0


def test_a_standard_input_that_nobody_holds_ends_the_program_at_once() -> None:
    command = [sys.executable, "-m", "bulkload.emulator", "--hub", "devices"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment, timeout=SOON, check=True
    )
    assert done.stdout.startswith("Endpoint=")
    assert done.stderr == ""


def test_a_port_in_use_ends_the_program_with_one_line_and_exit_code_2() -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        with serving("--port", str(port)) as child:
            assert rest(child) == ("", f"port {port} is in use; choose another with --port\n")
            assert child.returncode == 2


@pytest.mark.parametrize("tls", [False, True])
async def test_an_embedded_hub_answers_and_ends_with_its_block(tls: bool) -> None:
    async with AsyncExitStack() as clients:
        async with EmbeddedHub(hub="devices", tls=tls) as embedded:
            session = await clients.enter_async_context(trusting(embedded.ca_file))
            assert (await Client(session, embedded.hub).put()).status == 200
            assert repr(embedded) == f"<EmbeddedHub devices, pid {embedded.pid}>"
            began = time.monotonic()
        assert time.monotonic() - began < 1
        assert not is_listening(embedded.hub)
        assert (embedded.ca_file is not None) == tls
        assert embedded.ca_file is None or not embedded.ca_file.exists()


async def test_what_an_embedded_hub_says_on_standard_error_comes_out_with_its_end(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with EmbeddedHub(hub="devices") as embedded:
        host, port = embedded.hub.host.split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET / HTTP/1.1\r\nno header\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.0 400")
        writer.close()
        assert capsys.readouterr().err == ""
    assert "no header" in capsys.readouterr().err


async def test_a_terminal_s_ctrl_c_does_not_reach_an_embedded_hub() -> None:
    async with EmbeddedHub(hub="devices") as embedded:
        assert os.getsid(embedded.pid) == embedded.pid != os.getsid(0)


def test_an_embedded_hub_that_was_not_entered_says_so() -> None:
    assert repr(EmbeddedHub(hub="devices")) == "<EmbeddedHub devices, not started>"


async def test_an_embedded_hub_that_does_not_start_says_why_in_one_line() -> None:
    with pytest.raises(InputError, match=r"^the embedded hub did not start: hub name 'a b' is not one; .*$"):
        async with EmbeddedHub(hub="a b"):
            pass


async def test_an_interpreter_that_is_missing_is_an_input_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(InputError, match=r"^the embedded hub did not start: .*/nowhere/python"):
        async with EmbeddedHub(hub="devices"):
            pass


async def test_an_embedded_hub_that_hangs_at_its_start_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid_file = tmp_path / "pid"
    hanging = tmp_path / "python"
    hanging.write_text(f"#!/bin/sh\necho $$ > {pid_file}\nexec sleep 60\n")
    hanging.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(hanging))
    monkeypatch.setattr(process, "_START_WITHIN", 0.5)
    monkeypatch.setattr(process, "_END_WITHIN", 0.01)
    began = time.monotonic()
    with pytest.raises(InputError, match=r"^the embedded hub did not start within"):
        async with EmbeddedHub(hub="devices"):
            pass
    assert time.monotonic() - began < SOON
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)


async def test_an_embedded_hub_that_died_does_not_disturb_the_end_of_its_block() -> None:
    async with EmbeddedHub(hub="devices") as embedded:
        os.kill(embedded.pid, signal.SIGKILL)


async def test_a_file_of_the_current_folder_does_not_stand_in_for_a_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "argparse.py").write_text("raise SystemExit('taken from the current folder')")
    monkeypatch.chdir(tmp_path)
    async with EmbeddedHub(hub="devices"):
        pass


PARENT = """
import asyncio
from bulkload.emulator import EmbeddedHub

async def main():
    async with EmbeddedHub(hub="devices", tls=True) as embedded:
        print(embedded.hub.host, embedded.ca_file, flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


def test_an_embedded_hub_goes_with_a_parent_that_is_killed() -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", PARENT]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as parent:
        host, ca_file = line(parent).split()
        hub = Hub(host=host, name="devices", key_name="", key="")
        assert is_listening(hub)
        parent.kill()
        await_end(hub, Path(ca_file))
