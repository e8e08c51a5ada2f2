"""Rows as objects: columns that are field paths are nested, empty cells are absent, tags are split."""

from typing import NamedTuple

from bulkload.installation import Fields, Finding
from bulkload.mapping.paths import OWN, Kind, Path, Unmappable, kind, parse, write
from bulkload.mapping.tags import split

# The columns that a file of dead letters adds to those of its source.
DEAD_LETTER_COLUMNS = "_bulkload_"

# Files of one load seldom have two headers; a source whose rows all differ must not fill the memory.
KEPT_HEADERS = 64


class Column(NamedTuple):
    """A column that is not just a top-level field by its own name."""

    name: str
    path: Path
    is_tags: bool


class Header(NamedTuple):
    """What the columns of a row are, found out once for all rows that have them.

    `flat` are top-level fields, `nested` are the others, parents first; `own` are the top-level names among all that an
    installation has.
    """

    flat: tuple[str, ...]
    nested: tuple[Column, ...]
    own: tuple[str, ...]
    unknown: tuple[Finding, ...]
    """A warning for each column that is no field of an installation."""
    is_plain: bool
    """Whether a row is an object as it is: nothing is nested, split or left out."""


class Rows:
    """Makes objects of rows, which stay as they are."""

    def __init__(self, tag_separator: str, leave_out: frozenset[str] = frozenset()) -> None:
        self._tag_separator = tag_separator
        self._leave_out = leave_out
        self._headers: dict[tuple[str, ...], Header] = {}
        self._columns: tuple[str, ...] = ()
        self._header = _header((), leave_out)

    def header(self, row: Fields) -> Header:
        """The plan for a row's columns."""
        columns = tuple(row)
        # Most rows have the header of the one before: comparing costs less than hashing (0.1 us against 0.2).
        if columns == self._columns:
            return self._header
        header = self._headers.get(columns)
        if header is None:
            if len(self._headers) >= KEPT_HEADERS:
                self._headers.clear()
            header = self._headers[columns] = _header(columns, self._leave_out)
        self._columns, self._header = columns, header
        return header

    def view(self, row: Fields, header: Header) -> Fields:
        """What expressions see of a row: its cells by their columns, and what is nested as well."""
        if header.is_plain:
            return row
        fields = {name: row[name] for name in (*header.flat, *(column.name for column in header.nested))}
        self._nest(fields, row, header)
        return fields

    def own(self, view: Fields, header: Header) -> Fields:
        """An installation's fields among what a row holds, as a new object."""
        fields: Fields = {}
        for name in header.own:
            _take(fields, name, view.get(name))
        if "userID" in fields:
            fields.setdefault("userId", fields.pop("userID"))
        return fields

    def _nest(self, fields: Fields, row: Fields, header: Header) -> None:
        made: set[int] = set()
        for column, path, is_tags in header.nested:
            value = row[column]
            if is_tags and type(value) is str:
                value = split(value, self._tag_separator)
            if not value and value != 0:
                if path[0] == column:
                    fields.pop(column, None)
                continue
            holder = fields
            for depth, name in enumerate(path[:-1], 1):
                inner = holder.get(name)
                if not inner:
                    inner = {}
                elif type(inner) is not dict:
                    if path[0] in OWN:
                        raise Unmappable(f"column {column} has no place: {write(path[:depth])} is no object")
                    break
                elif id(inner) not in made:
                    # It stands in a cell: a JSON column that others add to.
                    inner = {**inner}
                made.add(id(inner))
                holder[name] = holder = inner
            else:
                holder[path[-1]] = str(value) if type(value) is int and kind(path) is Kind.TEXT else value


def _take(fields: Fields, name: str, value: object) -> None:
    """Put a cell under its name. An empty one is absent; typed sources have numbers, and 0 and false are not empty."""
    if value.__class__ is str:
        if value:
            fields[name] = value
    elif value or value == 0:
        fields[name] = str(value) if value.__class__ is int and kind((name,)) is Kind.TEXT else value


def _header(columns: tuple[str, ...], leave_out: frozenset[str]) -> Header:
    kept = [column for column in columns if not column.startswith(DEAD_LETTER_COLUMNS)]
    paths = {column: parse(column) or (column,) for column in kept}
    flat = tuple(column for column, path in paths.items() if path == (column,) and column != "tags")
    others = [Column(column, path, kind(path) is Kind.TAGS) for column, path in paths.items() if column not in flat]
    tops = dict.fromkeys(path[0] for path in paths.values())
    return Header(
        flat=flat,
        nested=tuple(sorted(others, key=lambda column: len(column.path))),
        own=tuple(name for name in tops if name in OWN and name not in leave_out),
        unknown=tuple(
            Finding("unknown-column", f"column {column} is no field of an installation: it is left out")
            for column, path in paths.items()
            if path[0] not in OWN
        ),
        is_plain=not others and len(kept) == len(columns),
    )
