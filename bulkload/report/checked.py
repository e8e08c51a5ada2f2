"""What a check found, in numbers and first examples."""

from dataclasses import dataclass
from typing import Any, Literal

import orjson

CheckOutcome = Literal["clean", "flaws", "stopped"]
Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a record stands: its source, the line at which its source object begins, and its id if it has one."""

    source: str
    line: int
    id: str | None


@dataclass(frozen=True, slots=True)
class Example:
    """One finding: the record's place as in `Spot`, and what the rule says of it."""

    source: str
    line: int
    id: str | None
    message: str


@dataclass(frozen=True, slots=True)
class RuleBroken:
    """A rule that records break: how many do, how often in all, and the first of them.

    A warning leaves its record valid.
    """

    code: str
    severity: Severity
    records: int
    findings: int
    examples: tuple[Example, ...]


@dataclass(frozen=True, slots=True)
class RecordsChecked:
    """`read` is `valid` and `invalid`; `filtered` counts what the mapping leaves out: objects, or elements of them."""

    source_objects: int = 0
    read: int = 0
    valid: int = 0
    invalid: int = 0
    filtered: int = 0


@dataclass(frozen=True, slots=True)
class TagUses:
    """A tag of installations, and how many times it is used."""

    tag: str
    uses: int


@dataclass(frozen=True, slots=True)
class TagsUsed:
    """The different tags of valid records: their number, and the 20 commonest. Templates' own tags are not counted."""

    distinct: int = 0
    commonest: tuple[TagUses, ...] = ()


@dataclass(frozen=True, slots=True)
class Twice:
    """Two records of one value: the first, and one that has it again."""

    first: Spot
    again: Spot


@dataclass(frozen=True, slots=True)
class Repeated:
    """Values that several valid records have: how many such values, and the records beyond the first of each.

    `other_ids` counts those of these records whose id is not that of the first: for push channels, devices that would
    get every message more than once. For ids it is 0.
    """

    values: int = 0
    records: int = 0
    other_ids: int = 0
    examples: tuple[Twice, ...] = ()


@dataclass(frozen=True, slots=True)
class Duplicates:
    """Duplicates among valid records: of ids the last one counts in a load; a browser's channel is its endpoint."""

    ids: Repeated = Repeated()
    push_channels: Repeated = Repeated()


@dataclass(frozen=True, slots=True)
class LoadTime:
    """The seconds that a load of the valid records takes at a rate of so many requests per second."""

    requests: int
    rate: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Shown:
    """A source object as it came, the bodies that are sent of it, and its flaws; without either it is filtered."""

    source: str
    line: int
    before: str
    bodies: tuple[str, ...]
    flaws: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """What a check found.

    `outcome` is ``clean`` (also with warnings), ``flaws``, or ``stopped`` where a source broke off or somebody stopped
    it: then it tells of what came before, and `reason` says why. `exit_code` is the command's. The JSON has these keys,
    and within them those of the classes they are of: ``schema`` (1), ``outcome``, ``exit_code``, ``reason``,
    ``records``, ``rules`` (errors before warnings, those of most records first), ``platforms`` (records by platform),
    ``tags``, ``duplicates``, ``load``, ``warnings``, ``shown``, ``elapsed`` (seconds), ``sources``, ``invalid_file``.
    """

    outcome: CheckOutcome
    exit_code: int
    reason: str | None = None
    records: RecordsChecked
    rules: tuple[RuleBroken, ...] = ()
    platforms: dict[str, int]
    tags: TagsUsed
    duplicates: Duplicates
    load: LoadTime
    warnings: tuple[str, ...] = ()
    shown: tuple[Shown, ...] = ()
    elapsed: float
    sources: tuple[str, ...]
    invalid_file: str | None = None
    schema: int = 1

    def to_json(self) -> bytes:
        """The report as scripts read it, on one line."""
        return orjson.dumps(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        document: dict[str, Any] = orjson.loads(orjson.dumps(self))
        return {"schema": document.pop("schema"), **document}
