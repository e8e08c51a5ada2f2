"""Who is measured: bulkload and its peers, each as a command that carries out an order."""

import importlib.metadata
import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from benchmarks import installing, loads
from benchmarks.installing import Missing
from benchmarks.loads import Command
from benchmarks.peers.order import Order
from benchmarks.pinned import Failed, Used
from benchmarks.results import SCHEMES, Scheme


@dataclass(frozen=True, slots=True)
class Told:
    """What a run came to by its own words; `seconds` are what its rate is counted by."""

    count: int
    seconds: float
    p50: float | None
    p99: float | None


@dataclass(frozen=True, slots=True)
class Ready:
    """A contender that is installed: its version, its command for an order, and what a run of it came to."""

    version: str
    command: Callable[[Order], Command]
    told: Callable[[Used, Order], Told]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A row of the table for each scheme. `share` of all records makes its run last as long as the others'.

    `prepare` installs what is needed, or raises `Missing`. One that reads a file is given one of as many records.
    """

    name: str
    title: str
    share: float
    prepare: Callable[[], Ready]
    schemes: Sequence[Scheme] = SCHEMES
    in_flight: int = 64
    reads_file: bool = False


def _bulkload(transport: str) -> Callable[[], Ready]:
    def prepare() -> Ready:
        if transport not in (loads.choices("--transport") or ()):
            raise Missing(f"this version of bulkload has no --transport {transport}")

        def command(order: Order) -> Command:
            trust = ["--ca-file", order.ca_file] if order.ca_file else []
            return loads.command(order.source, order.url, "--transport", transport, *trust)

        return Ready(importlib.metadata.version("bulkload"), command, _told_by_bulkload)

    return prepare


def _told_by_bulkload(used: Used, order: Order) -> Told:
    """The whole pipeline, from the start of the process to its end."""
    latency = loads.summarized(used, order.records)["latency"]
    return Told(order.records, used.seconds, latency["p50"], latency["p99"])


def _told_by_peer(used: Used, order: Order) -> Told:
    """The bare PUTs, without the start of the process: the line of JSON that a peer ends with."""
    told = Told(**json.loads(used.output.splitlines()[-1]))
    if told.count != order.records:
        raise Failed(f"{told.count:,} of {order.records:,} records were sent")
    return told


def _told_by_wrk(used: Used, _order: Order) -> Told:
    """The same, of as many as it could send in its time."""
    told = json.loads(used.output.splitlines()[-1])
    if failed := told.pop("failed"):
        raise Failed(f"{failed:,} requests failed")
    return Told(**told)


def _python(program: str, *packages: str) -> Callable[[], Ready]:
    """A program of Python's, which needs these packages; the first one is what it is there for."""

    def prepare() -> Ready:
        for package in packages:
            if importlib.util.find_spec(package) is None:
                raise Missing(f"the package {package} is not installed: pip install -e '.[bench]'")
        module = f"benchmarks.peers.{program}"
        return Ready(
            importlib.metadata.version(packages[0]),
            lambda order: Command([sys.executable, "-m", module, order.to_json()]),
            _told_by_peer,
        )

    return prepare


def _node(program: str, package: str) -> Callable[[], Ready]:
    def prepare() -> Ready:
        folder = installing.node_programs()
        manifest = json.loads((folder / "node_modules" / package / "package.json").read_text(encoding="utf-8"))

        def command(order: Order) -> Command:
            trusted = {"NODE_EXTRA_CA_CERTS": order.ca_file} if order.ca_file else {}
            return Command(["node", str(folder / program), order.to_json()], trusted)

        node = installing.said("node", "--version").removeprefix("v")
        return Ready(f"{manifest['version']}, Node {node}", command, _told_by_peer)

    return prepare


def _go() -> Ready:
    built = installing.go_program()
    version = re.search(r"go(\d\S*)", installing.said("go", "version"))
    return Ready(
        version[1] if version else "unknown", lambda order: Command([str(built), order.to_json()]), _told_by_peer
    )


def _wrk() -> Ready:
    program = installing.program("wrk")
    version = re.search(
        r"wrk (\S+)", subprocess.run([program, "-v"], capture_output=True, text=True, check=False).stdout
    )

    def command(order: Order) -> Command:
        path = f"{urlsplit(order.url).path}/installations/"
        flags = ["-t1", f"-c{order.in_flight}", f"-d{order.seconds}s", "-s", str(installing.PEERS / "wrk.lua")]
        return Command([program, *flags, order.url, "--", path, order.api_version, order.token, order.body])

    return Ready(version[1] if version else "unknown", command, _told_by_wrk)


# The shares come from first measurements on one core: with 1,000,000 records each run takes 5 to 20 s.
CONTENDERS = (
    Contender(name="bulkload-wire", title="bulkload, wire", share=1, prepare=_bulkload("wire"), reads_file=True),
    Contender(
        name="bulkload-aiohttp", title="bulkload, aiohttp", share=0.1, prepare=_bulkload("aiohttp"), reads_file=True
    ),
    Contender(
        name="official-sdk",
        title="official JavaScript SDK",
        share=0.02,
        prepare=_node("official_sdk.mjs", "@azure/notification-hubs"),
        schemes=("tls",),
    ),
    Contender(name="undici", title="undici", share=0.2, prepare=_node("undici_loop.mjs", "undici")),
    Contender(name="aiohttp-usual", title="aiohttp, as usual", share=0.07, prepare=_python("aiohttp_usual", "aiohttp")),
    Contender(
        name="aiohttp-tuned", title="aiohttp, tuned", share=0.15, prepare=_python("aiohttp_tuned", "aiohttp", "uvloop")
    ),
    Contender(name="httpx", title="httpx", share=0.002, prepare=_python("httpx_usual", "httpx")),
    Contender(
        name="pyreqwest", title="pyreqwest", share=0.25, prepare=_python("pyreqwest_workers", "pyreqwest", "uvloop")
    ),
    Contender(name="go", title="Go net/http", share=0.5, prepare=_go),
    Contender(name="wrk-64", title="wrk, 64 connections", share=1, prepare=_wrk),
    Contender(name="wrk-128", title="wrk, 128 connections", share=1, prepare=_wrk, in_flight=128),
)
