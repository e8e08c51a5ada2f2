"""Where each record stands and what its id is, kept for the few that a report names in the end."""

from array import array
from bisect import bisect_right
from collections.abc import Sequence

from bulkload.check.spill import Segment, Spill
from bulkload.report.checked import Spot


class Places:
    """Records by their numbers, which are given in order from 0."""

    def __init__(self, spill: Spill) -> None:
        self._spill = spill
        # Of each bundle: the number of its first record, its source, and where it was put.
        self._firsts = array("q")
        self._sources = array("q")
        self._offsets = array("q")
        self._lengths = array("q")
        self.count = 0

    def __repr__(self) -> str:
        return f"<Places of {self.count} records>"

    def add(self, source: int, lines: Sequence[int], ids: Sequence[str]) -> None:
        """Records of one source, the line and the id of each."""
        text = "\n".join(ids)
        # An id may hold anything where a user allows it to.
        if text.count("\n") >= len(ids):
            text = "\n".join([id_.replace("\n", " ") for id_ in ids])
        segment = self._spill.put(array("q", lines).tobytes() + text.encode())
        self._firsts.append(self.count)
        self._sources.append(source)
        self._offsets.append(segment.offset)
        self._lengths.append(segment.length)
        self.count += len(ids)

    def spot(self, number: int, names: Sequence[str]) -> Spot:
        """Where a record stands; `names` are those of the sources."""
        bundle = bisect_right(self._firsts, number) - 1
        first = self._firsts[bundle]
        end = self._firsts[bundle + 1] if bundle + 1 < len(self._firsts) else self.count
        data = self._spill.get(Segment(self._offsets[bundle], self._lengths[bundle]))
        lines_end = 8 * (end - first)
        line = array("q", data[:lines_end])[number - first]
        id_ = data[lines_end:].split(b"\n")[number - first].decode()
        return Spot(names[self._sources[bundle]], line, id_)
