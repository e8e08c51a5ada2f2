"""Installations show among the registrations, as the service stores them."""

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from bulkload.emulator.behaviour import Behaviour
from bulkload.registration import Handle, Registration, fold
from tests.registering import Registrar, body, hub

ALERT = '{"aps":{"alert":"$(m)"}}'
TOAST = "<toast/>"
WNS = {"X-WNS-Type": "wns/toast"}

APNS: dict[str, Any] = {
    "installationId": "a1",
    "userId": "u",
    "platform": "apns",
    "pushChannel": "00ff",
    "tags": ["x", "y"],
    "pushVariables": {"v": "1"},
    "expirationTime": "2031-01-01T00:00:00Z",
    "templates": {
        "hello": {"body": ALERT, "tags": ["x", "t"], "expiry": "2030-12-31T23:59Z"},
        "bye": {"body": ALERT},
    },
}
TILED: dict[str, Any] = {
    "installationId": "w1",
    "platform": "wns",
    "pushChannel": "https://w/",
    "tags": ["x"],
    "templates": {"hello": {"body": TOAST, "headers": WNS}},
    "secondaryTiles": {
        "tile": {
            "pushChannel": "https://w/tile",
            "tags": ["z"],
            "templates": {"hello": {"body": TOAST, "headers": WNS, "tags": ["t"]}},
        }
    },
}


@pytest.fixture
async def client() -> AsyncIterator[Registrar]:
    async with hub() as client:
        yield client


def told(registration: Registration) -> dict[str, Any]:
    fields = registration.to_fields()
    del fields["registrationId"]
    return fields


async def test_an_installation_is_an_entry_for_its_device_and_one_for_each_template(client: Registrar) -> None:
    await client.put(APNS)
    native, hello, bye = await client.listed()
    common = {
        "etag": "1",
        "expirationTime": "2031-01-01T00:00:00Z",
        "deviceToken": "00FF",
        "pushVariables": {"v": "1"},
    }
    system = ["$InstallationId:{a1}", "$UserId:{u}", "x", "y"]
    template = {"kind": "AppleTemplate", "bodyTemplate": ALERT}
    assert told(native) == common | {"kind": "Apple", "tags": system}
    assert told(hello) == common | template | {
        "tags": [*system, "t", "hello"],
        "templateName": "hello",
        "expiry": "2030-12-31T23:59Z",
    }
    assert told(bye) == common | template | {"tags": [*system, "bye"], "templateName": "bye"}
    assert len({one.registration_id for one in (native, hello, bye)}) == 3


async def test_a_secondary_tile_has_entries_with_its_channel_and_its_tags(client: Registrar) -> None:
    await client.put(TILED)
    entries = [told(one) for one in await client.of_installation("w1")]
    never = {"etag": "1", "expirationTime": "9999-12-31T23:59:59.9999999Z"}
    template = {"kind": "WindowsTemplate", "templateName": "hello", "bodyTemplate": TOAST, "headers": WNS}
    tile = {"secondaryTileName": "tile", "channelUri": "https://w/tile"}
    assert entries == [
        never | {"kind": "Windows", "channelUri": "https://w/", "tags": ["$InstallationId:{w1}", "x"]},
        never | template | {"channelUri": "https://w/", "tags": ["$InstallationId:{w1}", "x", "hello"]},
        never | tile | {"kind": "Windows", "tags": ["$InstallationId:{w1}", "z"]},
        never | tile | template | {"tags": ["$InstallationId:{w1}", "z", "t", "hello"]},
    ]
    assert await client.found("ChannelUri eq 'https://w/tile'") == [
        one.registration_id for one in await client.listed(path="/tags/z/registrations")
    ]


@pytest.mark.parametrize(
    ("platform", "channel", "kind"),
    [
        ("apns", "00fc", "Apple"),
        ("gcm", "g", "Gcm"),
        ("fcmv1", "f", "FcmV1"),
        ("adm", "a", "Adm"),
        ("mpns", "https://m/", "Mpns"),
        ("wns", "https://w/", "Windows"),
        ("baidu", "u-c", "Baidu"),
        ("xiaomi", "x", "Xiaomi"),
        ("browser", {"endpoint": "https://b/", "p256dh": "p", "auth": "a"}, "Browser"),
        ("browser", '{"endpoint":"https://b/","p256dh":"p","auth":"a"}', "Browser"),
        ("FcmV1", "f", "FcmV1"),
    ],
)
async def test_every_platform_shows_as_its_kind_and_is_found_by_its_channel(
    client: Registrar, platform: str, channel: object, kind: str
) -> None:
    fields = {"installationId": "a1", "platform": platform, "pushChannel": channel}
    assert (await client.put(fields)).status == 200
    handle = Handle.of_installation(fields)
    [one] = await client.listed(f"&$filter={handle.filter}")
    assert (one.kind, one.handle, one.installation_id) == (kind, handle, "a1")


async def test_a_channel_of_baidu_without_a_hyphen_is_told_as_far_as_it_goes(client: Registrar) -> None:
    await client.put({"installationId": "a1", "platform": "baidu", "pushChannel": "alone"})
    reply = await client.ask("GET", "/registrations")
    assert b"<BaiduUserId>alone</BaiduUserId><BaiduChannelId></BaiduChannelId>" in reply.body


@pytest.mark.parametrize("fields", [APNS, TILED | {"secondaryTiles": None}])
async def test_what_is_told_folds_into_the_installation_again(client: Registrar, fields: dict[str, Any]) -> None:
    await client.put(fields)
    folded = fold(await client.listed()).fields
    await client.put(folded)
    assert fold(await client.listed()).fields == folded
    assert folded["tags"] == fields["tags"]
    assert folded["templates"].keys() == fields["templates"].keys()


async def test_ids_and_places_stay_while_etags_count_what_was_written(client: Registrar) -> None:
    await client.put(APNS)
    await client.create()
    before = await client.listed()
    await client.put(APNS)
    await client.put(APNS | {"tags": ["new"], "pushChannel": "11ee"})
    after = await client.listed()
    assert [one.registration_id for one in after] == [one.registration_id for one in before]
    assert [one.etag for one in after] == ["3", "3", "3", "1"]
    assert await client.found("DeviceToken eq '00FF'") == []
    assert await client.listed(path="/tags/y/registrations") == []
    assert len(await client.listed(path="/tags/new/registrations")) == 3


async def test_what_an_installation_has_no_more_goes_and_what_is_new_comes_last(client: Registrar) -> None:
    await client.put(APNS)
    native, _, bye = await client.listed()
    await client.put(APNS | {"templates": {"bye": {"body": ALERT}, "third": {"body": ALERT}}})
    entries = await client.listed()
    assert [one.registration_id for one in entries[:2]] == [native.registration_id, bye.registration_id]
    assert [one.template.name for one in entries if one.template] == ["bye", "third"]


async def test_a_deleted_installation_s_entries_go_and_begin_anew(client: Registrar) -> None:
    await client.put(APNS)
    await client.put(APNS)
    assert {one.etag for one in await client.listed()} == {"2"}
    await client.ask("DELETE")
    await client.put(APNS | {"templates": {}})
    [native] = await client.listed()
    assert native.etag == "1"
    await client.ask("DELETE")
    assert await client.listed() == []
    assert await client.listed(path="/tags/x/registrations") == []


async def test_entries_come_change_and_go_after_the_visibility_delay() -> None:
    now = 1_000_000.0
    async with hub(behaviour=Behaviour(visibility_delay=5), clock=lambda: now) as client:

        async def shown() -> list[tuple[str | None, tuple[str, ...]]]:
            return [(one.etag, one.own_tags) for one in await client.listed()]

        one = {"installationId": "a1", "platform": "gcm", "pushChannel": "g", "tags": ["a"]}
        await client.put(one)
        own = await client.create(body("<Tags>own</Tags><DeviceToken>00FF</DeviceToken>"))
        assert await shown() == [("1", ("own",))], "a registration is there at once"
        now += 2
        await client.put(one | {"tags": ["b"]})
        now += 3
        assert await shown() == [("1", ("own",)), ("1", ("a",))]
        now += 2
        assert await shown() == [("1", ("own",)), ("2", ("b",))]
        await client.ask("DELETE")
        now += 4.9
        assert len(await shown()) == 2
        now += 0.1
        assert [id_.registration_id for id_ in await client.listed()] == [own]


async def test_the_entry_of_a_device_takes_its_installation_along(client: Registrar) -> None:
    await client.put(APNS)
    entries = await client.listed()
    # As recorded: a client that cleans up deletes what it was told, one after the other.
    for number, entry in enumerate(entries):
        assert entry.registration_id is not None
        reply = await client.remove(entry.registration_id)
        assert (reply.status, reply.body) == (200, b""), number
        assert (await client.ask("GET")).status == 404
        assert await client.listed() == []
    assert entries[1].registration_id is not None
    assert (await client.remove(entries[1].registration_id)).status == 404


async def test_the_entry_of_a_template_takes_that_along(client: Registrar) -> None:
    await client.put(APNS)
    _, hello, _ = await client.listed()
    assert hello.registration_id is not None
    assert (await client.remove(hello.registration_id, if_match='W/"7"')).status == 412
    assert (await client.remove(hello.registration_id, if_match='W/"1"')).status == 200
    assert (await client.remove(hello.registration_id)).status == 404
    assert orjson.loads((await client.ask("GET")).body)["templates"].keys() == {"bye"}
    assert [one.template.name for one in await client.listed() if one.template] == ["bye"]


@pytest.mark.parametrize(("number", "left"), [(1, [0, 2, 3]), (2, [0, 1]), (3, [0, 1, 2])])
async def test_the_entry_of_a_tile_takes_that_along(client: Registrar, number: int, left: list[int]) -> None:
    await client.put(TILED)
    ids = [one.registration_id for one in await client.listed()]
    removed = ids[number]
    assert removed is not None
    assert (await client.remove(removed)).status == 200
    assert [one.registration_id for one in await client.listed()] == [ids[place] for place in left]
    held = orjson.loads((await client.ask("GET", "/installations/w1")).body)
    assert ("tile" in held["secondaryTiles"]) == (number != 2)


async def test_an_entry_of_an_installation_is_read_alone_but_not_overwritten(client: Registrar) -> None:
    await client.put(APNS)
    native, *_ = await client.listed()
    id_ = native.registration_id
    reply = await client.ask("GET", f"/registrations/{id_}")
    assert (reply.status, reply.headers["ETag"]) == (200, 'W/"1"')
    assert (await client.write(str(id_), if_match="*")).status == 409


async def test_ids_have_the_service_s_form(client: Registrar) -> None:
    for number in range(50):
        await client.put({"installationId": f"a{number}", "platform": "gcm", "pushChannel": "g"})
    assert client.masked(" ".join(str(one.registration_id) for one in await client.listed())) == " ".join(["ID"] * 50)


async def test_a_list_that_has_much_to_catch_up_with_lets_others_pass(client: Registrar) -> None:
    store = client.emulator._service._store
    for number in range(1000):
        store.put(f"a{number}", orjson.dumps({"installationId": f"a{number}", "platform": "gcm", "pushChannel": "g"}))
    service = client.emulator._service
    turns = 0
    while not service.is_ready("/devices/registrations"):
        turns += 1
        store.delete(f"a{turns}")
        store.delete("a999")
        assert service.is_ready("/devices/installations/a1")
    assert turns >= 3
    entries = await client.listed("&$top=1000")
    gone = {f"a{number}" for number in (*range(1, turns + 1), 999)}
    assert [one.installation_id for one in entries] == [f"a{n}" for n in range(1000) if f"a{n}" not in gone]
