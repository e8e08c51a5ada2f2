"""Every case in turn into one folder, each in a process of its own: what one leaves behind touches no other."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

_ROOT = Path(__file__).parents[1]

# The flags that make each case a matter of seconds: none of the figures means anything then.
TRIALS: Mapping[str, Sequence[str]] = {
    "throughput": ("--records", "2000", "--only", "bulkload-wire", "aiohttp-tuned"),
    "latency": ("--workers", "64", "128", "--seconds", "2"),
    "concurrency": ("--seconds", "0.5"),
    "sizes": ("--sizes", "1000", "2000"),
    "processes": ("--records", "2000", "--seconds", "0.2"),
    "load": ("--records", "2000"),
    "check": ("--records", "2000"),
    "resume": ("--rows", "20000"),
    "registrations": ("--channels", "100", "--registrations", "2000"),
    "pacing": ("fixed-1000-5%", "--seconds-factor", "0.1"),
}

# Its rows last half an hour together, and their bounds are for one run.
_RUNS_ONCE = "pacing"


def measure(output: Path, *, runs: int, only: Sequence[str], is_trial: bool, has_largest: bool) -> bool:
    """Measure the cases, all or these only; say whether all went well. One that fails does not stop the others."""
    if unknown := sorted(set(only) - set(TRIALS)):
        sys.exit(f"no case is called {' or '.join(unknown)}; there are {' '.join(TRIALS)}")
    failed = []
    for case, trial in TRIALS.items():
        if only and case not in only:
            continue
        flags = [*trial] if is_trial else []
        if case != _RUNS_ONCE:
            flags += ["--runs", str(runs)]
        if has_largest and case == "sizes":
            flags.append("--ten-million")
        print(f"\n== {case}", flush=True)
        # Where it writes is said from this folder, and it runs from the repository's.
        command = [sys.executable, "-m", "benchmarks", case, "-o", str(output.absolute()), *flags]
        if subprocess.run(command, cwd=_ROOT, check=False).returncode:
            failed.append(case)
    if failed:
        print(f"\nnot all went well: {', '.join(failed)}")
    return not failed
