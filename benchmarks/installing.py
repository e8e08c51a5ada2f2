"""The peers that are not Python's, in a cache outside the repository: npm's packages and Go's program."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

PEERS = Path(__file__).with_name("peers")

_NPM = ("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
_NPM_FILES = ("package.json", "package-lock.json")

# A registry that is slow may still come.
_INSTALL_WITHIN = 300.0


class Missing(Exception):
    """Something that a peer needs is not here; its text says what."""


def cache() -> Path:
    """The folder that keeps what was installed, made where it is missing."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bulkload-benchmarks"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def program(name: str) -> str:
    """The path of a program; raises `Missing`."""
    found = shutil.which(name)
    if found is None:
        raise Missing(f"{name} is not found")
    return found


def said(*command: str) -> str:
    """What a command prints, without blanks around it."""
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def node_programs() -> Path:
    """A folder with the programs of Node and the packages that they import; raises `Missing`.

    It goes by the lock file: other versions have another folder.
    """
    program("node")
    program("npm")
    digest = hashlib.sha256(b"".join((PEERS / name).read_bytes() for name in _NPM_FILES)).hexdigest()
    folder = cache() / f"node-{digest[:16]}"
    if not folder.exists():
        _install(folder)
    # Node looks for a program's packages from where the program stands.
    for source in PEERS.glob("*.mjs"):
        shutil.copyfile(source, folder / source.name)
    return folder


def _install(folder: Path) -> None:
    """Install into a folder beside it first: what an interrupted one leaves is never taken for a whole."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as name:
        made = Path(name) / "made"
        made.mkdir()
        for file in _NPM_FILES:
            shutil.copyfile(PEERS / file, made / file)
        _carry_out(_NPM, folder=made)
        made.rename(folder)


def go_program() -> Path:
    """The built program; raises `Missing`."""
    go = program("go")
    source = PEERS / "net_http.go"
    digest = hashlib.sha256(source.read_bytes() + said(go, "version").encode()).hexdigest()
    built = cache() / f"net_http-{digest[:16]}"
    if not built.exists():
        _carry_out((go, "build", "-o", str(built), str(source)), folder=cache())
    return built


def _carry_out(command: tuple[str, ...], *, folder: Path) -> None:
    name = " ".join(command[:2])
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=_INSTALL_WITHIN)
    except subprocess.TimeoutExpired:
        raise Missing(f"{name} has not ended after {_INSTALL_WITHIN:.0f} s") from None
    if done.returncode:
        raise Missing(f"{name} failed: {' '.join(done.stderr.split())[:200]}")
