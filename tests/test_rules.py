"""Every rule has a record that breaks it alone and a close one that does not, and stands in the README."""

import ast
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest

import bulkload
from bulkload.errors import InputError
from bulkload.installation import PLATFORMS, RULES, Checker, Finding, Flaw, Installation, check

README = Path(__file__).parent.parent / "README.md"

APNS: dict[str, Any] = {"installationId": "a1", "platform": "apns", "pushChannel": "00ff"}
CHANNELS: dict[str, Any] = {
    **dict.fromkeys(PLATFORMS, "token-1:AB_c"),
    "apns": "00ff",
    "wns": "https://db3.notify.windows.com/?token=AwYAAAB%2f",
    "mpns": "HTTP://db3.notify.live.net/unthrottledthirdparty/01.00/AQFx",
    "browser": {"endpoint": "https://push.example/x1", "p256dh": "BPub", "auth": "s3c"},
}
BROWSER = CHANNELS["browser"]

JSON_BODY = '{"aps":{"alert":"$(message)"}}'
FCM_BODY = '{"message":{"data":{"text":"$(message)"}}}'
GCM_BODY = '{"data":{"text":"$(message)"}}'
TOAST = (
    '<toast><visual lang="en-US"><binding template="ToastText01"><text id="1">$(m)</text></binding></visual></toast>'
)
WNS_TOAST = {"X-WNS-Type": "wns/toast"}
PHONE_TOAST = (
    '<wp:Notification xmlns:wp="WPNotification"><wp:Toast><wp:Text1>$(m)</wp:Text1></wp:Toast></wp:Notification>'
)
PHONE_TILE = PHONE_TOAST.replace("Toast", "Tile").replace("Text1", "Title")
SEED_S_TOAST = (
    '<toast><visual lang="en-US"><binding template="ToastTest01"><text id="1">$myTextProp1</text></binding></visual>'
    "</tile>"
)
BOMB = (
    '<!DOCTYPE bomb [<!ENTITY a "ha">'
    + "".join(f'<!ENTITY {name} "{f"&{before};" * 10}">' for before, name in zip("abcdefgh", "bcdefghi", strict=True))
    + "]><toast>&i;</toast>"
)


def on(platform: str, /, **changes: Any) -> bytes:
    """A good body for a platform with some fields changed; `...` takes a field away."""
    good = {"installationId": "a1", "platform": platform, "pushChannel": CHANNELS.get(platform.lower(), "00ff")}
    fields = {**good, **changes}
    return orjson.dumps({name: value for name, value in fields.items() if value is not ...})


def with_(**changes: Any) -> bytes:
    return on("apns", **changes)


def template(platform: str = "apns", /, **changes: Any) -> bytes:
    """A good body with one template, some of whose fields are changed."""
    good: dict[str, Any] = {
        "body": {"wns": TOAST, "mpns": PHONE_TOAST, "fcmv1": FCM_BODY}.get(platform, JSON_BODY),
        **({"headers": WNS_TOAST} if platform == "wns" else {}),
        **({"headers": {"X-WindowsPhone-Target": "toast"}} if platform == "mpns" else {}),
        **changes,
    }
    return on(platform, templates={"welcome": {name: value for name, value in good.items() if value is not ...}})


def tile(**changes: Any) -> bytes:
    """A good body with one secondary tile, some of whose fields are changed."""
    good = {"pushChannel": CHANNELS["wns"], **changes}
    return on("wns", secondaryTiles={"t1": {name: value for name, value in good.items() if value is not ...}})


def phone(body: str, target: str | None = None, class_: str | None = None) -> bytes:
    """A body with a template for MPNS."""
    headers = {"X-WindowsPhone-Target": target, "X-NotificationClass": class_}
    return template("mpns", body=body, headers={name: value for name, value in headers.items() if value is not None})


def any_of(*values: Any) -> tuple[Any, ...]:
    """Values of several kinds."""
    return values


class Case(NamedTuple):
    """A pattern of what a rule's message begins with, bodies that break this rule only, and close ones that do not."""

    place: str
    bad: list[bytes]
    good: list[bytes]


PLAIN_TEXTS = (1, 1.5, True, ["a1"], {"a": 1})

CASES: dict[str, Case] = {
    "not-json": Case(
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
            with_().replace(b'"00ff"', b"1e999"),
            with_().decode().encode("utf-16"),
            b"[" * 100_000,
        ],
        [with_(), b" \r\n\t" + with_() + b"\n", with_().replace(b"00ff", b"\\u0030\\u0030")],
    ),
    "not-an-object": Case(
        "an installation is a JSON object",
        [b"[]", b"null", b"true", b"1", b'"a1"', b"[" + with_() + b"]"],
        [with_()],
    ),
    "too-deep": Case(
        "the installation is nested too deep",
        [with_(platform="APNS", pushVariables={})[:-2] + b'"x":' + b"[" * 300 + b"]" * 300 + b"}}"],
        [
            with_(pushVariables={})[:-2] + b'"x":' + b"[" * 300 + b"]" * 300 + b"}}",
            with_(platform="APNS", pushVariables={})[:-2] + b'"x":' + b"[" * 200 + b"]" * 200 + b"}}",
        ],
    ),
    "id-missing": Case(
        "installationId is missing",
        [with_(installationId=...), with_(installationId=""), with_(installationId=None)],
        [with_(installationId="0")],
    ),
    "id-not-text": Case(
        "installationId is a string",
        [with_(installationId=value) for value in (0, False, [], *PLAIN_TEXTS)],
        [with_(installationId="1")],
    ),
    "id-dots": Case(
        r"installationId '\.",
        [with_(installationId="."), with_(installationId="..")],
        [with_(installationId=value) for value in ("...", ".a", "a.", "a..b", "-", "_")],
    ),
    "id-characters": Case(
        "installationId ",
        [
            with_(installationId=value)
            for value in ("a b", "a:b", "a/b", "a%3ab", "a?b", "é", "٣", "a\n", "\na", " a", "a\0", "aaaaaaaaa$", ".é")
        ],
        [with_(installationId=value) for value in ("a", "A-b_c.9", "94018932-9656-48dd-aea1-0c2253b4e093", "a" * 500)],
    ),
    "platform-missing": Case(
        "platform is missing",
        [with_(platform=...), with_(platform=""), with_(platform=None)],
        [on("wns")],
    ),
    "platform-unknown": Case(
        "platform ",
        [
            with_(platform=value)
            for value in ("fcm", "ios", "apns ", " apns", "apple", "gcm\n", "\uff21\uff30\uff2e\uff33", *PLAIN_TEXTS, 0)
        ],
        [on(name) for name in sorted(PLATFORMS)],
    ),
    "platform-api-version": Case("platform ", [], []),  # has a test of its own
    "push-channel-missing": Case(
        r"(secondaryTiles\.t1\.)?pushChannel is missing",
        [
            with_(pushChannel=...),
            with_(pushChannel=""),
            with_(pushChannel=None),
            on("browser", pushChannel={}),
            tile(pushChannel=...),
            tile(pushChannel=None),
        ],
        [with_(pushChannel="00"), tile()],
    ),
    "push-channel-type": Case(
        r"(secondaryTiles\.t1\.)?pushChannel is a string",
        [
            *(with_(pushChannel=value) for value in (0, 1.5, True, ["00ff"], BROWSER)),
            with_(pushChannel=[]),
            on("browser", pushChannel=["00ff"]),
            on("browser", pushChannel=1),
            tile(pushChannel=BROWSER),
        ],
        [on("browser"), on("Browser", pushChannel=BROWSER)],
    ),
    "push-channel-not-hex": Case(
        "pushChannel is a device token",
        [
            with_(pushChannel=value)
            for value in (
                "<00ff 00ff>",
                "00 ff",
                "00ff ",
                "00f",
                "0x00",
                "xy",
                "ключ-🔑",
                "00ff\n",
                "\u0660\u0660",
                "0_0_",
                "\0",
            )
        ],
        [with_(pushChannel=value) for value in ("00", "AbCdEf" * 40)],
    ),
    "push-channel-not-uri": Case(
        r"(secondaryTiles\.t1\.)?pushChannel is an http\(s\) URI",
        [
            *(
                on(platform, pushChannel=value)
                for platform in ("wns", "mpns")
                for value in ("abc", "ftp://x/", "https://", "https:///x", "https://x/ y", "https://x\n", " https://x")
            ),
            tile(pushChannel="token"),
        ],
        [on("wns"), on("mpns"), on("WNS", pushChannel=CHANNELS["wns"]), tile()],
    ),
    "push-channel-browser": Case(
        "pushChannel",
        [
            on("browser", pushChannel=value)
            for value in (
                "token",
                "{",
                "null",
                "[1]",
                {**BROWSER, "endpoint": "foo"},
                {**BROWSER, "endpoint": 1},
                {**BROWSER, "auth": None},
                {**BROWSER, "auth": ["x"]},
                {**BROWSER, "p256dh": "a b"},
                {name: BROWSER[name] for name in ("endpoint", "p256dh")},
                json.dumps({**BROWSER, "p256dh": ""}),
            )
        ],
        [on("browser"), on("browser", pushChannel=json.dumps(BROWSER))],
    ),
    "push-channel-characters": Case(
        "pushChannel ",
        [on("gcm", pushChannel=value) for value in (" ", "a b", "a\n", "\0", "\u00a0", "a\x7f")]
        + [on(platform, pushChannel="a b") for platform in ("adm", "fcmv1", "baidu", "xiaomi")],
        [on("gcm", pushChannel="a:b-c_d"), on("adm", pushChannel="amzn1.adm-registration.v2.é")],
    ),
    "user-id-not-text": Case(
        "userI",
        [with_(**{name: value}) for name in ("userId", "userID") for value in PLAIN_TEXTS],
        [with_(**{name: value}) for name in ("userId", "userID") for value in ("1", "", None)],
    ),
    "user-id-characters": Case(
        "userI",
        [with_(**{name: value}) for name in ("userId", "userID") for value in ("a b", "é", "a\n", "a$", "a/b", "a+b")],
        [with_(userId="aZ9-_@#.:="), with_(userID="x=y")],
    ),
    "tags-not-a-list": Case(
        r"(templates\.welcome\.|secondaryTiles\.t1\.)?tags is a list",
        [
            *(with_(tags=value) for value in ("news", 1, True, False, 0, "", {"0": "news"}, {})),
            template(tags="news"),
            tile(tags={}),
        ],
        [with_(tags=value) for value in (..., None, [], ["news"])],
    ),
    "tag-not-text": Case(
        r"(templates\.welcome\.|secondaryTiles\.t1\.)?tags\[[01]\] is a string",
        [
            *(with_(tags=["news", value]) for value in (1, None, True, ["x"], {"a": 1})),
            template(tags=[1]),
            tile(tags=[["x"]]),
        ],
        [with_(tags=["news", "1"])],
    ),
    "tag-system": Case(
        r"(templates\.welcome\.|secondaryTiles\.t1\.)?tags\[[01]\] '\$",
        [
            *(with_(tags=["news", value]) for value in ("$UserId:{x}", "$InstallationId:{a1}", "$")),
            template(tags=["$x"]),
            tile(tags=["$x"]),
        ],
        [with_(tags=["UserId:x"])],
    ),
    "tag-characters": Case(
        r"(templates\.welcome\.|secondaryTiles\.t1\.)?tags\[[01]\] '",
        [
            *(
                with_(tags=["news", value])
                for value in ("", " ", "a b", "a,b", "a/b", "a$", "é", "a\n", "a+b", "a=b", "(a)", "a\0", "é" * 121)
            ),
            template(tags=["a b"]),
            tile(tags=["a b"]),
        ],
        [
            with_(tags=["news", value])
            for value in ("a", "_@#.:-", "9", "a" * 120, "news", "user:42", "x@example.com", "#topic")
        ],
    ),
    "tag-too-long": Case(
        r"(templates\.welcome\.|secondaryTiles\.t1\.)?tags\[0\] 'a+… has 121 characters",
        [with_(tags=["a" * 121]), template(tags=["a" * 121])],
        [with_(tags=["a" * 120])],
    ),
    "too-many-tags": Case(
        r"(templates\.welcome\.|secondaryTiles\.t1\.)?tags has 61 tags",
        [with_(tags=["x"] * 61), template(tags=["x"] * 61), tile(tags=["x"] * 61)],
        [with_(tags=["x"] * 60)],
    ),
    "templates-not-an-object": Case(
        r"(secondaryTiles\.t1\.)?templates is an object of templates",
        [*(with_(templates=value) for value in ([], "", 0, "x", [{"body": "{}"}])), tile(templates=[])],
        [with_(templates=value) for value in any_of({}, None)],
    ),
    "template-not-an-object": Case(
        r"(secondaryTiles\.t1\.)?templates\.welcome is an object",
        [*(with_(templates={"welcome": value}) for value in any_of(None, "x", [], 0)), tile(templates={"welcome": 1})],
        [template()],
    ),
    "template-body-missing": Case(
        "templates.welcome.body is missing",
        [
            template(body=...),
            template(body=""),
            template(body=None),
            template("wns", body=...),
            template("gcm", body=""),
        ],
        [template(body="{}"), template("baidu", body=" ")],
    ),
    "template-body-not-text": Case(
        "templates.welcome.body is a string",
        [template(body=value) for value in any_of({"aps": {}}, 1, [], True, 0)],
        [template(body="{}")],
    ),
    "template-body-not-json": Case(
        "templates.welcome.body is JSON for ",
        [
            *(template(body=value) for value in (" ", "hello", "{'a':1}", '{"a":NaN}', "{", '{"a":"\0"}', TOAST)),
            *(template(platform, body="hello") for platform in ("gcm", "fcmv1", "adm")),
            template(body="[" * 100_000),
        ],
        [template(), template("gcm"), template("adm", body='{"a":"{\'x\' + $(y)}"}'), template("baidu", body="hello")],
    ),
    "template-body-not-xml": Case(
        r"(secondaryTiles\.t1\.)?templates\.welcome\.body is XML unless",
        [
            *(
                template("wns", body=value)
                for value in (SEED_S_TOAST, JSON_BODY, "hello", " ", BOMB, "<a>\0</a>", "<x:a/>", "<!DOCTYPE a><a/>")
            ),
            template("wns", body='<?xml version="1.0" encoding="utf-8"?>'),
            template("wns", body='<!DOCTYPE a SYSTEM "http://example.com/a.dtd"><a/>'),
            template("mpns", body="hello", headers=...),
            template("mpns", body="hello"),
            template("wns", body="<a>" * 100_000),
            tile(templates={"welcome": {"body": "hello", "headers": WNS_TOAST}}),
        ],
        [
            template("wns"),
            template("wns", body='<?xml version="1.0" encoding="utf-8"?><a>é&amp;</a>'),
            template("wns", body="hello", headers={"x-wns-type": "WNS/raw"}),
            template("wns", body="hello", headers={"X-WNS-Type": "$(type)"}),
            phone("hello", class_="3"),
            template("mpns"),
        ],
    ),
    "template-body-gcm-form": Case(
        "templates.welcome.body has no message",
        [template("fcmv1", body=body) for body in (GCM_BODY, "{}", "5", "[1]", "null", '"message"')],
        [template("fcmv1"), template("gcm", body=GCM_BODY)],
    ),
    "headers-not-an-object": Case(
        "templates.welcome.headers are an object",
        [template(headers=value) for value in any_of([], "x", 0, True)] + [template("wns", headers=[])],
        [template(headers=value) for value in any_of({}, None)],
    ),
    "header-not-text": Case(
        "templates.welcome.headers.X-",
        [
            template("wns", headers={**WNS_TOAST, "X-WNS-TTL": 60}),
            template("wns", headers={"X-WNS-Type": None}),
            template("mpns", headers={"X-WindowsPhone-Target": "toast", "X-NotificationClass": 2}),
        ],
        [template("wns", headers={**WNS_TOAST, "X-WNS-TTL": "60"})],
    ),
    "headers-not-wns-mpns": Case(
        "templates.welcome.headers are for wns and mpns only",
        [template(platform, headers={"X-A": "b"}) for platform in ("apns", "gcm", "fcmv1", "adm", "browser")],
        [template("wns"), template("mpns"), template("gcm", headers={})],
    ),
    "wns-type-header-missing": Case(
        r"(secondaryTiles\.t1\.)?templates\.welcome\.headers\.X-WNS-Type is missing",
        [template("wns", headers=value) for value in (..., None, {}, {"X-WNS-TTL": "60"}, {"X-WNSType": "wns/toast"})]
        + [tile(templates={"welcome": {"body": TOAST}})],
        [template("wns"), template("wns", headers={"x-wns-TYPE": "wns/tile"})],
    ),
    "wns-type-header-unknown": Case(
        "templates.welcome.headers.X-WNS-Type ",
        [template("wns", headers={"X-WNS-Type": value}) for value in ("toast", "", "wns/", "wns\\toast", "x" * 1000)],
        [
            template("wns", headers={"X-WNS-Type": value})
            for value in ("wns/toast", "wns/tile", "wns/badge", "wns/raw", "wns/$(kind)", "{'wns/' + $(kind)}")
        ],
    ),
    "mpns-headers-mismatch": Case(
        "templates.welcome.headers",
        [
            template("mpns", headers=...),
            phone(PHONE_TOAST, "token"),
            phone(PHONE_TOAST, "toast", "1"),
            phone(PHONE_TOAST, "toast", "3"),
            phone(PHONE_TOAST, class_="2"),
            phone(PHONE_TILE, "toast"),
            phone(PHONE_TILE, "token", "2"),
            phone("<x/>", "toast"),
            phone("<x/>", class_="2"),
            phone("<x/>", class_="1"),
            phone(PHONE_TOAST, "toasts"),
            phone(PHONE_TOAST, "toast", "99"),
        ],
        [
            *(phone(PHONE_TOAST, "toast", class_) for class_ in (None, "2", "12", "22")),
            *(phone(PHONE_TILE, "token", class_) for class_ in (None, "1", "11", "21")),
            *(phone(PHONE_TOAST, class_=class_) for class_ in ("3", "13", "23")),
            phone(PHONE_TOAST, "$(target)", "9"),
            phone(PHONE_TOAST, "Toast"),
            phone("<x/>"),
        ],
    ),
    "expiry-not-apns": Case(
        "templates.welcome.expiry is for apns only",
        [template(platform, expiry="$(until)") for platform in ("gcm", "wns", "mpns", "browser")],
        [template(expiry="$(until)"), template("gcm", expiry=None), template("gcm", expiry="")],
    ),
    "expiry-not-a-date": Case(
        "templates.welcome.expiry ",
        [template(expiry=value) for value in ("tomorrow", 1, ["x"], "2018-11-31", "2018-11-07 16:18", "07/11/2018")],
        [
            template(expiry=value)
            for value in (
                "$(until)",
                "{'2030-' + $(rest)}",
                "2018-11-07T16:18:32.6641371-08:00",
                "2018-11-07",
                None,
                "",
            )
        ],
    ),
    "secondary-tiles-not-wns": Case(
        "secondaryTiles are for wns only",
        [on(platform, secondaryTiles={"t1": {}}) for platform in ("apns", "mpns", "fcmv1", "browser")],
        [tile(), with_(secondaryTiles={}), with_(secondaryTiles=None)],
    ),
    "secondary-tiles-not-an-object": Case(
        "secondaryTiles is an object",
        [on("wns", secondaryTiles=value) for value in any_of([], "", 0, "x", True)],
        [on("wns", secondaryTiles=value) for value in any_of({}, None)],
    ),
    "secondary-tile-not-an-object": Case(
        "secondaryTiles.t1 is an object",
        [on("wns", secondaryTiles={"t1": value}) for value in any_of(None, [], "https://x/", 0)],
        [tile()],
    ),
    "push-variables-not-an-object": Case(
        "pushVariables is an object",
        [with_(pushVariables=value) for value in any_of([], "", 0, "x")],
        [with_(pushVariables=value) for value in ({"var1": "value1"}, {}, None)],
    ),
    "expiration-time": Case(
        "expirationTime is sent as it is",
        [
            with_(expirationTime=value)
            for value in (
                "1997",
                "1997-07",
                "2024-02-29",
                "1997-07-16T19:20+01:00",
                "1997-07-16T19:20:30.45Z",
                "9999-12-31T23:59:59",
                "9999-12-31T23:59:59.9999999Z",
            )
        ],
        [with_(expirationTime=None)],
    ),
    "expiration-time-not-a-date": Case(
        "expirationTime ",
        [
            with_(expirationTime=value)
            for value in (
                "",
                0,
                1700000000,
                True,
                ["1997"],
                "0000-01-01",
                "1997-13",
                "2023-02-29",
                "1997-07-16T25:00Z",
                "1997-07-16T19:60Z",
                "1997-07-16T19:20+25:00",
                "1997-07-16T19:20Z\n",
                "١٩٩٧",
                "$(x)",
            )
        ],
        [with_(expirationTime="1997-07-16T19:20+01:00")],
    ),
    "read-only-field": Case(
        r"(secondaryTiles\.t1\.)?(last|expired|pushChannelExpired)\w* is read-only",
        [
            *(
                with_(**{name: "x"})
                for name in ("lastActiveOn", "lastUpdate", "expiredPushChannel", "pushChannelExpired")
            ),
            with_(pushChannelExpired=None),
            tile(pushChannelExpired=False),
        ],
        [with_()],
    ),
    "user-id-twice": Case(
        "userID is left out",
        [with_(userId="u", userID="v"), with_(userId="u", userID=7)],
        [
            with_(userId="u", userID="u"),
            with_(userId="", userID="v"),
            with_(userId=None, userID="v"),
            with_(userId="u", userID=None),
        ],
    ),
    "stale-field": Case(
        r"user|((secondaryTiles\.t1\.)?templates\.welcome\.(bodyTemplate|expiration)) is an old name",
        [
            with_(user="u"),
            template(bodyTemplate="{}"),
            template(expiration="$(x)"),
            tile(templates={"welcome": {"body": TOAST, "headers": WNS_TOAST, "bodyTemplate": TOAST}}),
        ],
        [with_(userId="u"), template(expiry="$(x)")],
    ),
    "unknown-field": Case(
        r"(templates\.welcome\.|secondaryTiles\.t1\.)?\w* is no field",
        [with_(own=1), with_(Tags=[]), with_(**{"": 1}), template(title="x"), tile(platform="wns"), template(user="x")],
        [with_(tags=[], templates={}, secondaryTiles={}, pushVariables={}, userId=None)],
    ),
}

# What only a source or a mapping finds, and what only a mapping's values can break.
ELSEWHERE = {
    "line-too-long",
    "not-text",
    "not-csv",
    "quote-unclosed",
    "cells-too-few",
    "cells-too-many",
    "mapping-failed",
    "unknown-column",
    "id-repaired",
    "user-id-repaired",
    "tag-repaired",
    "system-tag-dropped",
    "gcm-template-converted",
}
MADE = {"not-json-value"}

WARNINGS = [rule.code for rule in RULES.values() if rule.severity == "warning"]


def findings(data: bytes) -> tuple[Finding, ...]:
    """All that is found of a body, warnings as well, by a checker that has seen nothing before and by one that has."""
    strict = Checker(deny=WARNINGS)
    checked, again = strict.check(data), strict.check(data)
    assert checked == again
    if isinstance(checked, Flaw):
        return checked.findings
    assert checked.warnings == ()
    return ()


def short(value: str | bytes) -> str:
    """A case's name that a terminal line bears."""
    return repr(value)[:60]


@pytest.mark.parametrize(
    ("code", "data"), [(code, data) for code, case in CASES.items() for data in case.bad], ids=short
)
def test_a_body_that_breaks_a_rule_has_that_finding_alone_and_the_place_is_named(code: str, data: bytes) -> None:
    found = findings(data)
    assert {finding.code for finding in found} == {code}
    assert len(found) == 1
    message = found[0].message
    assert re.match(CASES[code].place, message)
    assert len(message.splitlines()) == 1
    assert message.isprintable()
    assert len(message) < 250
    assert str(found[0]) == f"{code}: {message}"


@pytest.mark.parametrize(
    ("code", "data"), [(code, data) for code, case in CASES.items() for data in case.good], ids=short
)
def test_a_body_that_all_but_breaks_a_rule_does_not(code: str, data: bytes) -> None:
    assert {finding.code for finding in findings(data)} <= {"expiration-time"} - {code}


@pytest.mark.parametrize(("code", "data"), [(code, case.bad[0]) for code, case in CASES.items() if case.bad], ids=short)
def test_an_error_keeps_a_record_from_being_sent_and_a_warning_does_not(code: str, data: bytes) -> None:
    checked = Checker().check(data)
    if RULES[code].severity == "error":
        assert isinstance(checked, Flaw)
        assert checked.code == code
    else:
        assert isinstance(checked, Installation)
        assert [finding.code for finding in checked.warnings] == [code]


def test_every_rule_has_its_cases() -> None:
    assert CASES.keys() | ELSEWHERE | MADE == RULES.keys()
    assert not CASES.keys() & (ELSEWHERE | MADE)
    assert all(case.bad and case.good for code, case in CASES.items() if code != "platform-api-version")


@pytest.mark.parametrize("code", [code for code in CASES if RULES[code].severity == "error"])
def test_an_allowed_error_is_a_warning_and_a_final_one_cannot_be_allowed(code: str) -> None:
    if RULES[code].is_final:
        with pytest.raises(InputError, match=f"^--allow {code}: .*cannot be sent at all"):
            Checker(allow=[code])
        return
    for data in CASES[code].bad:
        checked = Checker(allow=[code]).check(data)
        assert isinstance(checked, Installation)
        assert [finding.code for finding in checked.warnings] == [code]


@pytest.mark.parametrize("code", [code for code in CASES if RULES[code].severity == "warning" and CASES[code].bad])
def test_a_denied_warning_is_an_error(code: str) -> None:
    for data in CASES[code].bad:
        checked = Checker(deny=[code]).check(data)
        assert isinstance(checked, Flaw)
        assert checked.code == code


@pytest.mark.parametrize(
    ("allow", "deny", "words"),
    [
        (["tag-character"], [], "--allow 'tag-character' is no rule's code; did you mean tag-characters?"),
        ([], ["unknown-fields"], "--deny 'unknown-fields' is no rule's code; did you mean unknown-field?"),
        (["x"], [], "--allow 'x' is no rule's code; the README's table of rules has them all"),
        (["tag-system"], ["tag-system"], "--allow tag-system contradicts --deny tag-system; drop one of them"),
    ],
)
def test_a_code_that_is_none_is_refused_with_what_was_meant(allow: list[str], deny: list[str], words: str) -> None:
    with pytest.raises(InputError) as caught:
        Checker(allow=allow, deny=deny)
    assert str(caught.value) == words


def test_to_allow_what_is_a_warning_and_to_deny_what_is_an_error_changes_nothing() -> None:
    checker = Checker(allow=["unknown-field"], deny=["id-missing", "tag-system"])
    assert isinstance(checker.check(with_(own=1)), Installation)
    assert isinstance(checker.check(with_(tags=["$x"])), Flaw)


def test_the_findings_of_a_record_are_all_told_in_the_order_in_which_a_person_would_mend_them() -> None:
    bad = {
        "own": 1,
        "expirationTime": "soon",
        "pushVariables": [],
        "templates": {"t": {"body": "x", "headers": {"a": "b"}}},
        "tags": ["$x", "a b"],
        "userId": 1,
        "pushChannel": "xyz",
        "platform": "apns",
        "installationId": "a b",
    }
    assert [finding.code for finding in findings(orjson.dumps(bad))] == [
        "id-characters",
        "push-channel-not-hex",
        "user-id-not-text",
        "tag-system",
        "tag-characters",
        "template-body-not-json",
        "headers-not-wns-mpns",
        "push-variables-not-an-object",
        "expiration-time-not-a-date",
        "unknown-field",
    ]


def test_what_depends_on_the_platform_is_not_judged_where_that_is_unknown() -> None:
    data = on("fcm", pushChannel="a b", templates={"t": {"body": "x", "expiry": "$(x)", "headers": {"a": "b"}}})
    assert [finding.code for finding in findings(data)] == ["platform-unknown"]


def test_a_field_that_is_missing_hides_no_finding_of_a_rare_one() -> None:
    assert [finding.code for finding in findings(with_(pushChannel=..., own=1))] == [
        "push-channel-missing",
        "unknown-field",
    ]


def test_of_one_mistake_made_a_thousand_times_not_more_is_told_than_anybody_reads() -> None:
    found = findings(with_(tags=["a b"] * 1000 + ["$x"], own=1))
    assert list(dict.fromkeys(finding.code for finding in found)) == [
        "tag-characters",
        "tag-system",
        "too-many-tags",
        "unknown-field",
    ]
    assert len(found) < 50


@pytest.mark.parametrize(
    ("platform", "late"), [(name, name in {"fcmv1", "browser", "xiaomi"}) for name in sorted(PLATFORMS)]
)
def test_a_platform_younger_than_the_api_version_is_a_warning(platform: str, late: bool) -> None:
    for version, is_old in (
        (None, False),
        ("2015-01", True),
        ("2017-04", True),
        ("2020-06", False),
        ("2023-10-01", False),
    ):
        for spelled in (platform, platform.upper()):
            checked = Checker(api_version=version).check(on(platform, platform=spelled))
            assert isinstance(checked, Installation)
            codes = [finding.code for finding in checked.warnings]
            assert codes == (["platform-api-version"] if late and is_old else [])
    denied = Checker(api_version="2015-01", deny=["platform-api-version"]).check(on(platform))
    assert isinstance(denied, Flaw) == late


@pytest.mark.parametrize(
    ("data", "place", "hint"),
    [
        (on("fcm"), "platform 'fcm'", "write fcmv1, or gcm"),
        (on("iOS"), "platform 'iOS'", "write apns"),
        (on("Android"), "platform 'Android'", "write fcmv1"),
        (on("Windows"), "platform 'Windows'", "write wns"),
        (on("windows phone"), "platform 'windows phone'", "write mpns"),
        (on("chrome"), "platform 'chrome'", "write browser"),
        (on("amazon"), "platform 'amazon'", "write adm"),
        (on(" apns "), "platform ' apns '", "write apns"),
        (on("fcm_v1"), "platform 'fcm_v1'", "write fcmv1"),
        (on("aspn"), "platform 'aspn'", "write apns"),
        (with_(pushChannel="<00ff 00ff>"), "pushChannel", "<00ff …> becomes 00ff…"),
        (with_(pushChannel="00f"), "pushChannel", "half a byte"),
        (with_(pushChannel=BROWSER), "pushChannel", "an object is for browser only"),
        (
            on("browser", pushChannel={"endpoint": "https://x/", "keys": {"p256dh": "p", "auth": "a"}}),
            "pushChannel.p256dh is missing",
            "write what is in keys beside endpoint",
        ),
        (
            with_(installationId=..., InstallationId="a"),
            "installationId is missing",
            "InstallationId has to be spelled",
        ),
        (with_(installationId=..., installation_id="a"), "installationId", "installation_id has to be spelled"),
        (
            with_(pushChannel=..., push_channel="a"),
            "pushChannel is missing",
            "push_channel has to be spelled pushChannel",
        ),
        (with_(user="u"), "user is an old name", "write userId"),
        (template(bodyTemplate="x"), "templates.welcome.bodyTemplate", "write body"),
        (template(expiration="x"), "templates.welcome.expiration", "write expiry"),
        (
            template(body=..., bodyTemplate="x"),
            "templates.welcome.body is missing",
            "bodyTemplate is an old name of it",
        ),
        (with_(tag=["x"]), "tag is no field of an installation", "did you mean tags?"),
        (with_(Templates={}), "Templates is no field", "did you mean templates?"),
        (tile(tag=["x"]), "secondaryTiles.t1.tag is no field of a secondary tile", "did you mean tags?"),
        (template(header={}), "templates.welcome.header is no field of a template", "did you mean headers?"),
        (with_(own=1), "own is no field", "sent as it is"),
        (template(body={"aps": {}}), "templates.welcome.body", "write the notification as a text"),
        (tile(tags=["a", "b", "$"]), "secondaryTiles.t1.tags[2] '$'", "begins with '$'"),
        (
            tile(templates={"w": {"body": SEED_S_TOAST, "headers": WNS_TOAST}}),
            "secondaryTiles.t1.templates.w.body is XML",
            "mismatched tag",
        ),
        (template("wns", body=BOMB), "templates.welcome.body", "a DTD or an entity is declared"),
        (phone(PHONE_TOAST, "token"), "templates.welcome.headers", "it wants X-WindowsPhone-Target toast"),
        (phone(PHONE_TOAST, "toast", "1"), "templates.welcome.headers.X-NotificationClass 1", "2, 12 or 22"),
    ],
    ids=short,
)
def test_a_message_says_where_and_what_to_write_instead(data: bytes, place: str, hint: str) -> None:
    message = findings(data)[0].message
    assert message.startswith(place)
    assert hint in message


def test_the_readme_has_every_rule_as_the_code_has_it() -> None:
    text = README.read_text(encoding="utf-8").partition("\n## The check\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([a-z-]+)` \| (\w+) \| (.+) \|$", text, re.MULTILINE)
    assert rows == [(rule.code, rule.severity, rule.words) for rule in RULES.values()]
    finals = re.findall(r"`([a-z-]+)`", " ".join(text.split()).partition("cannot be allowed")[2].partition(".")[0])
    assert finals == [rule.code for rule in RULES.values() if rule.is_final]


def test_every_code_in_the_package_is_a_rule_s() -> None:
    """A flaw or a finding that names no rule could neither be allowed nor looked up."""
    used: set[str] = set()
    for path in Path(bulkload.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("Flaw.of", "Finding"):
                used |= {str(part.value) for part in node.args[:1] if isinstance(part, ast.Constant)}
    assert len(used) > 30
    assert used <= RULES.keys()


@pytest.mark.parametrize("end", ["", " "])
def test_a_long_uri_is_judged_in_one_pass(end: str) -> None:
    uri = "https://" + "a" * 900_000 + end
    checked = check(on("wns", pushChannel=uri))
    assert isinstance(checked, Flaw) == bool(end)
