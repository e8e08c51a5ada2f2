"""What a mapping is made of, as a user says it: by flags, by a config file, or by a preset."""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from bulkload.installation import Fields

# A user's own function in place of each, where and map: a deterministic generator of installations.
Transform = Callable[[Fields], Iterable[Fields]]

# What can be mended rather than refused.
REPAIRS = ("id", "tags", "user-id", "system-tags")

# What stands between the tags of one cell or text.
TAG_SEPARATOR = "|"


@dataclass(frozen=True, slots=True, kw_only=True)
class MappingFlags:
    """The mapping flags, by their names; FIELD is a path such as ``templates.welcome.body``, EXPR is JMESPath.

    They act in the order in which they stand here. `transform` is a function or ``FILE.py[:FUNCTION]``; it takes the
    place of `each`, `where` and `map`.
    """

    preset: str | None = None
    json_column: tuple[str, ...] = ()
    each: str | None = None
    where: str | None = None
    map: Mapping[str, str] = field(default_factory=dict)
    """EXPR by FIELD; an empty one leaves the field out."""
    transform: Transform | str | os.PathLike[str] | None = None
    map_value: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """For each FIELD what a value becomes; ``*`` stands for the rest."""
    default: Mapping[str, str] = field(default_factory=dict)
    """Text by FIELD, where that is empty."""
    set: Mapping[str, str] = field(default_factory=dict)
    """Text by FIELD, always."""
    tag: tuple[str, ...] = ()
    """Texts such as ``country:{country}``, whose braces hold EXPRs."""
    id_from: str | None = None
    repair: frozenset[str] = frozenset()
    """Some of ``id``, ``tags``, ``user-id`` and ``system-tags``."""
    convert_gcm_templates: bool = False
    tag_separator: str = TAG_SEPARATOR
