"""What no table explains is told once, as it came, so that somebody can explain it."""

import logging
from collections.abc import Iterable

from bulkload.retry.verdict import Judgment
from bulkload.retry.words import likeness, raw, said
from bulkload.wire import Answer

log = logging.getLogger("bulkload")

# A hub that never says the same twice must not fill a log, nor the memory.
MOST_TOLD = 20


class Unknown:
    """The answers of one session that were not understood: one of each kind is logged, with its raw body.

    A kind is a status with the same words, numbers and ids left aside; no more than twenty are told.
    """

    def __init__(self) -> None:
        self._told: set[tuple[int, str]] = set()

    def __repr__(self) -> str:
        return f"<Unknown: {len(self._told)} told>"

    def tell(self, answer: Answer, judgment: Judgment, *, hide: Iterable[str] = ()) -> None:
        """Log an answer that is the first of its kind; the values in `hide` are cut out of it."""
        if len(self._told) >= MOST_TOLD:
            return
        values = list(hide)
        words = said(answer, hide=values)
        kind = (answer.status, likeness(words))
        if kind in self._told:
            return
        self._told.add(kind)
        log.warning(
            "an answer that is not known is taken as %s: status %d, TrackingId %s, body %s%s",
            judgment.verdict.value,
            answer.status,
            words.tracking_id or "none",
            raw(answer, hide=values) or "empty",
            "; others are not told any more" if len(self._told) == MOST_TOLD else "",
        )
