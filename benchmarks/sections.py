"""A case's part of a report: words, tables, and what its charts show."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from benchmarks.findings import FIGURES, Findings, Point
from benchmarks.results import Results
from benchmarks.tables import Table, times

Scale = Literal["linear", "log"]

_NONE = "-"


class Spot(NamedTuple):
    """A point of a curve."""

    at: float
    value: float


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a chart; an ideal is drawn without its figures."""

    name: str
    spots: Sequence[Spot]
    is_ideal: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """A chart of figures along a setting; it begins at 0 upwards, and goes by powers along where `scale` is ``log``."""

    title: str
    words: str
    along: str
    lines: Sequence[Line]
    scale: Scale = "log"

    @property
    def is_measured(self) -> bool:
        """Whether there is more on it than what is ideal."""
        return any(line.spots for line in self.lines if not line.is_ideal)


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """What is told of one case: `summary` before the charts, `tables` after them; `bars` are peers side by side."""

    title: str
    words: Sequence[str]
    summary: Sequence[Table] = ()
    curves: Sequence[Curve] = ()
    bars: Results | None = None
    tables: Sequence[Table] = ()
    skipped: Sequence[str] = ()

    def filled(self) -> list[Table]:
        """All tables that have a row."""
        return [table for table in (*self.summary, *self.tables) if table.rows]


def trial(rounds: int) -> Iterator[str]:
    """A sentence where there were too few rounds to go by."""
    if rounds < 5:
        yield f"Only {rounds} of 5 rounds: these figures are a trial."


def words(findings: Findings, how: str) -> list[str]:
    """How it was measured, and whether that is to be trusted."""
    return [how, *trial(findings.asked_runs)]


def figures(findings: Findings, who: str) -> Table:
    """Every point with all of its figures, each a median; the first one's least and most stand beside it."""
    names = [name for name in FIGURES if any(name in point.figures for point in findings.points)]
    texts = list(dict.fromkeys(text for point in findings.points for text in point.words))
    head = [who, *(FIGURES[name].title for name in names), *texts]
    has_spread = bool(names) and any(len(point.figures.get(names[0], ())) > 1 for point in findings.points)
    if has_spread:
        head.insert(2, "least to most")
    rows = []
    for point in findings.points:
        cells = [point.name, *(_median(point, name) for name in names), *(point.words.get(text, "") for text in texts)]
        if has_spread:
            cells.insert(2, _spread(point, names[0]))
        rows.append(cells)
    return Table("Figures", head, rows)


def _median(point: Point, name: str) -> str:
    value = point.median(name)
    return _NONE if value is None else FIGURES[name].shown(value)


def _spread(point: Point, name: str) -> str:
    spread, figure = point.spread(name), FIGURES[name]
    return f"{figure.shown(spread.least)} to {figure.shown(spread.most)}" if spread else _NONE


def told(findings: Findings, title: str, who: str, how: str) -> Section:
    """The part of a case that has no more to tell than its figures."""
    return Section(title=title, words=words(findings, how), tables=[figures(findings, who)], skipped=findings.skipped)


def dearest(points: Sequence[Point], figure: str) -> str:
    """The greatest of the points' medians beside the least, as words."""
    found = [(value, point.name) for point in points if (value := point.median(figure))]
    if len(found) < 2:
        return "not measured"
    (least, low), (most, high) = min(found), max(found)
    return f"{times(most / least)} ({high} beside {low})"


def beside(one: float | None, other: float | None) -> str:
    """A ratio of two medians, as words."""
    return times(one / other) if one is not None and other else "not measured"


def line(name: str, points: Sequence[Point], figure: str) -> Line:
    """A figure along the points' setting, as it is shown in tables."""
    factor = FIGURES[figure].factor
    spots = [
        Spot(point.at, value * factor)
        for point in points
        if point.at is not None and (value := point.median(figure)) is not None
    ]
    return Line(name, sorted(spots))
