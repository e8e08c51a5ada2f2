"""What a migration came to, for people and for scripts."""

import shlex
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import orjson

from bulkload.registration import Conflict
from bulkload.report.text import count, duration
from bulkload.upload import Requests

SCHEMA = 1

EndedAs = Literal["complete", "partial", "stopped"]


def requests_told(requests: Requests) -> dict[str, int]:
    """Requests as summaries tell them."""
    return {name: getattr(requests, name) for name in ("sent", "throttled", "retried", "failed")}


def requests_line(requests: Requests) -> str:
    """The same in words."""
    return f"requests: {', '.join(f'{number:,} {name}' for name, number in requests_told(requests).items() if number)}"


class Summary(Protocol):
    """What a job came to; as text it is told to people."""

    @property
    def exit_code(self) -> int: ...

    def to_json(self) -> bytes: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ended:
    """What every summary tells: how it ended, what was asked, and what goes on from there."""

    outcome: EndedAs
    exit_code: int
    reason: str | None = None
    requests: Requests
    elapsed: float
    ledger: str | None
    resume: str | None

    def _json(self, counts: dict[str, Any], **files: str | None) -> bytes:
        """One JSON object, with a summary's own counts and files in their places."""
        told = {
            "schema": SCHEMA,
            "outcome": self.outcome,
            "exit_code": self.exit_code,
            "reason": self.reason,
            **counts,
            "requests": requests_told(self.requests),
            "elapsed": round(self.elapsed, 3),
            **files,
            "ledger": self.ledger,
            "resume": self.resume,
        }
        return orjson.dumps(told)


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationSummary(_Ended):
    """What was read in all sessions, and what was made of it; of one that was stopped, what that one read."""

    read: int
    unknown: int
    tiles: int
    failed: int
    channels: int
    written: int
    sharing: int
    conflicts: dict[Conflict, int]
    output: str | None
    left_out: str | None
    is_anything_left: bool

    def to_json(self) -> bytes:
        """The summary as one JSON object."""
        counts = {
            "registrations": {"read": self.read, "unknown": self.unknown, "tiles": self.tiles},
            "installations": {
                "written": self.written,
                "channels": self.channels,
                "failed": self.failed,
                "sharing_their_id": self.sharing,
            },
            "conflicts": self.conflicts,
        }
        return self._json(counts, output=self.output, left_out=self.left_out)

    def __str__(self) -> str:
        """The same in lines."""
        took = duration(self.elapsed)
        if self.outcome == "stopped":
            head = f"stopped in {took}: {self.reason}; {count(self.read, 'registration')} read"
        else:
            read = count(self.read, "registration")
            head = f"{self.outcome} in {took}: {count(self.written, 'installation')} of {read}"
        lines = [head]
        told: dict[str, tuple[int, str]] = {
            "unknown": (self.unknown, "registrations of unknown kinds, left out"),
            "tiles": (self.tiles, "registrations of secondary tiles, left out"),
            "failed": (self.failed, "channels or lines that could not be read or mapped"),
            "sharing": (self.sharing, "installations whose id others have as well: of each id a load keeps the last"),
        }
        told |= {name: (number, _CONFLICTS[name]) for name, number in self.conflicts.items()}
        lines += [f"  {name:<15} {number:>12,}  {words}" for name, (number, words) in told.items() if number]
        if self.requests.sent:
            lines.append(requests_line(self.requests))
        if self.left_out is not None:
            lines.append(f"left out: {self.left_out}")
        if self.ledger is not None and self.outcome != "complete":
            lines.append(f"ledger: {self.ledger}")
        if self.is_anything_left:
            lines.append(f"to continue: {self.resume or 'the same command again, with the same handles'}")
        elif self.output is not None and self.outcome != "stopped":
            lines.append(f"next: bulkload load {shlex.quote(self.output)}")
        return "\n".join(lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletionSummary(_Ended):
    """What became of the old registrations of channels that have installations; with `is_plan`, what would."""

    is_plan: bool
    channels: int
    earlier: int
    not_accepted: int
    not_visible: int
    failed: int
    registrations: int
    kept: int

    def to_json(self) -> bytes:
        """The summary as one JSON object."""
        counts = {
            "plan": self.is_plan,
            "registrations": {"deleted": self.registrations, "kept": self.kept},
            "channels": {
                "done": self.channels,
                "earlier": self.earlier,
                "not_accepted": self.not_accepted,
                "not_visible": self.not_visible,
                "failed": self.failed,
            },
        }
        return self._json(counts)

    def __str__(self) -> str:
        """The same in lines."""
        took, verb = duration(self.elapsed), "to be deleted" if self.is_plan else "deleted"
        done = f"{count(self.registrations, 'old registration')} {verb}, of {count(self.channels, 'channel')}"
        if self.outcome == "stopped":
            lines = [f"stopped in {took}: {self.reason}; {done}"]
        else:
            lines = [f"{self.outcome} in {took}: {done}"]
        told = {
            "earlier": (self.earlier, "channels were done by an earlier session"),
            "not accepted": (self.not_accepted, "installations were not accepted by the load: their channels are left"),
            "not visible": (self.not_visible, "installations do not show among the registrations yet: left"),
            "failed": (self.failed, "channels could not be read, or not all their old registrations deleted"),
            "kept": (self.kept, "registrations of unknown kinds or secondary tiles: not part of the installations"),
        }
        lines += [f"  {name:<12} {number:>12,}  {words}" for name, (number, words) in told.items() if number]
        if self.requests.sent:
            lines.append(requests_line(self.requests))
        if self.outcome != "complete" and self.resume:
            lines.append(f"to continue: {self.resume}")
        return "\n".join(lines)


_CONFLICTS: dict[Conflict, str] = {
    "installation-id": "channels with several installations: one decided",
    "user": "channels with several users: one decided",
    "platform": "channels with registrations of several platforms: those of one were taken",
    "template": "channels with different templates of one name: one of each name was taken",
    "push-variable": "channels with different push variables of one name: one of each name was taken",
}
