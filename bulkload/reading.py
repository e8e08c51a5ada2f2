"""How sources are read, mapped and checked: the flags that `load` and `check` share."""

import codecs
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

import orjson

from bulkload.errors import InputError, require
from bulkload.installation import Checker
from bulkload.mapping import Intake, MappingFlags, build
from bulkload.mapping.flags import Transform
from bulkload.mapping.paths import parse
from bulkload.mapping.presets import find_preset
from bulkload.source import Source
from bulkload.source.encoding import is_utf_8
from bulkload.source.layout import Format, Layout

# What is said of a source from which no record comes.
LEAVES_ALL_OUT = "the mapping leaves out every object; see what --where and --preset want, with bulkload check --show 3"

# Without them there is no installation.
REQUIRED = ("installationId", "platform", "pushChannel")


class ReadingFlags(TypedDict, total=False):
    """The keywords of `load` and `check` that say how sources are read; see `Layout` and `MappingFlags`."""

    format: Format
    delimiter: str | None
    encoding: str
    records: str | None
    preset: str | None
    json_column: Iterable[str]
    each: str | None
    where: str | None
    map: Mapping[str, str]
    transform: Transform | str | os.PathLike[str] | None
    map_value: Mapping[str, Mapping[str, str]]
    default: Mapping[str, str]
    set: Mapping[str, str]
    tag: Iterable[str]
    id_from: str | None
    repair: Iterable[str]
    convert_gcm_templates: bool
    tag_separator: str
    allow: Iterable[str]
    deny: Iterable[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How sources are laid out, what is mapped, and which rules are errors (`deny`) or warnings (`allow`)."""

    layout: Layout = field(default_factory=Layout)
    mapping: MappingFlags = field(default_factory=MappingFlags)
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()

    @classmethod
    def out_of(cls, flags: Mapping[str, Any]) -> tuple["Reading", dict[str, Any]]:
        """From those of the flags that say how sources are read, and the other ones; raises `InputError`."""
        names = ReadingFlags.__annotations__
        reading = cls.of({name: value for name, value in flags.items() if name in names})
        return reading, {name: value for name, value in flags.items() if name not in names}

    @classmethod
    def of(cls, flags: Mapping[str, Any]) -> "Reading":
        """From flags by their names, those left out or None by their defaults; raises `InputError`."""
        given = {name: _fit(name, value) for name, value in flags.items() if value is not None}
        layout = {name: given.pop(name) for name in Layout.__slots__ if name in given}
        rules = {name: given.pop(name) for name in ("allow", "deny") if name in given}
        if "repair" in given:
            given["repair"] = frozenset(given["repair"])
        mapping = MappingFlags(**given)
        usual = find_preset(mapping.preset).records if mapping.preset is not None else None
        return cls(layout=Layout(**layout, usual=usual, is_whole=mapping.each is not None), mapping=mapping, **rules)

    def kept(self) -> dict[str, Any]:
        """The flags by their names, as JSON can hold them and `of` takes them in any folder.

        Of a function given from Python only the name is left: `{"function": …}`.
        """
        layout = {name: getattr(self.layout, name) for name in Layout.__slots__ if name in ReadingFlags.__annotations__}
        mapping = {name: getattr(self.mapping, name) for name in MappingFlags.__slots__}
        flags = layout | mapping | {"allow": self.allow, "deny": self.deny}
        flags["repair"] = sorted(self.mapping.repair)
        transform = self.mapping.transform
        if callable(transform):
            flags["transform"] = {"function": getattr(transform, "__qualname__", type(transform).__qualname__)}
        elif transform is not None:
            flags["transform"] = str(Path(transform).absolute())
        return {name: value for name, value in flags.items() if value not in (None, (), [], {}, False)}

    def intake(self, *, api_version: str | None = None) -> Intake:
        """What turns source objects into records; raises `InputError` for a flag that cannot be used."""
        checker = Checker(allow=self.allow, deny=self.deny, api_version=api_version)
        return Intake(checker, build(self.mapping))

    def fingerprint(self, intake: Intake, sources: Iterable[Source]) -> str:
        """Tells apart what makes other records of the same sources, whose own fingerprints were awaited.

        Empty where nothing is mapped and all is UTF-8 of one object a line.
        """
        shape = {
            "mapping": intake.fingerprint,
            "encoding": "" if is_utf_8(self.layout.encoding) else codecs.lookup(self.layout.encoding).name,
            "records": self.layout.records or "",
            # Told by content, but also by --format and by a file's name.
            "forms": [(source.form, source.delimiter) for source in sources if source.form != "ndjson"],
        }
        told = {name: value for name, value in shape.items() if value}
        return orjson.dumps(told).decode() if told else ""

    def require_columns(self, source: Source) -> None:
        """Refuse a table from which no installation can come, rather than each of its rows; raises `InputError`."""
        if not source.columns:
            return
        if (first := next(self._missing(frozenset(source.columns)), None)) is not None:
            missing, advice = first
            columns = ", ".join(source.columns[:20]) + (", …" if len(source.columns) > 20 else "")
            raise InputError(f"source {source.name} has no column {missing}; its columns are {columns}: {advice}")

    def _missing(self, columns: frozenset[str]) -> Iterator[tuple[str, str]]:
        """What a table with these columns lacks, and what to do about it."""
        flags = self.mapping
        for column in flags.json_column:
            if column not in columns:
                yield column, f"--json-column {column} names one of them"
        if flags.preset is not None:
            for names in find_preset(flags.preset).columns:
                if columns.isdisjoint(names):
                    yield " or ".join(names), f"--preset {flags.preset} needs it, see bulkload presets"
        if flags.preset is not None or flags.each is not None or flags.transform is not None:
            return
        paths = [
            *(parse(name) for name in columns),
            *(parse(name) for name, text in flags.map.items() if text.strip()),
            *(parse(name) for name in (*flags.set, *flags.default)),
        ]
        tops = {path[0] for path in paths if path} | ({"installationId"} if flags.id_from is not None else set())
        left_out = {path[0] for name, text in flags.map.items() if not text.strip() and (path := parse(name))}
        missing = [name for name in REQUIRED if name not in tops - left_out]
        if missing:
            advice = f"say which of them it is with --map {missing[0]}=COLUMN, or give all records one with --set"
            yield " and no ".join(missing), advice


# What a flag is in Python, for those that are no texts.
_LISTS = frozenset({"json_column", "tag", "repair", "allow", "deny"})
_TABLES = frozenset({"map", "default", "set"})


def _fit(name: str, value: Any) -> Any:
    """A flag's value as it is kept: a text for a list is its only element. Raises `InputError` for other types."""
    flag = name.replace("_", "-")
    if name in _LISTS:
        if isinstance(value, str):
            value = (value,)
        elif isinstance(value, Iterable) and not isinstance(value, Mapping):
            value = tuple(value)
        require(flag, value, tuple, lambda texts: all(isinstance(text, str) for text in texts), "a list of texts")
    elif name in _TABLES:
        require(flag, value, Mapping, _is_table, "a table of texts by their fields")
    elif name == "map_value":
        require(flag, value, Mapping, _is_table_of_tables, "for each field a table of texts by texts")
    elif name == "convert_gcm_templates":
        require(flag, value, bool, lambda _: True, "true or false")
    elif name == "transform":
        is_given = callable(value) or isinstance(value, str | os.PathLike)
        require(flag, value, object, lambda _: is_given, "a file or a function")
    else:
        require(flag, value, str, lambda _: True, "a text")
    return value


def _is_table(value: object) -> bool:
    return isinstance(value, Mapping) and all(isinstance(text, str) for pair in value.items() for text in pair)


def _is_table_of_tables(value: Mapping[Any, object]) -> bool:
    return all(isinstance(name, str) and _is_table(table) for name, table in value.items())
