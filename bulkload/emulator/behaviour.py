"""How a hub behaves that is not at its best: it throttles, is full, is slow, and fails."""

import math
import random
import re
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal, NamedTuple, get_args

from bulkload.emulator.answers import Answer
from bulkload.emulator.limits import NUMBER, Limit, pairs
from bulkload.errors import InputError

# No recorded answer of a throttle is public: this is in the words of the service's documentation.
_THROTTLED = "Too many requests: the request rate of this hub is throttled"


class Outage(NamedTuple):
    """From the second `begin` on the hub is gone for `seconds`."""

    begin: float
    seconds: float


Fault = Literal["reset", "error", "truncate", "stall"]
FAULTS: tuple[Fault, ...] = get_args(Fault)

_LATENCY = re.compile(rf"({NUMBER})(?::({NUMBER}))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """What a hub does besides answering; the names are those of the command's flags, times are in seconds.

    `throttle` decides which requests are taken, the others get `throttle_status`, with `retry_after` if that is given,
    and with words unless `throttle_is_bare`. `quota` is how many installations and registrations there may be together.
    `latency` and `spread` are of the answers' delay, `visibility_delay` is how long it takes until a reader sees which
    installations were accepted, `faults` how often each of them happens, `outages` when it is gone. Raises `InputError`
    for what is of no use.
    """

    throttle: Limit | None = None
    throttle_status: int = 403
    throttle_is_bare: bool = False
    retry_after: int | None = None
    quota: int | None = None
    latency: float = 0.0
    spread: float = 0.0
    visibility_delay: float = 0.0
    faults: dict[Fault, float] = field(default_factory=dict)
    outages: tuple[Outage, ...] = ()

    def __post_init__(self) -> None:
        if self.throttle_status not in (403, 429):
            raise InputError(f"--throttle-status is 403 or 429, not {self.throttle_status}")
        if self.retry_after is not None and self.retry_after < 0:
            raise InputError(f"--retry-after is 0 or more, not {self.retry_after}")
        if self.quota is not None and self.quota < 0:
            raise InputError(f"--quota is 0 or more, not {self.quota}")
        if not 0 <= self.visibility_delay < math.inf:
            raise InputError(f"--visibility-delay is 0 or more, not {self.visibility_delay:g}")

    def throttled(self) -> Answer:
        """What a request gets that is not taken."""
        headers = (("Retry-After", str(self.retry_after)),) if self.retry_after is not None else ()
        return Answer(
            self.throttle_status,
            detail=None if self.throttle_is_bare else _THROTTLED,
            headers=headers,
            is_throttled=True,
        )

    def delay(self, chance: random.Random) -> float:
        """How long the next answer takes."""
        if not self.latency and not self.spread:
            return 0.0
        return max(0.0, chance.uniform(self.latency - self.spread, self.latency + self.spread))

    def fault(self, chance: random.Random) -> Fault | None:
        """What goes wrong with the next request, if anything does."""
        if not self.faults:
            return None
        drawn = chance.random()
        for fault, share in self.faults.items():
            drawn -= share
            if drawn < 0:
                return fault
        return None


def latency(text: str) -> tuple[float, float]:
    """Read ``MEAN[:SPREAD]``; raises `InputError`."""
    match = _LATENCY.fullmatch(text)
    if match is None:
        raise InputError(f"--latency {text} is no time; write seconds and perhaps a spread, such as 0.04:0.02")
    return float(match[1]), float(match[2] or 0)


def faults(text: str) -> dict[Fault, float]:
    """Read ``reset=0.01,error=0.01``, faults and how often they happen; raises `InputError`."""
    found: dict[Fault, float] = {}
    for part in text.split(","):
        name, _, share = part.strip().partition("=")
        fault = next((fault for fault in FAULTS if fault == name), None)
        if fault is None or not re.fullmatch(NUMBER, share) or not 0 < float(share) <= 1:
            raise InputError(
                f"--fault {text} is none; write {', '.join(FAULTS)} with how often each happens, such as reset=0.01"
            )
        found[fault] = float(share)
    if math.fsum(found.values()) > 1:
        raise InputError(f"--fault {text}: all faults together happen more than always")
    return found


def outages(text: str) -> tuple[Outage, ...]:
    """Read ``20:20,60:5``, from which second on and for how long; raises `InputError`."""
    found = tuple(Outage(*pair) for pair in pairs(text))
    are_apart = all(one.begin + one.seconds < next_.begin for one, next_ in pairwise(found))
    if not found or not are_apart or not all(one.seconds for one in found):
        raise InputError(f"--outage {text} is none; write from which second on it lasts how many, such as 20:20")
    return found
