"""Each mapping flag does its one thing, in its place in the order, and what it cannot do is that record's flaw."""

import copy
import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bulkload.errors import InputError
from bulkload.installation import Checker, Fields, Finding, Flaw, Installation
from bulkload.mapping import Intake, Mapping, MappingFlags, Preset, assignment, build, value_rule

# A machine with much else to do is no failure.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text(max_size=12)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
NAMES = st.sampled_from(
    [
        *("installationId", "userId", "userID", "platform", "pushChannel", "tags", "templates", "secondaryTiles"),
        *(
            "id",
            "os",
            "token",
            "devices",
            "country",
            "_parent",
            "",
            "a.b",
            'q"',
            "templates.a.body",
            "templates.a.tags",
        ),
    ]
)
OBJECTS = st.dictionaries(NAMES, JSON, max_size=8)
ROWS = st.dictionaries(NAMES, st.text(max_size=12) | JSON, max_size=10)

EVERYTHING = MappingFlags(
    json_column=("token",),
    each="devices || [@]",
    where="length(to_string(@)) > `2`",
    map={
        "installationId": "id",
        "userId": "join('-', keys(@))",
        "tags": "country",
        "templates.a.b": "token",
        "templates": "templates",
        "secondaryTiles": "",
    },
    map_value={"platform": {"Android": "fcmv1", "*": "apns"}, "tags": {"x": ""}},
    default={"pushChannel": "00ff", "templates.a.tags": "x|y"},
    set={"expirationTime": "2030-01-01T00:00:00Z"},
    tag=("c:{country}", "{_parent.id}"),
    id_from="push-channel",
    repair=frozenset({"id", "tags", "user-id", "system-tags"}),
    convert_gcm_templates=True,
)


def mapping(flags: MappingFlags, preset: Preset | None = None) -> Mapping:
    built = build(flags, preset=preset)
    assert built is not None
    return built


def all_made(source_object: Fields, /, preset: Preset | None = None, **flags: Any) -> list[Fields | Flaw]:
    """What these flags make of an object; the notes are looked at where they are the subject."""
    made = mapping(MappingFlags(**flags), preset).installations(source_object)
    return [one if isinstance(one, Flaw) else one[0] for one in made if one is not None]


def made(source_object: Fields, /, **flags: Any) -> Fields:
    (one,) = all_made(source_object, **flags)
    assert not isinstance(one, Flaw), str(one)
    return one


def flaw(source_object: Fields, /, **flags: Any) -> Flaw:
    (one,) = all_made(source_object, **flags)
    assert isinstance(one, Flaw)
    assert len(one.message.splitlines()) == 1
    return one


def notes(source_object: Fields, /, **flags: Any) -> tuple[Fields, tuple[Finding, ...]]:
    (one,) = (each for each in mapping(MappingFlags(**flags)).installations(source_object) if each is not None)
    assert isinstance(one, tuple)
    return one


def hashed(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def test_without_flags_there_is_no_mapping() -> None:
    assert build(MappingFlags()) is None


def test_with_any_flag_only_an_installations_fields_and_the_named_ones_are_sent() -> None:
    device = {"installationId": "a", "platform": "apns", "pushChannel": "00", "country": "DE", "name": "Kim"}
    assert made(device, set={"userId": "u"}) == {
        "installationId": "a",
        "platform": "apns",
        "pushChannel": "00",
        "userId": "u",
    }
    assert made(device, map={"nick": "name"})["nick"] == "Kim"


MAPPED: list[tuple[str, dict[str, Any], Fields, Fields]] = [
    ("a plain name", {"map": {"userId": "u"}}, {"u": "kim"}, {"userId": "kim"}),
    ("a plain path", {"map": {"userId": "u.name"}}, {"u": {"name": "kim"}}, {"userId": "kim"}),
    ("a path through no object", {"map": {"userId": "u.name"}}, {"u": ["kim"]}, {}),
    ("a quoted name", {"map": {"pushChannel": '"Push Token"'}}, {"Push Token": "00"}, {"pushChannel": "00"}),
    ("a quoted dot", {"map": {"userId": '"a.b".c'}}, {"a.b": {"c": "kim"}}, {"userId": "kim"}),
    ("JMESPath", {"map": {"userId": "[a, b] | join('-', @)"}}, {"a": "1", "b": "2"}, {"userId": "1-2"}),
    ("a constant", {"map": {"platform": "'apns'"}}, {}, {"platform": "apns"}),
    ("null", {"map": {"userId": "u"}}, {"u": None, "userId": "own"}, {}),
    ("an empty text", {"map": {"userId": "u || ''"}}, {"userId": "own"}, {}),
    ("a field that is left out", {"map": {"userId": ""}}, {"userId": "own", "platform": "x"}, {"platform": "x"}),
    ("userID, the seed's spelling", {"map": {"userID": "u"}}, {"u": "kim", "userID": "own"}, {"userId": "kim"}),
    ("its own userID", {"set": {"platform": "x"}}, {"userID": "own"}, {"userId": "own", "platform": "x"}),
    ("a whole number", {"map": {"installationId": "id"}}, {"id": 12}, {"installationId": "12"}),
    ("a whole number by JMESPath", {"map": {"installationId": "id || x"}}, {"id": 12}, {"installationId": "12"}),
    ("a boolean", {"map": {"installationId": "id"}}, {"id": True}, {"installationId": True}),
    ("a nested field", {"map": {"templates.a.body": "b"}}, {"b": "{}"}, {"templates": {"a": {"body": "{}"}}}),
    (
        "a nested field of its own object",
        {"map": {"templates.a.body": "b"}},
        {"b": "{}", "templates": {"a": {"tags": ["t"]}, "z": {}}},
        {"templates": {"a": {"tags": ["t"], "body": "{}"}, "z": {}}},
    ),
    (
        "an outer field before an inner one",
        {"map": {"templates.a.body": "b", "templates": "t"}},
        {"b": "{}", "t": {"z": {}}},
        {"templates": {"z": {}, "a": {"body": "{}"}}},
    ),
    (
        "an inner field that is left out",
        {"map": {"templates.a": ""}},
        {"templates": {"a": 1, "z": 2}},
        {"templates": {"z": 2}},
    ),
    (
        "an inner field's null",
        {"map": {"templates.a.tags": "x"}},
        {"templates": {"a": {"tags": 1}}},
        {"templates": {"a": {}}},
    ),
    ("a quoted field", {"map": {'templates."a.b".body': "b"}}, {"b": "{}"}, {"templates": {"a.b": {"body": "{}"}}}),
    ("a text of tags", {"map": {"tags": "t"}}, {"t": "a| b ||c"}, {"tags": ["a", "b", "c"]}),
    ("another separator", {"map": {"tags": "t"}, "tag_separator": ", "}, {"t": "a, b|c"}, {"tags": ["a", "b|c"]}),
    ("a list of tags", {"map": {"tags": "t"}}, {"t": ["a|b", 7]}, {"tags": ["a|b", "7"]}),
    ("a template's tags", {"map": {"templates.w.tags": "t"}}, {"t": "a|b"}, {"templates": {"w": {"tags": ["a", "b"]}}}),
    ("its own text of tags", {"set": {"platform": "x"}}, {"tags": "a|b"}, {"tags": ["a", "b"], "platform": "x"}),
    (
        "an expression by its object's own names",
        {"map": {"userId": "platform"}},
        {"platform": "x"},
        {"platform": "x", "userId": "x"},
    ),
]


@pytest.mark.parametrize(
    ("flags", "device", "expected"), [case[1:] for case in MAPPED], ids=[case[0] for case in MAPPED]
)
def test_map_makes(flags: dict[str, Any], device: Fields, expected: Fields) -> None:
    assert made(device, **flags) == expected


VALUES: list[tuple[str, dict[str, dict[str, str]], Fields, Fields]] = [
    ("any case", {"platform": {"Android": "fcmv1"}}, {"platform": "ANDROID"}, {"platform": "fcmv1"}),
    ("others pass", {"platform": {"android": "fcmv1"}}, {"platform": "Apns"}, {"platform": "Apns"}),
    ("the rest", {"platform": {"android": "fcmv1", "*": "apns"}}, {"platform": "ios"}, {"platform": "apns"}),
    ("nothing is no rest", {"platform": {"*": "apns"}}, {"tags": []}, {"tags": []}),
    ("elements of lists", {"tags": {"x": "y"}}, {"tags": ["a", "X", None]}, {"tags": ["a", "y", None]}),
    ("an element left out", {"tags": {"x": ""}}, {"tags": ["a", "X"]}, {"tags": ["a"]}),
    ("a field left out", {"userId": {"none": ""}}, {"userId": "None"}, {}),
    ("a number", {"templates.a.n": {"1": "one"}}, {"templates": {"a": {"n": 1}}}, {"templates": {"a": {"n": "one"}}}),
    ("a number that passes", {"pushVariables": {"1": "one"}}, {"pushVariables": 2}, {"pushVariables": 2}),
    ("an object passes", {"templates": {"*": "one"}}, {"templates": {"a": 1}}, {"templates": {"a": 1}}),
    ("an absent inner field", {"templates.a.body": {"*": "one"}}, {"templates": {}}, {"templates": {}}),
]


@pytest.mark.parametrize(
    ("rules", "device", "expected"), [case[1:] for case in VALUES], ids=[case[0] for case in VALUES]
)
def test_map_value_makes(rules: dict[str, dict[str, str]], device: Fields, expected: Fields) -> None:
    assert made(device, map_value=rules) == expected


@pytest.mark.parametrize("empty", [{}, {"userId": None}, {"userId": ""}, {"userId": []}, {"userId": {}}])
def test_a_default_stands_where_a_field_is_empty(empty: Fields) -> None:
    assert made(empty, default={"userId": "nobody"}) == {"userId": "nobody"}


def test_a_default_leaves_what_is_there() -> None:
    assert made({"userId": "kim", "tags": ["a"]}, default={"userId": "nobody", "tags": "x"}) == {
        "userId": "kim",
        "tags": ["a"],
    }


def test_set_stands_always_and_an_empty_text_leaves_the_field_out() -> None:
    flags = {"set": {"userId": "", "tags": "a|b", "templates": '{"w": {}}', "templates.w.body": "{}"}}
    assert made({"userId": "kim", "tags": ["z"]}, **flags) == {
        "tags": ["a", "b"],
        "templates": {"w": {"body": "{}"}},
    }


def test_no_record_shares_a_set_value_with_another() -> None:
    built = mapping(MappingFlags(set={"templates": '{"w": {}}'}))
    for _ in range(2):
        (one,) = built.installations({})
        assert isinstance(one, tuple)
        assert one[0] == {"templates": {"w": {}}}
        one[0]["templates"]["w"]["body"] = "changed"


TAGS: list[tuple[str, Fields, list[str]]] = [
    ("vip", {}, ["vip"]),
    ("country:{country}", {"country": "DE"}, ["country:DE"]),
    ("country:{country}", {"country": ""}, []),
    ("country:{country}", {"country": None}, []),
    ("country:{country}", {"country": []}, []),
    ("country:{country}", {"country": {}}, []),
    ("country:{country}", {}, []),
    ("likes:{likes}", {"likes": ["a", "b", "", None, "a"]}, ["likes:a", "likes:b"]),
    ("likes:{likes}", {"likes": "a|b"}, ["likes:a|b"]),
    ("n:{n}", {"n": 7}, ["n:7"]),
    ("n:{n}", {"n": 0}, ["n:0"]),
    ("n:{n}", {"n": 1.5}, ["n:1.5"]),
    ("n:{n}", {"n": False}, ["n:false"]),
    ("{a}-{b}", {"a": "x", "b": ["1", "2"]}, ["x-1", "x-2"]),
    ("{a}-{b}", {"a": "x", "b": None}, []),
    ("{a.b}", {"a": {"b": "x"}}, ["x"]),
    ("{a}:", {"a": "x"}, ["x:"]),
    ("{{{a}}}", {"a": "x"}, ["{x}"]),
    ("{ {k: a}.k }", {"a": "x"}, ["x"]),
    ("{join('}', [a, a])}", {"a": "x"}, ["x}x"]),
    ('{"}"}', {"}": "x"}, ["x"]),
    ('{a || `"}"`}', {}, ["}"]),
]


@pytest.mark.parametrize(("tag", "device", "expected"), TAGS)
def test_a_tag_adds(tag: str, device: Fields, expected: list[str]) -> None:
    assert made(device, tag=(tag,)).get("tags", []) == expected
    assert made({**device, "tags": ["own"]}, tag=(tag,))["tags"] == ["own", *expected]


def test_a_tag_that_is_there_is_not_added_again() -> None:
    assert made({"tags": ["a"], "x": "a", "xs": ["a", "b"]}, tag=("{x}", "{xs}", "b"))["tags"] == ["a", "b"]


def test_what_is_no_list_of_tags_is_left_to_the_check() -> None:
    assert made({"tags": {"a": 1}}, tag=("vip",))["tags"] == {"a": 1}


def test_tags_that_multiply_beyond_all_sense_are_a_flaw() -> None:
    many = [str(number) for number in range(1000)]
    assert "10,000" in flaw({"a": many, "b": many}, tag=("{a}{b}",)).message


IDS: list[tuple[str, Fields, str]] = [
    ("token", {"token": "abc"}, "abc"),
    ("token", {"token": 12}, "12"),
    ("[b, a]", {"a": 1, "b": "x"}, '["x",1]'),
    ("token", {"token": {"b": 1, "a": 2}}, '{"a":2,"b":1}'),
    ("push-channel", {"pushChannel": "00ff", "installationId": "old"}, "00ff"),
    ("push-channel", {"pushChannel": {"p256dh": "k", "endpoint": "e"}}, '{"endpoint":"e","p256dh":"k"}'),
]


@pytest.mark.parametrize(("expression", "device", "text"), IDS)
def test_id_from_hashes_the_value_as_text(expression: str, device: Fields, text: str) -> None:
    assert made(device, id_from=expression)["installationId"] == hashed(text)


def test_id_from_push_channel_is_the_one_after_mapping() -> None:
    assert made({"token": "00ff"}, map={"pushChannel": "token"}, id_from="push-channel")["installationId"] == hashed(
        "00ff"
    )


@pytest.mark.parametrize("expression", ["token", "push-channel"])
@pytest.mark.parametrize("value", [None, "", [], {}])
def test_an_empty_value_gives_no_id(expression: str, value: object) -> None:
    found = flaw({"token": value, "pushChannel": value, "installationId": "old"}, id_from=expression)
    assert found.code == "id-missing"
    assert expression in found.message
    assert found.id is None


REPAIRS: list[tuple[str, Fields, Fields, list[str]]] = [
    ("id", {"installationId": "a b"}, {"installationId": hashed("a b")}, ["id-repaired"]),
    ("id", {"installationId": ".."}, {"installationId": hashed("..")}, ["id-repaired"]),
    ("id", {"installationId": "a-b_c.9"}, {"installationId": "a-b_c.9"}, []),
    ("id", {"installationId": 5}, {"installationId": 5}, []),
    ("user-id", {"userId": "kim+1=a b"}, {"userId": "kim_1=a_b"}, ["user-id-repaired"]),
    ("user-id", {"userId": "k_@#.:=-1"}, {"userId": "k_@#.:=-1"}, []),
    ("tags", {"tags": ["a b", "ok", "é", 7]}, {"tags": ["a_b", "ok", "_", 7]}, ["tag-repaired", "tag-repaired"]),
    ("tags", {"tags": ["", "a"]}, {"tags": ["a"]}, ["tag-repaired"]),
    ("tags", {"tags": ["$UserId:{a}"]}, {"tags": ["$UserId:{a}"]}, []),
    ("tags", {"tags": "a b"}, {"tags": ["a_b"]}, ["tag-repaired"]),
    ("system-tags", {"tags": ["$UserId:{a}", "a b"]}, {"tags": ["a b"]}, ["system-tag-dropped"]),
    (
        "tags",
        {
            "templates": {"w": {"tags": ["a b"]}},
            "secondaryTiles": {"t": {"tags": ["a b"], "templates": {"x": {"tags": ["c d"]}}}},
        },
        {
            "templates": {"w": {"tags": ["a_b"]}},
            "secondaryTiles": {"t": {"tags": ["a_b"], "templates": {"x": {"tags": ["c_d"]}}}},
        },
        ["tag-repaired"] * 3,
    ),
]


@pytest.mark.parametrize(("repair", "device", "expected", "codes"), REPAIRS)
def test_repairs_mend_and_tell(repair: str, device: Fields, expected: Fields, codes: list[str]) -> None:
    fields, found = notes(device, repair=frozenset({repair}))
    assert fields == expected
    assert [finding.code for finding in found] == codes


def test_what_was_not_asked_for_is_not_repaired() -> None:
    device = {"installationId": "a b", "userId": "a b", "tags": ["a b", "$x"]}
    for repair in ("id", "user-id", "tags", "system-tags"):
        fields, _ = notes(device, repair=frozenset({repair}))
        assert sum(fields[name] != device[name] for name in device) == 1


GCM: list[tuple[str, Any, Any]] = [
    ("data", {"data": {"m": "$(message)"}}, {"message": {"data": {"m": "$(message)"}}}),
    (
        "data of texts only",
        {"data": {"n": 1, "b": True, "o": {"x": "$(y)"}, "z": None}},
        {"message": {"data": {"n": "1", "b": "true", "o": '{"x":"$(y)"}'}}},
    ),
    (
        "notification",
        {"notification": {"title": "t", "body": "$(m)"}},
        {"message": {"notification": {"title": "t", "body": "$(m)"}}},
    ),
    (
        "Android's part of a notification",
        {"notification": {"body": "b", "sound": "default", "android_channel_id": "c", "body_loc_args": '["x"]'}},
        {
            "message": {
                "notification": {"body": "b"},
                "android": {"notification": {"sound": "default", "channel_id": "c", "body_loc_args": ["x"]}},
            }
        },
    ),
    (
        "options",
        {"data": {}, "priority": "high", "collapse_key": "k", "time_to_live": 60, "restricted_package_name": "p"},
        {
            "message": {
                "data": {},
                "android": {"priority": "HIGH", "collapse_key": "k", "ttl": "60s", "restricted_package_name": "p"},
            }
        },
    ),
    ("a text of seconds", {"data": {}, "time_to_live": "60"}, {"message": {"data": {}, "android": {"ttl": "60s"}}}),
    (
        "an expression of seconds",
        {"data": {}, "time_to_live": "$(ttl)"},
        {"message": {"data": {}, "android": {"ttl": "{$(ttl) + 's'}"}}},
    ),
    (
        "an expression of priority",
        {"data": {}, "priority": "$(p)"},
        {"message": {"data": {}, "android": {"priority": "$(p)"}}},
    ),
    ("a recipient", {"data": {}, "to": "x"}, {"message": {"data": {}}}),
]


@pytest.mark.parametrize(("gcm", "v1"), [case[1:] for case in GCM], ids=[case[0] for case in GCM])
def test_a_gcm_template_becomes_a_message_of_fcm_v1(gcm: Any, v1: Any) -> None:
    device = {"platform": "gcm", "templates": {"w": {"body": json.dumps(gcm), "tags": ["t"]}}}
    fields, found = notes(device, map_value={"platform": {"gcm": "fcmv1"}}, convert_gcm_templates=True)
    assert json.loads(fields["templates"]["w"]["body"]) == v1
    assert fields["templates"]["w"]["tags"] == ["t"]
    assert [finding.code for finding in found] == ["gcm-template-converted"]
    assert "templates.w.body" in found[0].message


def test_what_fcm_v1_has_no_room_for_is_told() -> None:
    body = json.dumps({"data": {}, "to": "x", "notification": {"badge": 1}})
    _, found = notes({"platform": "fcmv1", "templates": {"w": {"body": body}}}, convert_gcm_templates=True)
    assert "without to, notification.badge" in found[0].message


@pytest.mark.parametrize(
    ("platform", "body"),
    [
        ("gcm", '{"data":{}}'),
        ("apns", '{"data":{}}'),
        ("fcmv1", '{"message":{"data":{}}}'),
        ("fcmv1", '{"message":{},"data":{}}'),
        ("fcmv1", '{"to":"x"}'),
        ("fcmv1", '{"data":"$(data)","priority":"high"}'),
        ("fcmv1", "not json"),
        ("fcmv1", "[]"),
        ("fcmv1", "{}"),
        ("fcmv1", "\ud800"),
        ("fcmv1", '{"data":{"x":' + "[" * 500 + "]" * 500 + "}}"),
        ("fcmv1", None),
        (None, '{"data":{}}'),
    ],
)
def test_other_templates_stay_as_they_are(platform: Any, body: Any) -> None:
    fields, found = notes(
        {"platform": platform, "templates": {"w": {"body": body}, "x": 1}}, convert_gcm_templates=True
    )
    assert fields["templates"] == {"w": {"body": body}, "x": 1}
    assert found == ()


EACH: list[tuple[str, Any, list[Fields]]] = [
    ("devices", [{"id": "1"}, {"id": "2"}], [{"installationId": "1"}, {"installationId": "2"}]),
    ("devices", {"id": "1"}, [{"installationId": "1"}]),
    ("devices", None, []),
    ("devices", [], []),
    ("devices", [None, {"id": "1"}], [{"installationId": "1"}]),
    ("devices[?id != '1']", [{"id": "1"}, {"id": "2"}], [{"installationId": "2"}]),
]


@pytest.mark.parametrize(("expression", "devices", "expected"), EACH)
def test_each_makes_a_record_of_each_element(expression: str, devices: Any, expected: list[Fields]) -> None:
    assert all_made({"devices": devices}, each=expression, map={"installationId": "id"}) == expected


def test_an_element_knows_its_enclosing_object() -> None:
    user = {"name": "kim", "devices": [{"id": "1"}]}
    assert made(user, each="devices", map={"installationId": "id", "userId": "_parent.name"}) == {
        "installationId": "1",
        "userId": "kim",
    }


def test_an_element_that_is_no_object_is_a_value() -> None:
    user = {"name": "kim", "tokens": ["a", 2]}
    flags: dict[str, Any] = {"each": "tokens", "map": {"pushChannel": "_value", "userId": "_parent.name"}}
    assert all_made(user, **flags) == [{"pushChannel": "a", "userId": "kim"}, {"pushChannel": "2", "userId": "kim"}]


def test_an_elements_own_fields_are_what_its_installation_starts_from() -> None:
    user = {"userId": "kim", "platform": "x", "devices": [{"platform": "apns", "color": "red"}]}
    assert made(user, each="devices") == {"platform": "apns"}


@pytest.mark.parametrize(
    ("expression", "device", "is_kept"),
    [
        ("on", {"on": True}, True),
        ("on", {"on": 0}, True),
        ("on", {"on": False}, False),
        ("on", {"on": ""}, False),
        ("on", {"on": []}, False),
        ("on", {"on": {}}, False),
        ("on", {}, False),
        ("on == 'yes'", {"on": "yes"}, True),
        ("!off && contains(['a', 'b'], on)", {"on": "a"}, True),
    ],
)
def test_where_keeps_what_it_holds_for(expression: str, device: Fields, is_kept: bool) -> None:
    assert len(all_made({**device, "platform": "apns"}, where=expression)) == is_kept


def test_a_json_column_is_read_first() -> None:
    row = {"meta": '{"devices": [{"id": "1"}]}', "n": "7"}
    assert made(row, json_column=("meta", "absent"), each="meta.devices", map={"installationId": "id"}) == {
        "installationId": "1"
    }
    assert made({"meta": "", "platform": "x"}, json_column=("meta",)) == {"platform": "x"}
    found = flaw({"meta": "{", "installationId": "a"}, json_column=("meta",))
    assert (found.code, found.id) == ("mapping-failed", "a")
    assert found.message.startswith("--json-column meta: ")


def test_the_flags_act_in_their_order() -> None:
    # Each step's result is what the next one needs.
    fields, found = notes(
        {"cell": '{"devices": [{"os": "Android", "token": "a b"}, {"os": "none"}]}'},
        json_column=("cell",),
        each="cell.devices",
        where="os != 'none'",
        map={"platform": "os", "userId": "nobody", "pushChannel": "token"},
        map_value={"platform": {"android": "gcm"}, "userId": {"*": "wrong"}},
        default={"userId": "u 1", "templates": '{"w": {"body": "{\\"data\\": {}}"}}'},
        set={"platform": "fcmv1"},
        tag=("os {os}",),
        id_from="push-channel",
        repair=frozenset({"tags", "user-id"}),
        convert_gcm_templates=True,
    )
    assert fields == {
        "platform": "fcmv1",
        "pushChannel": "a b",
        "userId": "u_1",
        "templates": {"w": {"body": '{"message":{"data":{}}}'}},
        "tags": ["os_Android"],
        "installationId": hashed("a b"),
    }
    assert [finding.code for finding in found] == ["user-id-repaired", "tag-repaired", "gcm-template-converted"]


FAILING: list[tuple[dict[str, Any], Fields, str]] = [
    (
        {"map": {"userId": "length(n)"}},
        {"n": 1},
        "--map userId=length(n): length() takes string or array or object, not number",
    ),
    ({"map": {"userId": "n < s"}}, {"n": 1, "s": "x"}, "--map userId=n < s: TypeError"),
    ({"map": {"userId": "sort(n)"}}, {"n": [1, "x"]}, "--map userId=sort(n): sort()"),
    ({"map": {"userId": "max_by(n, &a)"}}, {"n": [{"a": {}}]}, "--map userId=max_by(n, &a): "),
    ({"map": {"userId": "ceil(to_number(n))"}}, {"n": "1e999"}, "--map userId=ceil(to_number(n)): OverflowError"),
    ({"map": {"templates.w.body": "n"}}, {"templates": "x"}, "templates.w.body cannot be set: templates is no object"),
    ({"where": "starts_with(n, 'x')"}, {"n": 1}, "--where starts_with(n, 'x'): starts_with() takes string, not number"),
    ({"each": "keys(n)"}, {"n": 1}, "--each keys(n): keys() takes object, not number"),
    ({"tag": ("x:{n}",)}, {"n": {"a": 1}}, "--tag x:{n}: a tag is made of texts, this is an object"),
    ({"tag": ("x:{n}",)}, {"n": [[1]]}, "--tag x:{n}: a tag is made of texts, this is an array"),
    ({"tag": ("x:{abs(n)}",)}, {"n": "x"}, "--tag x:{abs(n)}: abs() takes number, not string"),
    ({"default": {"templates.w.body": "x"}}, {"templates": [1]}, "templates is no object"),
    ({"set": {"templates.w.body": "x"}}, {"templates": {"w": 1}}, "templates.w is no object"),
]


@pytest.mark.parametrize(("flags", "device", "words"), FAILING)
def test_what_a_flag_cannot_do_is_the_records_flaw(flags: dict[str, Any], device: Fields, words: str) -> None:
    if "templates.w.body" in flags.get("map", {}):
        device = {**device, "n": "{}"}
    found = flaw({**device, "installationId": "a1"}, **flags)
    assert found.code == "mapping-failed"
    assert words in found.message
    assert found.id == "a1"


def test_a_value_never_stands_in_a_flaw() -> None:
    token = "0123456789abcdef" * 4
    for expression in ("abs(token)", "sum([token])", "sort_by([token], &a)"):
        assert token not in flaw({"token": token}, map={"userId": expression}).message


def test_a_flaw_keeps_the_id_that_the_record_would_have() -> None:
    device = {"id": 7, "n": 1, "pushChannel": "00"}
    assert flaw(device, where="keys(n)", map={"installationId": "id"}).id == "7"
    assert flaw(device, tag=("{keys(n)}",), map={"installationId": "id"}).id == "7"
    assert flaw(device, tag=("{keys(n)}",), id_from="push-channel").id == hashed("00")
    assert flaw(device, map={"installationId": "keys(n)"}).id is None
    assert flaw({**device, "installationId": "own"}, where="keys(n)", map={"installationId": ""}).id is None


def test_deep_objects_are_no_crash() -> None:
    deep: Any = "x"
    for _ in range(900):
        deep = {"a": deep}
    device = {"installationId": "a", "deep": deep}
    deep_path = ".".join(["deep", *["a"] * 900])
    assert made(device, map={"userId": deep_path})["userId"] == "x"
    for flags in ({"map": {"templates": "deep"}}, {"tag": ("{to_string(deep)}",)}, {"id_from": "deep"}):
        for record in Intake(Checker(), mapping(MappingFlags(**flags))).records(orjson.dumps({"deep": 1})):
            assert record is not None
        all_made(device, **flags)


BAD: list[tuple[dict[str, Any], str]] = [
    ({"map": {"userId": "a["}}, "--map userId=a[: the expression ends too early"),
    ({"map": {"userId": "a."}}, "--map userId=a.: the expression ends too early"),
    (
        {"map": {"userId": "a b"}},
        "'b' at character 3; a name that holds more than letters, digits and _ is quoted: \"a b\"",
    ),
    ({"map": {"userId": "user-id"}}, 'is quoted: "user-id"'),
    ({"map": {"userId": "#"}}, "--map userId=#: not a JMESPath expression, at character 1"),
    ({"map": {"userId": "nope(a)"}}, "--map userId=nope(a): there is no function nope()"),
    ({"map": {"userId": "a[?nope(b)]"}}, "there is no function nope()"),
    ({"map": {"userId": "length(a, b)"}}, "length() takes 1 arguments, not 2"),
    ({"map": {"userId": "merge()"}}, "merge() takes at least 1 arguments, not 0"),
    ({"map": {"userId": "&a"}}, "--map userId=&a: an expression after &"),
    ({"map": {"userId": "to_array(&a)"}}, "an expression after &"),
    ({"map": {"userId": "(" * 5000}}, "the expression nests too deep"),
    ({"map": {"": "a"}}, "--map : nothing is no field"),
    ({"map": {"a..b": "a"}}, "--map a..b: a..b is no field"),
    ({"map": {"a.": "a"}}, "--map a.: a. is no field"),
    ({"map": {'"a': "a"}}, '--map "a: "a is no field'),
    ({"map": {'a"b"': "a"}}, "is no field"),
    ({"map": {"user_id": "a"}}, "--map user_id: an installation has no field user_id; write userId"),
    (
        {"map_value": {"Platform": {"a": "b"}}},
        "--map-value Platform: an installation has no field Platform; write platform",
    ),
    (
        {"default": {"pushchannel": "a"}},
        "--default pushchannel: an installation has no field pushchannel; write pushChannel",
    ),
    ({"set": {"Tags": "a"}}, "--set Tags: "),
    ({"set": {"templates": "x"}}, "--set templates=x: templates is an object, this is no JSON"),
    ({"default": {"templates.w.headers": "[]"}}, "templates.w.headers is an object, this is other JSON"),
    ({"where": ""}, "--where : the expression is empty"),
    ({"each": "a["}, "--each a[: the expression ends too early"),
    ({"id_from": "a["}, "--id-from a[: the expression ends too early"),
    ({"tag": ("",)}, "--tag is empty"),
    ({"tag": ("a{b",)}, "--tag a{b: the brace at character 2 is not closed"),
    ({"tag": ("a}b",)}, "--tag a}b: the brace at character 2 closes none"),
    ({"tag": ("{'a}",)}, "--tag {'a}: the brace at character 1 is not closed"),
    ({"tag": ("a{}",)}, "--tag a{}: the expression is empty"),
    ({"tag": ("a{b[}",)}, "--tag a{b[}: the expression ends too early"),
    ({"repair": frozenset({"ids"})}, "--repair ids: there is no such repair; there are id, tags, user-id, system-tags"),
    (
        {"transform": "x.py", "each": "a"},
        "--transform takes the place of --each, --where and --map; take it or --each away",
    ),
    ({"transform": "x.py", "where": "a"}, "take it or --where away"),
    ({"transform": "x.py", "map": {"userId": "a"}}, "take it or --map away"),
    ({"transform": "absent.py"}, "--transform absent.py cannot be read: No such file"),
    ({"preset": "nowhere"}, "there is no preset 'nowhere'"),
    ({"tag_separator": ""}, "--tag-separator is empty"),
]


@pytest.mark.parametrize(("flags", "words"), BAD)
def test_wrong_flags_are_refused_in_one_line(flags: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError) as caught:
        build(MappingFlags(**flags))
    assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("userId=a == 'b'", ("userId", "a == 'b'")),
        ("userId=", ("userId", "")),
        ('templates."a=b".body=x', ('templates."a=b".body', "x")),
        ('a."q\\"=".b=x', ('a."q\\"=".b', "x")),
    ],
)
def test_an_assignment_is_split_at_its_first_mark(text: str, expected: tuple[str, str]) -> None:
    assert assignment("--map", text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("platform:android=fcmv1", ("platform", "android", "fcmv1")),
        ("platform:*=apns", ("platform", "*", "apns")),
        (r"userId:a\:b\=c=d\=e:f", ("userId", "a:b=c", "d=e:f")),
        ("userId:a:b=c", ("userId", "a:b", "c")),
        (r"userId:a\\=b", ("userId", "a\\", "b")),
        ('templates."a:b".body:x=', ('templates."a:b".body', "x", "")),
    ],
)
def test_a_value_rule_is_taken_apart(text: str, expected: tuple[str, str, str]) -> None:
    assert value_rule(text) == expected


@pytest.mark.parametrize("text", ["", "userId", "platform:android", "=fcmv1", "android=fcmv1"])
def test_what_is_no_value_rule_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="--map-value"):
        value_rule(text)


def test_what_is_no_assignment_is_refused() -> None:
    with pytest.raises(InputError, match="--set userId: write FIELD="):
        assignment("--set", "userId")


def _players(page: Fields) -> Iterator[Fields]:
    yield from page["players"]


PRESET = Preset(
    name="tiny",
    expects="a page of players, from GET /players",
    records="players",
    flags=MappingFlags(
        where="on",
        map={"installationId": "id", "pushChannel": "token", "platform": "os"},
        map_value={"platform": {"android": "fcmv1", "ios": "apns"}},
        default={"userId": "nobody"},
        tag=("tiny",),
        repair=frozenset({"tags"}),
    ),
    objects=_players,
    read=lambda text: {"players": [dict(pair.split("=", 1) for pair in text.decode().split(";"))]},
)
PAGE = {"players": [{"id": "1", "token": "a", "os": "iOS", "on": "y"}, {"id": "2"}]}


def test_a_preset_is_a_mapping_by_itself() -> None:
    assert all_made(PAGE, PRESET) == [
        {"installationId": "1", "pushChannel": "a", "platform": "apns", "userId": "nobody", "tags": ["tiny"]}
    ]


def test_flags_on_top_refine_a_preset() -> None:
    (one,) = all_made(
        PAGE,
        PRESET,
        where="id == '1'",
        map={"pushChannel": "id"},
        map_value={"platform": {"IOS": "adm"}},
        default={"userId": "somebody"},
        tag=("v 1",),
        set={"expirationTime": "x"},
        id_from="token",
        repair=frozenset({"user-id"}),
    )
    assert one == {
        "installationId": hashed("a"),
        "pushChannel": "1",
        "platform": "adm",
        "userId": "somebody",
        "tags": ["tiny", "v_1"],
        "expirationTime": "x",
    }
    assert all_made(PAGE, PRESET, where="id == '2'") == []


def test_a_function_takes_the_place_of_a_presets_each_where_and_map() -> None:
    (_, second) = all_made(PAGE, PRESET, transform=lambda player: [{"installationId": player["id"]}])
    assert second == {"installationId": "2", "userId": "nobody", "tags": ["tiny"]}


def test_a_presets_own_reader_takes_the_place_of_json() -> None:
    intake = Intake(Checker(), mapping(MappingFlags(), PRESET))
    (record,) = intake.records(b"id=1;token=00ff;os=ios;on=y")
    assert isinstance(record, Installation)
    assert record.id == "1"
    (record,) = intake.records(b"nonsense")
    assert isinstance(record, Flaw)
    assert record.code == "not-json"


def test_an_object_that_a_preset_does_not_expect_is_a_flaw() -> None:
    (one,) = all_made({"players": 5, "installationId": "a"}, PRESET)
    assert isinstance(one, Flaw)
    assert one.message == "--preset tiny: the object is not what it expects (TypeError)"


CHANGES: list[dict[str, Any]] = [
    {"json_column": ("a",)},
    {"each": "a"},
    {"where": "a"},
    {"map": {"userId": "a"}},
    {"map": {"userId": ""}},
    {"map_value": {"platform": {"a": "b"}}},
    {"default": {"userId": "a"}},
    {"set": {"userId": "a"}},
    {"tag": ("a",)},
    {"tag": ("b", "a")},
    {"tag": ("a", "b")},
    {"id_from": "a"},
    {"id_from": "push-channel"},
    {"repair": frozenset({"id"})},
    {"convert_gcm_templates": True},
    {"tag_separator": ","},
    {"transform": lambda source_object: [source_object]},
]


def test_every_change_of_a_mapping_changes_its_fingerprint() -> None:
    prints = [mapping(MappingFlags(**flags)).fingerprint for flags in CHANGES]
    prints += [mapping(MappingFlags(**flags), PRESET).fingerprint for flags in [{}, *CHANGES]]
    prints += [mapping(MappingFlags(), replace(PRESET, records=None)).fingerprint]
    prints += [mapping(MappingFlags(), replace(PRESET, name="other")).fingerprint]
    prints += [mapping(MappingFlags(), replace(PRESET, objects=None)).fingerprint]
    assert all(prints)
    assert len(set(prints)) == len(prints)


def test_the_order_of_what_has_none_changes_no_fingerprint() -> None:
    one = MappingFlags(
        map={"userId": "a", "platform": "b"},
        map_value={"platform": {"A": "x", "b": "y"}},
        json_column=("p", "q"),
        set={"tags": "a", "userID": "b"},
    )
    other = MappingFlags(
        map={"platform": "b", '"userId"': "a"},
        map_value={"platform": {"b": "y", "a": "x"}},
        json_column=("q", "p"),
        set={"userId": "b", "tags": "a"},
    )
    assert mapping(one).fingerprint == mapping(other).fingerprint


def test_a_fingerprint_is_the_same_in_another_process() -> None:
    # Pinned: a ledger that was begun by one release is continued by the next.
    assert mapping(MappingFlags(map={"userId": "a"})).fingerprint == "61796826b5529db14ab060b3dd198cd2"


@UNHURRIED
@given(OBJECTS)
def test_no_object_raises_and_each_stays_as_it_is(source_object: Fields) -> None:
    before = copy.deepcopy(source_object)
    for flags in (EVERYTHING, replace(EVERYTHING, each=None, where=None, id_from=None)):
        for one in mapping(flags).installations(source_object):
            assert one is None or isinstance(one, Flaw) or isinstance(one[0], dict)
    assert repr(source_object) == repr(before)


@UNHURRIED
@given(ROWS)
def test_no_row_raises_and_each_stays_as_it_is(row: Fields) -> None:
    before = copy.deepcopy(row)
    plain = replace(EVERYTHING, each=None, where=None, id_from=None, json_column=())
    for flags in (EVERYTHING, plain, MappingFlags(tag_separator=",")):
        for one in mapping(flags).of_row(row):
            assert one is None or isinstance(one, Flaw) or isinstance(one[0], dict)
    assert repr(row) == repr(before)


@UNHURRIED
@given(OBJECTS, ROWS, st.binary(max_size=40))
def test_an_intake_never_raises(source_object: Fields, row: Fields, text: bytes) -> None:
    for intake in (Intake(Checker(), mapping(EVERYTHING)), Intake(Checker())):
        for datum in (json.dumps(source_object).encode(), row, text, b'{"_bulkload"' + text):
            for record in intake.records(datum):
                assert record is None or record.id is None or isinstance(record.id, str)
