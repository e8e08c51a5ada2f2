"""The whole pipeline as a user runs it, into an emulator in another process."""

import json
import os
import statistics
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks import records
from benchmarks.findings import Findings, Notes
from benchmarks.loads import PROGRAM
from benchmarks.sections import Section, told

_HOW = (
    "The emulated hub is the limit and shares the machine's cores: what the load itself takes is worth more here than "
    "its rate. The start of the process is counted."
)


class Figures(NamedTuple):
    """Of one run: records per second from start to end of the process, and what the process itself used."""

    per_second: float
    cpu_microseconds: float
    peak_megabytes: float
    bytes_per_row: float


def measure(folder: Path, notes: Notes, *, records: int, workers: int, runs: int, is_tls: bool) -> None:
    """Print the median of several runs."""
    notes.server = "an emulator in a process of its own"
    source = _source(folder, records)
    emulator = subprocess.Popen([*PROGRAM, "emulator", *(["--tls"] if is_tls else [])], stdout=subprocess.PIPE)
    assert emulator.stdout is not None
    environment = {**os.environ, "BULKLOAD_CONNECTION_STRING": emulator.stdout.readline().decode().strip()}
    if is_tls:
        environment["BULKLOAD_CA_FILE"] = emulator.stdout.readline().decode().strip()
    try:
        made = [_run(folder / f"{run}.ledger", source, records, workers, environment) for run in range(runs)]
    finally:
        emulator.terminate()
        emulator.wait()
    medians = Figures(*(statistics.median(figures) for figures in zip(*made, strict=True)))
    title = f"{records:,} records, {workers} workers, {'TLS' if is_tls else 'plain HTTP'}"
    for one in made:
        notes.add(title, one._asdict())
    notes.save()
    print(f"{title}, median of {runs}:")
    print(f"  {medians.per_second:,.0f} records/s (start and end of the process included)")
    print(f"  {medians.cpu_microseconds:.1f} us of CPU per record (start of the process included)")
    print(f"  {medians.peak_megabytes:.1f} MB peak memory")
    print(f"  {medians.bytes_per_row:.1f} bytes per ledger row")


def section(findings: Findings) -> Section:
    """The figures of all runs."""
    return told(findings, "Into an emulator", "load", _HOW)


def _source(folder: Path, count: int) -> Path:
    return records.write(folder / "source.ndjson", count)


def _run(ledger: Path, source: Path, count: int, workers: int, environment: dict[str, str]) -> Figures:
    command = [*PROGRAM, "load", str(source), "--ledger", str(ledger), "--workers", str(workers), "--json"]
    began = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    summary = json.loads(process.stdout.read())
    _, _, usage = os.wait4(process.pid, 0)
    took = time.perf_counter() - began
    assert summary["records"]["accepted"] == count, summary
    return Figures(
        per_second=count / took,
        cpu_microseconds=(usage.ru_utime + usage.ru_stime) / count * 1e6,
        peak_megabytes=usage.ru_maxrss / 1024,
        bytes_per_row=ledger.stat().st_size / count,
    )
