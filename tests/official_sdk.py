"""The official JavaScript SDK, installed once and driven from Python: what it is told to do, and what it gives back."""

import fcntl
import hashlib
import json
import os
import re
import select
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.processes import PATIENCE, EmulatedHub, environment

# Set where the tests of real clients have to run: what is missing for them is then a failure, and not a skip.
REQUIRED = "BULKLOAD_REQUIRE_CLIENTS"

_SOURCE = Path(__file__).parent / "clients"
_PROGRAM = "sdk.js"

# What it says of itself: older ones cannot read it.
_LEAST_NODE = 20

# A registry that is slow may still come; one that cannot be reached is given up on soon.
_INSTALL_WITHIN = 180.0
_INSTALL = (
    *("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"),
    *("--fetch-retries=2", "--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=5000"),
)


class Missing(Exception):
    """Something that the SDK needs is not here; its text says what."""


class Refused(Exception):
    """The SDK gave up on a request; `status` is the hub's answer."""

    def __init__(self, status: int | None, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message


def install(cache: Path) -> Path:
    """Return a folder with the SDK and its program, where it is installed unless it is there.

    It goes by the lock file, so another version has another folder. Raises `Missing`.
    """
    _require_node()
    digest = hashlib.sha256((_SOURCE / "package-lock.json").read_bytes()).hexdigest()
    folder = cache / digest[:16]
    # Several workers come at once: the first one installs, the others wait for it.
    with _locked(cache / "lock"):
        if not folder.exists():
            _install(folder)
        # The modules that it imports are looked for where it stands.
        _replace(folder / _PROGRAM, (_SOURCE / _PROGRAM).read_bytes())
    return folder


def _require_node() -> None:
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            raise Missing(f"{program} is not found")
    said = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout
    version = re.match(r"v(\d+)\.", said)
    if version is None or int(version[1]) < _LEAST_NODE:
        raise Missing(f"Node is {said.strip()}, and the SDK needs {_LEAST_NODE} or newer")


def _install(folder: Path) -> None:
    """Install into a folder beside it first: what an interrupted one leaves is never taken for a whole."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as name:
        made = Path(name) / "made"
        made.mkdir()
        for file in ("package.json", "package-lock.json"):
            shutil.copyfile(_SOURCE / file, made / file)
        try:
            done = subprocess.run(
                _INSTALL, cwd=made, capture_output=True, text=True, check=False, timeout=_INSTALL_WITHIN
            )
        except subprocess.TimeoutExpired:
            raise Missing(f"npm ci has not ended after {_INSTALL_WITHIN:.0f} s") from None
        if done.returncode:
            raise Missing(f"npm ci failed: {' '.join(done.stderr.split())[:200]}")
        made.rename(folder)


def _replace(path: Path, data: bytes) -> None:
    if path.exists() and path.read_bytes() == data:
        return
    beside = path.with_suffix(".new")
    beside.write_bytes(data)
    beside.replace(path)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class OfficialSdk:
    """A client of the SDK in a process of Node's, for as long as its ``with`` block lasts.

    It believes the hub's authority as any program of Node's is made to, by a setting. `connection_string` is the hub's
    own unless another is given.
    """

    def __init__(self, folder: Path, hub: EmulatedHub, *, connection_string: str | None = None) -> None:
        self._hub = hub
        given = {"BULKLOAD_CONNECTION_STRING": connection_string or hub.connection_string}
        # Any other than the emulator's, which this machine may have, is of no use to it.
        given["NODE_EXTRA_CA_CERTS"] = str(hub.ca_file or os.devnull)
        self._process = subprocess.Popen(
            ["node", _PROGRAM, hub.hub.name],
            cwd=folder,
            env=environment() | given,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # It ends with its standard input.
        self._process.communicate()

    def __repr__(self) -> str:
        return f"<OfficialSdk of {self._hub!r}, pid {self._process.pid}>"

    def call(self, operation: str, *values: Any, make: str | None = None) -> Any:
        """Have the client do an operation, and return what it gives; a list comes as its pages.

        `make` is the SDK's function that makes the first value. Raises `Refused`.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = {"operation": operation, "values": values, "make": make}
        self._process.stdin.write(f"{json.dumps(order)}\n")
        self._process.stdin.flush()
        if not select.select([self._process.stdout], [], [], PATIENCE)[0]:
            raise AssertionError(f"{operation} has not ended after {PATIENCE:.0f} s")
        answer = json.loads(self._process.stdout.readline())
        if (refused := answer.get("refused")) is not None:
            raise Refused(refused["status"], refused["message"])
        return answer["value"]
