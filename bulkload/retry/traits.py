"""What is not known of every hub: how its answers are understood."""

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real

from bulkload.errors import InputError, require_value

# A hub that asks for more than this is asked again all the same: a wrong header must not park a run for a day.
LONGEST_RETRY_AFTER = 300.0
DAY = 86_400.0

# A 403 without a cause is a throttle after an acceptance, believed this long while nothing is accepted.
PATIENCE = 15 * 60.0
WEEK = 7 * DAY

# After this many requests in a row without an answer the hub counts as gone: one request at a time asks for it.
GONE_AFTER = 20

# A shorter text stands in half of all sentences.
SHORTEST_WORD = 3

# No recorded answer of a throttle, a quota or a tier is public. These are the words of the specification, of the limits
# that the service documents, and of what users report. A throttle that is taken for something else costs records, so
# what speaks of rights and tiers is told by whole phrases.
THROTTLE_WORDS = (
    "throttl",
    "too many requests",
    "too many operations",
    "rate is too high",
    "request rate",
    "operations rate",
    "rate limit",
    "rate exceeded",
    "per second",
    "per minute",
    "server is busy",
)
QUOTA_WORDS = (
    "quota",
    "too many installations",
    "too many registrations",
    "too many devices",
    "maximum number of",
    "device limit",
)
RIGHT_WORDS = (
    "claim is required",
    "claims are required",
    "claim(s) are required",
    "not authorized",
    "unauthorized access",
    "have permission",
)
FEATURE_WORDS = (
    "available for your",
    "available in your",
    "available on your",
    "supported for your",
    "supported in your",
    "supported on your",
    "supported by your",
    "free tier",
    "basic tier",
    "standard tier",
    "pricing tier",
    "higher tier",
    "your sku",
    "this sku",
    "current sku",
    "upgrade to",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """How a hub's answers are understood; the names are those of the keys of the config file's ``[hub]``.

    The words are texts that an answer contains, in any case of letters: of a throttle, of a namespace that is full, of
    a policy without the right, of a tier without the feature. A status of `throttle_statuses` throttles and one of
    `retry_statuses` is a transient fault, whatever they are elsewhere. Times are in seconds: `longest_retry_after` caps
    what the hub asks for, `patience` is how long refusals without a cause are believed while nothing is accepted, and
    how long a hub that is away uses up no record's attempts. After `gone_after` requests in a row without an answer the
    hub counts as gone.
    """

    throttle_words: tuple[str, ...] = THROTTLE_WORDS
    quota_words: tuple[str, ...] = QUOTA_WORDS
    right_words: tuple[str, ...] = RIGHT_WORDS
    feature_words: tuple[str, ...] = FEATURE_WORDS
    throttle_statuses: tuple[int, ...] = ()
    retry_statuses: tuple[int, ...] = ()
    longest_retry_after: float = LONGEST_RETRY_AFTER
    patience: float = PATIENCE
    gone_after: int = GONE_AFTER

    def __post_init__(self) -> None:
        texts = f"a list of texts of at least {SHORTEST_WORD} characters"
        for name in ("throttle_words", "quota_words", "right_words", "feature_words"):
            self._take(name, _is_word, texts)
        for name in ("throttle_statuses", "retry_statuses"):
            self._take(name, _is_status, "a list of statuses from 400 to 599")
        for status in self.throttle_statuses:
            if status in self.retry_statuses:
                raise InputError(f"[hub] has {status} both in throttle-statuses and in retry-statuses; take one away")
        longest, patience = self.longest_retry_after, self.patience
        require_value(
            "[hub] longest-retry-after", longest, Real, lambda time: 0 < time <= DAY, "above 0, a day at most"
        )
        require_value("[hub] patience", patience, Real, lambda time: 0 < time <= WEEK, "above 0, a week at most")
        require_value("[hub] gone-after", self.gone_after, Integral, lambda number: number >= 1, "at least 1")

    def _take(self, name: str, holds: Callable[[object], bool], words: str) -> None:
        """Check a list and keep it as what cannot change."""
        value = getattr(self, name)
        key = f"[hub] {name.replace('_', '-')}"
        require_value(key, value, tuple | list, lambda items: all(map(holds, items)), words)
        object.__setattr__(self, name, tuple(value))


def _is_word(item: object) -> bool:
    return isinstance(item, str) and len(item.strip()) >= SHORTEST_WORD


def _is_status(item: object) -> bool:
    return isinstance(item, Integral) and not isinstance(item, bool) and 400 <= int(item) <= 599


# What most hubs are taken to be.
USUAL = Traits()
