"""How requests are sent: the flags' values that every command with a hub has, checked."""

import math
import os
import re
from dataclasses import dataclass
from numbers import Integral, Real

from bulkload.errors import require, require_value
from bulkload.retry import MAX_ATTEMPTS, RECORD_TIMEOUT, USUAL, Traits

# The version of the specification; see --api-version for others.
API_VERSION = "2015-01"

# Reading is throttled more tightly than writing, and a person waits for it: 800 a second at 40 ms.
WORKERS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Requesting:
    """How requests are sent; the names are those of the commands' flags, times are in seconds.

    `traits` say how the hub's answers are understood: the config file's ``[hub]``. Raises `InputError` for what is of
    no use.
    """

    workers: int = WORKERS
    rate: float | None = None
    max_attempts: int = MAX_ATTEMPTS
    record_timeout: float = RECORD_TIMEOUT
    api_version: str = API_VERSION
    ca_file: str | os.PathLike[str] | None = None
    traits: Traits = USUAL

    def __post_init__(self) -> None:
        require("workers", self.workers, Integral, lambda number: number >= 1, "at least 1")
        require("rate", self.rate, Real | None, lambda rate: rate is None or 0 < rate < math.inf, "a number above 0")
        require("max-attempts", self.max_attempts, Integral, lambda number: number >= 1, "at least 1")
        require("record-timeout", self.record_timeout, Real, lambda time: time > 0, "above 0")
        require("api-version", self.api_version, str, _is_version, "of the form 2015-01")
        require_value("traits", self.traits, Traits, lambda _: True, "a bulkload.Traits")


def _is_version(text: str) -> bool:
    """It becomes part of every request's address, so nothing else may slip in."""
    return re.fullmatch(r"[0-9A-Za-z.-]+", text) is not None
