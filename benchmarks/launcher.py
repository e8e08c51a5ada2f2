"""Runs a command on one core and writes what it used, as JSON: ``launcher.py CORE FILE COMMAND...``.

It is a program of its own, and small: the kernel counts a process's peak memory from the memory of the one that
started it, so whatever this one has (9 MB) is the least that can be told.
"""

import json
import os
import sys
import time


def main() -> None:
    """Run it, and end as it does."""
    core, file, *command = sys.argv[1:]
    os.sched_setaffinity(0, {int(core)})
    began = time.perf_counter()
    pid = os.posix_spawnp(command[0], command, os.environ)
    _, status, usage = os.wait4(pid, 0)
    used = {
        "seconds": time.perf_counter() - began,
        "cpu": usage.ru_utime + usage.ru_stime,
        "peak": usage.ru_maxrss * 1024,
    }
    with open(file, "w", encoding="utf-8") as report:
        json.dump(used, report)
    sys.exit(os.waitstatus_to_exitcode(status) & 0xFF)


if __name__ == "__main__":
    main()
