"""How near a load keeps to a hub's ceiling by itself, and how few of its requests are refused.

Each scenario is a fresh load into a fresh emulator, both the real commands in processes of their own and in real time.
All is counted at the hub from its first request on: goodput is accepted / (ceiling x time), what a full bucket held at
the start not counted; refused is throttled / all requests.
"""

import http.client
import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import records
from benchmarks.findings import Findings, Notes
from benchmarks.loads import PROGRAM
from benchmarks.scenarios import Run, Scenario, Verdict, scenarios
from benchmarks.sections import Section, figures
from bulkload.emulator.server import STATISTICS
from bulkload.emulator.statistics import Counts
from bulkload.hub import Hub

# More than any load takes that is stopped: the most is 60 s at 5,000/s, and 20 s at what an emulator answers at its
# best, 12,000/s.
ENDLESS = 500_000

# Seconds by which a load lasts longer than is counted: its own time begins before its first request.
START = 1

# A load that stops, or comes to its end, later than this is hung.
PATIENCE = 300

_HOW = (
    "Each scenario is one load into an emulated hub that throttles or fails, from a cold start and with no setting "
    "touched. Goodput is what was accepted of what the hub would take; refused is the part of all requests that it "
    "throttled."
)

_HEAD = (
    ("scenario", 27),
    ("goodput", 7),
    ("refused", 7),
    ("bound", 31),
    ("kept", 6),
    ("requests", 8),
    ("p50, p99 ms", 12),
    ("limited by", 11),
    ("exit", 4),
    ("load µs/record", 14),
    ("hub busy", 8),
    ("machine", 7),
    ("more", 4),
)


@dataclass(frozen=True, slots=True)
class Ran:
    """The processes of one scenario: what they left, and the processor seconds that each took."""

    code: int
    summary: dict[str, Any]
    complaint: str
    statistics: dict[str, Any]
    load_cpu: float
    hub_cpu: float
    machine: float
    """The machine's load average of one minute when the scenario began."""


def measure(
    folder: Path,
    notes: Notes,
    *,
    names: Sequence[str],
    factor: float,
    workers: int | None = None,
    processes: int = 1,
    details: Path | None = None,
) -> None:
    """Print a row for each scenario that has one of `names` in its name, as soon as it is over.

    The load has no flag that says anything of its pace; `workers` is there to try what it would change.
    """
    every = list(scenarios(factor))
    chosen = [scenario for scenario in every if not names or any(name in scenario.name for name in names)]
    if not chosen:
        sys.exit(f"no scenario has {' or '.join(names)} in its name; there are {' '.join(one.name for one in every)}")
    if factor != 1:
        print(f"Times are stretched by {factor:g}: the bounds are meant for whole ones.\n")
    _print_row([name for name, _ in _HEAD])
    _print_row(["-" * width for _, width in _HEAD])
    missed = 0
    try:
        for scenario in chosen:
            ran = _carry_out(scenario, folder, workers, processes)
            run = _counted(scenario, ran)
            verdict = _judged(scenario, ran, run)
            missed += not verdict.is_kept
            _print_row(_cells(scenario, ran, run, verdict))
            _note(notes, scenario, ran, run, verdict)
            if details is not None:
                _keep(details, scenario, ran)
    except KeyboardInterrupt:
        sys.exit(130)
    print(f"\n{len(chosen) - missed} of {len(chosen)} kept their bound")


def _counted(scenario: Scenario, ran: Ran) -> Run:
    """What the scenario counts of all that the hub counted."""
    seconds = [Counts(**second) for second in ran.statistics["seconds"]]
    if scenario.records is None:
        seconds = (seconds + [Counts() for _ in range(scenario.seconds)])[: scenario.seconds]
    return Run(seconds, ran.summary)


def _judged(scenario: Scenario, ran: Ran, run: Run) -> Verdict:
    """The scenario's verdict, for a load that ended as it was told to."""
    verdict = scenario.judge(run)
    if ran.code == (5 if scenario.records is None else 0):
        return verdict
    why = (ran.complaint.strip().splitlines() or [str(ran.summary.get("reason"))])[-1]
    return verdict._replace(is_kept=False, words="; ".join(filter(None, (verdict.words, why))))


def _carry_out(scenario: Scenario, folder: Path, workers: int | None, processes: int) -> Ran:
    source, ledger = _source(folder, scenario.records or ENDLESS), folder / "one.ledger"
    machine, _, _ = os.getloadavg()
    before = _children()
    with _started("emulator", "--latency", f"{scenario.latency:g}", *scenario.hub) as emulator:
        assert emulator.stdout is not None
        address = emulator.stdout.readline().strip()
        assert address, f"the emulator of {scenario.name} has not started"
        load = ["load", str(source), "--ledger", str(ledger), "--json", "--processes", str(processes)]
        if workers is not None:
            load += ["--workers", str(workers)]
        if scenario.records is None:
            load += ["--max-duration", f"{scenario.seconds + START}s", "--grace", "2s"]
        with _started(*load, address=address) as loader:
            out, complaint = _finish(loader, scenario.seconds + PATIENCE)
        between = _children()
        statistics = _statistics(Hub.from_connection_string(address))
        emulator.terminate()
        emulator.wait()
    for path in folder.glob(f"{ledger.name}*"):
        path.unlink()
    return Ran(
        code=loader.returncode,
        summary=json.loads(out) if out else {},
        complaint=complaint,
        statistics=statistics,
        load_cpu=between - before,
        hub_cpu=_children() - between,
        machine=machine,
    )


@contextmanager
def _started(*arguments: str, address: str | None = None) -> Iterator["subprocess.Popen[str]"]:
    """A command on its way that nothing but this can reach, and that is gone afterwards in any case."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("BULKLOAD_") and not name.lower().endswith("_proxy")
    }
    if address is not None:
        environment["BULKLOAD_CONNECTION_STRING"] = address
    with subprocess.Popen(
        [*PROGRAM, *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        # What an emulator complains of belongs beside the table; a load's complaint into its row.
        stderr=None if address is None else subprocess.PIPE,
        text=True,
        # The terminal's Ctrl-C is for this process alone.
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _finish(loader: "subprocess.Popen[str]", patience: float) -> tuple[str, str]:
    """Both streams of a load that has ended, or was killed for not ending."""
    try:
        return loader.communicate(timeout=patience)
    except subprocess.TimeoutExpired:
        loader.kill()
        return "", f"killed, since it had not ended after {patience:g} s"


def _statistics(hub: Hub) -> dict[str, Any]:
    with closing(http.client.HTTPConnection(hub.host, timeout=30)) as client:
        client.request("GET", STATISTICS)
        counted: dict[str, Any] = json.load(client.getresponse())
        return counted


def _children() -> float:
    """Processor seconds of all processes that were started here and have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _source(folder: Path, count: int) -> Path:
    path = folder / f"{count}.ndjson"
    return path if path.exists() else records.write(path, count)


def _cells(scenario: Scenario, ran: Ran, run: Run, verdict: Verdict) -> list[str]:
    latency, accepted = ran.summary.get("latency", {}), ran.summary.get("records", {}).get("accepted")
    # Its start and its end are not among them, and cost it half a second of processor time.
    hub_seconds = max(1, len(ran.statistics["seconds"]))
    return [
        scenario.name,
        "-" if verdict.goodput is None else f"{verdict.goodput:.3f}",
        f"{run.refused:.2%}",
        scenario.bound,
        "ok" if verdict.is_kept else "MISSED",
        f"{run.seen:,}",
        ", ".join(_milliseconds(latency.get(name)) for name in ("p50", "p99")),
        ran.summary.get("limited_by") or "-",
        str(ran.code),
        f"{ran.load_cpu / accepted * 1e6:.0f}" if accepted else "-",
        f"{ran.hub_cpu / hub_seconds:.0%}",
        f"{ran.machine:.2f}",
        verdict.words,
    ]


def _note(notes: Notes, scenario: Scenario, ran: Ran, run: Run, verdict: Verdict) -> None:
    """The same for a report."""
    latency, accepted = ran.summary.get("latency", {}), ran.summary.get("records", {}).get("accepted")
    notes.add(
        scenario.name,
        {
            "goodput": verdict.goodput,
            "refused": run.refused,
            "cpu_microseconds": ran.load_cpu / accepted * 1e6 if accepted else None,
            "p50": latency.get("p50"),
            "p99": latency.get("p99"),
        },
        words={
            "bound": scenario.bound,
            "kept": "yes" if verdict.is_kept else "no",
            "limited by": ran.summary.get("limited_by") or "",
        },
    )
    notes.save()


def section(findings: Findings) -> Section:
    """Each scenario with its bound."""
    kept = sum(point.words["kept"] == "yes" for point in findings.points)
    words = [_HOW, f"{kept} of {len(findings.points)} kept their bound."]
    tables = [figures(findings, "scenario")]
    return Section(title="Throttled goodput", words=words, tables=tables, skipped=findings.skipped)


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.1f}"


def _print_row(cells: Sequence[str]) -> None:
    padded = [cell.ljust(width) for cell, (_, width) in zip(cells, _HEAD, strict=True)]
    print(f"| {' | '.join(padded)} |", flush=True)


def _keep(folder: Path, scenario: Scenario, ran: Ran) -> None:
    """Write down what the hub counted and what the load summed up."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"summary": ran.summary, "statistics": ran.statistics, "complaint": ran.complaint})
    (folder / f"{scenario.name}.json").write_text(text, encoding="utf-8")
