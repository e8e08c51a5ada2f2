"""Tables of a report: texts in rows, for Markdown, for a page and for a terminal."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.goals import SUBJECT, Ratio, by_cpu, over, ratios
from benchmarks.results import SCHEMES, Figures, Measured, Results, Row, Scheme

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


def glance(results: Results) -> Table:
    """Each row over both schemes on one line: the table that README shows."""
    head = ["who"]
    for scheme in SCHEMES:
        head += [f"{OVER[scheme]}, records/s (CPU µs)", "p50, p99 ms", "peak MB"]
    titles = dict.fromkeys(row.title for scheme in SCHEMES for row in results.of(scheme))
    return Table("At a glance", head, [[title, *_glance(results, title)] for title in titles])


def _glance(results: Results, title: str) -> Iterator[str]:
    for scheme in SCHEMES:
        row = next((row for row in results.of(scheme) if row.title == title), None)
        if row is None:
            yield from (_NONE, _NONE, _NONE)
            continue
        yield f"{row.per_second.median:,.0f} ({row.cpu.median:,.1f})"
        half, most = (_median(row, figure, "{:,.2f}") for figure in (_p50, _p99))
        yield _NONE if half == most == _NONE else f"{half}, {most}"
        yield _median(row, lambda run: run.peak_megabytes, "{:,.0f}")


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
        _median(row, _p50, "{:,.2f}"),
        _median(row, _p99, "{:,.2f}"),
        _median(row, lambda run: run.client_busy, "{:.0%}"),
        _median(row, lambda run: run.server_busy, "{:.0%}"),
        _median(row, lambda run: run.records, "{:,.0f}"),
        row.version,
    )


def _p50(run: Figures) -> float | None:
    return _milliseconds(run.p50)


def _p99(run: Figures) -> float | None:
    return _milliseconds(run.p99)


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000


def _median(row: Row, figure: Callable[[Figures], float | None], form: str) -> str:
    spread = row.spread(figure)
    return form.format(spread.median) if spread else _NONE


def times(ratio: float | None) -> str:
    """A ratio as it is read."""
    return _NONE if ratio is None else f"{ratio:.2f} x"


def surroundings(measured: Sequence[Measured]) -> Table:
    """What was measured, and on what; where that differs, each case by its name."""
    told: dict[str, dict[str, list[str]]] = {}
    for one in measured:
        for what, which in _about(one).items():
            told.setdefault(what, {}).setdefault(which, []).append(one.case)
    rows = [(what, _by_case(found, len(measured))) for what, found in told.items()]
    return Table("Measured on", ("what", "which"), rows)


def _about(one: Measured) -> dict[str, str]:
    about = {
        "began": one.began,
        "commit": f"{one.commit}{', with changes that are not committed' if one.is_dirty else ''}",
        "rounds": f"{one.asked_runs}, in each of which every row has its turn",
        "server": one.server,
        **one.settings,
        **one.machine,
        **one.versions,
    }
    return {what: which for what, which in about.items() if which}


def _by_case(found: Mapping[str, Sequence[str]], cases: int) -> str:
    if len(found) == 1 and len(*found.values()) == cases:
        return next(iter(found))
    return "; ".join(f"{', '.join(names)}: {which}" for which, names in found.items())


def aligned(table: Table) -> str:
    """A table for a terminal: its columns are as wide as they have to be."""
    lines = [table.head, *table.rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    first, *others = widths
    rows = (
        "  ".join([row[0].ljust(first), *(cell.rjust(width) for cell, width in zip(row[1:], others, strict=True))])
        for row in lines
    )
    return "\n".join([table.title, *(f"  {row.rstrip()}" for row in rows)])
