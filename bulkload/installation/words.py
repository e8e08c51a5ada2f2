"""How a message shows values, names and what was meant, always on one line."""

from collections.abc import Iterable
from difflib import get_close_matches
from functools import lru_cache

import orjson

_KINDS = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}

# What a terminal line bears of a value, and what names of fields bear of being compared.
_SHOWN = 60


def kind(value: object) -> str:
    """What a value is called in JSON."""
    return _KINDS.get(type(value), "a number")


def shown(value: object) -> str:
    """A value in one short line.

    `repr` would do for texts alone: it gives up on what is nested deep, and takes its time for what is long.
    """
    if isinstance(value, str):
        return repr(value) if len(value) <= _SHOWN else f"{repr(value[:_SHOWN])[: _SHOWN - 3]}…"
    try:
        text = orjson.dumps(value).decode()
    except TypeError:
        return kind(value)
    return _cut(text)


def label(name: object) -> str:
    """A name as part of a place such as ``templates.welcome.body``."""
    if isinstance(name, str) and name.isprintable():
        return name if len(name) <= _SHOWN else f"{name[: _SHOWN - 3]}…"
    return _cut(str(name))


def _cut(text: str) -> str:
    short = text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}…"
    return short if short.isprintable() else repr(short)[1:-1][:_SHOWN]


def listed(names: Iterable[str]) -> str:
    """Names in their order, as a sentence has them."""
    return ", ".join(sorted(names))


def missing(name: str, fields: Iterable[object], place: str = "") -> str:
    """That a field is missing, and which of those that are there may have been meant for it."""
    meant = next((other for other in fields if other != name and _folded(other) == _folded(name)), None)
    return f"{place}{name} is missing" + (f"; {label(meant)} has to be spelled {name}" if meant is not None else "")


# One name comes with every record of a source: a comparison with all fields costs some 30 us, its memory 0.1 us.
@lru_cache(maxsize=1000)
def near(name: str, known: frozenset[str]) -> str | None:
    """That one of the known names which was meant by another, as far as one can tell."""
    if len(name) > _SHOWN:
        return None
    by_folded = {_folded(other): other for other in sorted(known)}
    close = get_close_matches(_folded(name), by_folded, n=1, cutoff=0.75)
    return by_folded[close[0]] if close else None


def _folded(name: object) -> str:
    """A name without what tells installationId, installation_id and InstallationID apart."""
    return name[:_SHOWN].casefold().replace("_", "").replace("-", "") if isinstance(name, str) else ""
