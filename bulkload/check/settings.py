"""How a check is carried out: the flags' values, checked."""

import math
from dataclasses import dataclass

from bulkload.client import API_VERSION
from bulkload.errors import InputError
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
        if self.rate is not None and not 0 < self.rate < math.inf:
            raise InputError(f"--rate is a number above 0, not {self.rate}")
        if self.show < 0:
            raise InputError(f"--show is 0 or more, not {self.show}")
