"""The names of fields at each level: those that the service knows, those it sets itself, and those it once had."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from bulkload.installation.flaw import Finding
from bulkload.installation.words import label, near


@dataclass(frozen=True, slots=True)
class Level:
    """What may stand in one kind of object: its noun, its fields, and for each stale name what to write instead."""

    noun: str
    fields: frozenset[str]
    stale: Mapping[str, str] = field(default_factory=dict)
    has_read_only: bool = False


# GET calls expiredPushChannel pushChannelExpired.
READ_ONLY = frozenset({"lastActiveOn", "lastUpdate", "expiredPushChannel", "pushChannelExpired"})

# userID is how the specification's table spells userId.
INSTALLATION = Level(
    "an installation",
    frozenset(
        {
            "installationId",
            "userId",
            "userID",
            "platform",
            "pushChannel",
            "tags",
            "templates",
            "secondaryTiles",
            "pushVariables",
            "expirationTime",
        }
    ),
    stale={"user": "userId"},
    has_read_only=True,
)
# Every name that an installation's fields may have.
FIELDS = INSTALLATION.fields | READ_ONLY

TEMPLATE = Level(
    "a template",
    frozenset({"body", "headers", "expiry", "tags"}),
    stale={"bodyTemplate": "body", "expiration": "expiry"},
)
TILE = Level("a secondary tile", frozenset({"pushChannel", "tags", "templates"}), has_read_only=True)


def name_findings(names: Iterable[str], level: Level, place: str = "") -> Iterator[Finding]:
    """What there is to say of the names of an object's fields."""
    for name in names:
        if name in level.fields:
            continue
        here = f"{place}{label(name)}"
        if name in READ_ONLY and level.has_read_only:
            yield Finding("read-only-field", f"{here} is read-only and is left out")
        elif name in level.stale:
            yield Finding("stale-field", f"{here} is an old name, which is sent as it is; write {level.stale[name]}")
        else:
            meant = near(name, level.fields)
            hint = f"; did you mean {meant}?" if meant else ""
            yield Finding("unknown-field", f"{here} is no field of {level.noun} and is sent as it is{hint}")
