"""What the answers so far make of the next one: whether the hub is reached, and when the run has to stop."""

from enum import Enum

from bulkload.errors import Halt
from bulkload.retry.verdict import Judgment
from bulkload.wire import Answer, Fault

# A hub that was never reached in a session gets this many tries, a few seconds in all.
TRIES_TO_REACH = 4
REST_TO_REACH = 0.5

# After this many requests in a row without an answer the hub counts as gone: one request at a time asks for it.
GONE_AFTER = 20

# A 403 without a cause, before anything was ever accepted: asked again this often, this far apart.
TRIES_OF_BARE_403 = 5
REST_OF_BARE_403 = 2.0

# After an acceptance a 403 without a cause is a throttle, believed this long while nothing is accepted.
PATIENCE = 15 * 60.0

# While something is to be sent, a throttled hub is asked more often than this: a longer pause means that nothing was.
PATIENCE_FORGETS = 120.0


class Reach(Enum):
    """Where the hub is, as far as its answers tell."""

    UNKNOWN = "never answered in this session"
    PRESENT = "answers"
    GONE = "answered before, and does no more"


class History:
    """The answers of one session, and whether the run saw an acceptance before it.

    Its methods take one answer each, and raise `Halt` where it means that the run has to stop.
    """

    def __init__(self, *, was_accepted: bool, now: float) -> None:
        self.reach = Reach.UNKNOWN
        self._was_accepted = was_accepted
        self._refused_since: float | None = None
        self._refused_at = now
        self._unanswered = 0
        self._bare_refusals = 0
        self._bare_until = now

    def __repr__(self) -> str:
        return f"<History: the hub {self.reach.value}>"

    def answered(self) -> None:
        """The hub answered, whatever it said."""
        self.reach = Reach.PRESENT
        self._unanswered = 0

    def accepted(self) -> None:
        """The hub took a record."""
        self._was_accepted = True
        self._refused_since = None

    def throttled(self, judgment: Judgment, now: float) -> float | None:
        """The hub refused for its own sake; returns how long to wait where the history knows better than the answer."""
        if judgment.is_explicit:
            return None
        if self._was_accepted:
            if self._refused_since is None or now - self._refused_at > PATIENCE_FORGETS:
                self._refused_since = now
            self._refused_at = now
            if now - self._refused_since > PATIENCE:
                minutes = f"{PATIENCE / 60:.0f} minutes"
                raise Halt(f"the hub has accepted nothing for {minutes} ({judgment.reason}); run it again later")
            return None
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

    def unanswered(self, answer: Answer, judgment: Judgment) -> float | None:
        """A request got no answer; returns how long everyone waits where the hub was never reached."""
        self._unanswered += 1
        if self.reach is not Reach.UNKNOWN:
            if self._unanswered >= GONE_AFTER:
                self.reach = Reach.GONE
            return None
        if answer.fault is Fault.TLS:
            raise Halt(f"the hub is not trusted: {judgment.reason}; give its certificate authority with --ca-file")
        if self._unanswered >= TRIES_TO_REACH:
            raise Halt(
                f"the hub cannot be reached: {judgment.reason}; "
                "check the Endpoint of the connection string, and the network"
            )
        return REST_TO_REACH * self._unanswered
