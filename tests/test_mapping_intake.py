"""Rows are the objects that their columns describe, dead letters the records inside them; texts stay as they are."""

import base64
import csv
import io
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bulkload.installation import Checker, Fields, Flaw, Installation
from bulkload.mapping import Intake, MappingFlags, build
from bulkload.mapping.mappings import Nesting

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

DEVICE = {"installationId": "a1", "platform": "apns", "pushChannel": "00ff"}
TEXT = b'{ "installationId":"a1",  "platform":"apns", "pushChannel":"00ff", "pushVariables":{} }'


def intake(**flags: Any) -> Intake:
    return Intake(Checker(), build(MappingFlags(**flags)))


def fields(datum: bytes | Fields, /, **flags: Any) -> Fields:
    (record,) = intake(**flags).records(datum)
    assert isinstance(record, Installation), str(record)
    return record.fields


def described(row: Fields, /, **flags: Any) -> Fields:
    """What a row becomes, before the check."""
    (made,) = (build(MappingFlags(**flags)) or Nesting()).of_row(row)
    assert isinstance(made, tuple), str(made)
    return made[0]


def body(datum: bytes | Fields, /, **flags: Any) -> bytes:
    (record,) = intake(**flags).records(datum)
    assert isinstance(record, Installation), str(record)
    return record.body


def flaw(datum: bytes | Fields, /, **flags: Any) -> Flaw:
    (record,) = intake(**flags).records(datum)
    assert isinstance(record, Flaw)
    return record


def test_without_a_mapping_a_text_is_sent_byte_for_byte() -> None:
    assert body(TEXT) == TEXT
    assert body(TEXT, tag_separator=",") == TEXT


def test_with_a_mapping_a_text_is_written_anew() -> None:
    assert orjson.loads(body(TEXT, set={"userId": "u"})) == {**orjson.loads(TEXT), "userId": "u"}


@pytest.mark.parametrize(
    ("text", "code"), [(b"{", "not-json"), (b"\xff", "not-json"), (b"[]", "not-an-object"), (b"5", "not-an-object")]
)
def test_what_is_no_object_is_a_flaw(text: bytes, code: str) -> None:
    assert flaw(text).code == code
    assert flaw(text, map={"userId": "a"}).code == code


ROWS: list[tuple[str, Fields, Fields]] = [
    ("flat columns", {"userId": "u"}, {"userId": "u"}),
    ("an empty cell", {"userId": ""}, {}),
    ("nested columns", {"templates.w.body": "{}"}, {"templates": {"w": {"body": "{}"}}}),
    ("empty nested cells", {"templates.w.body": "", "templates.w.tags": ""}, {}),
    (
        "several of one object",
        {"templates.w.body": "{}", "templates.w.tags": "a|b", "templates.z.body": "[]"},
        {"templates": {"w": {"body": "{}", "tags": ["a", "b"]}, "z": {"body": "[]"}}},
    ),
    ("tags", {"tags": "a| b |"}, {"tags": ["a", "b"]}),
    ("empty tags", {"tags": " | "}, {}),
    ("a quoted name", {'templates."a.b".body': "{}"}, {"templates": {"a.b": {"body": "{}"}}}),
    (
        "a header's name",
        {"templates.w.headers.X-WNS-Type": "wns/toast"},
        {"templates": {"w": {"headers": {"X-WNS-Type": "wns/toast"}}}},
    ),
    ("a variable called tags", {"pushVariables.tags": "a|b"}, {"pushVariables": {"tags": "a|b"}}),
    ("userID", {"userID": "u"}, {"userId": "u"}),
    ("a typed source's numbers", {"userId": 12, "pushVariables.n": 7}, {"userId": "12", "pushVariables": {"n": "7"}}),
    ("a typed source's null", {"userId": None, "tags": None}, {}),
    ("a typed source's list", {"tags": ["a"]}, {"tags": ["a"]}),
]


@pytest.mark.parametrize(("row", "expected"), [case[1:] for case in ROWS], ids=[case[0] for case in ROWS])
def test_a_row_is_the_object_that_its_columns_describe(row: Fields, expected: Fields) -> None:
    assert described({**DEVICE, **row}) == {**DEVICE, **expected}
    assert described({**DEVICE, **row}, set={"expirationTime": ""}) == {**DEVICE, **expected}


def test_a_column_that_is_no_field_is_left_out_and_told() -> None:
    (record,) = intake().records({**DEVICE, "email": "kim@example.org", "address.city": "x"})
    assert isinstance(record, Installation)
    assert record.fields == DEVICE
    assert [finding.code for finding in record.warnings] == ["unknown-column", "unknown-column"]
    assert "column email" in record.warnings[0].message
    assert "kim" not in record.warnings[0].message


def test_columns_are_raw_material_where_flags_name_them() -> None:
    (record,) = intake(map={"userId": "email"}).records({**DEVICE, "email": "kim", "city": "x"})
    assert isinstance(record, Installation)
    assert record.fields == {**DEVICE, "userId": "kim"}
    assert record.warnings == ()


@pytest.mark.parametrize(
    "row", [{"templates": "x", "templates.w.body": "{}"}, {"templates.w.body": "{}", "templates": "x"}]
)
def test_columns_that_have_no_place_are_a_flaw_where_both_hold_something(row: Fields) -> None:
    found = flaw({**DEVICE, **row})
    assert (found.code, found.id) == ("mapping-failed", "a1")
    assert "column templates.w.body has no place: templates is no object" in found.message
    assert described({**DEVICE, **row, "templates": ""})["templates"] == {"w": {"body": "{}"}}
    assert described({**DEVICE, **row, "templates.w.body": "", "templates": ""}) == DEVICE


def test_a_json_column_and_nested_columns_are_one_object() -> None:
    row = {**DEVICE, "templates": '{"w": {"tags": ["a"]}}', "templates.w.body": "{}"}
    assert described(row, json_column=("templates",))["templates"] == {"w": {"tags": ["a"], "body": "{}"}}


def test_a_typed_sources_objects_stay_as_they_are() -> None:
    inner = {"tags": ["a"]}
    row = {**DEVICE, "templates": {"w": inner}, "templates.w.body": "{}", "secondaryTiles.t": inner}
    merged = {"w": {"tags": ["a"], "body": "{}"}}
    mapped = build(MappingFlags(set={"userId": "u"}))
    assert mapped is not None
    for made in (mapped, Nesting()):
        (one,) = made.of_row(row)
        assert isinstance(one, tuple)
        assert one[0]["templates"] == merged
        assert inner == {"tags": ["a"]}
    assert flaw({**DEVICE, "templates.w": {"body": object()}}).message.startswith("column templates.w: its object")


def test_other_columns_that_clash_are_nobodys_flaw() -> None:
    assert described({**DEVICE, "price": "1", "price.usd": "2"}, map={"userId": '"price.usd"'})["userId"] == "2"


SEEN: list[tuple[str, Fields, str]] = [
    ("country", {"country": "DE"}, "DE"),
    ('"Push Token"', {"Push Token": "x"}, "x"),
    ("address.city", {"address.city": "x"}, "x"),
    ('"address.city"', {"address.city": "x"}, "x"),
    ("templates.w.body", {"templates.w.body": "x"}, "x"),
    ("tags[0]", {"tags": "x|y"}, "x"),
    ("a == '' && 'empty'", {"a": "", "templates.w.body": ""}, "empty"),
    ("!a && 'empty'", {"a": "", "tags": ""}, "empty"),
]


@pytest.mark.parametrize(("expression", "row", "value"), SEEN)
def test_expressions_see_cells_by_their_columns_and_by_their_paths(expression: str, row: Fields, value: str) -> None:
    assert described({**DEVICE, **row}, map={"userId": expression})["userId"] == value


def test_an_element_of_a_row_knows_the_row() -> None:
    row = {"user": "kim", "tokens": '["00", "ff"]', "x.y": "z"}
    flags: dict[str, Any] = {
        "json_column": ("tokens",),
        "each": "tokens",
        "map": {"pushChannel": "_value", "userId": "_parent.user", "pushVariables.x": "_parent.x.y"},
        "set": {"platform": "apns"},
        "id_from": "push-channel",
    }
    first, second = intake(**flags).records(row)
    assert isinstance(first, Installation)
    assert isinstance(second, Installation)
    assert first.fields["pushChannel"] == "00"
    assert second.fields["userId"] == "kim"
    assert second.fields["pushVariables"] == {"x": "z"}


def test_many_headers_do_not_fill_the_memory() -> None:
    mapped = build(MappingFlags(set={"platform": "apns"}))
    assert mapped is not None
    for number in range(500):
        mapped.of_row({**DEVICE, f"column {number}": "x"})
    assert len(mapped._rows._headers) <= 64  # type: ignore[attr-defined]


NAME = st.from_regex(r"[a-z]{1,3}(\.[a-z]{1,2})?", fullmatch=True)
CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), min_size=1, max_size=8)
TAG = st.from_regex(r"[a-z0-9:_-]{1,8}", fullmatch=True)
TEMPLATE = st.fixed_dictionaries(
    {"body": st.just('{"aps":{"alert":"$(m),\n\\"x\\""}}')}, optional={"tags": st.lists(TAG, min_size=1, max_size=3)}
)
DEVICES = st.fixed_dictionaries(
    {
        "installationId": st.from_regex(r"[A-Za-z0-9_-]{1,12}", fullmatch=True),
        "platform": st.sampled_from(["apns", "APNS"]),
        "pushChannel": st.from_regex(r"([0-9a-f]{2}){1,32}", fullmatch=True),
    },
    optional={
        "userId": TAG,
        "tags": st.lists(TAG, min_size=1, max_size=4),
        "templates": st.dictionaries(NAME, TEMPLATE, min_size=1, max_size=3),
        "country": CELL,
        "address": st.dictionaries(st.sampled_from(["city", "zip.code"]), CELL, min_size=1, max_size=2),
    },
)


def columns(device: Fields) -> dict[str, str]:
    """An object as a row, its columns named as a person would."""
    row: dict[str, str] = {}

    def write(value: object, path: tuple[str, ...]) -> None:
        if isinstance(value, dict):
            for name, inner in value.items():
                write(inner, (*path, f'"{name}"' if "." in name else name))
        else:
            row[".".join(path)] = "|".join(value) if isinstance(value, list) else str(value)

    write(device, ())
    return row


@UNHURRIED
@given(
    st.lists(DEVICES, min_size=1, max_size=5),
    st.sampled_from(
        [
            {},
            {
                "map": {"userId": "country", "templates.w.body": "address.city"},
                "tag": ("c:{tags}", 'z:{address."zip.code"}'),
            },
            {"each": "[@]", "where": "contains(tags || `[]`, 'a') || userId", "id_from": "push-channel"},
            {"map": {"tags": "tags[?@ != 'a']", "templates": ""}, "repair": frozenset({"tags", "user-id"})},
            {
                "map": {"userId": "sort(values(address)) | join('-', @)"},
                "repair": frozenset({"user-id"}),
                "default": {"tags": "x|y"},
            },
        ]
    ),
)
def test_rows_and_texts_of_the_same_records_are_sent_alike(devices: list[Fields], flags: dict[str, Any]) -> None:
    rows = [columns(device) for device in devices]
    header = list(dict.fromkeys(name for row in rows for name in row))
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, header, restval="")
    writer.writeheader()
    writer.writerows(rows)
    file.seek(0)
    taken = intake(**flags)
    for device, row in zip(devices, csv.DictReader(file), strict=True):
        known = {name: device[name] for name in device if flags or name not in ("country", "address")}
        assert bodies(taken, row) == bodies(taken, orjson.dumps(known))


def bodies(taken: Intake, datum: bytes | Fields) -> list[object]:
    """What becomes of an object's records; the columns' order is that of the findings in a row."""
    return [
        set(record.findings) if isinstance(record, Flaw) else record and orjson.loads(record.body)
        for record in taken.records(datum)
    ]


@UNHURRIED
@given(st.lists(TAG, max_size=6), st.sampled_from(["|", ",", ";;", "\t", " "]))
def test_tags_that_were_joined_are_split_again(tags: list[str], separator: str) -> None:
    row = {**DEVICE, "tags": separator.join(tags)}
    for flags in ({}, {"set": {"userId": "u"}}, {"map": {"tags": "tags"}}):
        assert fields(row, tag_separator=separator, **flags).get("tags", []) == tags


LETTER = {"source": "d.ndjson", "position": 3, "outcome": "invalid", "reason": 'tags: "record": bad {"record":1}'}


def letter(**inner: Any) -> bytes:
    return orjson.dumps({"_bulkload": LETTER, **inner})


def wrapped(text: bytes) -> bytes:
    return b'{"_bulkload": ' + orjson.dumps(LETTER) + b', "record": ' + text + b"}"


def test_a_dead_letter_is_the_record_inside_it_byte_for_byte() -> None:
    assert body(wrapped(TEXT)) == TEXT
    assert body(wrapped(TEXT) + b"  ") == TEXT
    assert body(wrapped(wrapped(TEXT))) == TEXT
    assert body(b'{ "_bulkload"' + wrapped(TEXT)[len(b'{"_bulkload"') :]) == TEXT


def test_a_dead_letter_that_was_written_anew_is_the_same_record() -> None:
    assert orjson.loads(body(letter(record=DEVICE))) == DEVICE
    assert orjson.loads(body(letter(record=DEVICE, note="mine"))) == DEVICE
    assert orjson.loads(body(letter(note={"record": 1}, record=DEVICE))) == DEVICE


def test_a_dead_letter_is_mapped_like_its_record() -> None:
    assert fields(
        letter(record={"id": "a1"}), map={"installationId": "id"}, set={"platform": "apns", "pushChannel": "00"}
    ) == {
        "installationId": "a1",
        "platform": "apns",
        "pushChannel": "00",
    }


def test_a_dead_letter_in_base64_is_the_bytes_that_it_holds() -> None:
    assert body(letter(base64=base64.b64encode(TEXT).decode())) == TEXT
    assert flaw(letter(base64=base64.b64encode(b"{oops").decode())).code == "not-json"


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        (letter(base64="%%%"), "not-json", "base64"),
        (letter(base64="é"), "not-json", "base64"),
        (letter(base64=5), "not-an-object", "holds no record"),
        (letter(), "not-an-object", "holds no record"),
        (letter(head='{"installationId":'), "line-too-long", "only the beginning"),
        (letter(record=[]), "not-an-object", ""),
        (letter(record=DEVICE)[:-1], "not-json", "the dead letter is not a JSON text"),
    ],
)
def test_a_dead_letter_without_a_record_is_a_flaw(text: bytes, code: str, words: str) -> None:
    found = flaw(text)
    assert found.code == code
    assert words in found.message
    assert flaw(text, map={"userId": "a"}).code == code


def test_what_only_looks_like_a_dead_letter_is_an_object_like_others() -> None:
    text = orjson.dumps({**DEVICE, "_bulkload": {}})
    assert body(text) == text
