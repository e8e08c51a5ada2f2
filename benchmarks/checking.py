"""A check beside the bare loop that does nothing but take the same source apart, in one process on one core."""

import asyncio
import os
import resource
import statistics
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import orjson

from benchmarks import records
from bulkload import CheckReport, check


def measure(folder: Path, *, records: int, runs: int) -> None:
    """Print the rates of both, and the median of their ratios; each pair is measured in turn."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    ndjson = _ndjson(folder, records)
    _compare("NDJSON", "orjson.loads", lambda: _loads(ndjson), lambda: check(ndjson), records, runs)
    print(f"  {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB peak memory of the process")


def _compare(
    form: str,
    loop: str,
    bare: Callable[[], None],
    checking: Callable[[], Coroutine[Any, Any, CheckReport]],
    count: int,
    runs: int,
) -> None:
    pairs = [(_seconds(bare), _seconds(lambda: _check(checking(), count))) for _ in range(runs)]
    ratios = [plain / checked for plain, checked in pairs]
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
