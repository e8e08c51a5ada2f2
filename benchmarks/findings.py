"""What a case found: a point for each of its settings, with the figures of each run there."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, Self

from benchmarks import machine
from benchmarks.results import Spread


class Figure(NamedTuple):
    """How a figure is shown: its column's head, its form, and what it is multiplied by for that."""

    title: str
    form: str
    factor: float = 1

    def shown(self, value: float) -> str:
        return self.form.format(value * self.factor)


# All that a case may find, in the order of the columns. Rates are records per second, times seconds or microseconds by
# their name, parts of 1.
FIGURES: Mapping[str, Figure] = {
    "per_second": Figure("records/s", "{:,.0f}"),
    "own_per_second": Figure("records/s without start", "{:,.0f}"),
    "steady": Figure("records/s, full seconds", "{:,.0f}"),
    "ideal_part": Figure("of the ideal", "{:.1%}"),
    "bare_per_second": Figure("records/s, bare loop", "{:,.0f}"),
    "bare_part": Figure("of the bare loop", "{:.1%}"),
    "seconds": Figure("seconds", "{:,.2f}"),
    "allowed": Figure("times what the latency allows", "{:.2f}"),
    "goodput": Figure("goodput", "{:.3f}"),
    "refused": Figure("refused", "{:.2%}"),
    "in_flight": Figure("in flight", "{:,.0f}"),
    "cpu_microseconds": Figure("CPU µs per record", "{:,.1f}"),
    "net_cpu_microseconds": Figure("CPU µs without start", "{:,.1f}"),
    "own_cpu_microseconds": Figure("CPU µs without start, coordinator alone", "{:,.1f}"),
    "peak_megabytes": Figure("peak MB", "{:,.0f}"),
    "p50": Figure("p50 ms", "{:,.2f}", 1000),
    "p99": Figure("p99 ms", "{:,.2f}", 1000),
    "bytes_per_row": Figure("ledger bytes per row", "{:,.1f}"),
    "client_busy": Figure("client busy", "{:.0%}"),
    "server_busy": Figure("server busy", "{:.0%}"),
    "records": Figure("records a run", "{:,.0f}"),
}


@dataclass(frozen=True, slots=True)
class Point:
    """One setting: `at` is where it stands on a chart, `figures` each figure of `FIGURES` over the runs.

    `words` are what else there is to tell, by the head of their column.
    """

    name: str
    at: float | None = None
    figures: dict[str, list[float]] = field(default_factory=dict)
    words: Mapping[str, str] = field(default_factory=dict)

    def spread(self, figure: str) -> Spread | None:
        """A figure's median with its least and most; None where no run has it."""
        found = self.figures.get(figure)
        return Spread(statistics.median(found), min(found), max(found)) if found else None

    def median(self, figure: str) -> float | None:
        """The same, without the other two."""
        spread = self.spread(figure)
        return spread.median if spread else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """All points of a case in the order of their turns, and what they were measured on.

    `settings` are what all points have in common, `skipped` says of each that is missing why it is; both are texts.
    """

    case: str
    began: str
    commit: str
    is_dirty: bool
    asked_runs: int
    server: str
    machine: Mapping[str, str]
    versions: Mapping[str, str]
    settings: Mapping[str, str]
    points: Sequence[Point]
    skipped: Sequence[str]
    schema: int = 1

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote."""
        document: dict[str, Any] = json.loads(text)
        return cls(**document | {"points": [Point(**point) for point in document["points"]]})

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"

    def median(self, name: str, figure: str) -> float | None:
        """A figure's median at the point of this name; None where there is none."""
        return next((point.median(figure) for point in self.points if point.name == name), None)


class Notes:
    """Takes down what a case finds; with a folder, they are written there as often as they are saved."""

    def __init__(self, case: str, *, runs: int, output: Path | None = None) -> None:
        self._case = case
        self._runs = runs
        self._output = output
        self._began = datetime.now(UTC)
        self._machine = machine.described()
        self._commit = machine.commit()
        self._points: dict[str, Point] = {}
        self._skipped: list[str] = []
        self._settings: dict[str, str] = {}
        self.server = ""

    def __repr__(self) -> str:
        return f"<Notes of {self._case}, {len(self._points)} points, {len(self._skipped)} skipped>"

    def set(self, **settings: str) -> None:
        """All points have this in common."""
        self._settings |= {name.replace("_", " "): text for name, text in settings.items()}

    def add(
        self,
        name: str,
        figures: Mapping[str, float | None],
        *,
        at: float | None = None,
        words: Mapping[str, str] | None = None,
    ) -> None:
        """One more run of a point; a figure that is None is not there."""
        point = self._points.setdefault(name, Point(name, at, {}, words or {}))
        for figure, value in figures.items():
            assert figure in FIGURES, figure
            if value is not None:
                point.figures.setdefault(figure, []).append(value)

    def skip(self, line: str) -> None:
        """Say why something is missing."""
        print(f"skipped: {line}")
        self._skipped.append(line)

    @property
    def is_whole(self) -> bool:
        """Whether something was found, and nothing skipped."""
        return bool(self._points) and not self._skipped

    def findings(self) -> Findings:
        """All that was found until now."""
        return Findings(
            case=self._case,
            began=self._began.isoformat(timespec="seconds"),
            commit=self._commit.id,
            is_dirty=self._commit.is_dirty,
            asked_runs=self._runs,
            server=self.server,
            machine=self._machine,
            versions=machine.versions(),
            settings=self._settings,
            points=tuple(self._points.values()),
            skipped=tuple(self._skipped),
        )

    def save(self) -> None:
        """Write them down, where a folder was given."""
        if self._output is not None:
            self._output.mkdir(parents=True, exist_ok=True)
            (self._output / f"{self._case}.json").write_text(self.findings().to_json(), encoding="utf-8")
