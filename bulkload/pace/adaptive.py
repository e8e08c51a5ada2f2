"""The rate that a hub takes, found from its answers: ramp, cruise, and a way back from a block.

Nothing here waits: each method is told the time. A request is known by when it left.

- *Ramp*: the rate doubles until the hub refuses a request. What is in flight stays under a part of what was taken, so
  that a limit that is met refuses no more than that.
- *Episode*: the first refusal opens it and cuts the rate once; later refusals belong to it until all that left before
  the cut is answered. Then the ceiling is known.
- *Cruise*: just under the ceiling; after a quiet time the rate grows, slowly at first, until the next episode. A hub
  that takes more than its ceiling has a new one: the ramp goes on from there.
- *Block*: nothing of an episode was taken. One request goes after a pause, then 2, 4, 8, each after those before were
  taken.
"""

import math

from bulkload.pace.block import OF_THROTTLE, Block, Opening, Pauses
from bulkload.pace.ceiling import Ceiling, Episode, Takings

# After a late wake-up so many seconds' requests may leave at once.
BURST = 0.01

# How often the rate is looked at, in seconds; growth for a longer time is that of a few of them, or of what lies
# between two requests.
TICK = 0.02
LONGEST_TICK = 0.1
LONGEST_TICK_REQUESTS = 1.5

# The ramp: its first rate, the time in which it doubles (as many requests, where they are rare), and how many times
# the rate of the answers it may reach.
FIRST_RATE = 500.0
DOUBLING = 0.12
DOUBLING_REQUESTS = 20.0
AHEAD = 4.0

# In flight while ramping: so many, or this part of what the hub took since it began, or takes again.
FEW = 40
PART_IN_FLIGHT = 1 / 8

# What an episode leaves of the rate: above the first of these a ramp stops for as long as it lasts.
STOPS_ABOVE = 1500.0
CUT_OF_RAMP = 0.4
CUT_OF_CRUISE = 0.97

# A ramp that goes on from a known rate doubles in this time.
SLOW_DOUBLING = 0.3

# Under a ceiling that is sure, and above one that is not: there the next refusals tell more.
UNDER = 0.996
ABOVE = 1.04
ABOVE_GROWTH = 0.12
FALLEN_GROWTH = 0.5

# A cruise is quiet for so many seconds, or so many requests where they are rare; then it grows by the square and the
# cube of the time since, in quiet times.
QUIET = 1.0
QUIET_REQUESTS = 400.0
LONGEST_QUIET = 10.0
SQUARE = 0.008
CUBE = 0.006

# A hub that took this much above its ceiling, in seconds of it or in requests, has a higher one; above one that is not
# sure, more than what it grows by until the next refusal.
RISEN = 0.08
RISEN_UNSURE = 0.5
RISEN_FALLEN = 0.15
RISEN_REQUESTS = 5.0

# So many refusals, with nothing taken, make a block.
BLOCKING = 5

# An episode lasts two round trips at least; what is not answered after four, or after this long, is not waited for.
ROUND_TRIPS = 2
LONGEST_ROUND_TRIPS = 4
LONGEST_WAIT = 0.5

# The rate of answers is taken over this time, or that of so many requests where they are rare: with none in it the
# rate could not grow. A latency counts so much in their mean.
ANSWERS_OVER = 0.1
ANSWERS_AT_LEAST = 3.0
WEIGHT = 0.05

# A hub whose latency has risen to so many times the least is loaded: the rate grows by this part of its pace. What the
# least was is forgotten by this part each second.
LOADED = 2.0
SLOWER = 0.25
FORGETTING = 0.02

# A ramp that goes on without an estimate is not slower.
SLOWEST = 0.2


class AdaptiveRate:
    """The rate of one hub: `rate` in requests per second, `in_flight` requests without an answer."""

    def __init__(self, now: float) -> None:
        self.rate = FIRST_RATE
        self.in_flight = 0
        self._ceiling = Ceiling()
        self._takings = Takings()
        self._is_cruising = False
        self._episode: Episode | None = None
        self._block: Block | None = None
        self._opening = Opening(now, 0)
        self._last_block: float | None = None

        self._tokens = 1.0
        self._filled_at = now
        self._cut_rate = 0.0
        self._closed_at = -math.inf
        self._doubling = DOUBLING
        self._quiet_for = 0.0
        self._ticked_at = now
        self._is_pressed = False

        # Until the hub took one, and after a block: how many may be in flight, and how many of these were taken.
        self._allowed: float = 1
        self._allowed_taken = 0
        self._strays = 0
        self._shut_at = -math.inf

        self._latency = LONGEST_WAIT / LONGEST_ROUND_TRIPS
        self._least_latency = math.inf
        self._answers = 0
        self._answers_since = now
        self._answer_rate = math.inf

    def __repr__(self) -> str:
        doing = "is blocked" if self._block else "cruises" if self._is_cruising else "ramps"
        ceiling = f" of {self._ceiling.rate:.0f}/s" if self._ceiling.rate else ""
        return f"<AdaptiveRate {doing} at {self.rate:.0f}/s{ceiling}>"

    @property
    def ceiling(self) -> float | None:
        """What the hub takes, in requests per second, as far as its refusals told."""
        return self._ceiling.rate or self._ceiling.outgrown

    @property
    def is_throttled(self) -> bool:
        """Whether it is the hub's refusals that hold the rate, and not the beginning."""
        if self._block is not None:
            return self._block.pauses.are_throttled
        # A ramp does not begin as slowly as that.
        return self._is_cruising or self._episode is not None or self.rate < FIRST_RATE

    # What may leave.

    @property
    def most_in_flight(self) -> float:
        if self._allowed < math.inf:
            # What left before the block may never be answered.
            return self._strays + self._allowed
        if self._is_cruising:
            return math.inf
        return max(FEW, self._opening.took(self._takings.total) * PART_IN_FLIGHT)

    def delay(self, now: float) -> float:
        """Seconds until the next request may leave, 0 for now."""
        if now - self._ticked_at >= TICK:
            self._tick(now)
        if self._block is not None:
            return max(0.0, self._block.probe_at - now)
        rate = self.rate if self._episode is None else self._cut_rate
        most = self._opening.most(self._takings.total, self.in_flight)
        if most is not None and most < rate:
            rate = most
        if not rate:
            return TICK
        self._tokens = min(max(1.0, rate * BURST), self._tokens + (now - self._filled_at) * rate)
        self._filled_at = now
        if self._tokens >= 1:
            return 0.0
        self._is_pressed = True
        return (1 - self._tokens) / rate

    @property
    def room(self) -> int:
        """How many may leave now that the delay is 0, one at least."""
        if self._block is not None or self._opening.is_counted:
            return 1
        return max(1, int(min(self._tokens, self.most_in_flight - self.in_flight)))

    def leave(self, number: int = 1) -> None:
        """So many requests leave."""
        self._tokens -= number
        self.in_flight += number

    def give_back(self, number: int) -> None:
        """So many of those that left did not leave after all, or nobody will ever tell how they ended."""
        self._tokens += number
        self.in_flight -= number
        self._strays = min(self._strays, self.in_flight)
        if self._episode is not None:
            self._episode.waiting -= number

    def take_again(self, number: int) -> None:
        """So many of those that were given back did leave."""
        self.in_flight += number

    # What came back.

    def taken(self, left: float, now: float, number: int = 1) -> None:
        """The hub took so many requests that had left then."""
        self._answered(left, now, number)
        self._takings.add(left, number)
        if self._block is not None:
            # Also where it left before: a hub that fails most requests is asked slowly rather than not at all.
            self._reopen(self._block, now, number)
            return
        if self._allowed < math.inf:
            self._allow(left, number)
        if self._episode is not None:
            self._episode.take(left)
            self._close_in_time(self._episode, left, now, number)

    def throttled(self, left: float, now: float, retry_after: float | None = None) -> None:
        """The hub refused a request for its own sake, and may have said for how long."""
        self._answered(left, now)
        if self._block is not None:
            if left > self._block.began:
                self._block.wait(now, retry_after)
            return
        if self._episode is None:
            if left <= self._closed_at:
                # It left before the cut was over: that is known.
                return
            self._episode = Episode(left, now, self.in_flight + 1)
            self._cut_rate = self._cut()
        self._episode.refuse(left, retry_after)
        self._close_in_time(self._episode, left, now)

    def failed(self, left: float, now: float, retry_after: float | None = None) -> None:
        """A request came to nothing, for another reason; the hub may have said when to come back."""
        self._answered(left, now)
        if self._block is not None:
            if left > self._block.began:
                self._block.wait(now, retry_after)
        elif self._episode is not None:
            self._close_in_time(self._episode, left, now)

    def block(self, now: float, pauses: Pauses) -> None:
        """From now on one request at a time leaves, until the hub takes one."""
        if self._block is None:
            self._shut(now, pauses)

    def _answered(self, left: float, now: float, number: int = 1) -> None:
        self.in_flight -= number
        self._answers += number
        # One that comes far too late tells of itself, and not of the hub.
        latency = min(now - left, LONGEST_ROUND_TRIPS * self._latency)
        weight = WEIGHT if number == 1 else 1 - (1 - WEIGHT) ** number
        self._latency += (latency - self._latency) * weight
        if self._strays and left <= self._shut_at:
            self._strays = max(0, self._strays - number)

    # Episodes.

    def _cut(self) -> float:
        if self._is_cruising:
            assert self._ceiling.rate is not None
            return min(self.rate, self._ceiling.rate) * CUT_OF_CRUISE
        return 0.0 if self.rate > STOPS_ABOVE else self.rate * CUT_OF_RAMP

    def _close_in_time(self, episode: Episode, left: float, now: float, number: int = 1) -> None:
        if left <= episode.began:
            episode.waiting -= number
        self._close_if_over(episode, now)

    def _close_if_over(self, episode: Episode, now: float) -> None:
        age = now - episode.began
        is_late = age >= max(LONGEST_WAIT, LONGEST_ROUND_TRIPS * self._latency)
        if episode.waiting > 0 and not is_late:
            return
        if not episode.has_taken:
            is_first = self._allowed == 1
            if is_first or episode.refused >= BLOCKING or self._opening.is_ending(self._takings.total):
                self._shut(now, OF_THROTTLE, episode.retry_after)
                return
            if not is_late:
                return
        if age >= ROUND_TRIPS * self._latency:
            self._close(episode, now)

    def _close(self, episode: Episode, now: float) -> None:
        self._episode = None
        self._closed_at = now
        self._ceiling.conclude(episode, self._takings, self.rate)
        if self._ceiling.rate is not None:
            self._cruise(self._ceiling.rate)
        else:
            self._ramp(max(self.rate * CUT_OF_RAMP, SLOWEST), SLOW_DOUBLING)

    # Blocks.

    def _shut(self, now: float, pauses: Pauses, retry_after: float | None = None) -> None:
        self._episode = None
        self._ceiling.doubt()
        self._block = Block(now, pauses, self._last_block if pauses == OF_THROTTLE else None)
        self._block.wait(now, retry_after)
        self._shut_at, self._strays, self._allowed = now, self.in_flight, 1

    def _reopen(self, block: Block, now: float, number: int) -> None:
        self._block = None
        self._closed_at = now
        before = self._takings.total - number
        rate, last = FIRST_RATE, None
        if block.pauses == OF_THROTTLE:
            # A hub that was out of reach tells nothing of how it throttles.
            self._last_block = now - block.began
            rate, last = max(1.0, 2 * self._opening.rate(block.began, before)), self._opening.took(before)
        self._opening = Opening(now, before, last)
        self._allowed, self._allowed_taken = 2, 0
        self._ramp(min(FIRST_RATE, rate), DOUBLING)

    def _allow(self, left: float, number: int) -> None:
        """Twice as many after all that were allowed; as many as ever once that is more than a ramp begins with."""
        if left > self._opening.began:
            self._allowed_taken += number
        if self._shut_at == -math.inf:
            self._allowed = math.inf
        elif self._allowed_taken >= self._allowed:
            self._allowed, self._allowed_taken = 2 * self._allowed, 0
            if self._allowed >= FEW:
                self._allowed = math.inf

    # Growth.

    def _ramp(self, rate: float, doubling: float) -> None:
        self.rate = rate
        self._doubling = doubling
        self._is_cruising = False

    def _cruise(self, ceiling: float) -> None:
        self._is_cruising = True
        self._quiet_for = 0.0
        self.rate = ceiling * (UNDER if self._ceiling.is_sure else ABOVE)

    def _tick(self, now: float) -> None:
        seconds = min(now - self._ticked_at, max(LONGEST_TICK, LONGEST_TICK_REQUESTS / self.rate))
        self._ticked_at = now
        is_pressed, self._is_pressed = self._is_pressed, False
        self._takings.forget(now)
        self._ceiling.pass_by(now - self._latency, self._takings.total)
        if (over := now - self._answers_since) >= max(ANSWERS_OVER, ANSWERS_AT_LEAST / self.rate):
            self._answer_rate = self._answers / over
            self._answers, self._answers_since = 0, now
        if self._episode is not None:
            self._close_if_over(self._episode, now)
        elif self._block is None and is_pressed:
            self._grow(seconds, now)

    def _grow(self, seconds: float, now: float) -> None:
        """Let the rate grow that was all used for so many seconds."""
        self._least_latency = min(self._latency, self._least_latency * (1 + FORGETTING * seconds))
        if self._latency > self._least_latency * LOADED:
            seconds *= SLOWER
        if not self._is_cruising:
            grown = self.rate * 2 ** (seconds / max(self._doubling, DOUBLING_REQUESTS / self.rate))
            self.rate = max(self.rate, min(grown, self._answer_rate * AHEAD))
            return
        ceiling = self._ceiling.rate
        assert ceiling is not None
        quiet = min(max(QUIET, QUIET_REQUESTS / ceiling), LONGEST_QUIET)
        self._quiet_for += seconds
        if self._ceiling.is_sure:
            since = max(0.0, self._quiet_for / quiet - 1)
            self.rate = ceiling * UNDER * (1 + SQUARE * since**2 + CUBE * since**3)
            risen = RISEN
        else:
            # A hub that stood still for a moment refuses as one whose ceiling has fallen: soon that is known.
            has_fallen = self._ceiling.fallen is not None
            growth, risen = (FALLEN_GROWTH, RISEN_FALLEN) if has_fallen else (ABOVE_GROWTH, RISEN_UNSURE)
            self.rate = ceiling * (ABOVE + growth * self._quiet_for / quiet)
        excess = self._ceiling.excess(now - self._latency, self._takings.total)
        if excess > max(risen * ceiling, RISEN_REQUESTS):
            self._ceiling.outgrow()
            if self._ceiling.rate is not None:
                self._cruise(self._ceiling.rate)
            else:
                self._ramp(self.rate, SLOW_DOUBLING)
