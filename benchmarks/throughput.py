"""bulkload beside its peers, in turn, each on one core and the server on another."""

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import machine, pinned, records, server
from benchmarks.contenders import CONTENDERS, Contender, Ready
from benchmarks.installing import Missing
from benchmarks.peers.order import Order
from benchmarks.pinned import Failed
from benchmarks.results import Figures, Results, Row, Scheme
from benchmarks.server import Server
from bulkload.client import API_VERSION
from bulkload.sas import LIFETIME, sign

# What the peers have in flight; bulkload finds its own number.
IN_FLIGHT = 64

# Fewer would tell of a client's first moments alone.
_LEAST_RECORDS = 2000

# wrk goes by time: as long as the others take for 1,000,000 records, and less for fewer.
_SECONDS, _LEAST_SECONDS = 10, 2


def measure(
    folder: Path, *, count: int, runs: int, only: Sequence[str], schemes: Sequence[Scheme], output: Path
) -> bool:
    """Measure each contender that can be had once a round, write the results into `output`, say whether none failed.

    The results are written after each round: an end before the last one keeps what was measured. One that fails has no
    more turns; bulkload fails where not all of its records are accepted.
    """
    if count < 1 or runs < 1:
        sys.exit("a measurement takes at least one record and one round")
    output.mkdir(parents=True, exist_ok=True)
    client_core, server_core = machine.cores()
    measurement = Measurement(folder, count, runs)
    entries = list(measurement.entries(_chosen(only), schemes))
    if not entries:
        sys.exit("none of these can be measured here")
    with server.serving(folder, core=server_core) as served:
        print(f"{served.version} on core {server_core}, clients on core {client_core}")
        for number in range(1, runs + 1):
            for entry in entries:
                if entry.is_out:
                    continue
                print(f"round {number} of {runs}: {entry.title}: ", end="", flush=True)
                print(measurement.turn(entry, served, core=client_core))
            results = measurement.results(entries, served)
            (output / "results.json").write_text(results.to_json(), encoding="utf-8")
    return not any(entry.is_out for entry in entries)


def _chosen(only: Sequence[str]) -> list[Contender]:
    names = [contender.name for contender in CONTENDERS]
    if unknown := sorted(set(only) - set(names)):
        sys.exit(f"nobody here is called {' or '.join(unknown)}; there are {' '.join(names)}")
    return [contender for contender in CONTENDERS if not only or contender.name in only]


@dataclass(slots=True)
class Entry:
    """A contender over one scheme, with the runs that it has had; it is out when one of them failed."""

    contender: Contender
    ready: Ready
    scheme: Scheme
    runs: list[Figures] = field(default_factory=list)
    is_out: bool = False

    @property
    def title(self) -> str:
        return f"{self.contender.title}, {self.scheme}"

    def row(self) -> Row:
        contender = self.contender
        return Row(
            name=contender.name,
            title=contender.title,
            version=self.ready.version,
            scheme=self.scheme,
            runs=tuple(self.runs),
        )


class Measurement:
    """The rounds of one measurement: what it writes for the contenders to send, and who had to be skipped."""

    def __init__(self, folder: Path, count: int, runs: int) -> None:
        self._folder = folder
        self._count = count
        self._runs = runs
        self._began = datetime.now(UTC)
        self._machine = machine.described()
        self._commit = machine.commit()
        self._body = next(records.lines(1, body=records.LONG_BODY)).decode().rstrip()
        self._skipped: list[str] = []

    def __repr__(self) -> str:
        return f"<Measurement of {self._count:,} records, {len(self._skipped)} skipped>"

    def entries(self, contenders: Sequence[Contender], schemes: Sequence[Scheme]) -> Iterator[Entry]:
        """The contenders that can be had, for each scheme; the others are skipped with a line."""
        ready: dict[str, Ready] = {}
        for contender in contenders:
            try:
                ready[contender.name] = contender.prepare()
            except Missing as exc:
                self._skip(f"{contender.title}: {exc}")
        for scheme in schemes:
            for contender in contenders:
                if contender.name in ready and scheme in contender.schemes:
                    yield Entry(contender, ready[contender.name], scheme)

    def turn(self, entry: Entry, served: Server, *, core: int) -> str:
        """Have it run once; return what came of it, in words."""
        order = self._order(entry, served)
        command = entry.ready.command(order)
        busy = served.cpu()
        try:
            used = pinned.run(command.arguments, cores=[core], environment=command.environment)
            told = entry.ready.told(used, order)
        except Failed as exc:
            entry.is_out = True
            self._skip(f"{entry.title}: {exc}")
            return "out"
        finally:
            # The next run is to begin anew, too.
            for ledger in self._folder.glob("*.ledger*"):
                ledger.unlink()
        figures = Figures(
            records=told.count,
            per_second=told.count / told.seconds,
            cpu_microseconds=used.cpu / told.count * 1e6,
            peak_megabytes=used.peak / 2**20,
            p50=told.p50,
            p99=told.p99,
            client_busy=used.cpu / used.seconds,
            server_busy=(served.cpu() - busy) / used.seconds,
        )
        entry.runs.append(figures)
        return f"{figures.per_second:,.0f} records/s, {figures.cpu_microseconds:.1f} us of CPU each"

    def _order(self, entry: Entry, served: Server) -> Order:
        url = served.url(entry.scheme)
        count = min(self._count, max(_LEAST_RECORDS, round(self._count * entry.contender.share)))
        return Order(
            url=url,
            api_version=API_VERSION,
            token=sign(url, "benchmark", "benchmark", int(time.time() + LIFETIME)),
            body=self._body,
            records=count,
            in_flight=entry.contender.in_flight,
            seconds=max(_LEAST_SECONDS, round(_SECONDS * min(1, self._count / 1_000_000))),
            source=str(records.kept(self._folder, count)) if entry.contender.reads_file else "",
            ca_file=str(served.ca_file) if entry.scheme == "tls" else None,
        )

    def _skip(self, line: str) -> None:
        print(f"skipped: {line}")
        self._skipped.append(line)

    def results(self, entries: Sequence[Entry], served: Server) -> Results:
        """All that was measured until now."""
        return Results(
            began=self._began.isoformat(timespec="seconds"),
            commit=self._commit.id,
            is_dirty=self._commit.is_dirty,
            records=self._count,
            record_bytes=len(self._body),
            in_flight=IN_FLIGHT,
            asked_runs=self._runs,
            server=served.version,
            machine=self._machine,
            versions=machine.versions(),
            rows=[entry.row() for entry in entries if entry.runs],
            skipped=tuple(self._skipped),
        )
