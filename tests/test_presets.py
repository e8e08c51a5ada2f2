import csv
import hashlib
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from bulkload.cli.presets import presets as presets_command
from bulkload.errors import InputError
from bulkload.installation import Checker, Fields, Flaw, Installation
from bulkload.mapping import Intake, MappingFlags, build
from bulkload.mapping.presets import find_preset, presets

ROOT = Path(__file__).parent.parent
SAMPLES = ROOT / "samples" / "presets"

NAMES = ["onesignal", "airship", "braze", "sns", "firebase", "parse", "appcenter", "notification-hubs-export"]

# How many devices of each sample are sent, and how many are left out.
COUNTS = {
    "onesignal.csv": (32, 11),
    "onesignal.json": (32, 11),
    "airship.json": (32, 7),
    "airship.ndjson": (32, 7),
    "braze.ndjson": (20, 6),
    "braze.json": (20, 6),
    "sns.json": (30, 3),
    "sns.csv": (30, 3),
    "firebase.json": (23, 2),
    "firebase.csv": (23, 2),
    "firebase.ndjson": (23, 2),
    "parse.json": (27, 4),
    "parse.ndjson": (27, 4),
    "parse.csv": (27, 4),
    "appcenter.ndjson": (27, 3),
    "notification-hubs-export.txt": (38, 1),
}


@cache
def intake(name: str, **flags: Any) -> Intake:
    return Intake(Checker(), build(MappingFlags(preset=name, **flags)))


def data(path: Path, records: str | None) -> list[bytes | Fields]:
    """The source objects of a sample, as its source gives them."""
    if path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    if path.suffix == ".json":
        assert records is not None
        return [orjson.dumps(element) for element in orjson.loads(path.read_bytes())[records]]
    return list(path.read_bytes().splitlines())


def taken(sample: str, **flags: Any) -> list[Installation | Flaw | None]:
    """What a sample's preset makes of it."""
    path = SAMPLES / sample
    reader = intake(path.stem, **flags)
    return [record for datum in data(path, find_preset(path.stem).records) for record in reader.records(datum)]


def sent(sample: str, **flags: Any) -> list[Fields]:
    return [record.fields for record in taken(sample, **flags) if isinstance(record, Installation)]


def full(sample: str, start: str) -> str:
    """The token of a sample that begins so."""
    found: set[str] = set(re.findall(re.escape(start) + r'[^",<\s]*', (SAMPLES / sample).read_text(encoding="utf-8")))
    assert len(found) == 1, start
    return found.pop()


def hashed(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()[:32]


@pytest.mark.parametrize(("sample", "counts"), COUNTS.items())
def test_a_sample_sends_the_devices_that_can_be_reached_and_no_other(sample: str, counts: tuple[int, int]) -> None:
    records = taken(sample)
    assert [record for record in records if isinstance(record, Flaw)] == []
    assert (len(sent(sample)), records.count(None)) == counts


def test_every_sample_is_tried_and_named_in_the_readme() -> None:
    assert {path.name for path in SAMPLES.iterdir()} == COUNTS.keys()
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert all(f"samples/presets/{name}" in readme for name in COUNTS)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("onesignal.csv", "onesignal.json"),
        ("airship.ndjson", "airship.json"),
        ("braze.ndjson", "braze.json"),
        ("sns.csv", "sns.json"),
        ("firebase.csv", "firebase.json"),
        ("firebase.ndjson", "firebase.json"),
        ("parse.csv", "parse.json"),
        ("parse.ndjson", "parse.json"),
    ],
)
def test_the_same_devices_in_another_form_are_the_same_installations(one: str, other: str) -> None:
    assert sent(one) == sent(other)


def test_onesignal() -> None:
    installations = sent("onesignal.csv")
    assert installations[0] == {
        "installationId": "78e51061-7311-48a3-82ce-6f447ed4d57b",
        "userId": "ada@example.org",
        "platform": "apns",
        "pushChannel": full("onesignal.csv", "1e2feb89414c"),
        "tags": ["favorite_team:S_o_Paulo", "_plan:gold"],
    }
    assert installations[1] == {
        "installationId": "21615022-409a-4a78-909f-f4976a8a43ef",
        "platform": "fcmv1",
        "pushChannel": full("onesignal.csv", "Dx3A5idNoDCDBwb2Dc4_ds:"),
    }
    assert installations[4]["userId"] == "Grace_Hopper"
    assert [one["platform"] for one in installations[5:12]] == [
        *("adm", "mpns", "wns", "apns", "browser", "browser", "browser")
    ]
    assert installations[9] == {
        "installationId": "2226ff43-9012-4ea1-b89c-1ccfafef1ac1",
        "userId": "user-009",
        "platform": "browser",
        "pushChannel": {
            "endpoint": full("onesignal.csv", "https://fcm.googleapis.com/fcm/send/lUZvxpM0sQI"),
            "p256dh": full("onesignal.csv", "BY9Jg0ZBw"),
            "auth": "MiNahIKJbW3Cv-kcZ_e25u",
        },
        "tags": ["level:23", "tier:free"],
    }


def test_airship() -> None:
    installations = sent("airship.json")
    assert installations[0] == {
        "installationId": "cf1822ff-bc68-4778-ab49-1044d5e34124",
        "userId": "customer-000",
        "platform": "apns",
        "pushChannel": full("airship.json", "5C6E433715BA"),
        "tags": ["_t__2024", "news", "timezone:America_New_York", "loyalty:gold", "loyalty:early_bird"],
    }
    assert installations[1]["userId"] == "old-alias"
    assert installations[2] == {
        "installationId": "74300513-76e3-4f5a-ab63-ad02854efa60",
        "platform": "apns",
        "pushChannel": full("airship.json", "0641B4FA37A4"),
    }
    assert installations[3]["platform"] == "adm"
    assert installations[4] == {
        "installationId": "376e539a-f177-4e34-a725-e00704631dd7",
        "userId": "customer-004",
        "platform": "browser",
        "pushChannel": {
            "endpoint": full("airship.json", "https://fcm.googleapis.com/fcm/send/ILEQlxdq4Wk"),
            "p256dh": full("airship.json", "BbMxZjY"),
            "auth": "l7R4bipUMe8YvXtRRdiwzr",
        },
        "tags": ["weather", "sports", "ua_locale_country:US"],
    }


def test_braze() -> None:
    first, second = full("braze.ndjson", "311624273bfd"), full("braze.ndjson", "oEIWhPDk8A1xGgrTtaIpmw:")
    installations = sent("braze.ndjson")
    assert installations[:2] == [
        {"installationId": hashed(first), "userId": "A000mkd", "platform": "apns", "pushChannel": first},
        {"installationId": hashed(second), "userId": "A000mkd", "platform": "fcmv1", "pushChannel": second},
    ]
    anonymous = full("braze.ndjson", "TxBIUFmDi8x2y4RuMER_bh:")
    assert installations[2] == {
        "installationId": hashed(anonymous),
        "platform": "fcmv1",
        "pushChannel": anonymous,
    }
    assert [one.get("userId") for one in installations[3:6]] == ["A002mkd", "Jane_Doe", "A009mkd"]


def test_a_custom_attribute_of_braze_becomes_a_tag_as_the_readme_says() -> None:
    installations = sent("braze.ndjson", tag=("tier:{_parent.custom_attributes.tier}",))
    assert [one["tags"] for one in installations[:5]] == [["tier:free"]] * 4 + [["tier:paid"]]


def test_sns() -> None:
    installations = sent("sns.json")
    assert installations[:2] == [
        {
            "installationId": "50842aaa-ed93-4512-a41a-3f3d0d204649",
            "platform": "fcmv1",
            "pushChannel": full("sns.json", "emNy9TLICzlHcujWNhbDhi:"),
        },
        {
            "installationId": "b7a46957-ca75-46c1-9ef3-2daea76ace09",
            "userId": "user-001",
            "platform": "apns",
            "pushChannel": full("sns.json", "a728e00ee6a4"),
        },
    ]
    assert [one["platform"] for one in installations[3:8]] == ["apns", "adm", "wns", "mpns", "baidu"]
    assert "userId" not in installations[3]
    assert installations[7] == {
        "installationId": "1ca38df0-b544-4648-891b-634a5d1a180a",
        "userId": "user-007",
        "platform": "baidu",
        "pushChannel": "542368026509392817-7248642428646606485",
    }


def test_firebase() -> None:
    token = full("firebase.csv", "UJR4QQAAabVVloZaXZxmCu:")
    installations = sent("firebase.json")
    assert installations[0] == {
        "installationId": hashed(token),
        "userId": "uidgtD7fGUOv8fwNfBb0jXx",
        "platform": "fcmv1",
        "pushChannel": token,
    }
    assert [one.get("tags") for one in installations[1:4]] == [["news", "weather"], None, ["breaking_news"]]
    assert {one["platform"] for one in installations} == {"fcmv1"}


def test_a_document_that_is_named_by_its_token_names_no_user() -> None:
    token = "c1a2:APA91bF_x"
    document = {"name": f"projects/p/databases/d/documents/tokens/{token}", "fields": {"token": {"stringValue": token}}}
    (record,) = intake("firebase").records(orjson.dumps(document))
    assert isinstance(record, Installation)
    assert "userId" not in record.fields


def test_parse() -> None:
    installations = sent("parse.csv")
    assert installations[0] == {
        "installationId": "32b7228f-cd4a-4557-bd24-b39645cf8aa4",
        "userId": "89e91b4ad1",
        "platform": "apns",
        "pushChannel": full("parse.csv", "ce1c9c17b313"),
    }
    assert installations[1] == {
        "installationId": "a28a0aaa-b364-4b19-b279-3637c16cf5c5",
        "platform": "fcmv1",
        "pushChannel": full("parse.csv", "Zu-YDuf3mtPLZOinZw9cRa:"),
        "tags": ["Mets", "Giants"],
    }
    assert installations[2]["installationId"] == "WrvEGa3rJU"
    assert installations[4] == {
        "installationId": "0fa51544-0064-4ee4-80b2-22174622404d",
        "userId": "fe7acb1ae1",
        "platform": "wns",
        "pushChannel": full("parse.json", "https://db5p.notify.windows.com/?token=6oHBjMxr"),
        "tags": ["news", "Giants"],
    }
    assert installations[5]["platform"] == "mpns"


def test_appcenter() -> None:
    installations = sent("appcenter.ndjson")
    assert installations[:2] == [
        {
            "installationId": "9531985d-5d9d-49f8-9818-e811892f902b",
            "platform": "apns",
            "pushChannel": full("appcenter.ndjson", "d23f0824128b"),
            "tags": ["fav_color:light_blue", "score:1.5"],
        },
        {
            "installationId": "57b6fb7e-bfea-4155-9a28-f7b324e4e25a",
            "userId": "user-001",
            "platform": "fcmv1",
            "pushChannel": full("appcenter.ndjson", "bEL31IeL2HPcHyGcFRl1SP:"),
            "tags": ["tier:paid", "age:48", "beta:true"],
        },
    ]
    assert installations[2]["platform"] == "wns"


def test_notification_hubs_export() -> None:
    sample = "notification-hubs-export.txt"
    installations = sent(sample)
    assert [one["platform"] for one in installations[:8]] == [
        *("apns", "fcmv1", "fcmv1", "wns", "mpns", "adm", "baidu", "browser")
    ]
    assert [one["platform"] for one in installations[8:16]] == [one["platform"] for one in installations[:8]]
    assert installations[1] == {
        "installationId": "3670701851132174233-441821249832919441-3",
        "platform": "fcmv1",
        "pushChannel": full(sample, "azD6-6x_YzL-dCi08wOhMI:"),
        "tags": ["news", "sports"],
    }
    assert installations[6]["pushChannel"] == "9999999999-3349729667"
    assert installations[7]["pushChannel"] == {
        "endpoint": full(sample, "https://fcm.googleapis.com/fcm/send/peY4fwDsnP-"),
        "p256dh": full(sample, "B1mRcwBNTcIUS"),
        "auth": "i4hsmRu64doKhAkrOiBA7z",
    }


def test_the_templates_of_an_export_are_carried_over_and_those_for_gcm_rewrapped() -> None:
    apple, gcm, windows, phone = sent("notification-hubs-export.txt")[32:36]
    assert apple["templates"] == {"breaking": {"body": '{"aps":{"alert":"$(message)"}}', "expiry": "$(expiry)"}}
    assert json.loads(gcm["templates"]["template"]["body"]) == {"message": {"data": {"message": "$(message)"}}}
    assert windows["templates"]["toast"]["headers"] == {"X-WNS-Type": "wns/toast"}
    assert phone["templates"]["template"] == {
        "body": '<wp:Notification xmlns:wp="WPNotification"><wp:Toast><wp:Text1>$(message)</wp:Text1></wp:Toast>'
        "</wp:Notification>",
        "headers": {"X-WindowsPhone-Target": "toast", "X-NotificationClass": "2"},
    }


def test_an_exported_installation_keeps_its_ids() -> None:
    native, template = sent("notification-hubs-export.txt")[36:]
    ids = {"installationId": "01478123-be56-4eda-a1dc-d8c8f385f917", "userId": "ada", "tags": ["news"]}
    assert native.items() >= ids.items()
    assert template.items() >= ids.items()
    assert native["pushVariables"] == {"name": "Ada"}
    assert template["templates"].keys() == {"welcome"}


def exported(kind: str, inner: str) -> bytes:
    """A line of an export."""
    bus = "http://schemas.microsoft.com/netservices/2010/10/servicebus/connect"
    return f'<{kind}RegistrationDescription xmlns="{bus}">{inner}</{kind}RegistrationDescription>'.encode()


@pytest.mark.parametrize(
    ("tags", "template", "kept"),
    [
        ("$InstallationId:{i},a,t", "t", ["a"]),
        ("$InstallationId:{i},a,one, two", "one, two", ["a"]),
        ("$InstallationId:{i},a,template", None, ["a", "template"]),
        ("a,t", "t", ["a", "t"]),
    ],
)
def test_the_name_of_an_exported_installation_s_template_is_none_of_its_tags(
    tags: str, template: str | None, kept: list[str]
) -> None:
    body = f"<BodyTemplate>{{}}</BodyTemplate><TemplateName>{template}</TemplateName>" if template else ""
    inner = f"<RegistrationId>1-1-1</RegistrationId><Tags>{tags}</Tags><DeviceToken>00FF</DeviceToken>{body}"
    (record,) = intake("notification-hubs-export").records(exported("AppleTemplate" if template else "Apple", inner))
    assert isinstance(record, Installation)
    assert record.fields["tags"] == kept


def test_what_an_export_tells_can_be_asked_for_by_its_own_names() -> None:
    inner = (
        "<RegistrationId>1-1-1</RegistrationId><ExpirationTime>{}-01-01</ExpirationTime><DeviceToken>00FF</DeviceToken>"
    )
    taken = intake("notification-hubs-export", where="starts_with(ExpirationTime, '2031')")
    (sooner,), (later,) = (taken.records(exported("Apple", inner.format(year))) for year in (2030, 2031))
    assert sooner is None
    assert isinstance(later, Installation)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"<",
        b"<a/>",
        b"{}",
        b"\xff\xfe<",
        b'<?xml version="1.0" encoding="klingon"?><a/>',
        (
            b'<!DOCTYPE a [<!ENTITY b "c"><!ENTITY d "&b;&b;&b;">]><AppleRegistrationDescription><Tags>&d;</Tags>'
            b"</AppleRegistrationDescription>"
        ),
        b'<!DOCTYPE a SYSTEM "http://localhost/x"><a/>',
        b"<a>" * 10_000,
        exported("Nokia", "<DeviceToken>00FF</DeviceToken>"),
        exported("", "<DeviceToken>00FF</DeviceToken>"),
    ],
)
def test_a_line_that_is_no_registration_is_a_flaw(text: bytes) -> None:
    (record,) = intake("notification-hubs-export").records(text)
    assert isinstance(record, Flaw)


NAMES_OF_FIELDS = sorted(
    {
        *(
            "id",
            "identifier",
            "device_type",
            "tags",
            "invalid_identifier",
            "notification_types",
            "web_auth",
            "web_p256",
        ),
        *("external_user_id", "players", "channels", "channel_id", "push_address", "opt_in", "installed", "web"),
        *("tag_groups", "named_user_id", "alias", "subscription", "p256dh", "auth", "push_tokens", "token", "platform"),
        *("external_id", "users", "Endpoints", "EndpointArn", "Attributes", "Token", "Enabled", "CustomUserData"),
        *("documents", "fields", "name", "rel", "topics", "arrayValue", "values", "results", "deviceType", "uid"),
        *("deviceToken", "pushType", "channelUris", "user", "_p_user", "objectId", "installationId", "installId"),
        *("pushToken", "device", "osName", "properties", "userId", "templates", "pushChannel", "expirationTime"),
    }
)

TEXTS = st.sampled_from(
    ["1", "5", "0", "ios", "web", "true", "iOS", "Android", "GCM", "[", "{", '{"a":[1,{}]}', "a:b:endpoint/GCM/A/B", ""]
)

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | TEXTS
    | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(NAMES_OF_FIELDS) | st.text(max_size=5), inner, max_size=5)
    ),
    max_leaves=20,
)


@pytest.mark.parametrize("name", NAMES)
@given(st.dictionaries(st.sampled_from(NAMES_OF_FIELDS) | st.text(max_size=5), VALUES, max_size=12))
def test_a_preset_survives_any_object(name: str, source_object: Fields) -> None:
    reader = intake(name)
    for record in reader.records(source_object):
        assert record is None or isinstance(record, Installation | Flaw)


@pytest.mark.parametrize("name", NAMES)
@given(
    st.dictionaries(st.sampled_from(NAMES_OF_FIELDS) | st.text(max_size=5), TEXTS | st.text(max_size=9), max_size=12)
)
def test_a_preset_survives_any_row(name: str, row: Fields) -> None:
    for record in intake(name).records(row):
        assert record is None or isinstance(record, Installation | Flaw)


@pytest.mark.parametrize("name", NAMES)
@given(st.binary(max_size=60) | VALUES.map(json.dumps).map(str.encode))
def test_a_preset_survives_any_text(name: str, text: bytes) -> None:
    for record in intake(name).records(text):
        assert record is None or isinstance(record, Installation | Flaw)


@pytest.mark.parametrize(
    ("sample", "column"),
    [("onesignal.json", "id"), ("airship.json", "channel_id"), ("parse.json", "objectId")],
)
def test_a_column_that_only_bears_the_name_of_an_installations_field_does_no_harm(sample: str, column: str) -> None:
    preset = find_preset(sample.removesuffix(".json"))
    reader = intake(preset.name)
    for datum in data(SAMPLES / sample, preset.records):
        assert isinstance(datum, bytes)
        source_object = orjson.loads(datum)
        loud = {**source_object, "templates": 7, "secondaryTiles": [], "pushVariables": "x", "expirationTime": "never"}
        assert column in source_object
        assert reader.records(orjson.dumps(loud)) == reader.records(datum)


APNS = "ab" * 32

WEB = "https://updates.push.services.mozilla.com/wpush/v2/gAAAAA"

KEYS = {"p256dh": "BNc" + "x" * 84, "auth": "a" * 22}

# What can be reached, and what makes that unreachable: the changes one by one.
REACHABLE: dict[str, tuple[Fields, list[Fields]]] = {
    "onesignal": (
        {"id": "a1", "identifier": APNS, "device_type": 0, "invalid_identifier": False, "notification_types": 1},
        [
            *({"invalid_identifier": said} for said in (True, "t", "true")),
            *({"notification_types": said} for said in (-2, "-2", 0, "0", -99)),
            *({"device_type": kind} for kind in (4, 5, 7, 10, 11, 13, 14, 17, "5", None, "push")),
            {"device_type": 5, "web_auth": KEYS["auth"], "web_p256": KEYS["p256dh"]},
            {"device_type": 5, "web_auth": KEYS["auth"], "identifier": WEB},
            {"identifier": ""},
            {"identifier": None},
        ],
    ),
    "airship": (
        {"channel_id": "a1", "push_address": APNS, "device_type": "ios", "opt_in": True, "installed": True},
        [
            *({"opt_in": said} for said in (False, "false", None)),
            *({"installed": said} for said in (False, "false", None)),
            *({"device_type": kind} for kind in ("email", "sms", "open", "web", None, 1)),
            {"device_type": "web", "push_address": WEB, "web": {"subscription": {"auth": KEYS["auth"]}}},
            {"push_address": None, "address": "someone@example.org"},
        ],
    ),
    "braze": (
        {"push_subscribe": "opted_in", "push_tokens": [{"platform": "iOS", "token": APNS}]},
        [
            {"push_subscribe": "unsubscribed"},
            {"uninstalled_at": "2022-01-01T00:00:00Z"},
            {"push_tokens": []},
            {"push_tokens": None},
            {"push_tokens": [{"platform": "iOS", "token": ""}]},
            {"push_tokens": [{"platform": "iOS", "token": APNS, "notifications_enabled": False}]},
            *({"push_tokens": [{"platform": kind, "token": APNS}]} for kind in ("Web", "Roku", None)),
        ],
    ),
    "sns": (
        {
            "EndpointArn": "arn:aws:sns:us-west-2:1:endpoint/APNS/App/a1",
            "Attributes": {"Token": APNS, "Enabled": "true"},
        },
        [
            *({"Attributes": {"Token": APNS, "Enabled": said}} for said in ("false", False, None)),
            {"Attributes": {"Enabled": "true"}},
            {"Attributes": None},
            {"EndpointArn": "arn:aws:sns:us-west-2:1:endpoint/APNS_VOIP/App/a1"},
            {"EndpointArn": "arn:aws:sns:us-west-2:1:app/APNS/App"},
            {"EndpointArn": None},
        ],
    ),
    "firebase": ({"token": "c1a2:APA91bF_x"}, [{"token": ""}, {"token": None}]),
    "parse": (
        {"installationId": "a1", "deviceType": "android", "deviceToken": "c1a2:APA91bF_x", "pushType": "gcm"},
        [
            {"deviceToken": ""},
            {"deviceToken": None},
            {"pushType": "ppns"},
            *({"deviceType": kind} for kind in ("web", "winrt", "winphone", "embedded", None)),
        ],
    ),
    "appcenter": (
        {"installId": "a1", "pushToken": APNS, "device": {"osName": "iOS"}},
        [{"pushToken": ""}, {"pushToken": None}, {"device": {"osName": "Tizen"}}, {"device": None}],
    ),
}


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        pytest.param(name, changes, id=f"{name}-{json.dumps(changes)[:60]}")
        for name, (_, left_out) in REACHABLE.items()
        for changes in left_out
    ],
)
def test_what_cannot_be_reached_is_left_out(name: str, changes: Fields) -> None:
    reachable = REACHABLE[name][0]
    (record,) = intake(name).records(orjson.dumps(reachable))
    assert isinstance(record, Installation)
    assert list(intake(name).records(orjson.dumps({**reachable, **changes}))) == [None]


def test_the_tile_of_a_windows_device_is_left_out() -> None:
    line = (SAMPLES / "notification-hubs-export.txt").read_bytes().splitlines()[-1]
    assert b"SecondaryTileName" in line
    assert list(intake("notification-hubs-export").records(line)) == [None]


def test_a_tag_is_cut_to_what_the_hub_takes_and_that_is_told() -> None:
    player = {**REACHABLE["onesignal"][0], "tags": {"k": "v" * 300, "$": "", "list": ["a", 1, None], "yes": True}}
    (record,) = intake("onesignal").records(orjson.dumps(player))
    assert isinstance(record, Installation)
    assert record.fields["tags"] == [f"k:{'v' * 118}", "list:a", "list:1", "yes:true"]
    assert [finding.code for finding in record.warnings if finding.code.startswith("tag")] == ["tag-repaired"]


def test_ids_that_the_hub_refuses_are_repaired() -> None:
    player = {**REACHABLE["onesignal"][0], "id": "a b/c", "external_user_id": 17}
    (record,) = intake("onesignal").records(orjson.dumps(player))
    assert isinstance(record, Installation)
    assert record.id == hashed("a b/c")
    assert record.fields["userId"] == "17"


def test_the_presets_are_those_that_the_flag_names() -> None:
    assert [preset.name for preset in presets()] == NAMES
    assert all(find_preset(name.upper()).name == name for name in NAMES)


def test_a_preset_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(InputError, match=r"no preset 'onesingal', did you mean onesignal\?") as refused:
        find_preset("onesingal")
    assert all(name in str(refused.value) for name in NAMES)
    with pytest.raises(InputError, match=r"no preset 'leanplum'"):
        find_preset("leanplum")


def test_the_command_tells_what_each_expects() -> None:
    told = CliRunner().invoke(presets_command, [], standalone_mode=False)
    assert told.exception is None
    words = " ".join(told.output.split())
    assert all(preset.name in words and preset.expects in words for preset in presets())
    assert max(map(len, told.output.splitlines())) <= 100


def test_the_command_writes_json() -> None:
    told = CliRunner().invoke(presets_command, ["--json"], standalone_mode=False)
    assert json.loads(told.output) == [
        {"name": preset.name, "expects": preset.expects, "records": preset.records} for preset in presets()
    ]


@pytest.mark.parametrize("name", NAMES)
def test_the_readme_has_a_line_for_every_preset(name: str) -> None:
    assert re.search(rf"^\| `{name}` \|", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
