"""How fast bulkload is to be beside each peer, and whether it is: ratios of medians within one measurement."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from benchmarks.results import SCHEMES, Results, Row, Scheme

# Who is held to the goals: bulkload as it is by default.
SUBJECT = "bulkload-wire"


class Goal(NamedTuple):
    """What a ratio has to reach, and what it ought to."""

    floor: float
    aim: float


@dataclass(frozen=True, slots=True)
class Rival:
    """A peer that goals are set against: the fastest of the rows that have one of these names."""

    title: str
    names: Sequence[str]
    goals: Mapping[Scheme, Goal]


RIVALS = (
    Rival(
        "wrk, best of 64 and 128 connections",
        ("wrk-64", "wrk-128"),
        {"plain": Goal(0.50, 0.62), "tls": Goal(0.45, 0.58)},
    ),
    Rival("the bare undici loop", ("undici",), {"plain": Goal(1.5, 1.9), "tls": Goal(1.4, 1.8)}),
    Rival("bare tuned aiohttp", ("aiohttp-tuned",), {"plain": Goal(3.2, 4.5), "tls": Goal(4.0, 5.5)}),
    Rival("the official JavaScript SDK", ("official-sdk",), {"tls": Goal(13, 17)}),
)


@dataclass(frozen=True, slots=True)
class Ratio:
    """bulkload's rate divided by a rival's; None where one of the two was not measured."""

    rival: Rival
    scheme: Scheme
    value: float | None

    @property
    def goal(self) -> Goal:
        return self.rival.goals[self.scheme]

    @property
    def is_floor_reached(self) -> bool:
        return self.value is not None and self.value >= self.goal.floor

    @property
    def is_aim_reached(self) -> bool:
        return self.value is not None and self.value >= self.goal.aim


def ratios(results: Results) -> Iterator[Ratio]:
    """Every ratio that has a goal, for the schemes that were measured."""
    for scheme in SCHEMES:
        if not results.of(scheme):
            continue
        subject = results.best((SUBJECT,), scheme)
        for rival in RIVALS:
            if scheme in rival.goals:
                yield Ratio(rival, scheme, over(subject, results.best(rival.names, scheme)))


def over(row: Row | None, other: Row | None) -> float | None:
    """How many times as fast a row is as another."""
    return row.per_second.median / other.per_second.median if row and other else None


def by_cpu(row: Row | None, other: Row | None) -> float | None:
    """The same by processor time per record: a second witness, whom others on the machine disturb less."""
    return other.cpu.median / row.cpu.median if row and other else None
