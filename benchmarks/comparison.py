"""A report's part on bulkload beside its peers: what was measured and how, and the tables of it."""

from collections.abc import Iterator

from benchmarks import tables
from benchmarks.results import SCHEMES, Results
from benchmarks.sections import Section, trial


def section(results: Results) -> Section:
    """All that is told of a throughput measurement."""
    return Section(
        title="bulkload beside its peers",
        words=list(words(results)),
        summary=[tables.glance(results), tables.goals(results)],
        bars=results,
        tables=[tables.rates(results, scheme) for scheme in SCHEMES if results.of(scheme)],
        skipped=results.skipped,
    )


def words(results: Results) -> Iterator[str]:
    """What was measured and how, a paragraph each."""
    yield (
        "The client has one core and the server another one, of the same machine. bulkload is the whole pipeline as a "
        "user runs it, with its default settings and its ledger: its rate is all records by the time from the start of "
        f"its process to its end. It brings {results.records:,} records of about {results.record_bytes:,} bytes."
    )
    yield (
        "The peers do the bare PUTs: the same request with an id of its own, one token made beforehand and one body "
        f"of that size, {results.in_flight} in flight unless their name says otherwise. Their rate counts from their "
        "first request to their last answer, without the start of their process, and slower ones send fewer. All of "
        "them verify the server's certificate, save wrk, which cannot; wrk is no client but the limit."
    )
    yield (
        f"Rounds: {results.asked_runs}. In each every row has its turn; a figure is the median over them, a ratio "
        "is one of medians. CPU time and peak memory are the client's process from its start to its end, and no peak "
        "under 9 MB can be told. Where the server is busy all the time, it is what limits the row; where neither it "
        "nor the client is, others had the cores, or the client waits."
    )
    if results.crowded:
        runs = sum(len(row.runs) for row in results.rows)
        yield (
            f"In {results.crowded} of {runs} runs neither client nor server worked for four fifths of the time: most "
            "likely others used this machine, and the ratios are less sure than they look. CPU time per record suffers "
            "least."
        )
    yield from trial(results.asked_runs)
