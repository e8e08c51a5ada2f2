"""The real command in real processes, hubs for it to talk to, and what it leaves behind."""

import asyncio
import gc
import gzip
import http.client
import json
import os
import re
import select
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from bulkload import sas
from bulkload.emulator.access import KEY as EMULATOR_KEY
from bulkload.emulator.server import STATISTICS
from bulkload.hub import Hub

BULKLOAD = (sys.executable, "-m", "bulkload")

# Long enough for a machine on its knees; nothing waits this long unless it hangs.
PATIENCE = 30.0

# Stands in every push channel and every key that tests make: no stream and no ledger may ever show them.
CHANNEL = "secret-channel-of-"
KEY = "a2V5IG9mIGEgcmVjb3JkaW5nIGh1Yg=="
SECRETS = (CHANNEL, KEY, EMULATOR_KEY, "SharedAccessSignature", "sig=")

# Commands whose standard output is for what must not be shown elsewhere.
TELLING = ("emulator", "registrations", "migrate")

CONNECTION_STRING = "BULKLOAD_CONNECTION_STRING"

# A hub that nothing asks: the command has to fail, or to end, before it sends.
NOBODY = {CONNECTION_STRING: f"Endpoint=http://127.0.0.1:1/;SharedAccessKeyName=w;SharedAccessKey={KEY};EntityPath=d"}

OUTCOMES = ("accepted", "invalid", "rejected", "exhausted", "superseded")


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command that has ended left: its exit code, and its streams as text."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def summary(self) -> dict[str, Any]:
        """The summary of `--json`: one line, and all of standard output."""
        [line] = self.out.splitlines()
        summary: dict[str, Any] = json.loads(line)
        return summary

    @property
    def complaint(self) -> str:
        """The one line of a failure, and all of both streams."""
        assert not self.out
        [line] = self.err.splitlines()
        assert line.startswith("bulkload: "), line
        return line

    @property
    def resume(self) -> str:
        """The command line that the text says continues the run."""
        [command] = re.findall(r"^to continue: (.+)$", self.err, re.MULTILINE)
        return str(command)


class Started:
    """A command on its way; one that still runs at the end of its ``with`` block is killed.

    `arguments` are bulkload's, or a whole command line with `program` empty. Its environment is this process's
    without any setting of bulkload or of a proxy, and with `env`. Bytes as `stdin` are piped in when it is finished.
    """

    def __init__(
        self,
        *arguments: str | os.PathLike[str],
        cwd: Path,
        env: Mapping[str, str] | None = None,
        stdin: bytes | int = subprocess.DEVNULL,
        stdout: int | None = None,
        stderr: int | None = None,
        program: Sequence[str] = BULKLOAD,
        own_session: bool = False,
    ) -> None:
        self._arguments = [os.fspath(argument) for argument in arguments]
        self._input = stdin if isinstance(stdin, bytes) else None
        self._out = tempfile.TemporaryFile()  # noqa: SIM115
        self._err = tempfile.TemporaryFile()  # noqa: SIM115
        self._began = time.monotonic()
        self.process = subprocess.Popen(
            [*program, *self._arguments],
            cwd=cwd,
            env=environment() | dict(env or {}),
            stdin=subprocess.PIPE if isinstance(stdin, bytes) else stdin,
            stdout=self._out if stdout is None else stdout,
            stderr=self._err if stderr is None else stderr,
            start_new_session=own_session,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.is_running:
            self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self._out, self._err):
            if stream is not None:
                stream.close()

    def __repr__(self) -> str:
        return f"<Started {' '.join(self._arguments)}, pid {self.process.pid}>"

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    @property
    def out(self) -> str:
        """What it has said on standard output by now."""
        return _text(self._out.fileno())

    @property
    def err(self) -> str:
        """What it has said on standard error by now."""
        return _text(self._err.fileno())

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """End it with SIGKILL, and wait until it is gone."""
        self.process.kill()
        self.process.wait()

    def finish(self, *, within: float = PATIENCE) -> Ran:
        """Wait for its end."""
        try:
            self.process.communicate(self._input, timeout=within)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self!r} has not ended after {within:.0f} s; it said:\n{self.err}") from None
        ran = Ran(self.process.returncode, self.out, self.err, time.monotonic() - self._began)
        return decent(self._arguments, ran)


def decent(arguments: Sequence[str], ran: Ran) -> Ran:
    """What a command left, when it shows no traceback and no secret."""
    assert "Traceback" not in ran.err, ran.err
    shown = ran.err if arguments[:1] and arguments[0] in TELLING else ran.out + ran.err
    assert not any(secret in shown for secret in SECRETS), shown
    return ran


def run(
    *arguments: str | os.PathLike[str],
    cwd: Path,
    env: Mapping[str, str] | None = None,
    stdin: bytes | int = subprocess.DEVNULL,
    program: Sequence[str] = BULKLOAD,
    within: float = PATIENCE,
) -> Ran:
    """Run a command to its end."""
    with Started(*arguments, cwd=cwd, env=env, stdin=stdin, program=program) as started:
        return started.finish(within=within)


class Case(NamedTuple):
    """One command of several: its arguments, environment and standard input."""

    arguments: Sequence[str]
    env: Mapping[str, str] = {}
    stdin: bytes = b""


class Forks:
    """Runs commands in processes that are forked from one which has imported bulkload.

    Half a second of processor time is what a start costs, nearly all of it for imports. What is not about starting,
    streams or signals need not pay that for each of its commands. `through` is a command line that starts another.
    """

    def __init__(self, *, through: Sequence[str] = ()) -> None:
        self._streams = tempfile.TemporaryDirectory()
        self._process = subprocess.Popen(
            [*through, sys.executable, __file__, self._streams.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(),
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.communicate()
        self._streams.cleanup()

    def run(
        self,
        *arguments: str,
        cwd: Path,
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        within: float = PATIENCE,
    ) -> Ran:
        """Run a command to its end; standard input is a file that holds `stdin`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        streams = Path(self._streams.name)
        (streams / "in").write_bytes(stdin)
        order = {"arguments": arguments, "cwd": str(cwd), "env": dict(env or {})}
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()
        if not select.select([self._process.stdout], [], [], within)[0]:
            os.killpg(self._process.pid, signal.SIGKILL)
            raise AssertionError(f"{' '.join(arguments)} has not ended after {within:.0f} s")
        code, seconds = self._process.stdout.readline().split()
        out, err = ((streams / name).read_text(errors="backslashreplace") for name in ("out", "err"))
        return decent(arguments, Ran(int(code), out, err, float(seconds)))

    def run_all(self, cases: Iterable[Case], *, cwd: Path) -> list[Ran]:
        """Run commands, one after another."""
        return [self.run(*case.arguments, cwd=cwd, env=case.env, stdin=case.stdin) for case in cases]


def serve(streams: Path) -> None:
    """Fork for each order on standard input, and tell on standard output how it ended."""
    from bulkload.cli import main

    gc.freeze()

    for line in sys.stdin:
        order = json.loads(line)
        began = time.monotonic()
        if not (child := os.fork()):
            for descriptor, name in enumerate(("in", "out", "err")):
                file = os.open(streams / name, os.O_RDWR if name == "in" else os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
                os.dup2(file, descriptor)
                os.close(file)
            os.chdir(order["cwd"])
            os.environ.update(order["env"])
            sys.argv[1:] = order["arguments"]
            main()
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        sys.stdout.write(f"{code} {time.monotonic() - began}\n")
        sys.stdout.flush()


def run_line(line: str, *, cwd: Path, env: Mapping[str, str] | None = None) -> Ran:
    """Have a shell run a command line as it was printed."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return run("-c", line, program=["sh"], cwd=cwd, env={"PATH": path, **(env or {})})


def environment() -> dict[str, str]:
    """This process's environment without any setting of bulkload, of a proxy or of a terminal."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("BULKLOAD_")
        and not name.lower().endswith("_proxy")
        and name not in ("COLUMNS", "LINES", "TERM", "FORCE_COLOR", "NO_COLOR")
    }


def waits(started: Started) -> bool:
    """Whether a command has its signal handlers, and waits for something."""
    if not sys.platform.startswith("linux"):
        time.sleep(3)
        return True
    status = Path(f"/proc/{started.process.pid}/status").read_text()
    [caught] = re.findall(r"^SigCgt:\s*([0-9a-f]+)$", status, re.MULTILINE)
    [state] = re.findall(r"^State:\s*(\w)", status, re.MULTILINE)
    return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1) and state == "S"


def wait_for(condition: Callable[[], object], what: str, *, within: float = PATIENCE) -> None:
    """Come back as soon as `condition()` holds."""
    give_up = time.monotonic() + within
    while not condition():
        assert time.monotonic() < give_up, f"waited {within:.0f} s in vain: {what}"
        time.sleep(0.005)


class Put(NamedTuple):
    """A request as a hub saw it; `at` is the monotonic clock."""

    at: float
    path: str
    id: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """What a recording hub answers; without a status it resets the connection instead.

    With `raw` it sends these bytes and then closes the connection.
    """

    status: int | None = 200
    body: bytes = b""
    headers: tuple[str, ...] = ()
    raw: bytes | None = None


OK = Reply()


class RecordingHub:
    """A hub in this process that notes every PUT, and answers as it is told.

    `answer` gives the reply to a PUT, `delay` is the time it takes; while `is_held`, PUTs are noted and wait.
    `installations` holds the body that was accepted last for each id.
    """

    def __init__(
        self,
        answer: Callable[[Put], Reply] = lambda put: OK,
        *,
        delay: float = 0.0,
        port: int = 0,
        is_held: bool = False,
    ) -> None:
        self.puts: list[Put] = []
        self.installations: dict[str, bytes] = {}
        self.most_in_flight = 0
        self.is_held = is_held
        self.answer = answer
        self.delay = delay
        self._port = port
        self._in_flight = 0
        self._waiting: list[Callable[[], None]] = []
        self._connections: set[_Connection] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="recording hub")

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __repr__(self) -> str:
        return f"<RecordingHub {len(self.puts)} PUTs>"

    @property
    def env(self) -> dict[str, str]:
        """The setting that points a command to this hub."""
        return {CONNECTION_STRING: f"{self.endpoint};EntityPath=devices"}

    @property
    def endpoint(self) -> str:
        """The connection string, without the hub's name."""
        return f"Endpoint=http://127.0.0.1:{self.port}/;SharedAccessKeyName=writer;SharedAccessKey={KEY}"

    @property
    def ids(self) -> list[str]:
        """The id of every PUT, in the order of their coming."""
        return [put.id for put in self.puts]

    @property
    def repeated(self) -> dict[bytes, int]:
        """The bodies that came more than once, and how often."""
        return {body: count for body, count in Counter(put.body for put in self.puts).items() if count > 1}

    def wait_for(self, number: int) -> None:
        """Come back as soon as so many PUTs have come."""
        wait_for(lambda: len(self.puts) >= number, f"{number} PUTs, there are {len(self.puts)}")

    def release(self) -> None:
        """Answer what waits, and from now on all that comes."""
        self._loop.call_soon_threadsafe(self._release)

    def _release(self) -> None:
        self.is_held = False
        for reply in self._waiting:
            reply()
        self._waiting.clear()

    async def _listen(self) -> asyncio.Server:
        # A loader may open a thousand connections in one go.
        return await self._loop.create_server(lambda: _Connection(self), "127.0.0.1", self._port, backlog=1024)

    async def _close(self) -> None:
        self._server.close()
        for connection in list(self._connections):
            connection.close()
        await asyncio.sleep(0)
        await self._server.wait_closed()

    def take(self, connection: "_Connection", put: Put) -> None:
        """Note a PUT, and answer it when its time has come."""
        self.puts.append(put)
        self._in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self._in_flight)

        def reply() -> None:
            self._in_flight -= 1
            answer = self.answer(put)
            if answer.status == 200:
                self.installations[put.id] = put.body
            connection.reply(answer)

        if self.is_held:
            self._waiting.append(reply)
        elif self.delay:
            self._loop.call_later(self.delay, reply)
        else:
            reply()


class _Connection(asyncio.Protocol):
    """One client: takes its requests apart and writes the replies."""

    _LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)

    def __init__(self, hub: RecordingHub) -> None:
        self._hub = hub
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._hub._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._hub._connections.discard(self)

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            length = self._LENGTH.search(self._received[:end])
            assert length is not None
            whole = end + 4 + int(length[1])
            if len(self._received) < whole:
                return
            path = self._received.split(b" ", 2)[1].decode()
            id_ = path.partition("?")[0].rpartition("/")[2]
            put = Put(time.monotonic(), path, id_, self._received[end + 4 : whole])
            self._received = self._received[whole:]
            self._hub.take(self, put)

    def reply(self, reply: Reply) -> None:
        if reply.raw is not None:
            self._transport.write(reply.raw)
            self._transport.close()
            return
        if reply.status is None:
            self._transport.abort()
            return
        head = [f"HTTP/1.1 {reply.status} -", f"Content-Length: {len(reply.body)}", *reply.headers]
        self._transport.write("\r\n".join([*head, "", ""]).encode() + reply.body)

    def close(self) -> None:
        self._transport.abort()


def refusal(status: int, words: str, *headers: str) -> Reply:
    """An error as the service words it."""
    return Reply(status, f"<Error><Code>{status}</Code><Detail>{words}</Detail></Error>".encode(), headers)


class EmulatedHub:
    """`bulkload emulator` in a process of its own, and what it holds."""

    def __init__(self, *options: str, cwd: Path) -> None:
        self._started = Started("emulator", *options, cwd=cwd)
        self._client: http.client.HTTPConnection | None = None
        self._is_tls = "--tls" in options

    def __enter__(self) -> Self:
        lines = 2 if self._is_tls else 1
        started = self._started
        wait_for(lambda: started.out.count("\n") == lines or not started.is_running, "the emulator's connection string")
        assert started.is_running, started.err
        self.connection_string, *rest = started.out.splitlines()
        self.ca_file = Path(rest[0]) if rest else None
        self.hub = Hub.from_connection_string(self.connection_string)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._client is not None:
            self._client.close()
        self._started.__exit__(exc_type, exc, traceback)

    def __repr__(self) -> str:
        return f"<EmulatedHub {self.hub.url}>"

    @property
    def env(self) -> dict[str, str]:
        """The setting that points a command to this hub."""
        return {CONNECTION_STRING: self.connection_string}

    @property
    def wrong_key_env(self) -> dict[str, str]:
        """The same with a key that is none of the hub's."""
        return {CONNECTION_STRING: self.connection_string.replace(EMULATOR_KEY, KEY)}

    def end(self, number: signal.Signals) -> Ran:
        """Send a signal, and wait for the end."""
        self._started.signal(number)
        return self._started.finish()

    def get(self, id_: str) -> dict[str, Any] | None:
        """What the hub holds under an id."""
        if self._client is None:
            self._client = self._connect()
        token = sas.sign(self.hub.url, self.hub.key_name, self.hub.key, int(time.time()) + 600)
        path = f"/{self.hub.name}/installations/{id_}?api-version=2015-01"
        self._client.request("GET", path, headers={"Authorization": token})
        response = self._client.getresponse()
        body = response.read()
        if response.status == 404:
            return None
        assert response.status == 200, body
        installation: dict[str, Any] = json.loads(body)
        return installation

    @property
    def statistics(self) -> dict[str, Any]:
        """What it counted."""
        with urllib.request.urlopen(f"{self.hub.url.rpartition('/')[0]}{STATISTICS}", timeout=PATIENCE) as response:
            counted: dict[str, Any] = json.load(response)
        return counted

    def holds(self, ids: Iterable[str]) -> bool:
        """Whether the hub holds all of these."""
        return all(self.get(id_) is not None for id_ in ids)

    def _connect(self) -> http.client.HTTPConnection:
        host, _, port = self.hub.host.rpartition(":")
        if self.ca_file is None:
            return http.client.HTTPConnection(host, int(port), timeout=PATIENCE)
        context = ssl.create_default_context(cafile=str(self.ca_file))
        return http.client.HTTPSConnection(host, int(port), timeout=PATIENCE, context=context)


class Row(NamedTuple):
    """A line of a ledger's `outcomes`."""

    source: str
    position: int
    installation_id: str | None
    outcome: str
    detail: str | None


def rows(ledger: Path) -> list[Row]:
    """What a ledger shows as settled, in order; it holds no secret."""
    try:
        # Read-only, so that what a killed session left is left to the next one to mend.
        return _rows(ledger, "ro")
    except sqlite3.OperationalError as exc:
        # A log that was cut short at the wrong moment is folded in only for one who may write.
        if "readonly" not in str(exc):
            raise
        return _rows(ledger, "rw")


def _rows(ledger: Path, mode: str) -> list[Row]:
    with closing(sqlite3.connect(f"{ledger.absolute().as_uri()}?mode={mode}", uri=True)) as connection:
        found = connection.execute(
            "SELECT source, position, installation_id, outcome, detail FROM outcomes ORDER BY source, position"
        ).fetchall()
        dump = "\n".join(connection.iterdump())
    assert not any(secret in dump for secret in SECRETS)
    return [Row(*row) for row in found]


def counts(ledger: Path) -> Counter[str]:
    """How many records a ledger shows by their outcome."""
    return Counter(row.outcome for row in rows(ledger))


def folded(ledger: Path) -> list[tuple[str, int, str | None, str]]:
    """What any two runs of one source agree on: every row once, accepted and superseded taken as one."""
    return [
        (
            row.source,
            row.position,
            row.installation_id,
            "good" if row.outcome in ("accepted", "superseded") else row.outcome,
        )
        for row in rows(ledger)
    ]


def installation(id_: str, **fields: Any) -> bytes:
    """One line of NDJSON that passes the check, its end left off."""
    body = {"installationId": id_, "platform": "gcm", "pushChannel": f"{CHANNEL}{id_}", **fields}
    return json.dumps(body, separators=(",", ":")).encode()


def names(prefix: str, number: int) -> list[str]:
    """So many ids."""
    return [f"{prefix}-{ordinal}" for ordinal in range(number)]


def ndjson(ids: Iterable[str]) -> bytes:
    """A source of one installation for each id."""
    return b"".join(installation(id_) + b"\n" for id_ in ids)


def write(path: Path, ids: Iterable[str]) -> Path:
    """Write a source of one installation for each id; its name's ending says whether it is compressed."""
    data = ndjson(ids)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def free_port() -> int:
    """A port at which nobody listens."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port: int = server.getsockname()[1]
        return port


def is_listening(port: int) -> bool:
    """Whether anybody takes connections at a port of this machine."""
    try:
        with closing(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)):
            return True
    except OSError:
        return False


def _text(descriptor: int) -> str:
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0).decode()


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
