"""A check beside the bare loop that does nothing but take the same source apart, in one process on one core."""

import asyncio
import csv
import os
import resource
import statistics
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import orjson

from benchmarks import records
from benchmarks.findings import Findings, Notes
from benchmarks.sections import Section, told
from bulkload import CheckReport, check

# What people say of a table from a database: four columns of it are renamed, two of its values translated.
MAPPING: Any = {
    "map": {"installationId": "id", "platform": "os", "pushChannel": "token", "userId": "customer"},
    "map_value": {"platform": {"ios": "apns", "android": "fcmv1"}},
    "tag": ("country:{country}", "tier:{tier}"),
}


_HOW = (
    "A check is measured beside a bare loop over the same source on the same core: orjson.loads of each line of "
    "NDJSON and csv.reader for CSV. The CSV is mapped, as a table from a database would be. A ratio is one of a pair, "
    "run in turn."
)


def measure(folder: Path, notes: Notes, *, count: int, runs: int) -> None:
    """Print the rates of both, and the median of their ratios; each pair is measured in turn."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    ndjson = _ndjson(folder, count)
    _compare("NDJSON", "orjson.loads", lambda: _loads(ndjson), lambda: check(ndjson), count, runs, notes)
    table = _csv(folder, count)
    _compare(
        "CSV with a mapping", "csv.reader", lambda: _reads(table), lambda: check(table, **MAPPING), count, runs, notes
    )
    peak = f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB"
    print(f"  {peak} peak memory of the process")
    notes.set(peak_memory_of_the_checks=peak)
    notes.save()


def section(findings: Findings) -> Section:
    """The rates of both forms beside their bare loops."""
    return told(findings, "Check", "source", _HOW)


def _compare(
    form: str,
    loop: str,
    bare: Callable[[], None],
    checking: Callable[[], Coroutine[Any, Any, CheckReport]],
    count: int,
    runs: int,
    notes: Notes,
) -> None:
    pairs = [(_seconds(bare), _seconds(lambda: _check(checking(), count))) for _ in range(runs)]
    ratios = [plain / checked for plain, checked in pairs]
    for plain, checked in pairs:
        rates = {"per_second": count / checked, "bare_per_second": count / plain, "bare_part": plain / checked}
        notes.add(form, rates | {"records": count})
    plain, checked = (statistics.median(times) for times in zip(*pairs, strict=True))
    print(f"{form}, {count:,} records, median of {runs} pairs on one core:")
    print(f"  {count / plain:,.0f} records/s in a bare loop of {loop}, {plain / count * 1e6:.2f} us each")
    print(f"  {count / checked:,.0f} records/s checked, {checked / count * 1e6:.2f} us each")
    print(f"  {statistics.median(ratios):.1%} of the bare loop's rate, {min(ratios):.1%} to {max(ratios):.1%}")


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _check(checking: Coroutine[Any, Any, CheckReport], count: int) -> None:
    report = asyncio.run(checking)
    assert report.records.valid == count, report


def _ndjson(folder: Path, count: int) -> Path:
    return records.write(folder / "source.ndjson", count)


def _loads(path: Path) -> None:
    with path.open("rb") as file:
        for line in file:
            orjson.loads(line)


def _csv(folder: Path, count: int) -> Path:
    """The same records as a table of ten columns."""
    path = folder / "source.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "customer", "os", "token", "country", "tier", "tags", "created", "opened", "note"])
        for number, line in enumerate(records.lines(count)):
            fields = orjson.loads(line)
            at = f"2026-01-{number % 28 + 1:02d}T00:00:00Z"
            writer.writerow(
                [
                    *(fields["installationId"], fields["userId"], "iOS", fields["pushChannel"]),
                    *(("DE", "US", "")[number % 3], ("free", "paid")[number % 2], "|".join(fields["tags"])),
                    *(at, number % 50, 'said "yes", twice' if number % 5 == 0 else ""),
                ]
            )
    return path


def _reads(path: Path) -> None:
    with path.open(newline="", encoding="utf-8") as file:
        for _ in csv.reader(file):
            pass
