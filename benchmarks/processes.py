"""One uploading process beside two: rate, cost per record, and what the coordinator itself does."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks import loads, machine, rounds, server
from benchmarks.findings import Findings, Notes
from benchmarks.loads import Start
from benchmarks.rounds import Trial
from benchmarks.sections import Section, beside, figures, words
from benchmarks.server import Server
from benchmarks.tables import Table

PROCESSES = (1, 2)

# The hub at a distance, in seconds, and the requests in flight of each process there: the latency is the limit.
DELAY = 0.05
WORKERS = 512

TOLD = ("own_per_second", "steady", "cpu_microseconds", "own_cpu_microseconds")

_HOW = (
    "The CPU time of a run is that of its process and of the children that it waited for; the coordinator's is "
    "that of the process alone, which with one process is all there is. What a start takes with as many processes "
    "is taken off where the head says so. A peak of memory is the largest process's. The rate without start is by "
    "bulkload's own clock; requests in flight are those of all processes. On two cores, two processes and the "
    "server have to share them: then the CPU time tells, and not the rate. "
    f"At {DELAY * 1000:g} ms each process may have {WORKERS} requests in flight, and the latency is the limit."
)


@dataclass(frozen=True, slots=True)
class _Setting:
    """So many processes, into a hub that answers after so many seconds."""

    processes: int
    delay: float

    @property
    def name(self) -> str:
        number = f"{self.processes} process{'' if self.processes == 1 else 'es'}"
        return f"{number}, {self.delay * 1000:g} ms" if self.delay else f"{number}, no delay"

    @property
    def ideal(self) -> float | None:
        """Records per second that the latency allows."""
        return self.processes * WORKERS / self.delay if self.delay else None

    @property
    def flags(self) -> Sequence[str]:
        workers = ("--workers", str(WORKERS)) if self.delay else ()
        return ("--processes", str(self.processes), *workers)


SETTINGS = tuple(_Setting(processes, delay) for delay in (0.0, DELAY) for processes in PROCESSES)


def measure(folder: Path, notes: Notes, *, count: int, seconds: float, runs: int) -> None:
    """Load with one process and with two once a round; without such a flag in this version nothing is measured.

    It brings `count` records where the hub answers at once, and what the latency allows in so many seconds elsewhere.
    """
    if loads.choices("--processes") is None:
        notes.skip("this version of bulkload has no --processes")
        notes.save()
        return
    cores, own = machine.many_cores()
    notes.set(cores_of_all_clients=" ".join(map(str, cores)), core_of_the_server=str(own))
    with ExitStack() as servers:
        served = {}
        for delay in (0.0, DELAY):
            place = folder / f"{delay:g}"
            place.mkdir()
            served[delay] = servers.enter_context(server.serving(place, core=own, delay=delay))
        notes.server = " and ".join(one.version for one in served.values())
        starts = {one: loads.start(folder, served[0.0], *one.flags, cores=cores) for one in SETTINGS}

        def run(setting: _Setting, by: Server) -> Callable[[], Mapping[str, float | None]]:
            records = round(setting.ideal * seconds) if setting.ideal else count
            return lambda: _run(folder, by, cores, starts[setting], setting, records)

        trials = [Trial(one.name, one.processes, run(one, served[one.delay])) for one in SETTINGS]
        rounds.take_turns(trials, notes, runs=runs, told=TOLD)


def _run(
    folder: Path, served: Server, cores: Sequence[int], start: Start, setting: _Setting, count: int
) -> Mapping[str, float | None]:
    loaded = loads.carry_out(folder, count, served, *setting.flags, cores=cores)
    return loaded.figures(start) | {
        "own_cpu_microseconds": max(0.0, loaded.used.own_cpu - start.own_cpu) / count * 1e6,
        "ideal_part": loaded.steady and setting.ideal and loaded.steady / setting.ideal,
    }


def section(findings: Findings) -> Section:
    """Two processes beside one, in ratios."""
    return Section(
        title="Processes",
        words=words(findings, _HOW),
        summary=[_beside(findings)] if findings.points else [],
        tables=[figures(findings, "processes")],
        skipped=findings.skipped,
    )


def _beside(findings: Findings) -> Table:
    return Table(
        "Ratios",
        ("2 processes beside 1", "no delay", f"{DELAY * 1000:g} ms"),
        [
            ("records/s without start", *_ratios(findings, "own_per_second")),
            ("records/s in full seconds", *_ratios(findings, "steady")),
            ("CPU per record", *_ratios(findings, "cpu_microseconds")),
            ("CPU per record without start", *_ratios(findings, "net_cpu_microseconds")),
            ("CPU per record without start, coordinator alone", *_ratios(findings, "own_cpu_microseconds")),
        ],
    )


def _ratios(findings: Findings, figure: str) -> list[str]:
    one, two, far_one, far_two = (findings.median(setting.name, figure) for setting in SETTINGS)
    return [beside(two, one), beside(far_two, far_one)]
