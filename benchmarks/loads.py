"""One load by bulkload, as a user runs it, and all that can be told of it from outside and from its ledger."""

import json
import re
import sqlite3
import statistics
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from benchmarks import installing, pinned, records
from benchmarks.pinned import Failed, Used
from benchmarks.server import Server

PROGRAM = (sys.executable, "-m", "bulkload")

# What a run shows of itself as soon as it is over.
TOLD = ("per_second", "cpu_microseconds", "p50", "p99")

# A ramp takes one or two.
_FULL_SECONDS = 3

# What a start takes is the median of so many.
_STARTS = 3


@dataclass(frozen=True, slots=True)
class Command:
    """What to start, and with which variables of the environment."""

    arguments: Sequence[str]
    environment: dict[str, str] = field(default_factory=dict)


def command(source: str, url: str, *flags: str) -> Command:
    """The load of a source into the hub of this URL; its ledger stands beside the source."""
    endpoint = urlsplit(url)
    scheme = "http" if endpoint.scheme == "http" else "sb"
    text = f"Endpoint={scheme}://{endpoint.netloc}/;SharedAccessKeyName=benchmark;SharedAccessKey=benchmark"
    load = ["load", source, "--hub", endpoint.path[1:], "--ledger", f"{source}.ledger", "--json", *flags]
    return Command([*PROGRAM, *load], {"BULKLOAD_CONNECTION_STRING": text})


def choices(flag: str) -> Sequence[str] | None:
    """The values that a flag of this version of bulkload may have, none where any will do; None without such a flag."""
    found = re.search(rf"^ *{flag} +(?:\[([a-z|]+)\])?", installing.said(*PROGRAM, "load", "--help"), re.MULTILINE)
    return None if found is None else found[1].split("|") if found[1] else ()


def summarized(used: Used, count: int) -> dict[str, Any]:
    """The summary of a load that sent so many records, all of which were accepted; raises `Failed` for any other."""
    summary: dict[str, Any] = json.loads(used.output)
    accepted, sent = summary["records"]["accepted"], summary["requests"]["sent"]
    # Fewer requests than records: it found a ledger, and did not begin anew.
    if accepted != count or sent < count:
        raise Failed(f"{accepted:,} of {count:,} records were accepted, {sent:,} requests sent")
    return summary


class Start(NamedTuple):
    """What a load of one record takes: the interpreter, its imports, and the end; processor time in seconds.

    `cpu` is that of all processes, `own_cpu` that of the first one alone.
    """

    cpu: float
    own_cpu: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What a load came to: `rates` are its requests per second, second by second, as its ledger has them.

    `server_cpu` is what the server worked meanwhile, in seconds.
    """

    records: int
    used: Used
    summary: dict[str, Any]
    rates: Sequence[float]
    ledger_bytes: int
    server_cpu: float

    @property
    def steady(self) -> float | None:
        """Requests per second once the ramp is over: the median of the full seconds' second half.

        None where there are too few, and the ramp is most of them.
        """
        full = self.rates[:-1]
        return statistics.median(full[len(full) // 2 :]) if len(full) >= _FULL_SECONDS else None

    def figures(self, start: Start) -> dict[str, float | None]:
        """All that belongs to every load, by the names of `FIGURES`; some of it without what a start takes."""
        used, latency, steady = self.used, self.summary["latency"], self.steady
        return {
            "records": self.records,
            "per_second": self.records / used.seconds,
            "own_per_second": self.records / self.summary["elapsed"] if self.summary["elapsed"] else None,
            "steady": steady,
            "in_flight": steady and latency["p50"] and steady * latency["p50"],
            "cpu_microseconds": used.cpu / self.records * 1e6,
            "net_cpu_microseconds": max(0.0, used.cpu - start.cpu) / self.records * 1e6,
            "peak_megabytes": used.peak / 2**20,
            "p50": latency["p50"],
            "p99": latency["p99"],
            "client_busy": used.cpu / used.seconds,
            "server_busy": self.server_cpu / used.seconds,
        }


def carry_out(folder: Path, count: int, served: Server, *flags: str, cores: Collection[int]) -> Loaded:
    """Load so many records over plain HTTP on these cores; raises `Failed`."""
    source = records.kept(folder, count)
    order = command(str(source), served.url("plain"), *flags)
    busy = served.cpu()
    with _ledger(Path(f"{source}.ledger")) as ledger:
        used = pinned.run(order.arguments, cores=cores, environment=order.environment)
        return Loaded(
            records=count,
            used=used,
            summary=summarized(used, count),
            rates=_rates(ledger),
            ledger_bytes=ledger.stat().st_size,
            server_cpu=served.cpu() - busy,
        )


def start(folder: Path, served: Server, *flags: str, cores: Collection[int]) -> Start:
    """What a start takes, the median of a few; raises `Failed`."""
    used = [carry_out(folder, 1, served, *flags, cores=cores).used for _ in range(_STARTS)]
    return Start(statistics.median(one.cpu for one in used), statistics.median(one.own_cpu for one in used))


@contextmanager
def _ledger(path: Path) -> Iterator[Path]:
    """A ledger's path, where no ledger is left for the next load."""
    try:
        yield path
    finally:
        for left in path.parent.glob(f"{path.name}*"):
            left.unlink()


def _rates(ledger: Path) -> list[float]:
    with closing(sqlite3.connect(ledger)) as connection:
        return [rate for (rate,) in connection.execute("SELECT rate FROM samples ORDER BY rowid")]
