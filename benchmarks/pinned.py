"""One process on its own cores: what it said, and what it used."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

# No run takes so long by far; one that does hangs.
PATIENCE = 900.0

_ERROR = re.compile(r"[\w.]*Error\b.*:")

_ROOT = Path(__file__).parents[1]
_LAUNCHER = Path(__file__).with_name("launcher.py")


class Failed(Exception):
    """A process ended badly, or not at all; its text says how."""


@dataclass(frozen=True, slots=True)
class Used:
    """A process from start to end: wall time and processor time in seconds, peak memory in bytes.

    `cpu` is its own and that of the children that it waited for, `own_cpu` its own alone; `peak` is the greatest of
    theirs.
    """

    output: str
    seconds: float
    cpu: float
    own_cpu: float
    peak: int


def run(command: Sequence[str], *, cores: Iterable[int], environment: dict[str, str]) -> Used:
    """Run a command on some cores; raise `Failed` where it does not end well."""
    with tempfile.TemporaryDirectory(prefix="bulkload-pinned-") as name:
        report = Path(name) / "used.json"
        process = subprocess.Popen(
            # -I and -S: a launcher that loads nothing of the site's is a small one.
            [sys.executable, "-I", "-S", str(_LAUNCHER), ",".join(map(str, cores)), str(report), *command],
            cwd=_ROOT,
            # Settings of a user's own are nobody else's default.
            env={name: value for name, value in os.environ.items() if not name.startswith("BULKLOAD_")} | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            output, complaint = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            raise Failed(f"{command[0]} has not ended after {PATIENCE:.0f} s") from None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
        if process.returncode:
            raise Failed(_last_words(complaint) or f"{command[0]} ended with {process.returncode}")
        return Used(output, **json.loads(report.read_text(encoding="utf-8")))


def _last_words(complaint: str) -> str:
    """The line that tells most: the first error's, however deep in a group or above a trace, or the last one."""
    lines = [line.strip("| ") for line in complaint.splitlines() if line.strip("| ")]
    return next((line for line in lines if _ERROR.match(line)), lines[-1] if lines else "")[:300]
