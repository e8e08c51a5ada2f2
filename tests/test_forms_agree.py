"""The same records send the same bodies, whatever form they come in."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bulkload.installation import Checker, Flaw, Installation
from bulkload.mapping import Intake, MappingFlags, build
from bulkload.source import START, Broken, Layout, find_sources

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])

Fields = dict[str, Any]

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), min_size=1, max_size=12)
TAGS = st.lists(st.text("ab:_", min_size=1, max_size=5), max_size=3)


@st.composite
def installations(draw: st.DrawFn) -> Fields:
    fields: Fields = {
        "installationId": draw(st.text("abc0", min_size=1, max_size=5)),
        "platform": "gcm",
        "pushChannel": draw(st.text('t",;|', min_size=1, max_size=6)),
    }
    if draw(st.booleans()):
        fields["userId"] = draw(st.text("u:@", min_size=1, max_size=4))
    if tags := draw(TAGS):
        fields["tags"] = tags
    if draw(st.booleans()):
        fields["templates"] = {"w": {"body": json.dumps({"text": draw(TEXT)}, ensure_ascii=False)}}
        if tags := draw(TAGS):
            fields["templates"]["w"]["tags"] = tags
    return fields


COLUMNS = {
    "installationId": ("installationId",),
    "platform": ("platform",),
    "pushChannel": ("pushChannel",),
    "userId": ("userId",),
    "tags": ("tags",),
    "templates.w.body": ("templates", "w", "body"),
    "templates.w.tags": ("templates", "w", "tags"),
}


def cell(fields: Fields, path: tuple[str, ...]) -> str:
    value: Any = fields
    for name in path:
        value = value.get(name, {})
    return "|".join(value) if isinstance(value, list) else value or ""


def write_forms(folder: Path, records: list[Fields], delimiter: str) -> Iterator[tuple[Path, Layout]]:
    (folder / "d.ndjson").write_bytes(b"".join(orjson.dumps(fields) + b"\n" for fields in records))
    yield folder / "d.ndjson", Layout()
    (folder / "d.json").write_bytes(orjson.dumps(records, option=orjson.OPT_INDENT_2))
    yield folder / "d.json", Layout(format="json")
    for encoding in ("utf-8", "utf-16"):
        path = folder / f"d.{encoding}.csv"
        with path.open("w", newline="", encoding=encoding) as file:
            writer = csv.writer(file, delimiter=delimiter)
            writer.writerow(COLUMNS)
            writer.writerows([cell(fields, path) for path in COLUMNS.values()] for fields in records)
        yield path, Layout(delimiter=delimiter, encoding=encoding)


async def bodies(path: Path, layout: Layout, intake: Intake) -> list[object]:
    [source] = find_sources([str(path)], layout)
    await source.fingerprint()
    sent: list[object] = []
    async for batch in source.batches(START):
        for datum in batch.data:
            assert not isinstance(datum, Broken), datum.flaw
            sent += [
                orjson.loads(record.body) if isinstance(record, Installation) else record
                for record in intake.records(datum)
            ]
    assert not any(isinstance(one, Flaw) and one.code == "not-json" for one in sent)
    return [[finding.code for finding in one.findings] if isinstance(one, Flaw) else one for one in sent]


@UNHURRIED
@given(records=st.lists(installations(), min_size=1, max_size=8), delimiter=st.sampled_from(",;\t"))
@pytest.mark.parametrize(
    "flags",
    [
        MappingFlags(),
        MappingFlags(
            map_value={"platform": {"gcm": "fcmv1"}}, tag=("u:{userId}", "{tags}"), default={"userId": "nobody"}
        ),
    ],
    ids=["as they are", "mapped"],
)
async def test_the_same_records_send_the_same_bodies(
    tmp_path: Path, records: list[Fields], delimiter: str, flags: MappingFlags
) -> None:
    intake = Intake(Checker(), build(flags))
    sent = [await bodies(path, layout, intake) for path, layout in write_forms(tmp_path, records, delimiter)]
    assert all(each == sent[0] for each in sent)
    assert len(sent[0]) == len(records)
