"""What one answer means: a verdict, by its status and its words."""

import email.utils
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum

from bulkload.retry.traits import LONGEST_RETRY_AFTER, USUAL, Traits
from bulkload.retry.words import Said, described, said
from bulkload.wire import Answer

TRANSIENT = frozenset({408, 409, 500, 502, 503, 504})
REJECTING = frozenset({400, 410, 412, 413})

# Answers that speak of the whole run, not of the record.
HALTING = {
    401: "the hub refuses the key; check SharedAccessKeyName and SharedAccessKey of the connection string",
    404: "there is no such hub; check --hub and the Endpoint of the connection string",
    405: "this is not a notification hub; check the Endpoint of the connection string",
    407: "the proxy wants a password; check HTTPS_PROXY",
}

REFUSING = frozenset({403, 429})

KNOWN = TRANSIENT | REJECTING | HALTING.keys() | REFUSING


class Verdict(Enum):
    """What becomes of a record after an answer."""

    ACCEPT = "accept"
    THROTTLE = "throttle"
    RETRY = "retry"
    REJECT = "reject"
    HALT = "halt"


class Cause(Enum):
    """Why a hub refuses a request that is good by itself, by a 403 or a status like it."""

    THROTTLE = "it says that it throttles"
    QUOTA = "the namespace holds all the devices it may"
    RIGHT = "the policy has no right"
    FEATURE = "the tier has no such feature"
    UNTOLD = "it does not say"


@dataclass(frozen=True, slots=True)
class Judgment:
    """A verdict with its reason in words; the cause of a refusal; and whether the answer is one that is known."""

    verdict: Verdict
    reason: str = ""
    cause: Cause | None = None
    is_understood: bool = True


ACCEPTED = Judgment(Verdict.ACCEPT)


def judge(answer: Answer, *, traits: Traits = USUAL, was_accepted: bool = False, hide: Iterable[str] = ()) -> Judgment:
    """What an answer means for its record, by the table of statuses and the words of its body.

    `was_accepted` says whether the hub took anything in this ledger's life. The values in `hide`, in any case, are cut
    out of the words: a hub may repeat what nobody else should read.

    A refusal whose cause is untold is taken for a throttle: who knows the run's history decides how long.
    """
    status = answer.status
    if status in (200, 201):
        return ACCEPTED
    if answer.fault is not None:
        return Judgment(Verdict.RETRY, f"{answer.fault.value}: {answer.words}")
    words = said(answer, hide=hide)
    reason = described(answer, words)
    if status in traits.retry_statuses:
        return Judgment(Verdict.RETRY, reason)
    if status in REFUSING or status in traits.throttle_statuses:
        return _refused(answer, words, traits, was_accepted=was_accepted)
    is_known = status in KNOWN
    if status in HALTING:
        return Judgment(Verdict.HALT, f"{HALTING[status]} ({reason})")
    if status in TRANSIENT or status >= 500:
        return Judgment(Verdict.RETRY, reason, _overload(answer, words, traits), is_understood=is_known)
    if 400 <= status < 500:
        return Judgment(Verdict.REJECT, reason, is_understood=is_known)
    stranger = f"this does not answer like a notification hub; check the Endpoint ({reason})"
    return Judgment(Verdict.HALT, stranger, is_understood=False)


def _overload(answer: Answer, words: Said, traits: Traits) -> Cause | None:
    """A 503 whose hub has too much to do: it asks to come back later, or says so."""
    if answer.status == 503 and ("Retry-After" in answer.headers or _says(words.own, traits.throttle_words)):
        return Cause.THROTTLE
    return None


def _refused(answer: Answer, words: Said, traits: Traits, *, was_accepted: bool) -> Judgment:
    """The meanings of a 403, told apart by its headers, then by its words."""
    reason = described(answer, words)
    if answer.status == 429 or "Retry-After" in answer.headers:
        return Judgment(Verdict.THROTTLE, reason, Cause.THROTTLE)
    # Words in another form than the service's may be anybody's.
    is_known = words.is_detail or not answer.body
    match _cause(words.own, traits):
        case Cause.RIGHT:
            advice = "the policy of the connection string has no right to write; check its claims Manage, Send, Listen"
            return Judgment(Verdict.HALT, f"{advice} ({reason})", Cause.RIGHT, is_known)
        case Cause.FEATURE if not was_accepted:
            advice = "the namespace's tier does not take this; raise the tier, or leave the feature out"
            return Judgment(Verdict.HALT, f"{advice} ({reason})", Cause.FEATURE, is_known)
        case Cause.FEATURE:
            return Judgment(Verdict.REJECT, reason, Cause.FEATURE, is_known)
        case Cause.UNTOLD if answer.status in traits.throttle_statuses:
            return Judgment(Verdict.THROTTLE, reason, Cause.THROTTLE)
        case Cause.UNTOLD:
            return Judgment(Verdict.THROTTLE, reason, Cause.UNTOLD, is_understood=not answer.body)
        case cause:
            return Judgment(Verdict.THROTTLE, reason, cause, is_known)


def _cause(words: str, traits: Traits) -> Cause:
    """The cause that words give, in any case of letters.

    The specification's own sentence for a throttle begins with "Quota exceeded", so a throttle's words decide first.
    """
    for cause, signs in (
        (Cause.THROTTLE, traits.throttle_words),
        (Cause.QUOTA, traits.quota_words),
        (Cause.RIGHT, traits.right_words),
        (Cause.FEATURE, traits.feature_words),
    ):
        if _says(words, signs):
            return cause
    return Cause.UNTOLD


def _says(words: str, signs: Iterable[str]) -> bool:
    folded = words.casefold()
    return any(sign.casefold() in folded for sign in signs)


def retry_after(
    answer: Answer, *, longest: float = LONGEST_RETRY_AFTER, now: Callable[[], float] = time.time
) -> float | None:
    """Seconds the hub asks to wait, from a number or a date, `longest` at most; None where it does not say.

    A date is taken against the answer's own: this machine's clock may be another than the hub's.
    """
    value = answer.headers.get("Retry-After", "").strip()
    if not value:
        return None
    if value.isascii() and value.isdigit():
        seconds = float(value)
    else:
        try:
            until = email.utils.parsedate_to_datetime(value).timestamp()
        except (ValueError, OverflowError):
            return None
        seconds = until - (now() if answer.date is None else answer.date)
    return min(max(seconds, 0.0), longest)
