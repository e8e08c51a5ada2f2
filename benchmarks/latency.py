"""How near a load comes to what a hub's latency allows, from few requests in flight to thousands."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from benchmarks import loads, machine, rounds, server
from benchmarks.findings import Findings, Notes, Point
from benchmarks.loads import Start
from benchmarks.rounds import Trial
from benchmarks.sections import Curve, Line, Section, Spot, dearest, figures, line, words
from benchmarks.server import Server
from benchmarks.tables import Table

WORKERS = (64, 128, 256, 512, 1000, 2000)

# What a hub at some distance takes, in seconds.
DELAY = 0.05

TOLD = ("steady", "ideal_part", "cpu_microseconds", "p50", "p99")

_HOW = (
    f"A hub that answers each request after {DELAY * 1000:g} ms takes workers / {DELAY:g} s at the most. The rate "
    "in full seconds leaves out the ramp and the end: it is the median of the seconds in the second half, by the "
    "samples of the ledger. Where the client is busy all the time, its core is the limit and not the latency."
)


def measure(folder: Path, notes: Notes, *, workers: Sequence[int], seconds: float, runs: int) -> None:
    """Load with each number of workers once a round, as many records as the ideal rate brings in so many seconds."""
    client, own = machine.cores()
    with server.serving(folder, core=own, delay=DELAY) as served:
        notes.server = served.version
        start = loads.start(folder, served, cores=[client])
        trials = [
            Trial(f"{number:,} workers", number, partial(_run, folder, served, client, start, number, seconds))
            for number in workers
        ]
        rounds.take_turns(trials, notes, runs=runs, told=TOLD)


def _run(
    folder: Path, served: Server, core: int, start: Start, workers: int, seconds: float
) -> Mapping[str, float | None]:
    ideal = workers / DELAY
    loaded = loads.carry_out(folder, round(ideal * seconds), served, "--workers", str(workers), cores=[core])
    return loaded.figures(start) | {"ideal_part": loaded.steady and loaded.steady / ideal}


def _lowest(points: Sequence[Point]) -> str:
    found = [(part, point.name) for point in points if (part := point.median("ideal_part")) is not None]
    return "{:.1%} ({})".format(*min(found)) if found else "not measured"


def section(findings: Findings) -> Section:
    """The rates beside the ideal ones, and what a record costs."""
    points = findings.points
    ends = [0.0, max((point.at or 0.0 for point in points), default=0.0)]
    ideal = Line("workers / latency", [Spot(at, at / DELAY) for at in ends], is_ideal=True)
    return Section(
        title="Bound by latency",
        words=words(findings, _HOW),
        summary=[
            Table(
                "Ratios",
                ("what", "which"),
                [
                    ("rate in full seconds beside the ideal, the lowest", _lowest(points)),
                    ("CPU per record without start, dearest beside cheapest", dearest(points, "net_cpu_microseconds")),
                ],
            )
        ],
        curves=[
            Curve(
                title="Records per second by requests in flight",
                words="In full seconds, beside what the latency allows.",
                along="workers",
                lines=[line("bulkload", points, "steady"), ideal],
                scale="linear",
            ),
            Curve(
                title="Processor time per record, in µs, by requests in flight",
                words="Its start left out. The slower rows wake up for fewer records at a time.",
                along="workers",
                lines=[line("bulkload", points, "net_cpu_microseconds")],
            ),
        ],
        tables=[figures(findings, "workers")],
        skipped=findings.skipped,
    )
