"""``python -m benchmarks [CASE]``: measures one case and prints its figures; without a case, the throughput."""

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks import checking, loading, pacing, reading, report, resuming, throughput
from benchmarks.results import SCHEMES


def main() -> None:
    """Measure the case that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    cases = parser.add_subparsers(required=True, metavar="CASE")

    case = cases.add_parser(
        "throughput", help="bulkload beside its peers on one core each: this is measured by default"
    )
    case.add_argument("--records", type=int, default=1_000_000, help="for bulkload; slower peers send fewer")
    case.add_argument("--runs", type=int, default=5, help="rounds in which each has its turn")
    case.add_argument("--only", nargs="+", default=(), metavar="NAME", help="only these, such as bulkload-wire undici")
    case.add_argument("--plain", dest="schemes", action="append_const", const="plain", help="plain HTTP alone")
    case.add_argument("--tls", dest="schemes", action="append_const", const="tls", help="TLS alone")
    case.add_argument(
        "-o", "--output", type=Path, default=Path("throughput"), metavar="FOLDER", help="for results and report"
    )
    case.set_defaults(
        measure=lambda given, folder: throughput.measure(
            folder,
            count=given.records,
            runs=given.runs,
            only=given.only,
            schemes=[scheme for scheme in SCHEMES if scheme in (given.schemes or SCHEMES)],
            output=given.output,
        )
    )

    case = cases.add_parser("report", help="makes the report of a throughput measurement again, from its results.json")
    case.add_argument("output", type=Path, metavar="FOLDER")
    case.set_defaults(measure=lambda given, _folder: report.write_again(given.output))

    case = cases.add_parser("load", help="records/s, CPU per record, peak memory and bytes per ledger row")
    case.add_argument("--records", type=int, default=200_000)
    case.add_argument("--workers", type=int, default=64)
    case.add_argument("--runs", type=int, default=3)
    case.add_argument("--tls", action="store_true")
    case.set_defaults(
        measure=lambda given, folder: loading.measure(
            folder, records=given.records, workers=given.workers, runs=given.runs, is_tls=given.tls
        )
    )

    case = cases.add_parser("resume", help="from start to the first request, with a ledger that is almost full")
    case.add_argument("--rows", type=int, default=5_000_000)
    case.add_argument("--runs", type=int, default=5)
    case.set_defaults(measure=lambda given, folder: resuming.measure(folder, rows=given.rows, runs=given.runs))

    case = cases.add_parser("check", help="records/s of a check, beside a bare loop over the same source")
    case.add_argument("--records", type=int, default=500_000)
    case.add_argument("--runs", type=int, default=5)
    case.set_defaults(measure=lambda given, folder: checking.measure(folder, count=given.records, runs=given.runs))

    case = cases.add_parser(
        "pacing", help="goodput and refused requests against hubs that throttle and fail, half an hour"
    )
    case.add_argument("names", nargs="*", metavar="NAME", help="only scenarios that have this in their name")
    case.add_argument("--seconds-factor", type=float, default=1.0, help="stretch all times, 0.1 to try out")
    case.add_argument("--workers", type=int, help="instead of what each scenario takes")
    case.add_argument("--details", type=Path, metavar="FOLDER", help="keep each one's statistics and summary as JSON")
    case.set_defaults(
        measure=lambda given, folder: pacing.measure(
            folder, names=given.names, factor=given.seconds_factor, workers=given.workers, details=given.details
        )
    )

    case = cases.add_parser("registrations", help="time of many channels, and the memory that a migration takes")
    case.add_argument("--channels", type=int, default=10_000)
    case.add_argument("--workers", type=int, default=32)
    case.add_argument("--registrations", type=int, default=1_000_000)
    case.add_argument("--runs", type=int, default=3)
    case.set_defaults(
        measure=lambda given, folder: reading.measure(
            folder,
            channels=given.channels,
            workers=given.workers,
            registrations=given.registrations,
            runs=given.runs,
        )
    )

    arguments = sys.argv[1:]
    is_case_named = bool(arguments) and (not arguments[0].startswith("-") or arguments[0] in ("-h", "--help"))
    given = parser.parse_args(arguments if is_case_named else ["throughput", *arguments])
    with tempfile.TemporaryDirectory(prefix="bulkload-benchmark-") as folder:
        given.measure(given, Path(folder))


if __name__ == "__main__":
    main()
