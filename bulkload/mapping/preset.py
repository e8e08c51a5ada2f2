"""What a preset is: a mapping by name, for the exports of one other system."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from bulkload.installation import Fields
from bulkload.mapping.flags import MappingFlags


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A mapping for the exports of one system; a user's flags refine it.

    `expects` says in one sentence which export it takes and how to get it. `records` is the path of the array within a
    JSON document, where that export is one. `objects` comes before the flags: from one source object (a JSON object, or
    a row as its cells by column) it makes those that the flags act on. `columns` are those that a table has to have,
    for each the names that it may bear: without one of them the preset would take nothing, or too much. `read` takes
    the place of JSON for texts that are something else, and raises `ValueError` for what it cannot read.
    """

    name: str
    expects: str
    records: str | None = None
    columns: tuple[tuple[str, ...], ...] = ()
    flags: MappingFlags = field(default_factory=MappingFlags)
    objects: Callable[[Fields], Iterable[Fields]] | None = None
    read: Callable[[bytes], Fields] | None = None
