"""Runs a command on some cores and writes what it used, as JSON: ``launcher.py CORES FILE COMMAND...``.

It is a program of its own, and small: the kernel counts a process's peak memory from the memory of the one that
started it, so whatever this one has (9 MB) is the least that can be told.
"""

import json
import os
import sys
import time


def main() -> None:
    """Run it, and end as it does."""
    cores, file, *command = sys.argv[1:]
    os.sched_setaffinity(0, map(int, cores.split(",")))
    began = time.perf_counter()
    pid = os.posix_spawnp(command[0], command, os.environ)
    # It has ended and is still there: its own time can be told from that of its children.
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    seconds, own = time.perf_counter() - began, own_seconds(pid)
    _, status, usage = os.wait4(pid, 0)
    used = {
        "seconds": seconds,
        "cpu": usage.ru_utime + usage.ru_stime,
        "own_cpu": own,
        "peak": usage.ru_maxrss * 1024,
    }
    with open(file, "w", encoding="utf-8") as report:
        json.dump(used, report)
    sys.exit(os.waitstatus_to_exitcode(status) & 0xFF)


def own_seconds(pid: int) -> float:
    """The processor time of a process without its children's, in hundredths of a second."""
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        # The second field, the program's name, may hold anything, a blank too.
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
