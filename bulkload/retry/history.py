"""What the answers so far make of the next one: whether the hub is reached, and when the run has to stop."""

from collections import deque
from enum import Enum

from bulkload.errors import Halt
from bulkload.record import Carried
from bulkload.retry.traits import USUAL, Traits
from bulkload.retry.verdict import Cause, Judgment
from bulkload.wire import Answer, Fault

# A hub that was never reached in a session gets this many tries, a few seconds in all.
TRIES_TO_REACH = 4

# So many attempts tell whether the hub as a whole fails.
LAST_ATTEMPTS = 100

# A record that fails again, while the hub worked on so many others and on so many times as many as failed, is to blame
# for it itself.
WORKED_ON_OTHERS = 4
TIMES_AS_MANY = 2

# A 403 without a cause, before anything was ever accepted: asked again this often, this far apart.
TRIES_OF_BARE_403 = 5
REST_OF_BARE_403 = 2.0

# A namespace that is full says so this often to one record: devices may be deleted meanwhile, but not for long.
MOST_QUOTA_REFUSALS = 3

# While something is to be sent, a hub that refuses is asked more often than this and the longest wait that it may ask
# for: a longer pause means that nothing was to be sent, or that the hub was gone.
PATIENCE_FORGETS = 120.0


class Reach(Enum):
    """Where the hub is, as far as its answers tell."""

    UNKNOWN = "never answered in this session"
    PRESENT = "answers"
    GONE = "answered before, and does no more"


class History:
    """The answers of one session, and whether anything was accepted in the ledger's life.

    The hub `is_down` from when most attempts fail until it works on a record; then so many attempts tell anew. A record
    that is to blame itself tells nothing of the hub.
    Its methods take one answer each, and raise `Halt` where it means that the run has to stop.
    """

    def __init__(self, *, was_accepted: bool, now: float, traits: Traits = USUAL) -> None:
        self.reach = Reach.UNKNOWN
        self.was_accepted = was_accepted
        self.is_down = False
        self._traits = traits
        # The first refusal without a cause since something was accepted, and the last refusal of any cause.
        self._refused_since: float | None = None
        self._refused_at = now
        self._has_accepted = False
        self._unanswered = 0
        self._attempts: deque[bool] = deque(maxlen=LAST_ATTEMPTS)
        self._failures = 0
        self._attempts_since_down = 0
        # What may be held against a record that fails.
        self._works = 0
        self._fails = 0
        self._bare_refusals = 0
        self._bare_until = now

    def __repr__(self) -> str:
        return f"<History: the hub {self.reach.value}>"

    def answered(self) -> None:
        """The hub answered, whatever it said."""
        self.reach = Reach.PRESENT
        self._unanswered = 0

    @property
    def is_failing(self) -> bool:
        """Whether most of the last attempts failed: then it is the hub, and no record, that is to blame."""
        return len(self._attempts) == LAST_ATTEMPTS and self._failures > LAST_ATTEMPTS / 2

    def served(self, number: int = 1) -> None:
        """The hub worked on so many records."""
        self._works += number
        if self._failures or len(self._attempts) < LAST_ATTEMPTS:
            for _ in range(min(number, LAST_ATTEMPTS)):
                self._attempted(is_failed=False)
        else:
            # None of the last ones failed, and that stays so.
            self._attempts_since_down += number
        self._bare_refusals = 0
        if self.is_down:
            self.is_down = False
            self._attempts_since_down = 0

    def failed(self, record: Carried, answer: Answer, judgment: Judgment) -> None:
        """An attempt came to nothing."""
        self._suspect(record)
        is_unsent = answer.fault is not None and answer.fault.is_unsent
        if record.is_suspect and not is_unsent:
            return
        self._fails += 1
        record.failed_at = (self._works, self._fails)
        self._attempted(is_failed=True)
        if self.is_failing and self._attempts_since_down >= LAST_ATTEMPTS:
            self.is_down = True
        if answer.fault is not None:
            self._unanswered_again(answer.fault, judgment)

    def _suspect(self, record: Carried) -> None:
        if record.failed_at is not None:
            works, fails = self._works - record.failed_at[0], self._fails - record.failed_at[1]
            if works >= WORKED_ON_OTHERS + TIMES_AS_MANY * fails:
                record.is_suspect = True

    def _attempted(self, *, is_failed: bool) -> None:
        if len(self._attempts) == LAST_ATTEMPTS:
            self._failures -= self._attempts[0]
        self._attempts.append(is_failed)
        self._failures += is_failed
        self._attempts_since_down += 1

    def accepted(self, number: int = 1) -> None:
        """The hub took so many records."""
        self.served(number)
        self.was_accepted = self._has_accepted = True
        self._refused_since = None

    def throttled(self, record: Carried, judgment: Judgment, now: float) -> float | None:
        """The hub refused for its own sake; returns how long to wait where the history knows better than the answer."""
        since_last = now - self._refused_at
        self._refused_at = now
        if self._has_accepted and judgment.cause is not Cause.QUOTA:
            # Others were accepted since the last refusal: this one may be the record's own.
            record.refusals += 1
        self._has_accepted = False
        if judgment.cause is Cause.QUOTA:
            self._full(record, judgment)
        elif judgment.cause is Cause.THROTTLE:
            # A hub that says that it throttles is believed for ever, and so is what it leaves unsaid meanwhile.
            self._refused_since = None
        elif judgment.cause is Cause.UNTOLD and self.was_accepted:
            self._refused(judgment, now, since_last)
        elif judgment.cause is Cause.UNTOLD:
            return self._refused_from_the_start(judgment, now)
        return None

    def _full(self, record: Carried, judgment: Judgment) -> None:
        record.quota_refusals += 1
        if record.quota_refusals >= MOST_QUOTA_REFUSALS:
            raise Halt(
                "the namespace holds all the devices it may: devices must be split over namespaces; "
                f"what was accepted is kept ({judgment.reason})"
            )

    def _refused(self, judgment: Judgment, now: float, since_last: float) -> None:
        """A 403 without a cause after an acceptance: a throttle, unless nothing is accepted for too long."""
        traits = self._traits
        if self._refused_since is None or since_last > PATIENCE_FORGETS + traits.longest_retry_after:
            self._refused_since = now
        if now - self._refused_since > traits.patience:
            raise Halt(
                f"the hub has accepted nothing for {_time(traits.patience)} ({judgment.reason}); run it again later"
            )

    def _refused_from_the_start(self, judgment: Judgment, now: float) -> float:
        """A 403 without a cause before any acceptance: asked again a few times."""
        if now < self._bare_until:
            # It left together with the one that was counted.
            return self._bare_until - now
        self._bare_refusals += 1
        self._bare_until = now + REST_OF_BARE_403
        if self._bare_refusals > TRIES_OF_BARE_403:
            raise Halt(
                "the hub refuses every request: either the policy of the connection string has no right to write, "
                f"or the namespace is throttled; check the policy's rights first ({judgment.reason})"
            )
        return REST_OF_BARE_403

    def _unanswered_again(self, fault: Fault, judgment: Judgment) -> None:
        self._unanswered += 1
        if self.reach is not Reach.UNKNOWN:
            if self._unanswered >= self._traits.gone_after:
                self.reach = Reach.GONE
            return
        if fault is Fault.TLS:
            raise Halt(f"the hub is not trusted: {judgment.reason}; give its certificate authority with --ca-file")
        if self._unanswered >= TRIES_TO_REACH:
            raise Halt(
                f"the hub cannot be reached: {judgment.reason}; "
                "check the Endpoint of the connection string, and the network"
            )


def _time(seconds: float) -> str:
    number, unit = (seconds / 60, "minute") if seconds >= 120 else (seconds, "second")
    return f"{number:g} {unit}{'' if number == 1 else 's'}"
