"""From a source object to the installations that are to be sent."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from bulkload.installation import Checker, Fields, Finding, Flaw, Installation

# What a mapping makes of a source object, one by one: an installation's fields with what there is to say of how they
# were made, or why they could not be.
Mapped = tuple[Fields, tuple[Finding, ...]] | Flaw


class Mapping(Protocol):
    """A deterministic function from one source object to zero, one or several installations."""

    @property
    def fingerprint(self) -> str:
        """A text that tells this mapping from another, for the ledger; empty where it changes nothing."""

    @property
    def is_one_to_one(self) -> bool:
        """Whether every source object yields exactly one record."""

    def read(self, text: bytes) -> object:
        """The source object that a text of a source holds, most often its JSON; raises `ValueError`."""

    def installations(self, source_object: Fields) -> Iterable[Mapped]:
        """What it makes of a source object, which is left as it is. What goes wrong is a `Flaw`; it never raises."""


class Intake:
    """Reads, maps and checks: `records` gives a source object's installations, or why there is none."""

    def __init__(self, checker: Checker, mapping: Mapping | None = None) -> None:
        self._checker = checker
        self._mapping = mapping

    @property
    def is_one_to_one(self) -> bool:
        """Whether every source object yields exactly one record."""
        return self._mapping is None or self._mapping.is_one_to_one

    def records(self, datum: bytes | Fields) -> Sequence[Installation | Flaw | None]:
        """The records of a source object, in order; None where the mapping leaves one out. Never raises."""
        if self._mapping is None:
            return (self._checker.check(datum) if isinstance(datum, bytes) else self._checker.check_fields(datum),)
        if isinstance(datum, bytes):
            try:
                source_object = self._mapping.read(datum)
            except ValueError as exc:
                return (Flaw.of("not-json", f"not a JSON text: {exc}"),)
            if not isinstance(source_object, dict):
                return (Flaw.of("not-an-object", "a source object is a JSON object, this is something else"),)
        else:
            source_object = datum
        made: list[Installation | Flaw | None] = []
        for mapped in self._mapping.installations(source_object):
            if isinstance(mapped, Flaw):
                made.append(mapped)
                continue
            fields, notes = mapped
            made.append(self._checker.check_fields(fields, notes))
        return made
