"""``python -m benchmarks [CASE]``: measures one case, or all of them, and prints its figures; throughput by default."""

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks import (
    checking,
    concurrency,
    everything,
    latency,
    loading,
    pacing,
    processes,
    reading,
    report,
    resuming,
    sizes,
    tables,
    throughput,
)
from benchmarks.findings import Notes
from benchmarks.pinned import Failed
from benchmarks.results import SCHEMES

_Given = argparse.Namespace


class _Cases:
    """The cases of the command line."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self._parsers = parser.add_subparsers(required=True, metavar="CASE")

    def add(self, name: str, about: str, measure: Callable[[_Given, Path], bool]) -> argparse.ArgumentParser:
        """A case that is measured by a function: it says whether all went well."""
        case = self._parsers.add_parser(name, help=about)
        case.set_defaults(measure=measure)
        return case

    def note(
        self, name: str, about: str, measure: Callable[[_Given, Path, Notes], None], *, runs: int | None
    ) -> argparse.ArgumentParser:
        """A case that takes notes, which make a report where a folder is given for it; without `runs` it has one."""

        def carry_out(given: _Given, folder: Path) -> bool:
            if given.runs < 1:
                sys.exit("a measurement takes at least one run")
            notes = Notes(name, runs=given.runs, output=given.output)
            try:
                measure(given, folder, notes)
            except Failed as exc:
                notes.skip(f"all of it: {exc}")
                notes.save()
            if given.output is not None:
                report.write(given.output)
            return notes.is_whole

        case = self.add(name, about, carry_out)
        if runs is None:
            case.set_defaults(runs=1)
        else:
            case.add_argument("--runs", type=int, default=runs, help="of each setting")
        case.add_argument("-o", "--output", type=Path, metavar="FOLDER", help="for results and report")
        return case


def main() -> None:
    """Measure the case that the command line names."""
    # What is installed is compiled: without that every start would compile 250 modules anew, 0.3 s of CPU.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    cases = _Cases(parser)
    _add_all(cases)
    _add_throughput(cases)
    _add_sweeps(cases)
    _add_others(cases)
    arguments = sys.argv[1:]
    is_case_named = bool(arguments) and (not arguments[0].startswith("-") or arguments[0] in ("-h", "--help"))
    given = parser.parse_args(arguments if is_case_named else ["throughput", *arguments])
    # Whoever ends this ends what it started, too.
    for stop in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(stop, lambda received, _: sys.exit(128 + received))
    with tempfile.TemporaryDirectory(prefix="bulkload-benchmark-") as folder:
        is_whole = given.measure(given, Path(folder))
    if not is_whole:
        sys.exit(1)


def _add_all(cases: _Cases) -> None:
    case = cases.add(
        "all",
        "every case into one folder with one report, about two hours",
        lambda given, _: everything.measure(
            given.output, runs=given.runs, only=given.only, is_trial=given.trial, has_largest=given.ten_million
        ),
    )
    case.add_argument("--runs", type=int, default=5, help="of each setting")
    case.add_argument("--only", nargs="+", default=(), metavar="CASE", help="only these")
    case.add_argument("--trial", action="store_true", help="tiny ones, to try it out")
    case.add_argument("--ten-million", action="store_true", help="the longest file, too")
    case.add_argument(
        "-o", "--output", type=Path, default=Path("benchmark"), metavar="FOLDER", help="for results and report"
    )

    def write(given: _Given, _folder: Path) -> bool:
        report.write(given.output)
        return True

    case = cases.add("report", "makes the report again, from the results in a folder", write)
    case.add_argument("output", type=Path, metavar="FOLDER")


def _add_throughput(cases: _Cases) -> None:
    def measure(given: _Given, folder: Path) -> bool:
        is_whole = throughput.measure(
            folder,
            count=given.records,
            runs=given.runs,
            only=given.only,
            schemes=[scheme for scheme in SCHEMES if scheme in (given.schemes or SCHEMES)],
            output=given.output,
        )
        report.write(given.output)
        return is_whole

    case = cases.add("throughput", "bulkload beside its peers on one core each: this is measured by default", measure)
    case.add_argument("--records", type=int, default=1_000_000, help="for bulkload; slower peers send fewer")
    case.add_argument("--runs", type=int, default=5, help="rounds in which each has its turn")
    case.add_argument("--only", nargs="+", default=(), metavar="NAME", help="only these, such as bulkload-wire undici")
    case.add_argument("--plain", dest="schemes", action="append_const", const="plain", help="plain HTTP alone")
    case.add_argument("--tls", dest="schemes", action="append_const", const="tls", help="TLS alone")
    case.add_argument(
        "-o", "--output", type=Path, default=Path("throughput"), metavar="FOLDER", help="for results and report"
    )


def _print(notes: Notes) -> None:
    """The tables of a case, after its rounds."""
    for table in report.section(notes.findings()).filled():
        print(f"\n{tables.aligned(table)}")


def _add_sweeps(cases: _Cases) -> None:
    """The cases that load with one setting after the other."""

    def by_latency(given: _Given, folder: Path, notes: Notes) -> None:
        latency.measure(folder, notes, workers=given.workers, seconds=given.seconds, runs=given.runs)
        _print(notes)

    case = cases.note("latency", "rates by requests in flight, of a hub that answers after 50 ms", by_latency, runs=5)
    case.add_argument("--workers", type=int, nargs="+", default=latency.WORKERS, metavar="N")
    case.add_argument("--seconds", type=float, default=10, help="that a load takes at the ideal rate")

    def by_concurrency(given: _Given, folder: Path, notes: Notes) -> None:
        concurrency.measure(folder, notes, workers=given.workers, seconds=given.seconds, runs=given.runs)
        _print(notes)

    case = cases.note("concurrency", "CPU per record with few workers, many, and idle ones", by_concurrency, runs=5)
    case.add_argument("--workers", type=int, nargs="+", default=concurrency.WORKERS, metavar="N")
    case.add_argument("--seconds", type=float, default=10, help="that a load takes")

    def by_size(given: _Given, folder: Path, notes: Notes) -> None:
        largest = [sizes.LARGEST] if given.ten_million else []
        sizes.measure(folder, notes, sizes=[*given.sizes, *largest], runs=given.runs)
        _print(notes)

    case = cases.note("sizes", "rate, memory and ledger by the length of the file", by_size, runs=5)
    case.add_argument("--sizes", type=int, nargs="+", default=sizes.SIZES, metavar="RECORDS")
    case.add_argument("--ten-million", action="store_true", help="a file of 4.3 GB, too, half an hour")

    def by_processes(given: _Given, folder: Path, notes: Notes) -> None:
        processes.measure(folder, notes, count=given.records, seconds=given.seconds, runs=given.runs)
        _print(notes)

    case = cases.note(
        "processes", "two uploading processes beside one, without delay and at 50 ms", by_processes, runs=5
    )
    case.add_argument("--records", type=int, default=500_000, help="for the hub without delay")
    case.add_argument("--seconds", type=float, default=10, help="that a load takes at the ideal rate of the other")


def _add_others(cases: _Cases) -> None:
    case = cases.note(
        "load",
        "records/s, CPU per record, peak memory and bytes per ledger row, into an emulator",
        lambda given, folder, notes: loading.measure(
            folder, notes, records=given.records, workers=given.workers, runs=given.runs, is_tls=given.tls
        ),
        runs=3,
    )
    case.add_argument("--records", type=int, default=200_000)
    case.add_argument("--workers", type=int, default=64)
    case.add_argument("--tls", action="store_true")

    case = cases.note(
        "resume",
        "from start to the first request, with a ledger that is almost full",
        lambda given, folder, notes: resuming.measure(folder, notes, rows=given.rows, runs=given.runs),
        runs=5,
    )
    case.add_argument("--rows", type=int, default=5_000_000)

    case = cases.note(
        "check",
        "records/s of a check, beside a bare loop over the same source",
        lambda given, folder, notes: checking.measure(folder, notes, count=given.records, runs=given.runs),
        runs=5,
    )
    case.add_argument("--records", type=int, default=500_000)

    case = cases.note(
        "pacing",
        "goodput and refused requests against hubs that throttle and fail, half an hour",
        lambda given, folder, notes: pacing.measure(
            folder,
            notes,
            names=given.names,
            factor=given.seconds_factor,
            workers=given.workers,
            processes=given.processes,
            details=given.details,
        ),
        runs=None,
    )
    case.add_argument("names", nargs="*", metavar="NAME", help="only scenarios that have this in their name")
    case.add_argument("--seconds-factor", type=float, default=1.0, help="stretch all times, 0.1 to try out")
    case.add_argument("--workers", type=int, help="instead of what each scenario takes")
    case.add_argument("--processes", type=int, default=1, help="uploading processes")
    case.add_argument("--details", type=Path, metavar="FOLDER", help="keep each one's statistics and summary as JSON")

    case = cases.note(
        "registrations",
        "time of many channels, and the memory that a migration takes",
        lambda given, folder, notes: reading.measure(
            folder,
            notes,
            channels=given.channels,
            workers=given.workers,
            registrations=given.registrations,
            runs=given.runs,
        ),
        runs=3,
    )
    case.add_argument("--channels", type=int, default=10_000)
    case.add_argument("--workers", type=int, default=32)
    case.add_argument("--registrations", type=int, default=1_000_000)


if __name__ == "__main__":
    main()
