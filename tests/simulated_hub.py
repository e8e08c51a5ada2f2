"""A hub and a client that sends as its rate allows, event by event: minutes of them in a second."""

import heapq
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from bulkload.emulator.limits import Limit
from bulkload.pace import AdaptiveRate

# A client wakes up to so many seconds after the time for which it asked.
LATE = 0.002

HUB_STALLS_EVERY = 2.0


@dataclass
class Outcome:
    """What the hub saw, by the second since its first request."""

    accepted: list[int] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)

    def count(self, at: float, *, is_accepted: bool) -> None:
        second = int(at)
        while len(self.accepted) <= second:
            self.accepted.append(0)
            self.refused.append(0)
        (self.accepted if is_accepted else self.refused)[second] += 1

    @property
    def share_refused(self) -> float:
        return sum(self.refused) / (sum(self.refused) + sum(self.accepted))


@dataclass
class Simulation:
    """A hub with a limit (or none) behind a network, and one that sends all that may be sent.

    `latency` and `spread` are of a round trip, half of which lies before the hub's decision; `retry_after` gives the
    seconds that a refusal names, by the time since the first request; `cost` are the seconds that sending one request
    takes, `stalls` how long the client may do nothing from time to time, and `hub_stalls` how long the hub does nothing
    every two seconds; one answer in a thousand takes `straggling` seconds.
    """

    limit: Limit | None = None
    latency: float = 0.04
    spread: float = 0.0
    retry_after: Callable[[float], float] | None = None
    cost: float = 0.0
    stalls: float = 0.0
    hub_stalls: float = 0.0
    straggling: float = 0.0
    workers: int = 1024
    seed: int = 1

    def run(self, seconds: float) -> Outcome:
        """Go on until so many seconds after the first request."""
        chance = random.Random(self.seed)
        rate = AdaptiveRate(0.0)
        outcome = Outcome()
        answers: list[tuple[float, int, float, float | None, bool]] = []
        now, wake, number = 0.0, math.inf, 0
        first = self.latency / 2
        while now < first + seconds:
            while len(answers) < min(rate.most_in_flight, self.workers):
                if delay := rate.delay(now):
                    wake = min(wake, now + delay + chance.random() * LATE)
                    break
                rate.leave()
                number += 1
                stalled = max(0.0, self.hub_stalls - (now + self.latency / 2 - first) % HUB_STALLS_EVERY)
                at = now + self.latency / 2 - first + stalled
                is_taken = self.limit is None or self.limit.takes(at)
                if at < seconds:
                    outcome.count(at, is_accepted=is_taken)
                told = None if is_taken or self.retry_after is None else self.retry_after(at)
                back = now + stalled + self.latency + chance.uniform(-self.spread, self.spread)
                if self.straggling and not number % 1000:
                    back += self.straggling
                heapq.heappush(answers, (back, number, now, told, is_taken))
                now += self.cost
            if answers and answers[0][0] <= wake:
                back, _, left, told, is_taken = heapq.heappop(answers)
                now = max(now, back)
                if is_taken:
                    rate.taken(left, now)
                else:
                    rate.throttled(left, now, told)
            else:
                stall = chance.random() * self.stalls if chance.random() < 0.002 else 0.0
                now, wake = max(now, wake) + stall, math.inf
        return outcome
