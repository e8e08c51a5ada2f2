"""What a check remembers is exact, however little of it is in memory, and gone when the check is."""

import asyncio
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import bulkload
from bulkload.check.duplicates import Duplicates
from bulkload.check.places import Places
from bulkload.check.spill import Spill
from bulkload.check.tags import Tags
from bulkload.report.checked import Spot

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

Fields = dict[str, Any]

FEW = st.sampled_from([f"value-{number}" for number in range(12)]) | st.text(
    st.characters(codec="utf-8"), min_size=1, max_size=3
)


def device(id_: object, **fields: Any) -> Fields:
    return {"installationId": id_, "platform": "gcm", "pushChannel": f"channel-of-{id_}", **fields}


def left_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


@UNHURRIED
@given(st.lists(FEW, max_size=200), st.integers(1, 40), st.integers(1, 40), st.sampled_from([0, 100, 10_000]))
def test_values_that_occur_again_are_counted_exactly(
    values: list[str], bundle: int, together: int, memory: int
) -> None:
    with closing(Spill(memory)) as spill:
        duplicates = Duplicates(spill, together=together, sorted_at_once=together)
        for start in range(0, len(values), bundle):
            some = values[start : start + bundle]
            duplicates.add(some, range(start, start + len(some)))
        found = duplicates.find()
    counts = Counter(values)
    assert found.values == sum(count > 1 for count in counts.values())
    assert found.records == sum(count - 1 for count in counts.values())
    assert found.strangers == 0
    assert len(found.examples) == min(3, found.values)
    for first, again in found.examples:
        assert first == values.index(values[first]) < again == values.index(values[first], first + 1)


@UNHURRIED
@given(st.lists(st.tuples(FEW, st.sampled_from("abc")), max_size=100), st.integers(1, 40))
def test_those_of_another_owner_are_told_apart(pairs: list[tuple[str, str]], together: int) -> None:
    with closing(Spill(0)) as spill:
        ids, channels = (Duplicates(spill, together=together) for _ in range(2))
        numbers = range(len(pairs))
        owners = ids.add([owner for _, owner in pairs], numbers)
        channels.add([value for value, _ in pairs], numbers, owners)
        found = channels.find()
    first: dict[str, str] = {}
    strangers = 0
    for value, owner in pairs:
        strangers += first.setdefault(value, owner) != owner
    assert found.strangers == strangers


@UNHURRIED
@given(st.lists(st.lists(FEW, max_size=30), max_size=20), st.integers(1, 30), st.sampled_from([0, 200, 10_000]))
def test_tags_are_counted_exactly(bundles: list[list[str]], different: int, memory: int) -> None:
    with closing(Spill(memory)) as spill:
        tags = Tags(spill, different=different)
        for bundle in bundles:
            tags.add(bundle)
        distinct, commonest = tags.count()
    counts = Counter(tag for bundle in bundles for tag in bundle)
    assert distinct == len(counts)
    assert commonest == tuple(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:20])


@given(st.lists(st.lists(st.text(max_size=4), min_size=1, max_size=5), max_size=10), st.sampled_from([0, 1000]))
def test_a_records_place_is_found_by_its_number(bundles: list[list[str]], memory: int) -> None:
    with closing(Spill(memory)) as spill:
        places = Places(spill)
        expected = []
        for number, ids in enumerate(bundles):
            places.add(number % 2, range(10, 10 + len(ids)), ids)
            expected += [
                Spot("ab"[number % 2], 10 + ordinal, id_.replace("\n", " ")) for ordinal, id_ in enumerate(ids)
            ]
        found = [places.spot(number, ["a", "b"]) for number in range(places.count)]
    if not any("\n" in id_ for ids in bundles for id_ in ids):
        assert found == expected
    else:
        assert [spot.line for spot in found] == [spot.line for spot in expected]


@given(st.lists(st.binary(max_size=50), max_size=20), st.integers(0, 200))
def test_what_is_set_aside_is_given_back(data: list[bytes], memory: int) -> None:
    with closing(Spill(memory)) as spill:
        segments = [spill.put(each) for each in data]
        assert [spill.get(segment) for segment in segments] == data


def test_little_touches_no_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    with closing(Spill(100)) as spill:
        spill.put(b"x" * 100)
        with pytest.raises(bulkload.Halt, match="set TMPDIR to a folder with room"):
            spill.put(b"x")


def test_a_full_temporary_disk_is_one_line() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no full device")
    with closing(Spill(0)) as spill:
        spill._file = open("/dev/full", "r+b", buffering=0)  # noqa: SIM115
        with pytest.raises(bulkload.Halt, match="No space left on device; set TMPDIR"):
            spill.put(b"x")


async def test_a_report_tells_all_of_a_source(tmp_path: Path) -> None:
    lines = [
        orjson.dumps(device("a", tags=["x", "y"])),
        orjson.dumps(device("b", platform="apns")),
        b"{",
        b"",
        orjson.dumps(device("a", tags=["x"], own=1)),
        orjson.dumps(device("c", pushChannel="channel-of-a")),
        orjson.dumps(
            device("d", platform="browser", pushChannel={"endpoint": "https://e/1", "p256dh": "p", "auth": "a"})
        ),
        orjson.dumps(
            device("e", platform="browser", pushChannel={"endpoint": "https://e/1", "p256dh": "q", "auth": "b"})
        ),
        orjson.dumps(device("f g", tags=["a b", "c d"])),
    ]
    path = tmp_path / "d.ndjson"
    path.write_bytes(b"\n".join(lines))
    report = await bulkload.check(path, rate=2, api_version="2020-06")
    assert (report.outcome, report.exit_code, report.reason) == ("flaws", 1, None)
    document = report.to_dict()
    assert document["records"] == {"source_objects": 8, "read": 8, "valid": 5, "invalid": 3, "filtered": 0}
    codes = {rule["code"]: (rule["severity"], rule["records"], rule["findings"]) for rule in document["rules"]}
    assert codes == {
        "not-json": ("error", 1, 1),
        "push-channel-not-hex": ("error", 1, 1),
        "id-characters": ("error", 1, 1),
        "tag-characters": ("error", 1, 2),
        "push-channel-characters": ("error", 1, 1),
        "unknown-field": ("warning", 1, 1),
    }
    [example] = next(rule["examples"] for rule in document["rules"] if rule["code"] == "tag-characters")
    assert (example["source"], example["line"], example["id"]) == (str(path), 9, "f g")
    assert document["platforms"] == {"gcm": 3, "browser": 2}
    assert document["tags"] == {"distinct": 2, "commonest": [{"tag": "x", "uses": 2}, {"tag": "y", "uses": 1}]}
    ids, channels = document["duplicates"]["ids"], document["duplicates"]["push_channels"]
    assert (ids["values"], ids["records"]) == (1, 1)
    assert [(twice["first"]["line"], twice["again"]["line"]) for twice in ids["examples"]] == [(1, 5)]
    assert (channels["values"], channels["records"], channels["other_ids"]) == (2, 3, 2)
    assert document["load"] == {"requests": 5, "rate": 2.0, "seconds": 2.5}
    assert left_in(tmp_path) == [path.name]


async def test_a_mapping_and_the_rules_are_those_of_a_load() -> None:
    users = [{"id": n, "tokens": ["t"] * (n % 3), "note": "x y"} for n in range(6)]
    report = await bulkload.check(
        users,
        each="tokens",
        map={"installationId": "_parent.id", "pushChannel": "_value", "userId": "_parent.note"},
        set={"platform": "gcm"},
        allow=["user-id-characters"],
    )
    assert (report.exit_code, report.records.read, report.records.valid, report.records.filtered) == (0, 6, 6, 2)
    assert report.duplicates.ids.records == 2
    assert [rule.severity for rule in report.rules] == ["warning"]
    denied = await bulkload.check([device("a", own=1)], deny=["unknown-field"])
    assert denied.exit_code == 1


@pytest.mark.parametrize("rate", [0, -1, float("inf")])
async def test_a_rate_that_is_none_is_refused(rate: float) -> None:
    with pytest.raises(bulkload.InputError, match="--rate"):
        await bulkload.check([device("a")], rate=rate)


async def test_what_an_iterable_raises_surfaces() -> None:
    def failing() -> Iterator[Fields]:
        yield device("a")
        raise LookupError("gone")

    with pytest.raises(LookupError, match="gone"):
        await bulkload.check(failing())


async def test_no_network_and_no_file_are_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touched: list[tuple[str, tuple[Any, ...]]] = []

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        is_written = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
        if is_on and (event.startswith(("socket.connect", "socket.bind", "sqlite3")) or is_written):
            touched.append((event, arguments))

    (tmp_path / "d.ndjson").write_bytes(b"\n".join(orjson.dumps(device(number)) for number in map(str, range(50))))
    is_on = False
    sys.addaudithook(audit)
    is_on = True
    try:
        report = await bulkload.check(tmp_path / "d.ndjson")
    finally:
        is_on = False
    assert report.records.valid == 50
    assert touched == []


@UNHURRIED
@given(data=st.binary(max_size=400))
def test_whatever_a_file_holds_there_is_a_report_or_one_line(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "d"
        path.write_bytes(data)
        try:
            report = asyncio.run(bulkload.check(path))
        except bulkload.InputError as exc:
            refusal: str | None = str(exc)
        else:
            refusal = None
            assert report.records.read == report.records.valid + report.records.invalid
            orjson.loads(report.to_json())
        assert refusal is None or len(refusal.splitlines()) == 1
