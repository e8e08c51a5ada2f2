"""What one answer means: a verdict, by its status and its words."""

import email.utils
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from html import unescape

from bulkload.wire import Answer

# A hub that asks for more than this is asked again all the same: a wrong header must not park a run for a day.
LONGEST_RETRY_AFTER = 300.0

# No recorded throttle or quota answer is public; these are the words of the specification and of the tier's limits.
QUOTA_WORDS = re.compile(r"quota|too many (installations|registrations|devices)", re.IGNORECASE)
THROTTLE_WORDS = re.compile(r"throttl|too many requests|rate is too high|request rate|server is busy", re.IGNORECASE)

TRANSIENT = frozenset({408, 409, 500, 502, 503, 504})

# Answers that speak of the whole run, not of the record.
HALTING = {
    401: "the hub refuses the key; check SharedAccessKeyName and SharedAccessKey of the connection string",
    404: "there is no such hub; check --hub and the Endpoint of the connection string",
    405: "this is not a notification hub; check the Endpoint of the connection string",
    407: "the proxy wants a password; check HTTPS_PROXY",
}

# What a line of a terminal or a ledger bears of an answer's words.
LONGEST_WORDS = 300

_DETAIL = re.compile(r"<Detail>(.*?)</Detail>", re.DOTALL)
_TRACKING_ID = re.compile(r"\.?TrackingId:([0-9A-Za-z_-]+)")


class Verdict(Enum):
    """What becomes of a record after an answer."""

    ACCEPT = "accept"
    THROTTLE = "throttle"
    RETRY = "retry"
    REJECT = "reject"
    HALT = "halt"


@dataclass(frozen=True, slots=True)
class Judgment:
    """A verdict with its reason in words, and whether the answer itself said so or only what came before it does."""

    verdict: Verdict
    reason: str = ""
    is_explicit: bool = True


ACCEPTED = Judgment(Verdict.ACCEPT)


def judge(answer: Answer, *, hide: Iterable[str] = ()) -> Judgment:
    """What an answer means for its record, by the table of statuses and the words of its body.

    The values in `hide`, in any case, are cut out of the words: a hub may repeat what nobody else should read.

    A 403 that gives no cause is a throttle that is not explicit: who knows the run's history decides how long it is
    believed.
    """
    status = answer.status
    if status in (200, 201):
        return ACCEPTED
    if answer.fault is not None:
        return Judgment(Verdict.RETRY, f"{answer.fault.value}: {answer.words}")
    reason = describe(answer, hide=hide)
    if status in (403, 429):
        return _refused(answer, reason)
    if status in HALTING:
        return Judgment(Verdict.HALT, f"{HALTING[status]} ({reason})")
    if status in TRANSIENT or status >= 500:
        return Judgment(Verdict.RETRY, reason)
    if 400 <= status < 500:
        return Judgment(Verdict.REJECT, reason)
    return Judgment(Verdict.HALT, f"this does not answer like a notification hub; check the Endpoint ({reason})")


def _refused(answer: Answer, reason: str) -> Judgment:
    if answer.status == 429 or "Retry-After" in answer.headers:
        return Judgment(Verdict.THROTTLE, reason)
    # The specification's own sentence for a throttle begins with "Quota exceeded": its words decide first.
    if THROTTLE_WORDS.search(reason):
        return Judgment(Verdict.THROTTLE, reason)
    if QUOTA_WORDS.search(reason):
        return Judgment(
            Verdict.HALT, f"the namespace holds all the devices it may; split them over namespaces ({reason})"
        )
    return Judgment(Verdict.THROTTLE, reason, is_explicit=False)


def describe(answer: Answer, *, hide: Iterable[str] = ()) -> str:
    """Status, the service's words without its tracking, and the TrackingId, on one printable line."""
    text = answer.body.decode(errors="replace")
    found = _DETAIL.search(text)
    words = unescape(found[1] if found else text)
    tracking_id = answer.tracking_id
    if in_words := _TRACKING_ID.search(words):
        tracking_id = tracking_id or in_words[1]
        words = words[: in_words.start()]
    for value in hide:
        words = re.sub(re.escape(value), "…", words, flags=re.IGNORECASE)
    # A terminal would obey control characters.
    words = "".join(character if character.isprintable() else " " for character in words)
    line = " ".join(words.split())[:LONGEST_WORDS]
    return f"{answer.status} {line or 'without a word'}" + (f", TrackingId {tracking_id}" if tracking_id else "")


def retry_after(answer: Answer, *, now: Callable[[], float] = time.time) -> float | None:
    """Seconds the hub asks to wait, from a number or a date; None where it does not say.

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
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER)
