"""Rows as objects: columns that are field paths are nested, empty cells are absent, tags are split."""

from typing import Any, NamedTuple

import orjson

from bulkload.installation import FIELDS, Fields, Finding
from bulkload.mapping.paths import Kind, Unmappable, kind, parse, with_user, write
from bulkload.mapping.tags import split

# Files of one load seldom have two headers; a source whose rows all differ must not fill the memory.
KEPT_HEADERS = 64

_TEXTS = frozenset(name for name in FIELDS if kind((name,)) is Kind.TEXT)


class Column(NamedTuple):
    """A column that is not just a top-level field by its own name: where its cells belong, and what they hold."""

    name: str
    holders: tuple[str, ...]
    last: str
    kind: Kind


class Header(NamedTuple):
    """What the columns of a row are, found out once for all rows that have them."""

    unseen: tuple[str, ...]
    """The columns that expressions do not see by their own names."""
    own: tuple[str, ...]
    """The top-level names among all paths that are an installation's."""
    own_flat: tuple[str, ...]
    """Those of them that are a column by the same name."""
    nested: tuple[Column, ...]
    """The columns that belong elsewhere, outer ones first."""
    own_nested: tuple[Column, ...]
    """Those of them that are an installation's."""
    unknown: tuple[Finding, ...]
    """A warning for each column that is no field of an installation."""
    is_plain: bool
    """Whether a row is an object as it is: nothing is nested or split."""


class Rows:
    """Makes objects of rows, which stay as they are.

    `leave_out` are the fields for which a row's own are not taken. A typed source's whole numbers become texts where an
    installation holds a text.
    """

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

    def installation(self, row: Fields, header: Header) -> Fields:
        """The installation that a row's columns describe by themselves; raises `Unmappable`."""
        fields = self.own(row, header.own_flat)
        if header.own_nested:
            self._nest(fields, row, header.own_nested)
        return fields

    def view(self, row: Fields, header: Header) -> Fields:
        """What expressions see of a row: its cells by their columns, and what is nested; raises `Unmappable`."""
        if header.is_plain:
            return row
        # A copy less a few: 0.15 us for ten columns, where a comprehension takes 0.5.
        fields = row.copy()
        for name in header.unseen:
            del fields[name]
        self._nest(fields, row, header.nested)
        return fields

    def own(self, source: Fields, names: tuple[str, ...]) -> Fields:
        """The fields of these names that are not empty, as a new object."""
        fields: Fields = {}
        for name in names:
            value = source.get(name)
            if value.__class__ is str:
                if value:
                    fields[name] = value
            # 0 and false, which only typed sources have, are not empty.
            elif value or value == 0:
                fields[name] = str(value) if value.__class__ is int and name in _TEXTS else value
        return with_user(fields)

    def _nest(self, fields: Fields, row: Fields, columns: tuple[Column, ...]) -> None:
        for name, holders, last, kind_ in columns:
            value = row[name]
            if value.__class__ is not str:
                value = _typed(name, value, kind_)
            elif kind_ is Kind.TAGS:
                value = split(value, self._tag_separator)
            if not value and value != 0:
                continue
            holder = fields
            for inner_name in holders:
                inner: Any = holder.get(inner_name)
                if isinstance(inner, dict):
                    is_cell = holder is fields and row.get(inner_name) is inner
                    if is_cell:
                        # It stands in a cell: an object that others add to.
                        inner = fields[inner_name] = _copied(inner_name, inner)
                    holder = inner
                elif inner is None or inner == "":
                    holder[inner_name] = holder = {}
                else:
                    self._refuse(name, holders, inner_name)
                    break
            else:
                holder[last] = value

    @staticmethod
    def _refuse(column: str, holders: tuple[str, ...], at: str) -> None:
        """Two columns that claim one place, both with something in them; others than an installation's may."""
        if holders[0] in FIELDS:
            place = write(holders[: holders.index(at) + 1])
            raise Unmappable(f"column {column} has no place: {place} is no object")


def _typed(column: str, value: Any, kind_: Kind) -> Any:
    """A typed source's cell: its own objects are copied, since other columns may be written into them."""
    if value.__class__ is int and kind_ is Kind.TEXT:
        return str(value)
    return _copied(column, value) if value.__class__ is dict else value


def _copied(column: str, value: Fields) -> Any:
    try:
        return orjson.loads(orjson.dumps(value))
    except TypeError as exc:
        raise Unmappable(f"column {column}: its object cannot be written as JSON: {exc}") from exc


def _header(columns: tuple[str, ...], leave_out: frozenset[str]) -> Header:
    paths = {column: parse(column) or (column,) for column in columns}
    flat = [column for column, path in paths.items() if path == (column,) and column != "tags"]
    others = sorted((column for column in columns if column not in flat), key=lambda column: len(paths[column]))
    nested = {column: Column(column, paths[column][:-1], paths[column][-1], kind(paths[column])) for column in others}
    own = [
        name for name in dict.fromkeys(path[0] for path in paths.values()) if name in FIELDS and name not in leave_out
    ]
    return Header(
        unseen=("tags",) if "tags" in columns else (),
        own=tuple(own),
        own_flat=tuple(name for name in own if name in flat),
        nested=tuple(nested.values()),
        own_nested=tuple(column for name, column in nested.items() if paths[name][0] in own),
        unknown=tuple(
            Finding("unknown-column", f"column {column} is no field of an installation: it is left out")
            for column, path in paths.items()
            if path[0] not in FIELDS
        ),
        is_plain=not others,
    )
