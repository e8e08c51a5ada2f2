"""What a measurement came to: the figures of each run of each row, and what they were measured on."""

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple, Protocol, Self

Scheme = Literal["plain", "tls"]
SCHEMES: tuple[Scheme, ...] = ("plain", "tls")

# Client or server work at least this part of a run's time where nobody else has their cores: all contenders but
# bulkload do for nearly all of it, and bulkload's start and ramp are a small part of a run that lasts some seconds.
_ALONE = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Of one run: `p50` and `p99` are seconds from a request to its answer, None where nobody told.

    `client_busy` and `server_busy` are the parts of the run's time that each one's core worked for it: a client that
    is far from 1 beside a server that is, too, waited for something, or others had its core.
    """

    records: int
    per_second: float
    cpu_microseconds: float
    peak_megabytes: float
    p50: float | None
    p99: float | None
    client_busy: float
    server_busy: float


class Measured(Protocol):
    """What is told of every measurement: when, of what and on what it was made."""

    @property
    def case(self) -> str: ...
    @property
    def began(self) -> str: ...
    @property
    def commit(self) -> str: ...
    @property
    def is_dirty(self) -> bool: ...
    @property
    def asked_runs(self) -> int: ...
    @property
    def server(self) -> str: ...
    @property
    def settings(self) -> Mapping[str, str]: ...
    @property
    def machine(self) -> Mapping[str, str]: ...
    @property
    def versions(self) -> Mapping[str, str]: ...


class Spread(NamedTuple):
    """A figure over all runs."""

    median: float
    least: float
    most: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One contender over plain HTTP or TLS, with the figures of its runs."""

    name: str
    title: str
    version: str
    scheme: Scheme
    runs: Sequence[Figures]

    def spread(self, figure: Callable[[Figures], float | None]) -> Spread | None:
        """A figure's median over the runs, with its least and most; None where no run has it."""
        found = [value for run in self.runs if (value := figure(run)) is not None]
        return Spread(statistics.median(found), min(found), max(found)) if found else None

    @property
    def per_second(self) -> Spread:
        """Records per second over the runs."""
        return self._known(lambda run: run.per_second)

    @property
    def cpu(self) -> Spread:
        """Microseconds of processor time per record over the runs."""
        return self._known(lambda run: run.cpu_microseconds)

    def _known(self, figure: Callable[[Figures], float]) -> Spread:
        spread = self.spread(figure)
        assert spread is not None, "a row has at least one run"
        return spread


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """All rows, in the order in which they took their turns; `skipped` says of each that is missing why it is.

    `machine` and `versions` are texts by what they are of. `records` is what bulkload was given, `runs` the rounds that
    were asked for.
    """

    began: str
    commit: str
    is_dirty: bool
    records: int
    record_bytes: int
    in_flight: int
    asked_runs: int
    server: str
    machine: Mapping[str, str]
    versions: Mapping[str, str]
    rows: Sequence[Row]
    skipped: Sequence[str]
    schema: int = 1

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote."""
        document: dict[str, Any] = json.loads(text)
        rows = [Row(**{**row, "runs": [Figures(**run) for run in row["runs"]]}) for row in document.pop("rows")]
        return cls(**document, rows=rows)

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"

    @property
    def case(self) -> str:
        return "throughput"

    @property
    def settings(self) -> Mapping[str, str]:
        return {}

    @property
    def crowded(self) -> int:
        """Runs that others disturbed: neither the client nor the server worked most of the time."""
        return sum(max(run.client_busy, run.server_busy) < _ALONE for row in self.rows for run in row.runs)

    def of(self, scheme: Scheme) -> list[Row]:
        """The rows over plain HTTP, or over TLS, the fastest first."""
        return sorted((row for row in self.rows if row.scheme == scheme), key=lambda row: -row.per_second.median)

    def best(self, names: Sequence[str], scheme: Scheme) -> Row | None:
        """The fastest of the rows with these names; None where none of them was measured."""
        return next((row for row in self.of(scheme) if row.name in names), None)
