"""A PATCH changes an installation as the service's own clients mean it."""

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from bulkload.emulator.behaviour import Behaviour
from tests.registering import Registrar, hub
from tests.test_emulator import Reply

ALERT = '{"aps":{}}'
HELD: dict[str, Any] = {
    "installationId": "a1",
    "platform": "apns",
    "pushChannel": "00ff",
    "userId": "u",
    "tags": ["x", "y"],
    "templates": {"t": {"body": ALERT, "tags": ["own"]}, "a/b~c": {"body": ALERT}},
    "pushVariables": {"v": "1"},
}
TILED: dict[str, Any] = {
    "installationId": "a1",
    "platform": "wns",
    "pushChannel": "https://w/",
    "templates": {"t": {"body": "<toast/>", "headers": {"X-WNS-Type": "wns/toast"}}},
    "secondaryTiles": {"tile": {"pushChannel": "https://t/", "tags": ["z"]}},
}


@pytest.fixture
async def client() -> AsyncIterator[Registrar]:
    async with hub() as client:
        yield client


async def patch(client: Registrar, *operations: object) -> Reply:
    return await client.ask("PATCH", data=orjson.dumps(operations))


def add(path: str, value: object) -> dict[str, object]:
    return {"op": "add", "path": path, "value": value}


def replace(path: str, value: object) -> dict[str, object]:
    return {"op": "replace", "path": path, "value": value}


def remove(path: str) -> dict[str, object]:
    return {"op": "remove", "path": path}


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in HELD.items() if key != name}


T = HELD["templates"]


@pytest.mark.parametrize(
    ("operations", "expected"),
    [
        ([], HELD),
        ([add("/tags", "z")], HELD | {"tags": ["x", "y", "z"]}),
        ([add("/tags", "y")], HELD),
        ([add("/tags", "a, b,x")], HELD | {"tags": ["x", "y", "a", "b"]}),
        ([add("/tags", '["a","b"]')], HELD | {"tags": ["x", "y", "a", "b"]}),
        ([replace("/tags", "a,b")], HELD | {"tags": ["a", "b"]}),
        ([replace("/tags", '["a"]')], HELD | {"tags": ["a"]}),
        ([remove("/tags/x")], HELD | {"tags": ["y"]}),
        ([remove("/tags/x"), remove("/tags/y")], without("tags")),
        ([remove("/tags/nothing")], HELD),
        ([remove("/tags")], without("tags")),
        ([replace("/pushChannel", "11ee")], HELD | {"pushChannel": "11ee"}),
        ([add("/userId", "other")], HELD | {"userId": "other"}),
        ([remove("/userId")], without("userId")),
        ([remove("/userId"), remove("/userId")], without("userId")),
        ([replace("/expirationTime", "2031-01-01T00:00:00Z")], HELD | {"expirationTime": "2031-01-01T00:00:00Z"}),
        ([replace("/platform", "GCM"), replace("/pushChannel", "g")], HELD | {"platform": "gcm", "pushChannel": "g"}),
        (
            [add("/templates/new", '{"body":"{}","tags":["n"]}')],
            HELD | {"templates": T | {"new": {"body": "{}", "tags": ["n"]}}},
        ),
        ([replace("/templates/t", '{"body":"{}"}')], HELD | {"templates": T | {"t": {"body": "{}"}}}),
        ([replace("/templates/t/body", "{}")], HELD | {"templates": T | {"t": {"body": "{}", "tags": ["own"]}}}),
        (
            [add("/templates/t/tags", "more")],
            HELD | {"templates": T | {"t": {"body": ALERT, "tags": ["own", "more"]}}},
        ),
        ([remove("/templates/t/tags/own")], HELD | {"templates": T | {"t": {"body": ALERT}}}),
        (
            [add("/templates/t/expiry", "$(e)")],
            HELD | {"templates": T | {"t": {"body": ALERT, "tags": ["own"], "expiry": "$(e)"}}},
        ),
        ([add("/templates/new/body", "{}")], HELD | {"templates": T | {"new": {"body": "{}"}}}),
        ([remove("/templates/t")], HELD | {"templates": {"a/b~c": {"body": ALERT}}}),
        ([remove("/templates/a~1b~0c")], HELD | {"templates": {"t": T["t"]}}),
        ([remove("/templates/nothing/body")], HELD),
        ([replace("/templates", '{"only":{"body":"{}"}}')], HELD | {"templates": {"only": {"body": "{}"}}}),
        ([remove("/templates")], without("templates")),
        ([add("/pushVariables/w", "2")], HELD | {"pushVariables": {"v": "1", "w": "2"}}),
        ([replace("/pushVariables", '{"w":"2"}')], HELD | {"pushVariables": {"w": "2"}}),
        ([remove("/pushVariables/v")], HELD | {"pushVariables": {}}),
        ([{"op": "Replace", "path": "/userId", "value": "new", "more": 1}], HELD | {"userId": "new"}),
        ([{"op": "remove", "path": "/userId", "value": 1}], without("userId")),
    ],
)
async def test_operations_change_what_they_lead_to(
    client: Registrar, operations: list[object], expected: dict[str, Any]
) -> None:
    await client.put(HELD)
    reply = await patch(client, *operations)
    assert (reply.status, reply.body) == (200, b"")
    assert orjson.loads(client.emulator.installations["a1"]) == expected


@pytest.mark.parametrize(
    ("operation", "tiles"),
    [
        (remove("/secondaryTiles/tile"), {}),
        (add("/secondaryTiles/tile/tags", "y"), {"tile": {"pushChannel": "https://t/", "tags": ["z", "y"]}}),
        (
            replace("/secondaryTiles/tile/pushChannel", "https://n/"),
            {"tile": {"pushChannel": "https://n/", "tags": ["z"]}},
        ),
        (replace("/secondaryTiles/tile", '{"pushChannel":"https://n/"}'), {"tile": {"pushChannel": "https://n/"}}),
        (
            add("/secondaryTiles/tile/templates/t", orjson.dumps(TILED["templates"]["t"]).decode()),
            {"tile": {"pushChannel": "https://t/", "tags": ["z"], "templates": TILED["templates"]}},
        ),
    ],
)
async def test_secondary_tiles_are_reached_too(
    client: Registrar, operation: dict[str, object], tiles: dict[str, Any]
) -> None:
    await client.put(TILED)
    assert (await patch(client, operation)).status == 200
    assert orjson.loads(client.emulator.installations["a1"]) == TILED | {"secondaryTiles": tiles}
    headers = replace("/templates/t/headers/X-WNS-Type", "wns/tile")
    assert (await patch(client, headers)).status == 200
    held = orjson.loads(client.emulator.installations["a1"])
    assert held["templates"]["t"]["headers"] == {"X-WNS-Type": "wns/tile"}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not a JSON text"),
        (b"{}", "a patch is a list of operations"),
        (b"[1]", "operation 0: it is an object of op, path and value"),
        (orjson.dumps([add("/tags", "a"), {"op": "test", "path": "/tags", "value": "a"}]), "operation 1: op is add, "),
        (orjson.dumps([{"path": "/tags", "value": "a"}]), "operation 0: op is add, remove or replace"),
        (orjson.dumps([add("tags", "a")]), "operation 0: path is a string that begins with /"),
        (orjson.dumps([{"op": "remove"}]), "operation 0: path is a string that begins with /"),
        (orjson.dumps([add("/tags", ["a"])]), "operation 0: value is a string"),
        (orjson.dumps([{"op": "replace", "path": "/userId"}]), "operation 0: value is a string"),
        (orjson.dumps([add("/tags/a", "a")]), "operation 0: a single tag can only be removed"),
        (orjson.dumps([remove("/tags/a/b")]), "operation 0: a single tag can only be removed"),
        (orjson.dumps([add("/tags", "[1]")]), "operation 0: value is a list of tags"),
        (orjson.dumps([add("/tags", "[")]), "operation 0: value is no JSON text"),
        (orjson.dumps([add("/templates/t", "text")]), "operation 0: value is no JSON text"),
        (orjson.dumps([add("/templates/t", "[]")]), "operation 0: value is the JSON text of an object"),
        (orjson.dumps([add("/", "a")]), "operation 0: nothing can be changed at "),
        (orjson.dumps([add("/installationId", "a2")]), "operation 0: nothing can be changed at installationId"),
        (orjson.dumps([add("/userId/x", "a")]), "operation 0: nothing can be changed at userId/x"),
        (orjson.dumps([add("/templates/t/x", "a")]), "operation 0: nothing can be changed at x"),
        (orjson.dumps([remove("/pushChannel")]), "pushChannel is missing"),
        (orjson.dumps([replace("/pushChannel", "no hex")]), "pushChannel is a device token"),
        (orjson.dumps([add("/tags", "no good")]), "tags[2] 'no good' is not 1 to 120 letters"),
        (orjson.dumps([add("/templates/new", "{}")]), "templates.new.body is missing"),
    ],
)
async def test_a_bad_list_or_what_it_would_make_is_refused_and_nothing_changes(
    client: Registrar, data: bytes, words: str
) -> None:
    await client.put(HELD)
    before = client.emulator.installations["a1"]
    reply = await client.ask("PATCH", data=data)
    assert reply.status == 400
    assert reply.detail.startswith(f"Installation validation failed with following error(s):\r\n{words}")
    assert client.emulator.installations["a1"] == before


async def test_a_patch_of_nothing_is_answered_404(client: Registrar) -> None:
    reply = await patch(client, add("/tags", "a"))
    assert (reply.status, reply.detail) == (404, "Installation not found")


async def test_a_patch_changes_the_entries_and_is_counted(client: Registrar) -> None:
    await client.put(HELD)
    before = await client.listed()
    await patch(client, add("/tags", "new"))
    after = await client.listed()
    assert [one.registration_id for one in after] == [one.registration_id for one in before]
    assert all("new" in one.tags and one.etag == "2" for one in after)
    assert client.emulator.requests.patched == 1


async def test_a_patch_changes_what_was_accepted_though_it_cannot_be_seen_yet() -> None:
    now = 1_000_000.0
    async with hub(behaviour=Behaviour(visibility_delay=5), clock=lambda: now) as client:
        await client.put(HELD)
        assert (await patch(client, add("/tags", "new"))).status == 200
        assert (await client.ask("GET")).status == 404
        now += 5
        assert orjson.loads((await client.ask("GET")).body)["tags"] == ["x", "y", "new"]
