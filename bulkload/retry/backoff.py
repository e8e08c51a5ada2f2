"""How long a record rests before it is tried again."""

from random import Random

import tenacity

from bulkload.errors import InputError

MAX_ATTEMPTS = 8
RECORD_TIMEOUT = 600.0

# Full jitter from half a second up to a minute: eight attempts are spread over about half a minute.
SHORTEST_REST = 0.5
LONGEST_REST = 60.0

# A record that alone is throttled is asked ever less often. Twice is nothing: at a hub's limit that may happen to any.
REFUSALS_FOR_NOTHING = 2
SHORTEST_REFUSED_REST = 0.25
LONGEST_REFUSED_REST = 30.0


class Backoff:
    """How long a record rests after a failed attempt, and when it has had enough: tenacity's strategies.

    Rests are drawn from `random`, between nothing and a bound that doubles from `shortest` up to `longest` seconds.
    """

    def __init__(
        self,
        *,
        max_attempts: int = MAX_ATTEMPTS,
        record_timeout: float = RECORD_TIMEOUT,
        shortest: float = SHORTEST_REST,
        longest: float = LONGEST_REST,
        random: Random | None = None,
    ) -> None:
        if max_attempts < 1:
            raise InputError("--max-attempts is at least 1")
        # The strategies read a state's numbers only; the retry object that a state must have is never asked.
        self._retrying = tenacity.Retrying()
        self._stop = tenacity.stop_after_attempt(max_attempts) | tenacity.stop_after_delay(record_timeout)
        # The bound alone: wait_random_exponential draws from the source that all of a process share.
        self._bound = tenacity.wait_exponential(multiplier=shortest, max=longest)
        self._shortest = shortest
        self._random = random or Random()  # noqa: S311 - jitter is no secret

    def rest(self, attempts: int, began: float, now: float, *, at_least: float = 0.0) -> float | None:
        """Seconds to rest after `attempts` attempts since `began` (the loop's clock), or None for no further one.

        What the hub itself asks for, `at_least`, comes before the rest: those who are told the same come back apart.
        """
        state = tenacity.RetryCallState(self._retrying, None, (), {})
        state.attempt_number = attempts
        state.start_time = began
        state.outcome_timestamp = now
        return None if self._stop(state) else at_least + self._random.uniform(0.0, self._bound(state))

    def unsent(self) -> float:
        """Seconds to rest for a record of which nothing has left, since there was no connection."""
        return self._random.uniform(0.0, self._shortest)

    def refused(self, refusals: int) -> float:
        """Seconds to rest for a record that was throttled so often while others were accepted.

        No rest twice, then 0.25, 0.5, 1 … up to 30 seconds, each less a random part of up to a half.
        """
        if refusals <= REFUSALS_FOR_NOTHING:
            return 0.0
        # A power beyond this is past the limit, and a larger one past all floats.
        doublings = min(refusals - REFUSALS_FOR_NOTHING - 1, 10)
        bound = min(SHORTEST_REFUSED_REST * 2**doublings, LONGEST_REFUSED_REST)
        return self._random.uniform(bound / 2, bound)
