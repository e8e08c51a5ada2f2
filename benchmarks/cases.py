"""How each case is told from what it found, in the order in which a report tells them."""

from collections.abc import Callable, Mapping

from benchmarks import (
    checking,
    concurrency,
    latency,
    loading,
    pacing,
    processes,
    reading,
    resuming,
    sizes,
)
from benchmarks.findings import Findings
from benchmarks.sections import Section

# The comparison with peers comes before all of these, and is told by itself.
SECTIONS: Mapping[str, Callable[[Findings], Section]] = {
    "latency": latency.section,
    "concurrency": concurrency.section,
    "sizes": sizes.section,
    "processes": processes.section,
    "load": loading.section,
    "check": checking.section,
    "resume": resuming.section,
    "registrations": reading.section,
    "pacing": pacing.section,
}
