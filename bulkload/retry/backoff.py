"""How long a record rests before it is tried again."""

import tenacity

from bulkload.errors import InputError

MAX_ATTEMPTS = 8
RECORD_TIMEOUT = 600.0

# Full jitter from half a second up to a minute: eight attempts are spread over about half a minute.
SHORTEST_REST = 0.5
LONGEST_REST = 60.0


class Backoff:
    """How long a record rests after a failed attempt, and when it has had enough: tenacity's strategies."""

    def __init__(self, *, max_attempts: int = MAX_ATTEMPTS, record_timeout: float = RECORD_TIMEOUT) -> None:
        if max_attempts < 1:
            raise InputError("--max-attempts is at least 1")
        # The strategies read a state's numbers only; the retry object that a state must have is never asked.
        self._retrying = tenacity.Retrying()
        self._stop = tenacity.stop_after_attempt(max_attempts) | tenacity.stop_after_delay(record_timeout)
        self._wait = tenacity.wait_random_exponential(multiplier=SHORTEST_REST, max=LONGEST_REST)

    def rest(self, attempts: int, began: float, now: float) -> float | None:
        """Seconds to rest after `attempts` attempts since `began` (the loop's clock), or None for no further one."""
        state = tenacity.RetryCallState(self._retrying, None, (), {})
        state.attempt_number = attempts
        state.start_time = began
        state.outcome_timestamp = now
        return None if self._stop(state) else self._wait(state)
