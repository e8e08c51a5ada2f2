"""A body is sent as it came, mended where the service reads it otherwise, or has a flaw that names the place."""

import json
from typing import Any, NamedTuple

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bulkload.installation import PLATFORMS, Flaw, Installation, check, push_channels

# A machine with much else to do is no failure.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

GOOD: dict[str, Any] = {"installationId": "a1", "platform": "apns", "pushChannel": "00ff"}

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)

IDS = st.from_regex(r"[A-Za-z0-9._-]{1,60}", fullmatch=True).filter(lambda text: text not in (".", ".."))
TAGS = st.lists(st.from_regex(r"[A-Za-z0-9_@#.:-]{1,120}", fullmatch=True), max_size=5)

NAMES = ("installationId", "platform", "pushChannel", "tags", "userId", "userID", "templates", "secondaryTiles")


def with_(**changes: Any) -> bytes:
    """A good body with some fields changed; `...` takes a field away."""
    fields = {name: value for name, value in {**GOOD, **changes}.items() if value is not ...}
    return orjson.dumps(fields)


def flaw(data: bytes) -> Flaw:
    checked = check(data)
    assert isinstance(checked, Flaw)
    assert len(checked.message.splitlines()) == 1
    return checked


def installation(data: bytes) -> Installation:
    checked = check(data)
    assert isinstance(checked, Installation), str(checked)
    return checked


def short(value: str | bytes) -> str:
    """A case's name that a terminal line bears."""
    return repr(value)[:60]


class Rule(NamedTuple):
    """The place that a rule's flaw names, bodies that break this rule only, and close ones that do not."""

    place: str
    bad: list[bytes]
    good: list[bytes]


RULES: dict[str, Rule] = {
    "not-json": Rule(
        "not a JSON text",
        [
            b"",
            b" ",
            b"installationId=a1",
            with_()[:-1],
            with_() + b",",
            with_() + with_(),
            with_().replace(b'"', b"'"),
            with_().replace(b"}", b",}"),
            b"\xef\xbb\xbf" + with_(),
            with_().replace(b"00ff", b"\xff"),
            with_().replace(b"00ff", b"\xed\xa0\x80"),
            with_().replace(b"00ff", b"\\ud800"),
            with_().replace(b"00ff", b"\x00"),
            with_().replace(b'"00ff"', b"NaN"),
            with_().decode().encode("utf-16"),
            b"[" * 100_000,
        ],
        [with_(), b" \r\n\t" + with_() + b"\n", with_().replace(b"00ff", b"\\u0000"), with_(pushChannel="ключ-🔑")],
    ),
    "not-an-object": Rule(
        "an installation is a JSON object",
        [b"[]", b"null", b"true", b"1", b'"a1"', b"[" + with_() + b"]"],
        [with_()],
    ),
    "id-missing": Rule(
        "installationId is missing",
        [b"{}", with_(installationId=...), with_(installationId=""), with_(installationId=None)],
        [with_(installationId="0")],
    ),
    "id-not-text": Rule(
        "installationId is a string",
        [with_(installationId=value) for value in (1, 1.5, True, ["a1"], {"a": 1})],
        [with_(installationId="1")],
    ),
    "id-characters": Rule(
        "installationId ",
        [
            with_(installationId=value)
            for value in (
                "a b",
                "a:b",
                "a/b",
                "a%3ab",
                "a?b",
                "é",
                "٣",
                ".",
                "..",
                "a\n",
                "\na",
                " a",
                "a\x00",
                "a" * 9 + "$",
            )
        ],
        [
            with_(installationId=value)
            for value in ("a", "A-b_c.9", "...", "-", "94018932-9656-48dd-aea1-0c2253b4e093", "a" * 500)
        ],
    ),
    "platform-missing": Rule(
        "platform is missing",
        [with_(platform=...), with_(platform=""), with_(platform=None)],
        [with_(platform="wns")],
    ),
    "platform-unknown": Rule(
        "platform ",
        [
            with_(platform=value)
            for value in ("fcm", "ios", "apns ", " apns", "apple", "gcm\n", 1, True, ["apns"], {"a": 1})
        ],
        [with_(platform=value) for value in sorted(PLATFORMS)],
    ),
    "push-channel-missing": Rule(
        "pushChannel is missing",
        [
            with_(pushChannel=...),
            with_(pushChannel=""),
            with_(pushChannel=None),
            with_(platform="browser", pushChannel={}),
        ],
        [with_(pushChannel="0")],
    ),
    "push-channel-type": Rule(
        "pushChannel is a string",
        [
            *(with_(pushChannel=value) for value in (1, 1.5, True, ["00ff"], {"endpoint": "e"})),
            with_(platform="browser", pushChannel=["00ff"]),
            with_(platform="browser", pushChannel=1),
        ],
        [
            with_(platform="browser", pushChannel={"endpoint": "https://e/", "p256dh": "p", "auth": "a"}),
            with_(platform="Browser", pushChannel={"endpoint": "https://e/", "p256dh": "p", "auth": "a"}),
            with_(platform="browser", pushChannel='{"endpoint": "https://e/", "p256dh": "p", "auth": "a"}'),
        ],
    ),
    "tags-not-a-list": Rule(
        "tags is a list of strings",
        [with_(tags=value) for value in ("news", 1, True, False, 0, "", {"0": "news"}, {})],
        [with_(tags=value) for value in (..., None, [], ["news"])],
    ),
    "tag-not-text": Rule(
        "tags[1] is a string",
        [with_(tags=["news", value]) for value in (1, None, True, ["x"], {"a": 1})],
        [with_(tags=["news", "1"])],
    ),
    "tag-characters": Rule(
        "tags[1] ",
        [
            with_(tags=["news", value])
            for value in ("", " ", "a b", "a,b", "a/b", "$UserId:{x}", "a$", "é", "a\n", "a+b", "a=b", "(a)", "a" * 121)
        ],
        [
            with_(tags=["news", value])
            for value in ("a", "_@#.:-", "9", "a" * 120, "news", "user:42", "x@example.com", "#topic")
        ],
    ),
}


@pytest.mark.parametrize(
    ("code", "data"), [(code, data) for code, rule in RULES.items() for data in rule.bad], ids=short
)
def test_a_body_that_breaks_a_rule_has_that_flaw_and_the_place_is_named(code: str, data: bytes) -> None:
    found = flaw(data)
    assert found.code == code
    assert found.message.startswith(RULES[code].place)
    assert str(found) == f"{code}: {found.message}"


@pytest.mark.parametrize(
    ("code", "data"), [(code, data) for code, rule in RULES.items() for data in rule.good], ids=short
)
def test_a_body_that_all_but_breaks_a_rule_is_an_installation(code: str, data: bytes) -> None:
    assert installation(data).id == json.loads(data)["installationId"]


def test_the_first_of_several_flaws_is_told() -> None:
    bad = {"installationId": "a b", "platform": "fcm", "pushChannel": 1, "tags": "news"}
    told = []
    for name, good in {**GOOD, "tags": []}.items():
        told.append(flaw(orjson.dumps(bad)).code)
        bad[name] = good
    assert told == ["id-characters", "platform-unknown", "push-channel-type", "tags-not-a-list"]
    installation(orjson.dumps(bad))


def test_a_flaw_shows_a_long_value_shortened() -> None:
    for data in (
        with_(installationId="é" * 100_000),
        with_(platform="x" * 100_000),
        with_(tags=["$" * 100_000]),
        with_(platform=["x"] * 100_000),
    ):
        assert len(flaw(data).message) < 200


def test_a_flaw_never_shows_a_push_channel() -> None:
    for data in (
        with_(pushChannel=["top-secret"]),
        with_(pushChannel={"endpoint": "top-secret"}),
        with_(pushChannel="top-secret", platform="fcm"),
        with_(pushChannel="top-secret") + b"}",
        with_(pushChannel="top-secret")[:-3],
    ):
        assert "top-secret" not in str(flaw(data))


@UNHURRIED
@given(data=st.binary() | st.binary().map(lambda junk: with_()[:20] + junk) | st.text().map(str.encode))
def test_whatever_bytes_come_they_are_checked_and_never_raise(data: bytes) -> None:
    assert isinstance(check(data), Flaw | Installation)


@UNHURRIED
@given(fields=st.dictionaries(st.sampled_from(NAMES), JSON), good=st.sets(st.sampled_from(sorted(GOOD))))
def test_whatever_json_comes_it_is_checked_and_never_raises(fields: dict[str, Any], good: set[str]) -> None:
    checked = check(orjson.dumps(fields | {name: GOOD[name] for name in good}))
    assert isinstance(checked, Flaw | Installation)
    assert isinstance(checked, Installation) or len(checked.message.splitlines()) == 1


@UNHURRIED
@given(
    id_=IDS,
    platform=st.sampled_from(sorted(PLATFORMS)),
    tags=TAGS | st.none(),
    rest=st.dictionaries(st.text().filter(lambda name: name not in (*NAMES[:4], "userID")), JSON, max_size=4),
    indent=st.sampled_from([None, 1]),
    is_ascii=st.booleans(),
)
def test_a_body_that_needs_no_mending_is_the_very_bytes_that_came(
    id_: str, platform: str, tags: list[str] | None, rest: dict[str, Any], indent: int | None, is_ascii: bool
) -> None:
    fields = {**rest, "installationId": id_, "platform": platform, "pushChannel": "c", "tags": tags}
    data = json.dumps(fields, indent=indent, ensure_ascii=is_ascii).encode()
    assert check(data) == Installation(id_, data, orjson.loads(data))


@UNHURRIED
@given(
    platform=st.sampled_from(sorted(PLATFORMS)).flatmap(
        lambda name: st.tuples(*(st.sampled_from([letter, letter.upper()]) for letter in name)).map("".join)
    ),
    rest=st.dictionaries(st.text().filter(lambda name: name not in (*NAMES[:4], "userID")), JSON, max_size=4),
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


@pytest.mark.parametrize("value", ["user1", "", None, 5, ["x"]])
def test_user_id_in_the_specification_s_spelling_is_sent_in_the_service_s(value: object) -> None:
    assert orjson.loads(installation(with_(userID=value)).body) == {**GOOD, "userId": value}


def test_of_two_spellings_of_the_user_id_the_service_s_own_is_sent() -> None:
    assert orjson.loads(installation(with_(userID="one", userId="two")).body) == {**GOOD, "userId": "two"}
    assert orjson.loads(installation(with_(userId="two", userID="one")).body) == {**GOOD, "userId": "two"}


def test_mending_checks_what_it_sends() -> None:
    body = installation(with_(platform="APNS", userID="u", tags=["news"])).body
    assert check(body) == Installation("a1", body, orjson.loads(body))


def test_a_body_that_is_too_deep_to_be_mended_is_a_flaw() -> None:
    rest = b',"x":' + b"[" * 300 + b"]" * 300 + b"}"
    assert flaw(with_(platform="APNS")[:-1] + rest).code == "too-deep"
    unmended = with_()[:-1] + rest
    assert check(unmended) == Installation("a1", unmended, orjson.loads(unmended))


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
