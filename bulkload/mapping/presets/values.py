"""What presets ask of values in foreign exports, whose types nobody promises."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

import orjson

from bulkload.installation import Fields

# The repairs that foreign ids, users and tags need: their systems allow more characters than the hub.
REPAIRS = frozenset({"id", "tags", "user-id", "system-tags"})

# Fields of an installation that no other system means when one of its columns bears such a name.
NOT_THEIRS: Mapping[str, str] = MappingProxyType(
    {"templates": "", "secondaryTiles": "", "pushVariables": "", "expirationTime": ""}
)


def one_of(expression: str, *values: str) -> str:
    """An EXPR that holds where another yields one of these texts.

    They stand in it as one literal, since a list is evaluated text by text: 5 us of 57 for one of OneSignal's players.
    """
    return f"contains(`{orjson.dumps(values).decode()}`, {expression})"


def each(source_object: Fields, name: str) -> Iterator[Fields]:
    """The objects in a page of a listing, whose array bears this name; what is no page is such an object itself."""
    page = source_object.get(name)
    if isinstance(page, list):
        yield from (element for element in page if isinstance(element, dict))
    else:
        yield source_object


def parsed(value: object) -> object:
    """What the JSON text of an object or array holds, as CSV cells have them; any other value as it is."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return orjson.loads(value)
        except orjson.JSONDecodeError:
            return value
    return value


def text(value: object) -> str:
    """A scalar as a person would write it; nothing for anything else."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int | float) else ""


def tags(value: object) -> object:
    """Tags as the hub has them: the texts of an array, ``key:value`` for each pair of an object.

    A leading ``$``, which is for the hub's own tags, becomes ``_``. What is neither an array nor an object stays as it
    is, for the check to name.
    """
    value = parsed(value)
    if value is None or value == "":
        return []
    if isinstance(value, list):
        told = [text(element) for element in value]
    elif isinstance(value, dict):
        told = [
            f"{key}:{text(element)}"
            for key, elements in value.items()
            for element in (elements if isinstance(elements, list) else [elements])
            if text(element)
        ]
    else:
        return value
    return [f"_{tag[1:]}" if tag[0] == "$" else tag for tag in told if tag]


def tagged(fields: Fields, found: object) -> Fields:
    """A copy of an object that has these tags, or no field of that name where there are none."""
    copy = {name: value for name, value in fields.items() if name != "tags"}
    if found:
        copy["tags"] = found
    return copy
