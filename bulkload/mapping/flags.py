"""What a mapping is made of, as a user says it: by flags, by a config file, or by a preset."""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from bulkload.installation import Fields

# A user's own function in place of each, where and map: a deterministic generator of installations.
Transform = Callable[[Fields], Iterable[Fields]]

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

    @property
    def is_empty(self) -> bool:
        """Whether nothing is to be mapped; how tags are separated alone maps nothing."""
        return replace(self, tag_separator=TAG_SEPARATOR) == MappingFlags()

    def over(self, under: "MappingFlags") -> "MappingFlags":
        """These flags on top of others, such as a preset's: what is said here wins, what only adds is added.

        Both `where` must hold. A `transform` here takes the place of `each`, `where` and `map` there as well.
        """
        if self.transform is not None:
            under = replace(under, transform=None, each=None, where=None, map={})
        return MappingFlags(
            preset=self.preset or under.preset,
            json_column=tuple(dict.fromkeys((*under.json_column, *self.json_column))),
            each=self.each if self.each is not None else under.each,
            where=_both(under.where, self.where),
            map={**under.map, **self.map},
            transform=self.transform if self.transform is not None else under.transform,
            map_value={
                name: {**under.map_value.get(name, {}), **self.map_value.get(name, {})}
                for name in {**under.map_value, **self.map_value}
            },
            default={**under.default, **self.default},
            set={**under.set, **self.set},
            tag=tuple(dict.fromkeys((*under.tag, *self.tag))),
            id_from=self.id_from if self.id_from is not None else under.id_from,
            repair=self.repair | under.repair,
            convert_gcm_templates=self.convert_gcm_templates or under.convert_gcm_templates,
            tag_separator=self.tag_separator if self.tag_separator != TAG_SEPARATOR else under.tag_separator,
        )


def _both(first: str | None, second: str | None) -> str | None:
    if first is None or second is None:
        return second if first is None else first
    return f"({first}) && ({second})"
