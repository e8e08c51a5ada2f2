"""How a check is carried out: the flags' values, checked."""

import math
from dataclasses import dataclass
from numbers import Integral, Real

from bulkload.client import API_VERSION
from bulkload.errors import require
from bulkload.reading import ReadingFlags


class Flags(ReadingFlags, total=False):
    """The keywords of `check`; their meaning and defaults are those of `Settings` and of `Reading`."""

    rate: float | None
    show: int
    api_version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a check is carried out; the names are those of the command's flags.

    `rate` is the load's, in requests per second: the report says how long that takes. `show` is how many source objects
    the report shows before and after. `api_version` is what a load would send: it is too old for some platforms.
    """

    rate: float | None = None
    show: int = 0
    api_version: str = API_VERSION

    def __post_init__(self) -> None:
        require("rate", self.rate, Real | None, lambda rate: rate is None or 0 < rate < math.inf, "a number above 0")
        require("show", self.show, Integral, lambda number: number >= 0, "0 or more")
        require("api-version", self.api_version, str, bool, "of the form 2015-01")
