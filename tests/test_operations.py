"""A hub's operations: over the emulated hub for what works, over scripted ones for what does not."""

import asyncio
import gc
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import replace
from typing import Any
from unittest.mock import patch
from urllib.parse import quote

import aiohttp
import orjson
import pytest

import bulkload
from bulkload.client.client import TRIES_TO_READ, Page
from bulkload.emulator import Emulator
from bulkload.emulator.behaviour import Behaviour
from bulkload.emulator.limits import token_bucket
from bulkload.registration import FAMILIES, Template, entry
from bulkload.sas import Signer
from bulkload.upload import IN_HAND_PER_WORKER, Upload
from tests.scripted_hub import HUB, Asking, Reply, Script, error
from tests.test_registration import SYSTEM, described, newer, older, older_entry
from tests.virtual_time import run_virtually

SECRET = "a:secret+handle/of'one"
HANDLE = bulkload.Handle.gcm_registration_id(SECRET)
FEED = older(described("Gcm", f"{SYSTEM}<GcmRegistrationId>g</GcmRegistrationId>"))
ENTRY = older_entry(described("Gcm", f"{SYSTEM}<GcmRegistrationId>g</GcmRegistrationId>"), head="").encode()

# Waits are virtual where the hub is scripted: these are of no length.
SOON = 10.0


@pytest.fixture(params=["2018", "2023"])
async def emulator(request: pytest.FixtureRequest) -> AsyncIterator[Emulator]:
    async with Emulator(hub="devices", dialect=request.param) as emulator:
        yield emulator


@pytest.fixture
def hub(emulator: Emulator) -> bulkload.Hub:
    return bulkload.Hub.from_connection_string(emulator.connection_string)


async def all_of(
    client: bulkload.Client, handle: bulkload.Handle = HANDLE, **options: Any
) -> list[bulkload.Registration]:
    return [registration async for registration in client.registrations(handle, **options)]


def of_handle(client: bulkload.Client) -> Awaitable[list[bulkload.Registration]]:
    """Ask for the registrations of the secret handle."""
    return all_of(client)


class TestARegistrationId:
    @pytest.mark.parametrize("name", ["Content-Location", "content-location", "Location", "LOCATION"])
    @pytest.mark.parametrize("place", ["registrations/12-34-5", "registrationids/12-34-5", "resources/12-34-5/"])
    @pytest.mark.parametrize("query", ["", "?api-version=2017-04", "?a=/b"])
    def test_is_the_last_part_of_a_location(self, name: str, place: str, query: str) -> None:
        script = Script(Reply(201, headers={name: f"https://h.example/devices/{place}{query}"}))
        assert script.ask(lambda client: client.create_registration_id()) == "12-34-5"

    def test_is_read_from_either_header_where_one_is_empty(self) -> None:
        headers = {"Content-Location": "", "Location": "/devices/registrationids/1-1-1"}
        assert Script(Reply(201, headers=headers)).ask(lambda client: client.create_registration_id()) == "1-1-1"

    @pytest.mark.parametrize(
        "headers",
        [
            {},
            {"Location": ""},
            {"Location": "https://h.example"},
            {"Location": "https://h.example/"},
            {"Location": "https://[h.example/devices/registrationids/1-1-1"},
            {"Location": "https://h.example/devices/registrationids/"},
            {"Content-Location": "https://h.example/devices/Registrations?api-version=2015-01"},
            {"ETag": "1"},
        ],
    )
    def test_that_is_not_there_is_an_error_which_names_the_hub(self, headers: dict[str, str]) -> None:
        with pytest.raises(bulkload.CallFailed, match=r"^hub devices answered without a registration id; check"):
            Script(Reply(201, headers=headers)).ask(lambda client: client.create_registration_id())

    def test_is_asked_for_as_the_service_s_page_says(self) -> None:
        script = Script(Reply(201, headers={"Location": "x/1-1-1"}))
        script.ask(lambda client: client.create_registration_id(), api_version="2020-06")
        [seen] = script.seen
        assert (seen.method, str(seen.url)) == ("POST", f"{HUB.url}/registrationIDs/?api-version=2020-06")
        assert seen.body == b""
        assert seen.headers["Content-Type"] == "application/atom+xml;type=entry;charset=utf-8"
        assert seen.headers["x-ms-version"] == "2020-06"
        assert seen.headers["Authorization"].startswith(
            "SharedAccessSignature sr=http%3A%2F%2F127.0.0.1%3A9%2Fdevices&"
        )

    async def test_is_another_each_time(self, hub: bulkload.Hub) -> None:
        async with hub.client() as client:
            ids = await asyncio.gather(*(client.create_registration_id() for _ in range(20)))
        assert len(set(ids)) == 20
        assert all(re.fullmatch(r"\d+-\d+-\d", id_) for id_ in ids)


def device(family: str, **fields: Any) -> bulkload.Registration:
    """A registration of this family."""
    values = {"DeviceToken": "00FF", "ChannelUri": "https://w.example/?t=a%2fb+c'd", "Endpoint": "https://b.example/1"}
    handle = bulkload.Handle(tuple((name, values.get(name, f"{name}:é'&1")) for name in FAMILIES[family].handles))
    return bulkload.Registration(kind=family, handle=handle, **fields)


class TestRegistrationsOverTheEmulatedHub:
    @pytest.mark.parametrize("family", FAMILIES)
    async def test_are_found_by_the_filter_of_their_kind(self, hub: bulkload.Hub, family: str) -> None:
        native = device(family, tags=("a", "b"))
        template = replace(native, kind=f"{family}Template", template=Template(body="<a>]]></a>", name="t"))
        async with hub.client() as client:
            put = [await client.put_registration(registration) for registration in (native, template)]
            await client.put_registration(device("Apple" if family != "Apple" else "Adm"))
            assert native.handle is not None
            found = await all_of(client, native.handle)
        # The answer to a write tells the same time without its zone.
        assert [replace(one, expiration_time=None) for one in found] == [
            replace(one, expiration_time=None) for one in put
        ]
        assert [(one.kind, one.handle, one.tags, one.template) for one in found] == [
            (family, native.handle, ("a", "b"), None),
            (f"{family}Template", native.handle, ("a", "b"), template.template),
        ]

    async def test_come_in_pages_of_which_each_goes_on_where_the_last_ended(self, hub: bulkload.Hub) -> None:
        async with hub.client() as client:
            for number in range(5):
                await client.put_registration(device("Gcm", tags=(f"t{number}", "all")))
            await client.put_registration(device("Adm", tags=("all",)))
            handle = device("Gcm").handle
            assert handle is not None
            pages = [page async for page in client.pages_of(handle, top=2)]
            assert [len(page.registrations) for page in pages] == [2, 2, 1]
            assert [page.token is None for page in pages] == [False, False, True]
            assert [one.tags[0] for one in await all_of(client, handle, top=2)] == [f"t{number}" for number in range(5)]
            assert len([one async for one in client.registrations_with_tag("all", top=1)]) == 6
            assert [one.kind async for one in client.all_registrations(top=4)] == ["Gcm"] * 5 + ["Adm"]

    async def test_of_the_whole_hub_go_on_after_a_page_that_was_read_before(self, hub: bulkload.Hub) -> None:
        async with hub.client() as client:
            for number in range(4):
                await client.put_registration(device("Gcm", tags=(f"t{number}",)))
            async with aclosing(client.pages(top=1)) as pages:
                first = await anext(pages)
            rest = [page.registrations[0].tags async for page in client.pages(top=1, token=first.token)]
        assert rest == [("t1",), ("t2",), ("t3",)]

    async def test_of_nobody_are_none(self, hub: bulkload.Hub) -> None:
        async with hub.client() as client:
            assert await all_of(client) == []
            assert [page async for page in client.pages_with_tag("no body")] == [Page([], None)]

    async def test_are_put_read_and_deleted_one_by_one(self, hub: bulkload.Hub) -> None:
        async with hub.client() as client:
            made = await client.put_registration(device("Windows", tags=("a",)))
            assert made.registration_id is not None
            assert await client.registration(made.registration_id) == replace(
                made, expiration_time=(await all_of(client, device("Windows").handle or HANDLE))[0].expiration_time
            )
            assert await client.delete_registration(made.registration_id) is True
            assert await client.delete_registration(made.registration_id) is False
            assert await client.registration(made.registration_id) is None

    async def test_are_overwritten_only_where_their_etag_is_the_one_that_is_known(self, hub: bulkload.Hub) -> None:
        async with hub.client() as client:
            first = await client.put_registration(device("Gcm", tags=("a",)))
            second = await client.put_registration(replace(first, tags=("b",)), etag=first.etag)
            assert (second.registration_id, second.tags) == (first.registration_id, ("b",))
            with pytest.raises(bulkload.CallFailed, match=r": 412 "):
                await client.put_registration(replace(first, tags=("c",)), etag=first.etag)
            with pytest.raises(bulkload.CallFailed, match=r": 412 "):
                await client.delete_registration(first.registration_id or "", etag=first.etag or "")
            assert (await client.put_registration(replace(first, tags=("d",)), etag="*")).tags == ("d",)
            assert (await client.put_registration(replace(first, tags=("e",)))).tags == ("e",)

    async def test_can_be_asked_for_one_at_a_time_without_a_client(self, emulator: Emulator, hub: bulkload.Hub) -> None:
        assert re.fullmatch(r"\d+-\d+-\d", await hub.create_registration_id())
        async with hub.client() as client:
            await client.put_registration(replace(device("Gcm"), handle=HANDLE))
        assert [one.handle async for one in hub.registrations(HANDLE)] == [HANDLE]
        assert await hub.installation("nobody") is None


class TestARequestForARegistration:
    def test_is_put_with_an_id_of_its_own_and_without_what_is_the_hub_s(self) -> None:
        known = bulkload.Registration(
            kind="Gcm", handle=HANDLE, registration_id="12-34-5", etag="3", expiration_time="2031-01-01", tags=("a",)
        )
        script = Script(ENTRY.replace(b"<entry ", b"<entry xmlns='http://www.w3.org/2005/Atom' "))
        assert script.ask(lambda client: client.put_registration(known, etag="3")).etag == "3"
        [seen] = script.seen
        assert (seen.method, seen.url.path) == ("PUT", "/devices/registrations/12-34-5")
        assert seen.body == entry(replace(known, etag=None, expiration_time=None))
        assert seen.headers["If-Match"] == 'W/"3"'

    def test_gets_its_id_first_so_that_no_retry_creates_it_twice(self) -> None:
        script = Script(Reply(201, headers={"Location": "/x/9-9-9"}), Reply(503), Reply(body=ENTRY))
        script.ask(lambda client: client.put_registration(bulkload.Registration(kind="Gcm", handle=HANDLE)))
        assert [(seen.method, seen.url.path) for seen in script.seen] == [
            ("POST", "/devices/registrationIDs/"),
            ("PUT", "/devices/registrations/9-9-9"),
            ("PUT", "/devices/registrations/9-9-9"),
        ]
        assert all("If-Match" not in seen.headers for seen in script.seen)
        assert b"<RegistrationId>9-9-9</RegistrationId>" in script.seen[-1].body

    @pytest.mark.parametrize(("etag", "sent"), [("7", 'W/"7"'), ("*", "*"), ('W/"7"', 'W/"7"'), ('"7"', '"7"')])
    def test_to_be_gone_names_its_etag_as_a_header_has_it(self, etag: str, sent: str) -> None:
        script = Script(Reply(200))
        assert script.ask(lambda client: client.delete_registration("1-1-1", etag=etag)) is True
        assert script.seen[0].headers["If-Match"] == sent

    def test_to_be_gone_is_for_any_of_them_unless_an_etag_is_named(self) -> None:
        script = Script(error(404, ""))
        assert script.ask(lambda client: client.delete_registration("1-1-1")) is False
        assert script.seen[0].headers["If-Match"] == "*"

    @pytest.mark.parametrize("body", [b"", b"<html/>", b"<feed/>", ENTRY[:-9]])
    def test_whose_answer_is_none_fails_and_names_it(self, body: bytes) -> None:
        with pytest.raises(bulkload.CallFailed, match=r"hub devices: .*registration '?1-1-1'?"):
            Script(body).ask(lambda client: client.registration("1-1-1"))

    @pytest.mark.parametrize("id_", ["", ".", ".."])
    @pytest.mark.parametrize("name", ["registration", "delete_registration", "installation", "delete_installation"])
    def test_whose_id_would_make_it_another_s_is_never_sent(self, name: str, id_: str) -> None:
        script = Script(Reply(200))
        with pytest.raises(bulkload.InputError, match="id"):
            script.ask(lambda client: getattr(client, name)(id_))
        assert script.seen == []

    def test_has_its_id_encoded(self) -> None:
        script = Script(Reply(204))
        script.ask(lambda client: client.delete_installation("a/b?c#d é"))
        assert script.seen[0].url.raw_path == "/devices/installations/a%2Fb%3Fc%23d%20%C3%A9"
        assert script.seen[0].url.query == {"api-version": "2015-01"}


class TestInstallations:
    async def test_are_read_and_deleted(self, emulator: Emulator, hub: bulkload.Hub) -> None:
        token = "00ff"
        body = orjson.dumps({"installationId": "i-1", "platform": "apns", "pushChannel": token, "tags": ["a"]})
        async with hub.client() as client:
            await _put(hub, "i-1", body)
            fields = await client.installation("i-1")
            assert fields is not None
            assert (fields["installationId"], fields["pushChannel"], fields["tags"]) == ("i-1", token, ["a"])
            assert await hub.installation("i-1") == fields
            await client.delete_installation("i-1")
            await client.delete_installation("i-1")
            assert await client.installation("i-1") is None
        assert emulator.installations == {}

    def test_are_json_whatever_they_are_labelled(self) -> None:
        reply = Reply(200, b'{"installationId": "i"}', {"Content-Type": "application/xml; charset=utf-8"})
        assert Script(reply).ask(lambda client: client.installation("i")) == {"installationId": "i"}

    @pytest.mark.parametrize("reply", [error(404, "Installation not found"), Reply(404)])
    def test_that_are_not_there_are_none(self, reply: Reply) -> None:
        assert Script(reply).ask(lambda client: client.installation("i")) is None

    @pytest.mark.parametrize("body", [b"", b"<entry/>", b"[]", b"null", b'"secret"', b'{"a": "secret', b"\xff"])
    def test_that_are_garbage_fail_named_and_untold(self, body: bytes) -> None:
        with pytest.raises(bulkload.CallFailed, match=r"^hub devices: .*installation '?i-1'?") as raised:
            Script(body).ask(lambda client: client.installation("i-1"))
        assert "secret" not in str(raised.value)


async def _put(hub: bulkload.Hub, id_: str, body: bytes) -> None:
    token = Signer(hub.url, hub.key_name, hub.key).token
    async with (
        aiohttp.ClientSession() as session,
        session.put(
            f"{hub.url}/installations/{id_}?api-version=2015-01", data=body, headers={"Authorization": token}
        ) as response,
    ):
        assert response.status == 200


@asynccontextmanager
async def demanding(*replies: tuple[str, bytes]) -> AsyncIterator[tuple[bulkload.Hub, list[str]]]:
    """A hub on loopback that gives a raw answer to each target in turn, and 400 to any other; yields what it saw."""
    wanted = iter(replies)
    seen: list[str] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                seen.append(head.split(b" ")[1].decode())
                target, answer = next(wanted, ("", b""))
                writer.write(answer if seen[-1] == target else b"HTTP/1.1 400 No\r\nContent-Length: 0\r\n\r\n")
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        yield bulkload.Hub(f"127.0.0.1:{port}", "devices", "policy", "a key", scheme="http"), seen


def answer(body: bytes, *headers: str) -> bytes:
    lines = ("HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *headers, "", "")
    return "\r\n".join(lines).encode() + body


class TestPages:
    @pytest.mark.parametrize("name", ["x-ms-continuationtoken", "X-MS-ContinuationToken", "X-MS-CONTINUATIONTOKEN"])
    async def test_go_on_with_the_token_as_it_came(self, name: str) -> None:
        target = "/devices/registrations/?$filter=DeviceToken%20eq%20'00FF'&$top=2"
        tokens = ["MzEobik7Mg%3D%3D", "a%252Bb%2fc+d&e=f"]
        targets = [target, *(f"{target}&ContinuationToken={token}" for token in tokens)]
        bodies = [answer(FEED, f"{name}: {token}") for token in tokens] + [answer(older())]
        replies = zip((f"{target}&api-version=2015-01" for target in targets), bodies, strict=True)
        async with demanding(*replies) as (hub, seen), hub.client() as client, asyncio.timeout(SOON):
            found = await all_of(client, bulkload.Handle.device_token("00ff"), top=2)
        assert len(found) == 2
        assert len(seen) == 3

    @pytest.mark.parametrize(
        ("handle", "filter_"),
        [
            (
                bulkload.Handle.channel_uri("https://w.example/?a=b%2fc"),
                "ChannelUri%20eq%20'https%3A%2F%2Fw.example%2F%3Fa%3Db%252fc'",
            ),
            (bulkload.Handle.gcm_registration_id("a'b:c"), "GcmRegistrationId%20eq%20'a''b%3Ac'"),
        ],
    )
    async def test_are_asked_for_by_the_handle_s_filter(self, handle: bulkload.Handle, filter_: str) -> None:
        target = f"/devices/registrations/?$filter={filter_}&$top=100&api-version=2015-01"
        async with demanding((target, answer(FEED))) as (hub, seen), hub.client() as client, asyncio.timeout(SOON):
            assert len(await all_of(client, handle)) == 1
        assert seen == [target]

    async def test_of_a_tag_have_it_encoded_in_their_address(self) -> None:
        target = "/devices/tags/%24InstallationId%3A%7Bi%2F1%7D/registrations?$top=100&api-version=2015-01"
        async with demanding((target, answer(FEED))) as (hub, _), hub.client() as client, asyncio.timeout(SOON):
            assert len([page async for page in client.pages_with_tag("$InstallationId:{i/1}")]) == 1

    def test_that_are_empty_do_not_end_a_list_which_has_a_token(self) -> None:
        goes_on = {"x-ms-continuationtoken": "MQ%3D%3D"}
        script = Script(Reply(200, older(), goes_on), Reply(200, FEED, {"x-ms-continuationtoken": ""}))
        assert len(script.ask(of_handle)) == 1
        assert len(script.seen) == 2

    @pytest.mark.parametrize("tokens", [["a", "a"], ["a", "b", "a"], ["a", "b", "c", "d", "b"]])
    def test_that_lead_in_a_circle_end_with_the_hub_and_the_page(self, tokens: Sequence[str]) -> None:
        script = Script(*(Reply(200, FEED, {"x-ms-continuationtoken": token}) for token in tokens))
        found: list[bulkload.Registration] = []

        async def ask(client: bulkload.Client) -> None:
            async for page in client.pages_of(HANDLE):
                found.extend(page.registrations)

        with pytest.raises(bulkload.CallFailed) as raised:
            script.ask(ask)
        page = f"page {len(tokens)} of the registrations of channel {HANDLE.digest}"
        assert str(raised.value) == f"hub devices: {page} leads back to an earlier page"
        assert len(found) == len(script.seen) == len(tokens)


BROKEN = {
    "nothing": b"",
    "HTML": b"<html><body>welcome</body></html>",
    "half of it": newer(described("Gcm", f"<GcmRegistrationId>{SECRET}</GcmRegistrationId>"))[:-40],
    "a text": f"not found: {SECRET}".encode(),
    "an entity bomb": f'<!DOCTYPE feed [<!ENTITY a "{SECRET}">]><feed>&a;</feed>'.encode(),
    "JSON": orjson.dumps({"error": SECRET}),
}


class TestAPageThatCannotBeRead:
    @pytest.mark.parametrize("name", BROKEN)
    def test_is_asked_for_three_times_and_then_told_without_the_handle(
        self, name: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        script = Script(BROKEN[name])
        with pytest.raises(bulkload.CallFailed) as raised:
            script.ask(of_handle)
        assert len(script.seen) == TRIES_TO_READ == 3
        assert script.times == sorted(set(script.times))
        words = f"^hub devices: page 1 of the registrations of channel {HANDLE.digest} cannot be read: its? "
        assert re.match(words, str(raised.value))
        assert not hides_badly(chain(raised.value), caplog.text)

    def test_that_is_longer_than_the_limit_is_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for module in ("call", "client"):
            monkeypatch.setattr(f"bulkload.client.{module}.LARGEST_ANSWER", len(FEED) - 1)
        script = Script(FEED)
        with pytest.raises(bulkload.CallFailed, match=f"channel {HANDLE.digest} cannot be read: it is longer than"):
            script.ask(of_handle)
        assert len(script.seen) == 1

    def test_that_is_as_long_as_the_limit_is_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for module in ("call", "client"):
            monkeypatch.setattr(f"bulkload.client.{module}.LARGEST_ANSWER", len(FEED))
        assert len(Script(FEED).ask(of_handle)) == 1

    def test_that_is_good_the_next_time_is_no_failure(self) -> None:
        script = Script(b"", BROKEN["half of it"], FEED)
        assert len(script.ask(of_handle)) == 1
        assert len(script.seen) == 3

    def test_is_named_by_its_number(self) -> None:
        script = Script(Reply(200, FEED, {"x-ms-continuationtoken": "a"}), b"")
        with pytest.raises(bulkload.CallFailed, match=r"^hub devices: page 2 of the registrations of channel"):
            script.ask(of_handle)

    def test_does_not_touch_others(self) -> None:
        async def ask(client: bulkload.Client) -> list[object]:
            first = await asyncio.gather(all_of(client), return_exceptions=True)
            return [*first, await client.create_registration_id()]

        script = Script(b"", b"", b"", Reply(201, headers={"Location": "x/1-1-1"}))
        failed, id_ = script.ask(ask)
        assert isinstance(failed, bulkload.CallFailed)
        assert id_ == "1-1-1"


def chain(exc: BaseException | None) -> str:
    """The texts of an exception and of all that led to it."""
    led: list[BaseException] = []
    while exc is not None and exc not in led:
        led.append(exc)
        exc = exc.__cause__ or exc.__context__
    return "\n".join(map(str, led))


def hides_badly(*texts: str) -> bool:
    """Whether the secret handle stands in a text, in any of the forms that an address or an answer gives it."""
    told = "\n".join(texts).casefold()
    forms = {SECRET, SECRET.replace("'", "''"), quote(SECRET), quote(SECRET.replace("'", "''"), safe="'")}
    return any(form.casefold() in told for form in {*forms, "secret"})


class TestARefusal:
    @pytest.mark.parametrize("status", [400, 410, 412, 413])
    def test_of_one_request_fails_it_alone(self, status: int) -> None:
        script = Script(error(status, "no such query"), FEED)

        async def ask(client: bulkload.Client) -> tuple[str, int]:
            with pytest.raises(bulkload.CallFailed) as raised:
                await all_of(client)
            assert raised.value.exit_code == 1
            return str(raised.value), len(await all_of(client))

        words, found = script.ask(ask)
        what = f"hub devices: page 1 of the registrations of channel {HANDLE.digest}"
        assert words == f"{what}: {status} no such query, TrackingId t-1_G3"
        assert (found, len(script.seen)) == (1, 2)

    @pytest.mark.parametrize(
        "ask", [of_handle, lambda client: client.installation("i"), lambda client: client.registration("r")]
    )
    def test_by_an_address_without_a_hub_ends_all(self, ask: Asking[object]) -> None:
        script = Script(error(404, "No service is hosted at the specified address"))
        with pytest.raises(bulkload.Halt, match=r"^there is no such hub; check --hub"):
            script.ask(ask)
        assert len(script.seen) == 1

    def test_of_the_key_ends_all_once_the_token_was_renewed(self) -> None:
        script = Script(error(401, "InvalidSignature: The token has an invalid signature"))
        with pytest.raises(bulkload.Halt, match=r"^the hub refuses the key"):
            script.ask(of_handle)
        assert len(script.seen) == 2

    def test_of_the_key_that_a_renewed_token_mends_is_none(self) -> None:
        script = Script(error(401, "ExpiredToken: The token is expired"), FEED)
        assert len(script.ask(of_handle)) == 1

    @pytest.mark.parametrize("status", [403, 429, 503])
    def test_that_says_when_to_come_back_is_waited_out(self, status: int) -> None:
        script = Script(error(status, "", Retry_After="7"), FEED)
        assert len(script.ask(of_handle)) == 1
        first, second = script.times
        assert 7 <= second - first < 20

    def test_as_a_throttle_uses_up_no_attempt(self) -> None:
        refusals = [error(429, "Too many requests", Retry_After="1")] * 20
        script = Script(*refusals, FEED)
        assert len(script.ask(of_handle, max_attempts=1)) == 1

    def test_without_a_word_is_asked_again_a_few_times_and_ends_all(self) -> None:
        script = Script(Reply(403))
        with pytest.raises(bulkload.Halt, match="refuses every request"):
            script.ask(of_handle)
        assert len(script.seen) == 6

    def test_without_a_word_is_a_throttle_for_a_hub_that_answered(self) -> None:
        script = Script(FEED, Reply(403), Reply(403), FEED)

        async def ask(client: bulkload.Client) -> int:
            return len(await all_of(client)) + len(await all_of(client))

        assert script.ask(ask) == 2

    @pytest.mark.parametrize("reply", [Reply(500), Reply(raises=aiohttp.ClientPayloadError()), Reply(503)])
    def test_for_the_hub_s_own_sake_fails_after_so_many_attempts(self, reply: Reply) -> None:
        script = Script(Reply(200, FEED), reply)

        async def ask(client: bulkload.Client) -> str:
            await all_of(client)
            with pytest.raises(bulkload.CallFailed) as raised:
                await all_of(client)
            return str(raised.value)

        words = script.ask(ask, max_attempts=3)
        assert words.startswith(f"hub devices: page 1 of the registrations of channel {HANDLE.digest}: ")
        assert len(script.seen) == 4

    def test_is_what_an_acceptance_is_of_a_request_that_creates_nothing(self) -> None:
        with pytest.raises(bulkload.CallFailed, match=r"page 1 of .*: 201 is no answer to this"):
            Script(Reply(201, FEED)).ask(of_handle)

    @pytest.mark.parametrize("reply", [Reply(204), Reply(302, headers={"Location": "/login"})])
    def test_is_also_what_does_not_answer_like_a_hub(self, reply: Reply) -> None:
        with pytest.raises(bulkload.Halt, match="does not answer like a notification hub"):
            Script(reply).ask(of_handle)

    def test_is_what_a_hub_gives_that_is_never_reached(self) -> None:
        script = Script(Reply(raises=aiohttp.ServerDisconnectedError()))
        with pytest.raises(bulkload.Halt, match=r"^the hub cannot be reached"):
            script.ask(of_handle)
        assert len(script.seen) == 4

    def test_is_what_a_hub_gives_that_is_gone_for_longer_than_a_request_may_take(self) -> None:
        script = Script(FEED, Reply(raises=aiohttp.ServerDisconnectedError()))

        async def ask(client: bulkload.Client) -> tuple[set[str], float]:
            await all_of(client)
            asked = await asyncio.gather(*(all_of(client) for _ in range(300)), return_exceptions=True)
            assert {type(one) for one in asked} == {bulkload.Halt}
            return set(map(str, asked)), asyncio.get_running_loop().time()

        words, ended = script.ask(ask, record_timeout=20.0)
        assert words == {"the hub does not answer any more (the connection broke: the hub closed it without an answer)"}
        assert 20 < ended < 90

    @pytest.mark.parametrize(
        ("ask", "what"),
        [
            (lambda client: client.create_registration_id(), "a new registration id"),
            (lambda client: client.installation("i1"), "installation 'i1'"),
            (lambda client: client.delete_installation("i1"), "installation 'i1'"),
            (lambda client: client.registration("r1"), "registration 'r1'"),
            (lambda client: client.delete_registration("r1"), "registration 'r1'"),
        ],
    )
    def test_says_what_was_asked_of_which_hub(self, ask: Asking[object], what: str) -> None:
        with pytest.raises(bulkload.CallFailed, match=f"^hub devices: {what}: 400 no, TrackingId"):
            Script(error(400, "no")).ask(ask)


REPEATED = {
    "as it is": SECRET,
    "in capitals": SECRET.upper(),
    "escaped": SECRET.replace("'", "&#39;"),
    "doubled": SECRET.replace("'", "''"),
    "percent-encoded": quote(SECRET, safe=""),
    "as it is in the address": HANDLE.filter,
    "encoded in small letters": quote(SECRET).replace("%2B", "%2b"),
    "as it is in an address but for the slash": quote(SECRET.replace("'", "''"), safe="'/"),
}


class TestAHandle:
    @pytest.mark.parametrize("form", REPEATED)
    @pytest.mark.parametrize("status", [400, 403, 418, 500])
    def test_that_a_hub_repeats_is_cut_out(self, form: str, status: int, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        script = Script(FEED, error(status, f"the filter {REPEATED[form]} is not good"))

        async def ask(client: bulkload.Client) -> BaseException:
            await all_of(client)
            with pytest.raises(bulkload.BulkloadError) as raised:
                await all_of(client)
            return raised.value

        refusal = script.ask(ask, max_attempts=1, traits=bulkload.Traits(patience=5))
        assert not hides_badly(chain(refusal), caplog.text)
        assert "is not good" in str(refusal)

    def test_that_a_hub_repeats_when_a_registration_is_put_is_cut_out(self) -> None:
        script = Script(error(400, f"a bad id: {SECRET}"))
        known = bulkload.Registration(kind="Gcm", handle=HANDLE, registration_id="1-1-1")
        with pytest.raises(bulkload.CallFailed, match="400 a bad id: …"):
            script.ask(lambda client: client.put_registration(known))

    def test_is_in_no_word_of_a_connection_that_took_too_long(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        # In aiohttp's own words.
        address = f"{HUB.url}/registrations/?$filter={HANDLE.filter}"
        script = Script(Reply(raises=aiohttp.ConnectionTimeoutError(f"Connection timeout to host {address}")))
        with pytest.raises(bulkload.Halt) as raised:
            script.ask(of_handle)
        assert "no connection: " in str(raised.value)
        assert not hides_badly(chain(raised.value), caplog.text)


def tasks() -> set[asyncio.Task[Any]]:
    """All tasks but the one that asks."""
    return {task for task in asyncio.all_tasks() if task is not asyncio.current_task()}


class TestHaltingAndLeaving:
    def test_a_halt_is_raised_by_every_open_call_and_by_later_ones(self, caplog: pytest.LogCaptureFixture) -> None:
        script = Script(error(401, "InvalidSignature"))

        async def ask(client: bulkload.Client) -> list[BaseException | None]:
            calls = (client.installation("i"), client.create_registration_id(), client.delete_registration("r"))
            done = await asyncio.gather(*calls, all_of(client), return_exceptions=True)
            later = await asyncio.gather(client.installation("i"), return_exceptions=True)
            return [one if isinstance(one, BaseException) else None for one in (*done, *later)]

        raised = script.ask(ask)
        assert [type(one) for one in raised] == [bulkload.Halt] * 5
        assert {str(one) for one in raised} == {str(raised[0])}
        assert len(script.seen) == 2

    def test_a_halt_reaches_calls_that_wait_for_room_and_leaves_no_word_behind(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr("bulkload.upload.IN_HAND", 1)
        script = Script(error(401, "InvalidSignature"))

        async def ask(client: bulkload.Client) -> list[object]:
            return await asyncio.gather(*(client.installation("i") for _ in range(10)), return_exceptions=True)

        assert [type(one) for one in script.ask(ask, workers=1)] == [bulkload.Halt] * 10
        gc.collect()
        assert caplog.text == ""

    def test_leaving_ends_the_calls_of_others(self) -> None:
        left: list[asyncio.Task[Any]] = []

        async def ask(client: bulkload.Client) -> None:
            left.extend(asyncio.create_task(client.installation(f"i{number}")) for number in range(10))
            await asyncio.sleep(0.1)

        async def asked() -> list[Any]:
            await Script(Reply(takes=60)).asked(ask, {"workers": 2})
            async with asyncio.timeout(SOON):
                return await asyncio.gather(*left, return_exceptions=True)

        ended = run_virtually(asked())
        assert {(type(one), str(one)) for one in ended} == {(bulkload.Halt, "the client is closed")}

    @pytest.mark.parametrize("reply", [Reply(takes=60), Reply(503), error(429, "", Retry_After="60")])
    def test_cancelling_a_block_with_open_calls_hangs_nothing_and_leaves_no_task(self, reply: Reply) -> None:
        async def ask(client: bulkload.Client) -> None:
            async with asyncio.timeout(1):
                await asyncio.gather(*(client.installation(f"i{number}") for number in range(10)))

        async def asked() -> tuple[set[asyncio.Task[Any]], float]:
            with pytest.raises(TimeoutError):
                await Script(reply).asked(ask, {})
            return tasks(), asyncio.get_running_loop().time()

        left, ended = run_virtually(asked())
        assert left == set()
        assert ended == pytest.approx(1)

    def test_a_list_that_nobody_reads_to_its_end_leaves_no_task(self) -> None:
        async def ask(_: bulkload.Client) -> None:
            async with aclosing(HUB.registrations(HANDLE)) as found:
                await anext(found)

        async def asked() -> set[asyncio.Task[Any]]:
            await Script(Reply(200, FEED, {"x-ms-continuationtoken": "a"})).asked(ask, {})
            return tasks()

        assert run_virtually(asked()) == set()

    def test_calls_that_wait_for_room_are_not_woken_by_each_other(self) -> None:
        woken = 0

        async def counted(upload: Upload[Any], *args: Any) -> bool:
            nonlocal woken
            woken += 1
            return await admit(upload, *args)

        admit = Upload.admit
        with patch.object(Upload, "admit", counted):

            async def ask(client: bulkload.Client) -> int:
                asked = [asyncio.create_task(client.installation("i")) for _ in range(500)]
                await asyncio.sleep(0)
                assert woken == IN_HAND_PER_WORKER * 2
                return len(await asyncio.gather(*asked))

            assert Script(Reply(200, b"{}")).ask(ask, workers=2) == 500

    def test_a_call_that_is_given_up_leaves_others_alone(self) -> None:
        script = Script(Reply(takes=1, body=FEED))

        async def ask(client: bulkload.Client) -> int:
            given_up = asyncio.create_task(all_of(client))
            kept = asyncio.create_task(all_of(client))
            await asyncio.sleep(0.5)
            given_up.cancel()
            with pytest.raises(asyncio.CancelledError):
                await given_up
            return len(await kept)

        assert script.ask(ask) == 1

    def test_what_goes_wrong_in_the_block_comes_out_as_itself(self) -> None:
        async def ask(client: bulkload.Client) -> None:
            await all_of(client)
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            Script(FEED).ask(ask)

    def test_a_bug_in_a_request_comes_out_as_itself(self) -> None:
        with pytest.raises(AttributeError, match="a bug"):
            Script(Reply(raises=AttributeError("a bug"))).ask(of_handle)

    async def test_a_client_outside_its_block_is_closed(self) -> None:
        client = bulkload.Client(HUB, bulkload.Requesting())
        assert client.in_flight == 0
        with pytest.raises(bulkload.Halt, match="the client is closed"):
            await client.create_registration_id()
        async with client:
            assert repr(client) == "<Client of 127.0.0.1:9/devices, 0 calls open>"
            assert client.in_flight == 0
        with pytest.raises(bulkload.Halt, match="the client is closed"):
            await client.create_registration_id()


class TestPace:
    def test_a_rate_caps_requests(self) -> None:
        script = Script(Reply(404))

        async def ask(client: bulkload.Client) -> None:
            await asyncio.gather(*(client.installation(f"i{number}") for number in range(40)))

        script.ask(ask, rate=10)
        times = script.times
        assert len(times) == 40
        assert max(sum(begin <= at < begin + 1 for at in times) for begin in times) <= 10
        assert times[-1] < 6

    def test_no_more_requests_are_on_their_way_than_there_are_workers(self) -> None:
        script = Script(Reply(404, takes=1))
        most: list[int] = []

        async def ask(client: bulkload.Client) -> None:
            calls = asyncio.gather(*(client.installation(f"i{number}") for number in range(20)))
            while not calls.done():
                most.append(client.in_flight)
                await asyncio.sleep(0.3)
            await calls

        script.ask(ask, workers=4)
        assert max(most) == 4

    def test_requests_are_counted_by_what_they_came_to(self) -> None:
        script = Script(FEED, error(429, "", Retry_After="1"), Reply(500), error(400, ""))

        async def ask(client: bulkload.Client) -> Any:
            await all_of(client)
            with pytest.raises(bulkload.CallFailed):
                await all_of(client)
            return client.requests

        requests = script.ask(ask)
        counted = (requests.sent, requests.accepted, requests.throttled, requests.failed, requests.rejected)
        assert counted == (4, 1, 1, 1, 1)

    @pytest.mark.parametrize(
        ("settings", "words"),
        [
            ({"workers": 0}, "--workers is at least 1"),
            ({"rate": 0}, "--rate is a number above 0"),
            ({"max_attempts": 0}, "--max-attempts is at least 1"),
            ({"record_timeout": 0}, "--record-timeout is above 0"),
            ({"api_version": "2015-01&x"}, "--api-version is of the form"),
            ({"traits": None}, "traits is a bulkload.Traits"),
        ],
    )
    def test_settings_that_are_of_no_use_are_refused(self, settings: dict[str, Any], words: str) -> None:
        with pytest.raises(bulkload.InputError, match=words):
            HUB.client(**settings)

    async def test_a_throttled_hub_answers_all_in_the_end(self) -> None:
        behaviour = Behaviour(throttle=token_bucket("200"))
        async with Emulator(hub="devices", behaviour=behaviour) as emulator:
            hub = bulkload.Hub.from_connection_string(emulator.connection_string)
            async with hub.client() as client, asyncio.timeout(SOON):
                ids = await asyncio.gather(*(client.create_registration_id() for _ in range(100)))
        assert len(set(ids)) == 100
