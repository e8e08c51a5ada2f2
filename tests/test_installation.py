"""A body is sent as it came, mended where the service reads it otherwise, or has flaws; nothing ever raises."""

import json
import math
from collections.abc import Callable
from enum import StrEnum
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bulkload.installation import PLATFORMS, Checker, Finding, Flaw, Installation, check, push_channels

# A machine with much else to do is no failure.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

GOOD: dict[str, Any] = {"installationId": "a1", "platform": "apns", "pushChannel": "00ff"}

# One of everything, so that every rule has something to look at.
FULL: dict[str, Any] = {
    "installationId": "a1",
    "platform": "wns",
    "pushChannel": "https://wns.example/1",
    "userId": "u",
    "tags": ["news"],
    "templates": {
        "t": {"body": "<toast/>", "headers": {"X-WNS-Type": "wns/toast"}, "expiry": None, "tags": ["x"], "own": 1}
    },
    "secondaryTiles": {
        "t1": {
            "pushChannel": "https://wns.example/2",
            "tags": ["x"],
            "templates": {"t": {"body": "x", "headers": {"X-WNS-Type": "wns/raw"}}},
            "lastUpdate": "x",
        }
    },
    "pushVariables": {"a": "b"},
    "expirationTime": "2030-12-31",
    "lastUpdate": "2020",
    "own": {"a": 1},
}

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.sampled_from(["apns", "browser", "fcmv1", "mpns", "wns", "a1", "{}", "<a/>", "wns/raw", "https://x/", "$(a)"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=8), inner, max_size=4)
        | st.dictionaries(st.sampled_from(["body", "headers", "tags", "templates", "pushChannel", "t1"]), inner)
    ),
    max_leaves=12,
)

IDS = st.from_regex(r"[A-Za-z0-9._-]{1,60}", fullmatch=True).filter(lambda text: text not in (".", ".."))
TAGS = st.lists(st.from_regex(r"[A-Za-z0-9_@#.:-]{1,120}", fullmatch=True), max_size=5)

NAMES = sorted({*FULL, "userID", "user", "pushChannelExpired"})
OTHERS = st.text().filter(lambda name: name not in {*NAMES, "lastActiveOn", "expiredPushChannel"})


def places(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The paths of all that a value holds."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for name, part in inner for place in places(part, (*path, name)))]


def replaced(value: Any, path: tuple[str | int, ...], new: object) -> Any:
    """A value with another at a path within it."""
    if not path:
        return new
    copy = value.copy()
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


def with_(**changes: Any) -> bytes:
    """A good body with some fields changed; `...` takes a field away."""
    fields = {name: value for name, value in {**GOOD, **changes}.items() if value is not ...}
    return orjson.dumps(fields)


def deep(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


def flaw(data: bytes) -> Flaw:
    checked = check(data)
    assert isinstance(checked, Flaw)
    assert_tellable(checked)
    return checked


def installation(data: bytes) -> Installation:
    checked = check(data)
    assert isinstance(checked, Installation), str(checked)
    return checked


def assert_tellable(checked: Flaw | Installation) -> None:
    """What is found is told in lines that a terminal bears, and what is sent is JSON."""
    for finding in checked.findings if isinstance(checked, Flaw) else checked.warnings:
        assert finding.message.isprintable()
        assert len(finding.message) < 400
    if isinstance(checked, Installation):
        assert orjson.loads(checked.body)["installationId"] == checked.id


@UNHURRIED
@given(data=st.binary() | st.binary().map(lambda junk: with_()[:20] + junk) | st.text().map(str.encode))
def test_whatever_bytes_come_they_are_checked_and_never_raise(data: bytes) -> None:
    assert_tellable(check(data))


@UNHURRIED
@given(fields=st.dictionaries(st.sampled_from(NAMES), JSON), good=st.sets(st.sampled_from(sorted(FULL))))
def test_whatever_json_comes_it_is_checked_and_never_raises(fields: dict[str, Any], good: set[str]) -> None:
    assert_tellable(check(orjson.dumps(fields | {name: FULL[name] for name in good})))


@settings(UNHURRIED, max_examples=300)
@given(place=st.sampled_from(places(FULL)), value=JSON, platform=st.sampled_from(sorted(PLATFORMS)))
def test_whatever_stands_in_the_place_of_one_value_it_is_checked_and_never_raises(
    place: tuple[str | int, ...], value: object, platform: str
) -> None:
    fields = replaced(FULL | {"platform": platform}, place, value)
    assert_tellable(check(orjson.dumps(fields)))
    if isinstance(fields, dict):
        assert_tellable(Checker().check_fields(fields))


# What no JSON text holds, but a function's values may.
FOREIGN = [
    math.nan,
    math.inf,
    "\ud800",
    2**70,
    {1: 2},
    {"\udfff": 1},
    {1, 2},
    b"x",
    object(),
    deep(300),
    deep(10_000),
    ("a", "b"),
    {("a",): 1},
    1j,
]


@pytest.mark.parametrize("value", FOREIGN, ids=lambda value: f"{type(value).__name__}")
def test_a_made_value_of_whatever_kind_is_checked_and_never_raises(value: object) -> None:
    for place in places(FULL):
        made = replaced(FULL, place, value)
        if isinstance(made, dict):
            assert_tellable(Checker().check_fields(made))
            assert_tellable(Checker().check_fields(made, (Finding("id-repaired", "x"),)))


@pytest.mark.parametrize(
    "value", ["\ud800", 2**70, {1: 2}, {1, 2}, b"x", object()], ids=lambda value: type(value).__name__
)
def test_what_json_cannot_say_is_a_flaw(value: object) -> None:
    for checked in (
        Checker().check_fields({**GOOD, "pushVariables": {"a": value}}),
        Checker().check_fields({**GOOD, "tags": [value]}),
    ):
        assert isinstance(checked, Flaw)
        assert (checked.code, checked.id) == ("not-json-value", "a1")


def test_what_is_made_too_deep_to_be_written_is_a_flaw() -> None:
    checked = Checker().check_fields({**GOOD, "pushVariables": {"a": deep(300)}})
    assert isinstance(checked, Flaw)
    assert (checked.code, checked.id) == ("too-deep", "a1")


def test_made_values_are_checked_as_they_are_written() -> None:
    class Platform(StrEnum):
        APNS = "apns"

    made = {**GOOD, "platform": Platform.APNS, "tags": ("news", "lang:en")}
    checked = Checker().check_fields(made)
    assert isinstance(checked, Installation)
    assert orjson.loads(checked.body) == {**GOOD, "tags": ["news", "lang:en"]}


def test_made_fields_are_written_once_checked_and_left_as_they_are() -> None:
    made = {**GOOD, "platform": "APNS", "userID": "u", "lastUpdate": "x"}
    before = dict(made)
    checked = Checker().check_fields(made)
    assert isinstance(checked, Installation)
    assert checked.body == orjson.dumps(checked.fields) == orjson.dumps({**GOOD, "userId": "u"})
    assert made == before


def test_notes_come_first_among_what_is_found() -> None:
    note = Finding("tag-repaired", "tags[0] was mended")
    checked = Checker().check_fields({**GOOD, "own": 1}, (note,))
    assert isinstance(checked, Installation)
    assert [finding.code for finding in checked.warnings] == ["tag-repaired", "unknown-field"]
    assert checked.warnings[0] is note


def test_a_denied_note_is_a_flaw() -> None:
    checked = Checker(deny=["tag-repaired"]).check_fields(GOOD, (Finding("tag-repaired", "tags[0] was mended"),))
    assert isinstance(checked, Flaw)
    assert checked.code == "tag-repaired"


@pytest.mark.parametrize("depth", [100, 300, 1000, 1015])
def test_nesting_is_no_crash_wherever_it_is(depth: int) -> None:
    nested = b"[" * depth + b"]" * depth
    for place in places(FULL)[1:]:
        data = orjson.dumps(replaced(FULL, place, "HERE")).replace(b'"HERE"', nested)
        assert_tellable(check(data))
        assert_tellable(check(data.replace(b'"wns"', b'"WNS"')))


def test_of_duplicate_keys_the_last_counts() -> None:
    data = with_()[:-1] + b',"platform":"nokia","platform":"apns"}'
    assert installation(data).body == data
    assert flaw(with_()[:-1] + b',"platform":"nokia"}').code == "platform-unknown"


@UNHURRIED
@given(
    id_=IDS,
    platform=st.sampled_from(sorted(PLATFORMS - {"browser"})),
    tags=TAGS | st.none(),
    rest=st.dictionaries(OTHERS, JSON, max_size=4),
    indent=st.sampled_from([None, 1]),
    is_ascii=st.booleans(),
)
def test_a_body_that_needs_no_mending_is_the_very_bytes_that_came(
    id_: str, platform: str, tags: list[str] | None, rest: dict[str, Any], indent: int | None, is_ascii: bool
) -> None:
    channel = {"apns": "00ff", "wns": "https://x/1", "mpns": "http://x/1"}.get(platform, "c")
    fields = {**rest, "installationId": id_, "platform": platform, "pushChannel": channel, "tags": tags}
    data = json.dumps(fields, indent=indent, ensure_ascii=is_ascii).encode()
    checked = installation(data)
    assert checked == Installation(id_, data, orjson.loads(data), checked.warnings)
    assert [finding.code for finding in checked.warnings] == ["unknown-field"] * len(rest)


@UNHURRIED
@given(
    platform=st.sampled_from(["apns", "gcm", "fcmv1", "adm", "baidu", "xiaomi"]).flatmap(
        lambda name: st.tuples(*(st.sampled_from([letter, letter.upper()]) for letter in name)).map("".join)
    ),
    rest=st.dictionaries(OTHERS, JSON, max_size=4),
)
def test_a_platform_in_any_case_is_sent_in_lower_case_and_nothing_else_is_changed(
    platform: str, rest: dict[str, Any]
) -> None:
    fields = {**GOOD, **rest, "platform": platform}
    body = installation(orjson.dumps(fields)).body
    assert orjson.loads(body) == orjson.loads(orjson.dumps(fields | {"platform": platform.lower()}))
    assert list(orjson.loads(body)) == list(fields)


@pytest.mark.parametrize("platform", ["apn\u017f", "gcm\u0307", "\uff21\uff30\uff2e\uff33", "X\u0130aomi", "m\u03a1ns"])
def test_letters_that_only_look_like_a_platform_s_are_not(platform: str) -> None:
    assert flaw(with_(platform=platform)).code == "platform-unknown"


@pytest.mark.parametrize("value", ["user1", "", None])
def test_user_id_in_the_specification_s_spelling_is_sent_in_the_service_s(value: object) -> None:
    assert orjson.loads(installation(with_(userID=value)).body) == {**GOOD, "userId": value}


def test_of_two_spellings_of_the_user_id_the_service_s_own_is_sent() -> None:
    assert orjson.loads(installation(with_(userID="one", userId="two")).body) == {**GOOD, "userId": "two"}
    assert orjson.loads(installation(with_(userId="two", userID="one")).body) == {**GOOD, "userId": "two"}


def test_what_only_the_service_sets_is_left_out_of_installations_and_tiles_and_the_rest_stays() -> None:
    checked = installation(orjson.dumps(FULL))
    sent = orjson.loads(checked.body)
    assert sent == checked.fields
    assert list(sent) == [name for name in FULL if name != "lastUpdate"]
    assert "lastUpdate" not in sent["secondaryTiles"]["t1"]
    sent["secondaryTiles"]["t1"]["lastUpdate"] = "x"
    assert sent | {"lastUpdate": "2020"} == FULL


def test_an_installation_as_the_service_gives_it_back_can_be_sent_again() -> None:
    """The recorded answer to a GET, with the nulls of a recorded PUT."""
    data = with_(
        platform="Apns",
        userId=None,
        tags=None,
        templates={"t": {"body": '{"aps":{}}', "tags": ["t"], "headers": None, "expiry": None}},
        secondaryTiles=None,
        pushVariables=None,
        pushChannelExpired=None,
        expirationTime="9999-12-31T23:59:59.9999999Z",
    )
    assert [finding.code for finding in installation(data).warnings] == ["expiration-time", "read-only-field"]


def test_mending_checks_what_it_sends() -> None:
    body = installation(with_(platform="APNS", userID="u", tags=["news"])).body
    assert check(body) == Installation("a1", body, orjson.loads(body))


def test_an_allowed_error_is_sent_as_it_is() -> None:
    checker = Checker(allow=["platform-unknown", "push-channel-missing", "id-characters"])
    data = with_(platform="Nokia", pushChannel=..., installationId="a b")
    checked = checker.check(data)
    assert isinstance(checked, Installation)
    assert (checked.id, checked.body) == ("a b", data)


def test_a_body_that_is_too_deep_to_be_mended_is_a_flaw() -> None:
    rest = b',"x":' + b"[" * 300 + b"]" * 300 + b"}"
    assert flaw(with_(platform="APNS")[:-1] + rest).code == "too-deep"
    unmended = with_()[:-1] + rest
    assert installation(unmended).body == unmended


@pytest.mark.parametrize(
    ("data", "id_"),
    [
        (with_(platform="fcm"), "a1"),
        (with_(platform="APNS")[:-1] + b',"x":' + b"[" * 300 + b"]" * 300 + b"}", "a1"),
        (with_(installationId="a b"), "a b"),
        (with_(installationId="x y" * 1000), ("x y" * 1000)[:200]),
        (with_(installationId=5), None),
        (with_(installationId=...), None),
        (b"{", None),
        (b"[]", None),
    ],
)
def test_a_flaw_names_the_record_s_id_as_far_as_it_has_one(data: bytes, id_: str | None) -> None:
    assert flaw(data).id == id_


HUGE: list[Callable[[object], bytes]] = [
    lambda huge: with_(installationId=huge),
    lambda huge: with_(platform=huge),
    lambda huge: with_(platform=[huge]),
    lambda huge: with_(userId=huge),
    lambda huge: with_(tags=[huge]),
    lambda huge: with_(expirationTime=huge),
    lambda huge: with_(templates={huge: 1}),
    lambda huge: with_(templates={"t": {"body": "{}", "expiry": huge}}),
    lambda huge: with_(platform="wns", pushChannel="https://x/", secondaryTiles={huge: 1}),
]


@pytest.mark.parametrize("huge", ["é" * 100_000, "$\n\u2028" * 10_000, "\0" * 1000], ids=["long", "lines", "nul"])
@pytest.mark.parametrize("case", range(len(HUGE)))
def test_a_flaw_shows_a_long_value_shortened_and_on_one_line(case: int, huge: str) -> None:
    assert len(flaw(HUGE[case](huge)).message) < 250


def test_a_finding_never_shows_a_push_channel() -> None:
    secret = "top-secret"
    parts = {"endpoint": secret, "p256dh": f"{secret} 1", "auth": [secret], "keys": {"auth": secret}}
    for channel in (secret, f"{secret} ", [secret], parts, json.dumps(parts), f"{{{secret}", {secret: secret}):
        for platform in (*sorted(PLATFORMS), "fcm", 1):
            for data in (
                with_(pushChannel=channel, platform=platform),
                with_(pushChannel=channel, platform=platform) + b"}",
                with_(pushChannel=channel, platform=platform)[:-3],
                with_(platform=platform, secondaryTiles={"t": {"pushChannel": channel}}),
            ):
                checked = check(data)
                told = checked.findings if isinstance(checked, Flaw) else checked.warnings
                assert secret not in repr(told)
                assert secret not in str(checked)


def test_what_is_remembered_of_good_records_changes_no_answer() -> None:
    checker = Checker()
    body = {"t": {"body": '{"aps":{}}', "tags": ["x"]}}
    assert isinstance(checker.check(with_(tags=["x"], templates=body)), Installation)
    wns = with_(platform="wns", pushChannel="https://x/", templates=body)
    assert isinstance(checker.check(wns), Flaw)
    assert isinstance(checker.check(with_(tags=["x", "$x"])), Flaw)
    assert isinstance(checker.check(with_(tags="x")), Flaw)
    assert isinstance(checker.check(with_(tags=["x"] * 60)), Installation)


def test_what_is_remembered_stays_bounded() -> None:
    checker = Checker()
    for number in range(25_000):
        templates = {"t": {"body": "{}", "tags": [f"user:{number}"]}}
        assert isinstance(checker.check(with_(tags=[f"user:{number}"], templates=templates)), Installation)
    assert len(checker._good_tags) <= 10_000
    assert sum(len(known.good_templates) for known in checker._known.values()) <= 1_000


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ["00ff"]),
        ({"pushChannel": "a" * 1000}, ["a" * 1000]),
        ({"pushChannel": {"endpoint": "https://e/", "p256dh": "pp", "auth": "a"}}, ["https://e/", "pp", "a"]),
        ({"pushChannel": {"endpoint": "e", "p256dh": None, "auth": 5}}, ["e"]),
        ({"secondaryTiles": {"t1": {"pushChannel": "tile-1"}, "t2": {"pushChannel": "t2"}}}, ["tile-1", "00ff", "t2"]),
        ({"secondaryTiles": {"t1": {"pushChannel": "00ff"}}}, ["00ff"]),
        ({"secondaryTiles": {"t1": {"tags": []}, "t2": None, "t3": "x"}}, ["00ff"]),
        ({"secondaryTiles": ["x"]}, ["00ff"]),
        ({"secondaryTiles": None}, ["00ff"]),
        ({"tags": ["pushChannel"], "templates": {"pushChannel": "no"}}, ["00ff"]),
    ],
)
def test_every_push_channel_of_a_body_is_found_the_longest_first(changes: dict[str, Any], expected: list[str]) -> None:
    found = push_channels(with_(**changes))
    assert sorted(found) == sorted(expected)
    assert [len(value) for value in found] == sorted(map(len, expected), reverse=True)


@UNHURRIED
@given(fields=st.dictionaries(st.sampled_from(NAMES), JSON))
def test_the_push_channels_of_whatever_object_comes_are_texts(fields: dict[str, Any]) -> None:
    assert all(push_channels(orjson.dumps(fields)))


def test_the_parts_of_a_browser_s_channel_in_a_json_string_are_push_channels_too() -> None:
    channel = '{"endpoint": "https://e/", "p256dh": "pp", "auth": "a"}'
    assert push_channels(with_(platform="browser", pushChannel=channel)) == [channel, "https://e/", "pp", "a"]
    assert push_channels(with_(platform="browser", pushChannel="{broken")) == ["{broken"]
