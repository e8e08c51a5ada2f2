"""What a measurement was made on: the machine, the versions beside it, and the commit."""

import importlib.metadata
import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

_ROOT = Path(__file__).parents[1]


class Commit(NamedTuple):
    """The commit that is checked out, and whether files differ from it."""

    id: str
    is_dirty: bool


def described() -> dict[str, str]:
    """The machine, in words."""
    processor = re.search(r"^model name\s*:\s*(.+)$", _read("/proc/cpuinfo"), re.MULTILINE)
    memory = re.search(r"^MemTotal:\s*(\d+) kB$", _read("/proc/meminfo"), re.MULTILINE)
    load, *_ = os.getloadavg()
    return {
        "processor": processor[1] if processor else platform.processor() or "unknown",
        "cores": str(os.cpu_count()),
        "memory": f"{int(memory[1]) / 2**20:.1f} GiB" if memory else "unknown",
        "kernel": f"{platform.system()} {platform.release()}",
        "load average at the start": f"{load:.2f}",
    }


def cores() -> tuple[int, int]:
    """A core for the clients and one for the server; the same one where there is no other."""
    if not hasattr(os, "sched_getaffinity"):
        sys.exit(
            "this system pins no process to a core, and without that no figure tells of a client alone; take Linux"
        )
    first, *others = sorted(os.sched_getaffinity(0))
    if not others:
        print("there is one core only: clients and server share it, and no figure tells of a client alone")
    return first, others[0] if others else first


def many_cores() -> tuple[list[int], int]:
    """The cores for a client of several processes, all but the server's where three or more are there; and that one."""
    _, own = cores()
    every = sorted(os.sched_getaffinity(0))
    return [core for core in every if core != own] if len(every) > 2 else every, own


def versions() -> dict[str, str]:
    """Of what bulkload runs on; each peer's own stands in its row."""
    packages = ("uvloop", "aiohttp", "orjson")
    return {"Python": platform.python_version(), **{name: importlib.metadata.version(name) for name in packages}}


def commit() -> Commit:
    """Of the repository that this file is in."""
    found = _git("rev-parse", "HEAD")
    return Commit(found or "unknown", bool(_git("status", "--porcelain")))


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=_ROOT, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip()


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError:
        return ""
