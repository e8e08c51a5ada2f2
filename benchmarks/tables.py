"""The tables of a throughput report: texts in rows, for Markdown and for a page."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.goals import SUBJECT, Ratio, by_cpu, over, ratios
from benchmarks.results import Figures, Results, Row, Scheme

OVER = {"plain": "plain HTTP", "tls": "TLS"}

_NONE = "-"


@dataclass(frozen=True, slots=True)
class Table:
    """A table with its title; the first column names what a row is about."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


def goals(results: Results) -> Table:
    """Each ratio with its floor and its aim, and whether they are reached."""
    head = ("against", "over", "bulkload, wire is", "floor", "aim", "by CPU time", "bulkload, aiohttp is")
    return Table("Goals", head, [_goal(results, ratio) for ratio in ratios(results)])


def _goal(results: Results, ratio: Ratio) -> Sequence[str]:
    scheme, rival = ratio.scheme, ratio.rival
    subject, fellow = results.best((SUBJECT,), scheme), results.best(("bulkload-aiohttp",), scheme)
    peer = results.best(rival.names, scheme)
    return (
        rival.title,
        OVER[scheme],
        "not measured" if ratio.value is None else times(ratio.value),
        _judged(ratio, ratio.goal.floor, is_reached=ratio.is_floor_reached),
        _judged(ratio, ratio.goal.aim, is_reached=ratio.is_aim_reached),
        times(by_cpu(subject, peer)),
        times(over(fellow, peer)),
    )


def _judged(ratio: Ratio, wanted: float, *, is_reached: bool) -> str:
    if ratio.value is None:
        return times(wanted)
    return f"{times(wanted)}, {'reached' if is_reached else 'not reached'}"


def rates(results: Results, scheme: Scheme) -> Table:
    """Every row over a scheme, the fastest first."""
    subject = results.best((SUBJECT,), scheme)
    head = (
        *("who", "records/s", "least to most", "bulkload, wire is", "CPU µs per record"),
        *("peak MB", "p50 ms", "p99 ms", "client busy", "server busy", "records a run", "version"),
    )
    return Table(f"Over {OVER[scheme]}", head, [_rate(row, subject) for row in results.of(scheme)])


def _rate(row: Row, subject: Row | None) -> Sequence[str]:
    rate = row.per_second
    return (
        row.title,
        f"{rate.median:,.0f}",
        f"{rate.least:,.0f} to {rate.most:,.0f}",
        times(over(subject, row)),
        _median(row, lambda run: run.cpu_microseconds, "{:,.1f}"),
        _median(row, lambda run: run.peak_megabytes, "{:,.0f}"),
        _median(row, lambda run: _milliseconds(run.p50), "{:,.2f}"),
        _median(row, lambda run: _milliseconds(run.p99), "{:,.2f}"),
        _median(row, lambda run: run.client_busy, "{:.0%}"),
        _median(row, lambda run: run.server_busy, "{:.0%}"),
        _median(row, lambda run: run.records, "{:,.0f}"),
        row.version,
    )


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000


def _median(row: Row, figure: Callable[[Figures], float | None], form: str) -> str:
    spread = row.spread(figure)
    return form.format(spread.median) if spread else _NONE


def times(ratio: float | None) -> str:
    """A ratio as it is read."""
    return _NONE if ratio is None else f"{ratio:.2f} x"


def surroundings(results: Results) -> Table:
    """What was measured, and on what."""
    commit = f"{results.commit}{', with changes that are not committed' if results.is_dirty else ''}"
    rows = {
        "began": results.began,
        "commit": commit,
        "rounds": f"{results.asked_runs}, in each of which every row has its turn",
        "server": results.server,
        **results.machine,
        **results.versions,
    }
    return Table("Measured on", ("what", "which"), list(rows.items()))
