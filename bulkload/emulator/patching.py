"""Changing an installation by a list of operations: ``{"op": "add", "path": "/tags", "value": "a"}``.

It looks like RFC 6902, and is not: values are texts, JSON where an object is meant, and adding to tags appends.
"""

from typing import Any, NamedTuple

import orjson

from bulkload.installation import Fields, label

_OPERATIONS = frozenset({"add", "remove", "replace"})


class PatchError(ValueError):
    """The list is none, or cannot be applied; its text says why."""


class _Change(NamedTuple):
    """What an operation does: put a value, add it to what is there, or without one remove that."""

    value: str | None
    is_added: bool


# What stands under a name, and under any name.
_Object = dict[str, Any]
_ANY = "*"
_TEXT = "a text"
_TAGS = "tags"
_TEXTS: _Object = {_ANY: _TEXT}
_TEMPLATE: _Object = {"body": _TEXT, "headers": _TEXTS, "expiry": _TEXT, "tags": _TAGS}
_TEMPLATES: _Object = {_ANY: _TEMPLATE}
_TILE: _Object = {"pushChannel": _TEXT, "tags": _TAGS, "templates": _TEMPLATES}
_INSTALLATION: _Object = {
    "pushChannel": _TEXT,
    "userId": _TEXT,
    "platform": _TEXT,
    "expirationTime": _TEXT,
    "tags": _TAGS,
    "templates": _TEMPLATES,
    "secondaryTiles": {_ANY: _TILE},
    "pushVariables": _TEXTS,
}


def patched(fields: Fields, patch: bytes) -> Fields:
    """The installation as the operations leave it, which may be none that passes the check; raises `PatchError`."""
    try:
        operations = orjson.loads(patch)
    except orjson.JSONDecodeError as exc:
        raise PatchError(f"not a JSON text: {exc}") from None
    if not isinstance(operations, list):
        raise PatchError("a patch is a list of operations")
    for number, operation in enumerate(operations):
        try:
            _apply(fields, operation)
        except PatchError as exc:
            raise PatchError(f"operation {number}: {exc}") from None
    return fields


def _apply(fields: Fields, operation: object) -> None:
    if not isinstance(operation, dict):
        raise PatchError("it is an object of op, path and value")
    op, path, value = (operation.get(name) for name in ("op", "path", "value"))
    name = op.lower() if isinstance(op, str) else None
    if name not in _OPERATIONS:
        raise PatchError("op is add, remove or replace")
    if not isinstance(path, str) or not path.startswith("/"):
        raise PatchError("path is a string that begins with /")
    if name != "remove" and not isinstance(value, str):
        raise PatchError("value is a string")
    names = [part.replace("~1", "/").replace("~0", "~") for part in path[1:].split("/")]
    _change(fields, _INSTALLATION, names, _Change(value if name != "remove" else None, is_added=name == "add"))


def _change(holder: Fields, shape: _Object, names: list[str], change: _Change) -> None:
    """Change what the names lead to, below an object of this shape."""
    name, *rest = names
    below = shape.get(name, shape.get(_ANY)) if name else None
    if below is None or (rest and below is _TEXT):
        raise PatchError(f"nothing can be changed at {label('/'.join(names))}")
    if below is _TAGS:
        _change_tags(holder, name, rest, change)
    elif rest:
        if holder.get(name) is None:
            if change.value is None:
                return
            holder[name] = {}
        _change(holder[name], below, rest, change)
    elif change.value is None:
        holder.pop(name, None)
    else:
        holder[name] = change.value if below is _TEXT else _object(change.value)


def _change_tags(holder: Fields, name: str, rest: list[str], change: _Change) -> None:
    held = holder.get(name) or []
    if rest and (change.value is not None or len(rest) > 1):
        raise PatchError("a single tag can only be removed")
    if rest:
        tags = [tag for tag in held if tag not in rest]
    elif change.value is None:
        tags = []
    else:
        tags = list(dict.fromkeys([*(held if change.is_added else ()), *_tags(change.value)]))
    holder[name] = tags
    if not tags:
        del holder[name]


def _tags(value: str) -> list[str]:
    """One tag, several with commas between them, or a JSON list."""
    if not value.lstrip().startswith("["):
        return [tag for part in value.split(",") if (tag := part.strip())]
    tags = _parsed(value)
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise PatchError("value is a list of tags")
    return tags


def _object(value: str) -> Fields:
    fields = _parsed(value)
    if not isinstance(fields, dict):
        raise PatchError("value is the JSON text of an object")
    return fields


def _parsed(value: str) -> object:
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError as exc:
        raise PatchError(f"value is no JSON text: {exc}") from None
