"""Rows of Parquet become records, in bounded memory and from any row on."""

import datetime as dt
import decimal
import sys
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest
from pyarrow import parquet

from bulkload.errors import Halt, InputError
from bulkload.source import START, Broken, Place, find_sources
from bulkload.source.parquet import TOGETHER


def written(path: Path, rows: list[dict[str, Any]], *, group: int = 100) -> Path:
    parquet.write_table(pa.Table.from_pylist(rows), path, row_group_size=group)
    return path


async def read(path: Path, start: Place = START) -> list[tuple[int, Any]]:
    [source] = find_sources([str(path)])
    await source.fingerprint()
    assert source.form == "parquet"
    found = []
    async for batch in source.batches(start):
        for datum, offset, line in batch.placed():
            assert line == offset + 1
            assert isinstance(datum, bytes | Broken)
            found.append((offset, datum.flaw.code if isinstance(datum, Broken) else orjson.loads(datum)))
    return found


@pytest.mark.parametrize("name", ["d.parquet", "d", "d.ndjson"])
async def test_rows_are_objects_whatever_the_file_is_called(tmp_path: Path, name: str) -> None:
    rows = [{"installationId": f"{n}", "tags": ["x"] * (n % 3), "templates": {"w": {"body": "{}"}}} for n in range(5)]
    assert await read(written(tmp_path / name, rows)) == list(enumerate(rows))


@pytest.mark.parametrize("start", [0, 1, 99, 100, 101, 250, 2 * TOGETHER, 2999, 3000, 9000])
async def test_it_is_read_on_from_any_row(tmp_path: Path, start: int) -> None:
    path = written(tmp_path / "d", [{"id": n} for n in range(3000)], group=700)
    assert await read(path, Place(start, start + 1)) == [(n, {"id": n}) for n in range(start, 3000)]


async def test_what_json_has_no_form_for_is_text(tmp_path: Path) -> None:
    day = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
    row = {"at": day, "day": day.date(), "price": decimal.Decimal("1.50"), "raw": b"text", "none": None}
    [(_, found)] = await read(written(tmp_path / "d", [row]))
    assert found == {
        "at": "2026-01-02T03:04:05+00:00",
        "day": "2026-01-02",
        "price": "1.50",
        "raw": "text",
        "none": None,
    }


async def test_bytes_that_are_no_text_are_no_text_of_an_installation_s(tmp_path: Path) -> None:
    path = written(tmp_path / "d", [{"a": b"x"}, {"a": b"\xff"}, {"a": b"y"}])
    assert await read(path) == [(0, {"a": "x"}), (1, {"a": {"base64": "/w=="}}), (2, {"a": "y"})]


async def test_a_broken_file_halts_in_one_line(tmp_path: Path) -> None:
    path = written(tmp_path / "d", [{"id": n} for n in range(1000)])
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(Halt, match="breaks off") as failure:
        await read(path)
    assert len(str(failure.value).splitlines()) == 1


async def test_without_its_package_a_line_names_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path / "d.parquet", [{"id": 1}])
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(InputError, match=r"is Parquet; pip install 'bulkload\[parquet\]'"):
        await read(path)


@pytest.fixture
def counted(tmp_path: Path) -> Path:
    return written(tmp_path / "d", [{"id": n} for n in range(250)])


@pytest.mark.parametrize(("limit", "number"), [(10, 10), (250, 250), (1000, 250)])
async def test_rows_are_counted_without_being_read(counted: Path, limit: int, number: int) -> None:
    [source] = find_sources([str(counted)])
    assert await source.count(limit) == number
