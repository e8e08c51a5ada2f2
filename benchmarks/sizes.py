"""Whether rate, memory and cost per record stay what they are however long the file is."""

import shutil
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

from benchmarks import loads, machine, rounds, server
from benchmarks.findings import Findings, Notes, Point
from benchmarks.loads import Start
from benchmarks.rounds import Trial
from benchmarks.sections import Curve, Section, beside, figures, line, words
from benchmarks.server import Server
from benchmarks.tables import Table

SIZES = (10_000, 100_000, 1_000_000)
LARGEST = 10_000_000

# A record's bytes in the file and in the ledger, its index and log included, with as much again to spare.
_BYTES = 1100

TOLD = ("own_per_second", "net_cpu_microseconds", "peak_megabytes", "bytes_per_row")

_HOW = (
    "Files of more and more records into a hub that answers at once. The rate without start is by bulkload's own "
    "clock, from the beginning of its session to the end; the start's processor time, that of a load of one "
    "record, is taken off the cost. The shortest files end before the ramp has: what a further record "
    "costs is the difference of two sizes, in which start and ramp cancel each other out."
)


def measure(folder: Path, notes: Notes, *, sizes: Sequence[int], runs: int) -> None:
    """Load a file of each size once a round; the files are below `folder` until the last round is over."""
    needed, free = sum(sizes) * _BYTES, shutil.disk_usage(folder).free
    if free < needed:
        sys.exit(
            f"{folder} has {free / 1e9:.1f} GB free, and these sizes want {needed / 1e9:.1f}: set TMPDIR elsewhere"
        )
    client, own = machine.cores()
    with server.serving(folder, core=own) as served:
        notes.server = served.version
        start = loads.start(folder, served, cores=[client])
        trials = [
            Trial(f"{size:,} records", size, partial(_run, folder, served, client, start, size)) for size in sizes
        ]
        rounds.take_turns(trials, notes, runs=runs, told=TOLD)


def _run(folder: Path, served: Server, core: int, start: Start, size: int) -> Mapping[str, float | None]:
    loaded = loads.carry_out(folder, size, served, cores=[core])
    return loaded.figures(start) | {"bytes_per_row": loaded.ledger_bytes / size}


def section(findings: Findings) -> Section:
    """Memory, rate and cost by the size of the file."""
    points = findings.points
    return Section(
        title="Size of the file",
        words=words(findings, _HOW),
        summary=[
            Table(
                "Ratios",
                ("longest file beside the shortest", "ratio"),
                [
                    ("peak memory", _ratio(points, "peak_megabytes")),
                    ("records/s without start", _ratio(points, "own_per_second")),
                    ("CPU per record without start", _ratio(points, "net_cpu_microseconds")),
                ],
            ),
            Table(
                "Each further record",
                ("from one size to the next", "records/s", "CPU µs per record"),
                [_further(*pair) for pair in pairwise(points)],
            ),
        ],
        curves=[
            Curve(
                title="Peak memory, in MB, by records in the file",
                words="Of the process. A line that stays level says that no file is too long.",
                along="records",
                lines=[line("bulkload", points, "peak_megabytes")],
            ),
            Curve(
                title="Records per second by records in the file",
                words="Without the start of the process.",
                along="records",
                lines=[line("bulkload", points, "own_per_second")],
            ),
        ],
        tables=[figures(findings, "file")],
        skipped=findings.skipped,
    )


def _further(shorter: Point, longer: Point) -> Sequence[str]:
    """What the records cost that a file has more than a shorter one: start and ramp cancel each other out."""
    name = f"{shorter.name} to {longer.name}"
    number, seconds, cpu = (more - less for less, more in zip(_spent(shorter), _spent(longer), strict=True))
    if min(number, seconds, cpu) <= 0:
        return (name, "-", "-")
    return (name, f"{number / seconds:,.0f}", f"{cpu / number * 1e6:,.1f}")


def _spent(point: Point) -> tuple[float, float, float]:
    """Records, seconds without the start, and processor seconds."""
    count, rate, cost = (point.median(name) or 0.0 for name in ("records", "own_per_second", "cpu_microseconds"))
    return count, count / rate if rate else 0.0, count * cost / 1e6


def _ratio(points: Sequence[Point], figure: str) -> str:
    return beside(points[-1].median(figure), points[0].median(figure)) if points else beside(None, None)
