"""How many connections this process may open: each is a file to the system, and their number is limited."""

import logging
import sys

log = logging.getLogger("bulkload")

# Open beside the connections: sources, ledger, dead letters, streams, and what the interpreter has open.
OTHERS = 64


def connections_within_limit(wanted: int) -> int:
    """As many of the wanted connections as this process may open; the system's soft limit is raised where it can be."""
    if sys.platform == "win32":
        return wanted
    import resource  # noqa: PLC0415

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + OTHERS
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return wanted
    if hard == resource.RLIM_INFINITY or hard > soft:
        try:
            raised = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
            soft = raised
        except (OSError, ValueError) as exc:
            # Some systems allow less than they say.
            log.debug("the limit of open files stays at %d: %s", soft, exc)
    affordable = min(wanted, max(1, soft - OTHERS))
    if affordable < wanted:
        log.warning(
            "this process may open %d files, so at most %d requests are in flight instead of %d; raise it by ulimit -n",
            soft,
            affordable,
            wanted,
        )
    return affordable
