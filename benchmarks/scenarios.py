"""The hubs that a load has to keep pace with, each with its bound."""

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from bulkload.emulator.statistics import Counts

LATENCY = 0.04

# Five in a hundred go wrong, and all kinds of fault are among them.
FAULTS = "reset=0.02,error=0.02,truncate=0.009,stall=0.001"

# A second in which so much of the full speed was accepted was a second at full speed; the rest is noise.
NEARLY_FULL = 0.8


@dataclass(frozen=True, slots=True)
class Run:
    """What one load came to.

    `seconds` is what the hub counted, by the second from its first request on: as many as the scenario counts, or all
    of them where the load ends by itself. `summary` is the command's, empty where it wrote none.
    """

    seconds: Sequence[Counts]
    summary: dict[str, Any]

    @property
    def accepted(self) -> int:
        return sum(second.accepted for second in self.seconds)

    @property
    def throttled(self) -> int:
        return sum(second.throttled for second in self.seconds)

    @property
    def seen(self) -> int:
        return sum(second.seen for second in self.seconds)

    @property
    def refused(self) -> float:
        """The part of all requests that the hub throttled."""
        return self.throttled / max(1, self.seen)

    def part(self, begin: int, end: int) -> "Run":
        """The same, of some seconds only."""
        return Run(self.seconds[begin:end], self.summary)


class Verdict(NamedTuple):
    """Whether a run kept its bound, the goodput where there is a ceiling, and what else is worth knowing."""

    is_kept: bool
    goodput: float | None = None
    words: str = ""


class Bound(NamedTuple):
    """At least this goodput, at most this part of the requests refused."""

    goodput: float
    refused: float

    def __str__(self) -> str:
        return f"≥ {self.goodput:g}, ≤ {self.refused * 100:g} %"

    def allows(self, goodput: float, refused: float) -> bool:
        return goodput >= self.goodput and refused <= self.refused


AIM = Bound(0.99, 0.005)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A hub by the flags of its emulator, a load, and how to judge it.

    `seconds` are counted from the hub's first request on; a load of `records` ends by itself, and all of it counts.
    """

    name: str
    hub: tuple[str, ...]
    latency: float = LATENCY
    seconds: int
    records: int | None = None
    bound: str
    judge: Callable[[Run], Verdict]


def scenarios(factor: float) -> Iterator[Scenario]:
    """All of them, their times stretched by a factor: only with 1 are the bounds meant."""
    for retry_after in (None, 1):
        for rate in (200, 1000, 5000):
            for percent in (5, 100):
                yield _fixed(rate, percent, retry_after, seconds=_stretched(60, factor, least=5))
    yield _schedule((1000, 300, 1500), each=_stretched(40, factor, least=4))
    window = _stretched(60, factor, least=4)
    for retry_after in (1, 20, None):
        name = "window" if retry_after is None else f"window-retry-after-{retry_after}"
        yield _windows(name, 50 * window, window, retry_after and _stretched(retry_after, factor, least=1))
    for latency, within in ((0.005, 1), (0.04, 3)):
        yield _no_ceiling(latency, within, seconds=_stretched(20, factor, least=8))
    yield _faults(_stretched(20_000, factor, least=2000))
    yield _outage(_stretched(10, factor, least=2), _stretched(20, factor, least=4))


def _stretched(number: int, factor: float, *, least: int) -> int:
    return max(min(least, number), round(number * factor))


def _retry_after(seconds: int | None) -> tuple[str, ...]:
    return () if seconds is None else ("--retry-after", str(seconds))


def _fixed(rate: int, percent: int, retry_after: int | None, *, seconds: int) -> Scenario:
    if retry_after is not None:
        bound, aim = Bound(0.93, 0.015), None
    elif rate == 200:
        bound, aim = Bound(0.96, 0.01), None
    else:
        bound, aim = Bound(0.97, 0.01), AIM
    return Scenario(
        name=f"fixed-{rate}-{percent}%{'' if retry_after is None else '-retry-after'}",
        hub=("--throttle", f"{rate}:{percent}%", *_retry_after(retry_after)),
        seconds=seconds,
        bound=str(bound),
        judge=lambda run: _keeps(run, rate * seconds, bucket=rate * percent / 100, bound=bound, aim=aim),
    )


def _schedule(rates: Sequence[int], *, each: int) -> Scenario:
    bound = Bound(0.95, 0.01)

    def judge(run: Run) -> Verdict:
        parts = [run.part(number * each, (number + 1) * each) for number in range(len(rates))]
        verdict = _keeps(run, each * sum(rates), bucket=rates[0], bound=bound)
        told = "; ".join(
            f"{part.accepted / each:,.0f} of {rate:,}/s, {part.throttled:,} refused"
            for rate, part in zip(rates, parts, strict=True)
        )
        return verdict._replace(words=told)

    return Scenario(
        name="schedule",
        hub=("--throttle-schedule", ",".join(f"{number * each}:{rate}" for number, rate in enumerate(rates))),
        seconds=each * len(rates),
        bound=str(bound),
        judge=judge,
    )


def _keeps(run: Run, offered: float, *, bucket: float, bound: Bound, aim: Bound | None = None) -> Verdict:
    """Judge by goodput: accepted / (ceiling x time), what the full bucket held at the start not counted."""
    goodput = (run.accepted - bucket) / offered
    words = ""
    if aim is not None:
        words = f"aim {aim}: {'reached' if aim.allows(goodput, run.refused) else 'not reached'}"
    return Verdict(bound.allows(goodput, run.refused), goodput, words)


def _windows(name: str, requests: int, window: int, retry_after: int | None, *, windows: int = 3) -> Scenario:
    """Windows from the first request on, as the hub's seconds are, so that each second lies in one window."""

    def judge(run: Run) -> Verdict:
        parts = [run.part(number * window, (number + 1) * window) for number in range(windows)]
        first, second, *_ = parts
        goodput = run.accepted / (requests * windows)
        if retry_after is not None:
            is_kept = goodput >= 0.97 and first.throttled <= 500 and all(part.refused <= 0.01 for part in parts[1:])
        else:
            is_less = second.throttled < first.throttled or not first.throttled
            is_kept = goodput >= 0.95 and run.refused <= 0.08 and is_less
        told = ", ".join(f"{part.throttled:,} ({part.refused:.1%})" for part in parts)
        taken = ", ".join(f"{part.accepted:,}" for part in parts)
        return Verdict(is_kept, goodput, f"refused by window: {told}; accepted: {taken}")

    return Scenario(
        name=name,
        hub=("--throttle-window", f"{requests}/{window}s", *_retry_after(retry_after)),
        seconds=windows * window,
        bound="≥ 0.95, ≤ 8 %, fewer in the 2nd" if retry_after is None else "≥ 0.97, ≤ 500, then ≤ 1 %",
        judge=judge,
    )


def _no_ceiling(latency: float, within: int, *, seconds: int) -> Scenario:
    """Full speed is the median of what was accepted in each second of the run's second half.

    It counts as reached in the first second from whose start to whose end 80 % of that were accepted. Full speed within
    n seconds is so from second n on, counted from 0: that one begins n seconds after the first request. Whether this
    speed is all that hub and machine give, this cannot tell: the row says how busy both processes were.
    """

    def judge(run: Run) -> Verdict:
        accepted = [second.accepted for second in run.seconds]
        full = statistics.median(accepted[len(accepted) // 2 :])
        reached = next((at for at, number in enumerate(accepted) if number >= NEARLY_FULL * full), len(accepted))
        first = " ".join(f"{number:,}" for number in accepted[: within + 3])
        words = f"full speed {full:,.0f}/s, reached after {reached} s; accepted by second: {first} …"
        return Verdict(full > 0 and reached <= within and not run.throttled, None, words)

    return Scenario(
        name=f"no-ceiling-{latency * 1000:g}ms",
        hub=(),
        latency=latency,
        seconds=seconds,
        bound=f"full speed in {within} s, none refused",
        judge=judge,
    )


def _are_all_accepted(run: Run, records: int) -> bool:
    found = run.summary.get("records", {})
    return bool(found.get("read") == found.get("accepted") == records and run.summary["exit_code"] == 0)


def _faults(records: int) -> Scenario:
    def judge(run: Run) -> Verdict:
        found, requests = run.summary.get("records", {}), run.summary.get("requests", {})
        faults = sum(second.faults for second in run.seconds)
        words = (
            f"{found.get('accepted', 0):,} of {records:,} accepted, {found.get('exhausted', 0):,} exhausted; "
            f"{faults:,} faults, {requests.get('retried', 0):,} retried, {len(run.seconds)} s"
        )
        return Verdict(_are_all_accepted(run, records), None, words)

    return Scenario(
        name="faults",
        hub=("--fault", FAULTS),
        seconds=120,
        records=records,
        bound="all accepted",
        judge=judge,
    )


def _outage(begin: int, length: int, *, rate: int = 1000) -> Scenario:
    """An attempt is a connection, since a hub that is gone reads no request; the bound is that of each second."""
    records = (2 * begin + 5) * rate

    def judge(run: Run) -> Verdict:
        attempts = [second.turned_away for second in run.seconds[begin : begin + length]]
        is_gentle = len(attempts) == length and max(attempts[1:]) <= 1
        # Nobody knows of the end who has not asked; the first acceptance after it tells how long that took.
        later = enumerate(run.seconds[begin + length :])
        back = next((f"within {at + 1} s" for at, second in later if second.accepted), "never")
        words = (
            f"{run.summary.get('records', {}).get('accepted', 0):,} of {records:,} accepted; "
            f"attempts by second: {' '.join(map(str, attempts))}; back {back}"
        )
        return Verdict(_are_all_accepted(run, records) and is_gentle, None, words)

    return Scenario(
        name="outage",
        hub=("--throttle", f"{rate}", "--outage", f"{begin}:{length}"),
        seconds=begin + length + records // rate,
        records=records,
        bound="all accepted, ≤ 1 attempt/s",
        judge=judge,
    )
