"""How a run is carried out: the flags' values, checked."""

import os
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Literal, NamedTuple, TypedDict, get_args

from bulkload.client import Requesting, TransportName
from bulkload.errors import InputError, require
from bulkload.reading import ReadingFlags
from bulkload.retry import Traits

# Enough for 5,000 requests a second at 100 ms and what differs between them; the pacer uses as many as raise the rate.
WORKERS = 800
GRACE = 20.0

# More than any machine has cores of use to them.
MOST_PROCESSES = 256

# A percentage of failures means nothing before so many records.
PERCENT_FROM = 1000


class SendingFlags(TypedDict, total=False):
    """The keywords of `load` and `retry_failed` that say how records are sent; see `Settings`."""

    workers: int
    rate: float | None
    max_attempts: int
    record_timeout: float
    max_errors: int | str | None
    max_duration: float | None
    grace: float
    wait_lock: float
    transport: TransportName
    api_version: str
    ca_file: str | os.PathLike[str] | None
    traits: Traits


class Flags(ReadingFlags, SendingFlags, total=False):
    """The keywords of `load`; their meaning and defaults are those of `Settings` and of `Reading`."""

    processes: int | str
    limit: int | None
    min_records: int
    when_changed: Literal["refuse", "restart"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(Requesting):
    """How a run is carried out; the names are those of the command's flags, times are in seconds.

    `workers` is the number in each of the `processes`, which are a number or ``"auto"``: as many as there are cores.
    `max_errors` is a number of records (``100``) or a part of them (``"5%"``). See `Requesting` for the others.
    """

    workers: int = WORKERS
    processes: int | str = 1
    max_errors: int | str | None = None
    max_duration: float | None = None
    grace: float = GRACE
    wait_lock: float = 0.0
    limit: int | None = None
    min_records: int = 0
    when_changed: Literal["refuse", "restart"] = "refuse"
    transport: TransportName = "auto"

    def __post_init__(self) -> None:
        Requesting.__post_init__(self)
        require("max-duration", self.max_duration, Real | None, lambda time: time is None or time > 0, "above 0")
        require("grace", self.grace, Real, lambda time: time >= 0, "0 or more")
        require("wait-lock", self.wait_lock, Real, lambda time: time >= 0, "0 or more")
        require("limit", self.limit, Integral | None, lambda number: number is None or number >= 1, "at least 1")
        require("min-records", self.min_records, Integral, lambda number: number >= 0, "0 or more")
        changed, transports = ("refuse", "restart"), get_args(TransportName)
        require("when-changed", self.when_changed, str, lambda word: word in changed, "refuse or restart")
        is_number = isinstance(self.processes, str) and self.processes.isdecimal()
        processes = int(self.processes) if is_number else self.processes
        object.__setattr__(self, "processes", processes)
        wanted = f"a number from 1 to {MOST_PROCESSES}, or auto"
        require("processes", processes, Integral | str, _are_processes, wanted)
        require("transport", self.transport, str, lambda word: word in transports, "auto, wire or aiohttp")
        ErrorLimit.parse(self.max_errors)


def _are_processes(value: int | str) -> bool:
    return value == "auto" or (isinstance(value, Integral) and 1 <= value <= MOST_PROCESSES)


class ErrorLimit(NamedTuple):
    """How many of a session's records may settle badly; a part of them counts from the 1,000th on."""

    number: int | None = None
    percent: float | None = None

    @classmethod
    def parse(cls, value: int | str | None) -> "ErrorLimit":
        """Read ``100`` or ``5%``; raises `InputError`."""
        if value is None:
            return cls()
        text = str(value).strip()
        try:
            limit = cls(percent=float(text[:-1])) if text.endswith("%") else cls(number=int(text))
        except ValueError:
            limit = cls(number=-1)
        if (limit.number or 0) < 0 or not 0 <= (limit.percent or 0) <= 100:
            raise InputError(f"--max-errors {text} is neither a number of records (100) nor a part of them (5%)")
        return limit

    def is_passed(self, bad: int, settled: int) -> bool:
        if self.number is not None:
            return bad > self.number
        return self.percent is not None and settled >= PERCENT_FROM and bad * 100 > settled * self.percent
