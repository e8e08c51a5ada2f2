"""The hub's operations from Python: what they ask, what they make of the answers, and how they fail."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
import tenacity
from aiohttp import web

import bulkload
from bulkload.client import client as client_module
from bulkload.emulator import Emulator
from bulkload.emulator.behaviour import Behaviour
from bulkload.emulator.limits import token_bucket
from bulkload.registration import Template

TOKEN = "00FC13ADFF"
APPLE = bulkload.Handle.device_token(TOKEN)
EMPTY = '<feed xmlns="http://www.w3.org/2005/Atom"/>'
NEXT = "x-ms-continuationtoken"


def registration(id_: str) -> str:
    """An entry of a feed."""
    return (
        '<entry xmlns="http://www.w3.org/2005/Atom"><content type="application/xml"><AppleRegistrationDescription '
        'xmlns="http://schemas.microsoft.com/netservices/2010/10/servicebus/connect"><ETag>1</ETag>'
        f"<RegistrationId>{id_}</RegistrationId><DeviceToken>{TOKEN}</DeviceToken>"
        "</AppleRegistrationDescription></content></entry>"
    )


def feed(*ids: str) -> str:
    return f'<feed xmlns="http://www.w3.org/2005/Atom">{"".join(map(registration, ids))}</feed>'


Script = Callable[[web.BaseRequest, int], web.Response | Awaitable[web.Response]]


class Scripted:
    """A hub on loopback whose answers are a script's, by the request and its number; it keeps what it was asked."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self.asked: list[str] = []
        self.headers: list[Any] = []
        self.bodies: list[bytes] = []
        self.port = 0

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.asked.append(f"{request.method} {request.raw_path}")
        self.headers.append(request.headers)
        self.bodies.append(await request.read())
        answer = self._script(request, len(self.asked))
        return answer if isinstance(answer, web.Response) else await answer

    @property
    def hub(self) -> bulkload.Hub:
        text = f"Endpoint=http://127.0.0.1:{self.port}/;SharedAccessKeyName=n;SharedAccessKey=k;EntityPath=devices"
        return bulkload.Hub.from_connection_string(text)


@asynccontextmanager
async def scripted(script: Script) -> AsyncIterator[Scripted]:
    hub = Scripted(script)
    runner = web.ServerRunner(web.Server(hub.handle, access_log=None), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    hub.port = runner.addresses[0][1]
    try:
        yield hub
    finally:
        await runner.cleanup()


def saying(text: str = "", status: int = 200, **headers: str) -> Script:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _request, _number: web.Response(text=text, status=status, headers=named)


async def ids(found: AsyncIterator[bulkload.Registration]) -> list[str | None]:
    return [one.registration_id async for one in found]


class TestRegistrationIds:
    @pytest.mark.parametrize(
        "headers",
        [
            {"Content-Location": "https://n/devices/registrations/1-2-3?api-version=2015-01"},
            {"LOCATION": "https://n/devices/registrationids/1-2-3"},
            {"location": "https://n/devices/registrationids/1-2-3/?api-version=2020-06"},
            {"Content-Location": "/devices/registrations/1-2-3", "Location": "https://n/devices/registrationids/other"},
        ],
    )
    async def test_come_from_whatever_header_has_one(self, headers: dict[str, str]) -> None:
        async with scripted(lambda _r, _n: web.Response(status=201, headers=headers)) as hub:
            assert await hub.hub.create_registration_id() == "1-2-3"
        assert hub.asked == ["POST /devices/registrationIDs/?api-version=2015-01"]
        assert hub.headers[0]["Content-Type"] == "application/atom+xml;type=entry;charset=utf-8"
        assert hub.headers[0]["x-ms-version"] == "2015-01"

    async def test_that_are_none_are_an_error(self) -> None:
        async with scripted(saying(status=201)) as hub:
            with pytest.raises(bulkload.CallFailed, match="without a registration id"):
                await hub.hub.create_registration_id()

    async def test_are_each_another(self) -> None:
        async with Emulator(hub="devices") as emulator, hub_of(emulator).client() as client:
            made = await asyncio.gather(*(client.create_registration_id() for _ in range(50)))
        assert len(set(made)) == 50


def hub_of(emulator: Emulator) -> bulkload.Hub:
    return bulkload.Hub.from_connection_string(emulator.connection_string)


class TestTheQuestion:
    @pytest.mark.parametrize(
        ("handle", "target"),
        [
            (bulkload.Handle.device_token("00fc13adff"), "DeviceToken%20eq%20'00FC13ADFF'"),
            (
                bulkload.Handle.channel_uri("https://n/?t=a%2fb+c'd"),
                "ChannelUri%20eq%20'https%3A%2F%2Fn%2F%3Ft%3Da%252fb%2Bc''d'",
            ),
            (bulkload.Handle.gcm_registration_id("g:1_x"), "GcmRegistrationId%20eq%20'g%3A1_x'"),
        ],
    )
    async def test_is_as_the_specification_writes_it(self, handle: bulkload.Handle, target: str) -> None:
        async with scripted(saying(EMPTY)) as hub, hub.hub.client() as client:
            assert await ids(client.registrations(handle, top=7)) == []
        assert hub.asked == [f"GET /devices/registrations/?$filter={target}&$top=7&api-version=2015-01"]

    async def test_of_a_tag_has_it_in_its_path(self) -> None:
        async with scripted(saying(EMPTY)) as hub, hub.hub.client(api_version="2020-06") as client:
            assert await ids(client.registrations_with_tag("$InstallationId:{a b}")) == []
        [asked] = hub.asked
        assert asked == "GET /devices/tags/%24InstallationId%3A%7Ba%20b%7D/registrations?$top=100&api-version=2020-06"

    async def test_goes_on_with_the_token_as_it_came(self) -> None:
        token = "MzEobik7Mg%3D%3D%2b"

        def script(request: web.BaseRequest, number: int) -> web.Response:
            return web.Response(text=feed(str(number)), headers={"X-MS-ContinuationToken": token} if number < 2 else {})

        async with scripted(script) as hub, hub.hub.client() as client:
            assert await ids(client.all_registrations(top=1)) == ["1", "2"]
        assert hub.asked[1] == f"GET /devices/registrations?$top=1&ContinuationToken={token}&api-version=2015-01"

    @pytest.mark.parametrize("period", [1, 2, 5])
    async def test_that_goes_in_circles_ends_with_an_error(self, period: int) -> None:
        async with (
            scripted(
                lambda _r, number: web.Response(text=feed(str(number)), headers={NEXT: str(number % period)})
            ) as hub,
            hub.hub.client() as client,
        ):
            with pytest.raises(bulkload.CallFailed, match=rf"hub devices: page {period + 1} .* leads back"):
                await ids(client.registrations(APPLE))


class TestAnswersThatCannotBeRead:
    @pytest.fixture(autouse=True)
    def _quick(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tenacity, "wait_random_exponential", lambda **_: lambda _state: 0)

    @pytest.mark.parametrize("text", ["", "<html><p>", "{}", feed("1")[:-20], "<feed><!DOCTYPE a></feed>"])
    async def test_are_asked_for_again_and_then_named_without_the_handle(
        self, text: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with scripted(saying(text)) as hub, hub.hub.client() as client:
            with caplog.at_level(logging.DEBUG), pytest.raises(bulkload.CallFailed) as failed:
                await ids(client.registrations(APPLE))
        assert len(hub.asked) == 3
        assert f"hub devices: page 1 of the registrations of channel {APPLE.digest} cannot be read" in str(failed.value)
        assert TOKEN not in str(failed.value) + caplog.text

    async def test_are_forgotten_once_one_can(self) -> None:
        async with scripted(lambda _r, number: web.Response(text="" if number < 3 else feed("1"))) as hub:
            assert await ids(hub.hub.registrations(APPLE)) == ["1"]

    async def test_are_those_too_long_as_well(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(client_module, "LARGEST_ANSWER", 100)
        async with scripted(saying(feed("1"))) as hub:
            with pytest.raises(bulkload.CallFailed, match=r"longer than .* ask for fewer with --top"):
                await ids(hub.hub.registrations(APPLE))

    async def test_of_an_installation_are_named(self) -> None:
        async with scripted(saying("no JSON")) as hub:
            with pytest.raises(bulkload.CallFailed, match="installation 'a' cannot be read"):
                await hub.hub.installation("a")
        async with scripted(saying("[]")) as hub:
            with pytest.raises(bulkload.CallFailed, match="is no object"):
                await hub.hub.installation("a")


class TestRefusals:
    async def test_of_one_question_leave_the_others(self) -> None:
        async with (
            scripted(
                lambda request, _n: web.Response(status=400) if "Gcm" in request.raw_path else web.Response(text=EMPTY)
            ) as hub,
            hub.hub.client() as client,
        ):
            with pytest.raises(bulkload.CallFailed) as failed:
                await ids(client.registrations(bulkload.Handle.gcm_registration_id("g")))
            assert failed.value.is_refused
            assert await ids(client.registrations(APPLE)) == []

    async def test_that_repeat_the_handle_are_told_without_it(self) -> None:
        detail = f"<Error><Code>400</Code><Detail>no device {TOKEN.lower()} here</Detail></Error>"
        async with scripted(saying(detail, 400)) as hub:
            with pytest.raises(bulkload.CallFailed, match="400 no device … here"):
                await ids(hub.hub.registrations(APPLE))

    async def test_of_the_hub_end_every_call(self) -> None:
        gone = "<Error><Code>404</Code><Detail>No service is hosted at the specified address.</Detail></Error>"
        async with scripted(saying(gone, 404)) as hub, hub.hub.client(workers=3) as client:
            asked = [client.registration(str(number)) for number in range(20)]
            outcomes = await asyncio.gather(*asked, return_exceptions=True)
            assert all(isinstance(outcome, bulkload.Halt) for outcome in outcomes)
            with pytest.raises(bulkload.Halt, match="there is no such hub"):
                await client.installation("a")

    async def test_of_the_key_come_after_a_second_token(self) -> None:
        async with scripted(saying("", 401)) as hub:
            with pytest.raises(bulkload.Halt, match="refuses the key"):
                await hub.hub.create_registration_id()
        assert len(hub.asked) == 2

    @pytest.mark.parametrize("status", [403, 429, 503])
    async def test_for_the_hub_s_own_sake_are_waited_out(self, status: int) -> None:
        def script(_request: web.BaseRequest, number: int) -> web.Response:
            return web.Response(status=status, headers={"Retry-After": "0"}) if number < 3 else web.Response(text=EMPTY)

        async with scripted(script) as hub:
            assert await ids(hub.hub.registrations(APPLE)) == []

    async def test_of_a_throttled_hub_lose_nothing(self) -> None:
        behaviour = Behaviour(throttle=token_bucket("200:20"), throttle_status=429)
        async with Emulator(hub="devices", behaviour=behaviour) as emulator, hub_of(emulator).client() as client:
            made = await asyncio.gather(*(client.create_registration_id() for _ in range(150)))
            assert len(set(made)) == 150
            assert client.requests.throttled

    async def test_of_a_connection_are_tried_again(self) -> None:
        def script(request: web.BaseRequest, number: int) -> web.Response:
            if number == 1:
                assert request.transport is not None
                request.transport.abort()
            return web.Response(text='{"installationId":"a"}', content_type="application/xml")

        async with scripted(script) as hub:
            assert await hub.hub.installation("a") == {"installationId": "a"}
        assert len(hub.asked) == 2


class TestOneByOne:
    async def test_a_registration_is_made_read_changed_and_deleted(self) -> None:
        async with Emulator(hub="devices") as emulator, hub_of(emulator).client() as client:
            made = await client.put_registration(bulkload.Registration(kind="Apple", handle=APPLE, tags=("a",)))
            assert (made.kind, made.handle, made.tags, made.etag) == ("Apple", APPLE, ("a",), "1")
            assert made.registration_id is not None
            read = await client.registration(made.registration_id)
            assert read is not None
            assert (read.registration_id, read.tags) == (made.registration_id, ("a",))
            changed = await client.put_registration(replace(read, tags=("b",)), etag=read.etag)
            assert (changed.tags, changed.etag) == (("b",), "2")
            with pytest.raises(bulkload.CallFailed, match="412"):
                await client.put_registration(replace(read, tags=("c",)), etag=read.etag)
            with pytest.raises(bulkload.CallFailed, match="412"):
                await client.delete_registration(made.registration_id, etag="1")
            assert await client.delete_registration(made.registration_id)
            assert not await client.delete_registration(made.registration_id)
            assert await client.registration(made.registration_id) is None

    async def test_what_the_hub_sets_is_not_sent(self) -> None:
        async with scripted(saying(registration("7"))) as hub, hub.hub.client() as client:
            one = bulkload.Registration(
                kind="AppleTemplate",
                handle=APPLE,
                registration_id="7",
                etag="9",
                expiration_time="2030-01-01",
                template=Template(body="{}"),
            )
            await client.put_registration(one, etag="*")
        assert hub.asked == ["PUT /devices/registrations/7?api-version=2015-01"]
        assert hub.headers[0]["If-Match"] == "*"
        assert b"ETag" not in hub.bodies[0]
        assert b"ExpirationTime" not in hub.bodies[0]

    async def test_an_installation_is_read_and_deleted(self) -> None:
        async with Emulator(hub="devices") as emulator:
            hub = hub_of(emulator)
            async with hub.client() as client:
                assert await client.installation("a") is None
                emulator._service._store.put("a", b'{"installationId":"a","platform":"apns","pushChannel":"00"}')
                told = await client.installation("a")
                assert told is not None
                assert told["pushChannel"] == "00"
                await client.delete_installation("a")
                await client.delete_installation("a")
                assert await client.installation("a") is None

    async def test_a_cap_holds(self) -> None:
        async with Emulator(hub="devices") as emulator, hub_of(emulator).client(rate=40) as client:
            began = asyncio.get_running_loop().time()
            await asyncio.gather(*(client.create_registration_id() for _ in range(30)))
            assert asyncio.get_running_loop().time() - began > 0.6


class TestTheEnd:
    async def test_of_a_block_leaves_no_call_behind(self) -> None:
        async def never(_request: web.BaseRequest) -> web.Response:
            await asyncio.sleep(3600)
            return web.Response()

        async with scripted(lambda request, _n: never(request)) as hub:
            client = hub.hub.client(workers=2)
            async with client:
                calls = [asyncio.create_task(client.registration(str(number))) for number in range(5)]
                while not hub.asked:  # noqa: ASYNC110 - it tells nobody
                    await asyncio.sleep(0)
            for call in calls:
                call.cancel()
            assert all(isinstance(one, BaseException) for one in await asyncio.gather(*calls, return_exceptions=True))

    async def test_of_a_block_by_an_exception_is_that_exception(self) -> None:
        async def fail(hub: bulkload.Hub) -> None:
            async with hub.client() as client:
                await client.create_registration_id()
                raise ZeroDivisionError

        async with Emulator(hub="devices") as emulator:
            with pytest.raises(ZeroDivisionError):
                await fail(hub_of(emulator))


def test_settings_that_are_of_no_use_are_refused() -> None:
    with pytest.raises(bulkload.InputError, match="--workers is at least 1"):
        bulkload.Requesting(workers=0)
    with pytest.raises(bulkload.InputError, match="--rate is a number above 0"):
        bulkload.Requesting(rate=-1)


async def test_a_client_is_opened_for_a_hub_by_itself() -> None:
    settings = bulkload.Requesting(workers=1)
    async with Emulator(hub="devices") as emulator, bulkload.Client(emulator.hub, settings) as client:
        assert await client.create_registration_id()
        assert repr(client) == f"<Client of {emulator.hub.identity}, 0 calls open>"
