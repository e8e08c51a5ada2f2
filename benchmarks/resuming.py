"""How long a session takes from its start to its first request when its ledger holds millions of rows."""

import asyncio
import os
import shutil
import socket
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

from benchmarks import records
from benchmarks.findings import Findings, Notes
from benchmarks.sections import Section, told
from bulkload.hub import Hub
from bulkload.ledger import Commit, Ledger, Mark, Run, Writer
from bulkload.record import Outcome, Settlement
from bulkload.source import FileSource, Place

# Records that are left to send when the session starts.
LEFT = 10_000
TOGETHER = 20_000

_HOW = (
    "From the start of the process to the first byte of its first request, with a ledger of so many rows and some "
    "records left to send; the interpreter and its imports are counted. The rows are written as a session writes them."
)


def measure(folder: Path, notes: Notes, *, rows: int, runs: int) -> None:
    """Print the median of several sessions, each on a copy of the same ledger."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        text = f"Endpoint=http://127.0.0.1:{server.getsockname()[1]}/;SharedAccessKeyName=k;SharedAccessKey=k"
        source = records.write(folder / "source.ndjson", rows + LEFT)
        ledger = folder / "full.ledger"
        asyncio.run(_fill(ledger, source, Hub.from_connection_string(text, hub="devices"), rows))
        bytes_per_row = ledger.stat().st_size / rows
        print(f"{rows:,} rows, {bytes_per_row:.1f} bytes each; start to first request, {runs} sessions:")
        took = [_session(folder, ledger, source, server, text) for _ in range(runs)]
    for seconds in took:
        notes.add(f"{rows:,} rows", {"seconds": seconds, "bytes_per_row": bytes_per_row})
    notes.save()
    print(f"  median {statistics.median(took):.2f} s, {min(took):.2f} to {max(took):.2f} s")
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "bulkload", "--version"], check=True, stdout=subprocess.DEVNULL)
    print(f"  of these, {time.perf_counter() - began:.2f} s for the interpreter and its imports")


def section(findings: Findings) -> Section:
    """The times to the first request."""
    return told(findings, "Resume", "ledger", _HOW)


async def _fill(path: Path, source: Path, hub: Hub, rows: int) -> None:
    """A ledger as a session would have left it after `rows` records."""
    file = FileSource(source)
    ledger = Ledger(path, Run(hub.identity, (str(source),), (await file.fingerprint(),)))
    session = ledger.begin_session(version="benchmark", transport="none", resume=None)
    writer = Writer(ledger.connection, path, _fail)
    end = sum(len(line) for line in records.lines(rows))
    for start in range(0, rows, TOGETHER):
        settlements = [
            Settlement(0, position, records.installation_id(position), Outcome.ACCEPTED, 200, 1, 0.0412, time.time())
            for position in range(start, min(rows, start + TOGETHER))
        ]
        mark = Mark(Place(end, rows + 1), rows, 0, rows)
        writer.post(Commit(session.number, settlements, {0: mark}, [], rows, 0, 0, 0))
        await writer.catch_up()
    await writer.close()
    ledger.end_session(session, outcome="stopped", exit_code=5, reason="benchmark")
    ledger.close()


def _fail(failure: Exception) -> None:
    raise failure


def _session(folder: Path, full: Path, source: Path, server: socket.socket, text: str) -> float:
    """Seconds from the start of a session to the first byte of its first request."""
    ledger = shutil.copy(full, folder / "copy.ledger")
    requested = threading.Event()
    at = 0.0

    def listen() -> None:
        nonlocal at
        connection, _ = server.accept()
        with connection:
            connection.recv(1)
            at = time.perf_counter()
            requested.set()

    threading.Thread(target=listen, daemon=True).start()
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "bulkload", "load", str(source), "--hub", "devices", "--ledger", str(ledger)],
        env={**os.environ, "BULKLOAD_CONNECTION_STRING": text},
        stderr=subprocess.DEVNULL,
    )
    assert requested.wait(60), "no request came within a minute"
    process.kill()
    process.wait()
    return at - began
