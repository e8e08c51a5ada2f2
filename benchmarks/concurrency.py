"""What a record costs with few workers and with many, and what workers cost that have nothing to do."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks import loads, machine, rounds, server
from benchmarks.findings import Findings, Notes
from benchmarks.rounds import Trial
from benchmarks.sections import Curve, Section, beside, dearest, figures, line, words
from benchmarks.server import Server
from benchmarks.tables import Table

WORKERS = (16, 64, 128, 1024)

# Each row's hub takes so long that all its workers in flight make this rate, in records per second: a third of what a
# core does. With one latency for all of them the rates would differ, and with them how many records share a wake-up;
# with none, no more than a few dozen would ever be in flight. The delays are 2, 8, 16 and 128 whole milliseconds.
RATE = 8000

# About so many are used, of as many and of all these: a cap on the rate keeps the others idle. It is less than the
# first would do without one, so that both run at the same rate.
USED, ALLOWED = 64, 1024
CAP = 6400

TOLD = ("steady", "in_flight", "cpu_microseconds", "net_cpu_microseconds")

_HOW = (
    f"Each row's hub answers after workers / {RATE:,} s, so that all workers are in flight and every row runs at "
    f"nearly {RATE:,} records/s: the number of workers is the only difference. Requests in flight are the rate times "
    f"the median latency. The last rows use about {USED} workers at a cap of {CAP:,} records/s: idle ones cost nothing "
    "where both take the same."
)


@dataclass(frozen=True, slots=True)
class _Setting:
    """So many workers are allowed, so many needed for the hub's rate; the load may have a cap of its own."""

    allowed: int
    needed: int
    is_capped: bool

    @property
    def name(self) -> str:
        if not self.is_capped:
            return f"{self.allowed:,} workers"
        return f"{self.needed:,} of {self.allowed:,} workers at a cap"

    @property
    def delay(self) -> float:
        return self.needed / RATE

    @property
    def flags(self) -> Sequence[str]:
        cap = ("--rate", str(CAP)) if self.is_capped else ()
        return ("--workers", str(self.allowed), *cap)


IDLE = tuple(_Setting(allowed, USED, is_capped=True) for allowed in (USED, ALLOWED))


def measure(folder: Path, notes: Notes, *, workers: Sequence[int], seconds: float, runs: int) -> None:
    """Load with each number of workers once a round, for about so many seconds."""
    client, own = machine.cores()
    settings = [*(_Setting(number, number, is_capped=False) for number in workers), *IDLE]
    with ExitStack() as servers:
        served = {}
        for delay in sorted({setting.delay for setting in settings}):
            place = folder / f"{delay:g}"
            place.mkdir()
            served[delay] = servers.enter_context(server.serving(place, core=own, delay=delay))
        notes.server = "the built-in sink, one for each delay"
        start = loads.start(folder, served[USED / RATE], cores=[client])

        def run(setting: _Setting, by: Server) -> Callable[[], Mapping[str, float | None]]:
            count = round(RATE * seconds)
            return lambda: loads.carry_out(folder, count, by, *setting.flags, cores=[client]).figures(start)

        trials = [Trial(one.name, one.allowed, run(one, served[one.delay])) for one in settings]
        rounds.take_turns(trials, notes, runs=runs, told=TOLD)


def section(findings: Findings) -> Section:
    """What a record costs by the number of workers, and with idle ones."""
    idle = [setting.name for setting in IDLE]
    points = [point for point in findings.points if point.name not in idle]
    few, many = (findings.median(name, "net_cpu_microseconds") for name in idle)
    return Section(
        title="Cost by concurrency",
        words=words(findings, _HOW),
        summary=[
            Table(
                "Ratios",
                ("CPU per record without start", "ratio"),
                [
                    ("dearest number of workers beside the cheapest", dearest(points, "net_cpu_microseconds")),
                    (f"{USED} of {ALLOWED:,} workers beside {USED} of {USED}", beside(many, few)),
                ],
            )
        ],
        curves=[
            Curve(
                title="Processor time per record, in µs, by workers",
                words="At one rate, the start left out. A line that stays level says that workers cost nothing.",
                along="workers",
                lines=[line("bulkload", points, "net_cpu_microseconds")],
            )
        ],
        tables=[figures(findings, "workers")],
        skipped=findings.skipped,
    )
