"""A run in numbers, by its ledger and its last session."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import orjson

from bulkload import dead_letters
from bulkload.ledger import State
from bulkload.record import Outcome
from bulkload.source.files import printable

RunOutcome = Literal["complete", "partial", "stopped"]


@dataclass(frozen=True, slots=True)
class Records:
    """Over the run's whole life: `read` is the five outcomes and `pending`; `skipped` a session found settled."""

    read: int = 0
    accepted: int = 0
    invalid: int = 0
    rejected: int = 0
    exhausted: int = 0
    superseded: int = 0
    filtered: int = 0
    pending: int = 0
    skipped: int | None = None


@dataclass(frozen=True, slots=True)
class Requests:
    """Of this session; `sent` is accepted, rejected, throttled and failed ones, `retried` came after a failed one."""

    sent: int | None = None
    throttled: int | None = None
    retried: int | None = None
    failed: int | None = None


@dataclass(frozen=True, slots=True)
class Rate:
    """Requests per second in this session."""

    mean: float | None = None
    peak: float | None = None
    ceiling: float | None = None
    cap: float | None = None


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds from a request to its answer in this session."""

    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    max: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a run came to; None where only a session knows and there was none.

    `dead_letters` is their file's path, or the pattern for the files where there are several forms.
    """

    outcome: RunOutcome = "stopped"
    exit_code: int = 5
    reason: str | None = None
    records: Records
    requests: Requests = Requests()
    rate: Rate = Rate()
    latency: Latency = Latency()
    elapsed: float | None = None
    limited_by: str | None = None
    transport: str | None = None
    processes: int | None = None
    sources: tuple[str, ...]
    ledger: str
    dead_letters: str | None = None
    resume: str | None = None
    schema: int = 1

    def to_json(self) -> bytes:
        """The summary as scripts read it, on one line."""
        return orjson.dumps(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        document: dict[str, Any] = orjson.loads(orjson.dumps(self))
        return {"schema": document.pop("schema"), **document}


def summarize(state: State, *, ledger: Path) -> Summary:
    """The summary that a ledger alone, and what stands beside it, can give."""
    totals = state.totals
    records = Records(
        read=state.read,
        accepted=totals[Outcome.ACCEPTED],
        invalid=totals[Outcome.INVALID],
        rejected=totals[Outcome.REJECTED],
        exhausted=totals[Outcome.EXHAUSTED],
        superseded=totals[Outcome.SUPERSEDED],
        filtered=state.filtered,
        pending=state.read - state.settled,
    )
    session = state.session
    summary = Summary(
        reason="a session is running, or was killed",
        records=records,
        transport=session.transport if session else None,
        sources=state.run.sources,
        ledger=printable(str(ledger)),
        dead_letters=dead_letters.named(dead_letters.stem_of(ledger)),
        resume=session.resume if session else None,
    )
    if state.is_finished:
        return finished(summary, is_clean=state.is_clean)
    if session and session.ended_at:
        return replace(summary, exit_code=session.exit_code or 5, reason=session.reason)
    return summary


def finished(summary: Summary, *, is_clean: bool) -> Summary:
    """The summary of a run of which every record is settled."""
    return replace(
        summary,
        outcome="complete" if is_clean else "partial",
        exit_code=0 if is_clean else 1,
        reason=None,
        resume=None,
    )
