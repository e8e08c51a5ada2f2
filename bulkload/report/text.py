"""A summary as people read it."""

import shlex

from bulkload.report.summary import Summary

_EXPLAINED = {
    "accepted": "queued by the hub",
    "superseded": "replaced by a later record of the same id",
    "invalid": "never sent: broken",
    "rejected": "refused by the hub",
    "exhausted": "every attempt failed",
    "filtered": "left out by the mapping",
    "pending": "read, not settled yet",
}


def describe(summary: Summary, *, can_retry: bool = True) -> str:
    """Several lines: the outcome and why, the records by their end, the requests, and what to type next.

    `can_retry` says whether the hub is still there.
    """
    lines = [_headline(summary)]
    for name, words in _EXPLAINED.items():
        if (number := getattr(summary.records, name)) or name == "accepted":
            lines.append(f"  {name:<10} {number:>12,}  {words}")
    lines += _requests(summary)
    lines.append(f"ledger: {summary.ledger}")
    if summary.outcome == "partial" or (summary.outcome == "stopped" and _bad(summary)):
        lines.append(f"what failed: {_listing(summary.ledger)}")
    if summary.dead_letters:
        lines.append(f"dead letters: {summary.dead_letters} (mend it and load it)")
    if can_retry and summary.outcome == "partial" and summary.records.exhausted:
        lines.append(f"to send what is exhausted again: bulkload retry {shlex.quote(summary.ledger)}")
    if summary.resume:
        lines.append(f"to continue: {summary.resume}")
    return "\n".join(lines)


def _headline(summary: Summary) -> str:
    records = summary.records
    took = f" in {duration(summary.elapsed)}" if summary.elapsed is not None else ""
    if summary.outcome == "stopped":
        return f"stopped{took}: {summary.reason}"
    skipped = f" ({records.skipped:,} of them earlier)" if records.skipped else ""
    failed = f", {_bad(summary):,} failed" if _bad(summary) else ""
    return f"{summary.outcome}{took}: {count(records.read, 'record')} settled{skipped}{failed}"


def _requests(summary: Summary) -> list[str]:
    requests, rate, latency = summary.requests, summary.rate, summary.latency
    if not requests.sent or rate.mean is None:
        return []
    parts = [f"requests: {requests.sent:,} sent, {rate.mean:,.0f}/s"]
    parts += [
        f"{number:,} {name}" for name in ("throttled", "retried", "failed") if (number := getattr(requests, name))
    ]
    if latency.p50 is not None and latency.p99 is not None:
        parts.append(f"p50 {latency.p50 * 1000:,.1f} ms, p99 {latency.p99 * 1000:,.1f} ms")
    if summary.limited_by:
        is_known = summary.limited_by == "throttling" and rate.ceiling is not None
        parts.append(
            f"limited by {summary.limited_by}" + (f" (the hub takes {rate.ceiling:,.0f}/s)" if is_known else "")
        )
    return [", ".join(parts)]


def _bad(summary: Summary) -> int:
    records = summary.records
    return records.invalid + records.rejected + records.exhausted


def _listing(ledger: str) -> str:
    query = "SELECT * FROM outcomes WHERE outcome NOT IN ('accepted', 'superseded')"
    return f'sqlite3 -readonly {shlex.quote(ledger)} "{query}"'


def count(number: int, noun: str) -> str:
    """A number with its noun: 1 record, 2,000 records."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """Seconds as people say them: 0.8 s, 42 s, 3 min 20 s, 2 h 5 min."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
