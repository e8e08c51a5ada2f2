"""Field paths: the places within an installation, what stands at each, and writing there."""

import json
import re
from difflib import get_close_matches
from enum import Enum

from bulkload.errors import InputError
from bulkload.installation import FIELDS, Fields, Flaw

# The names from the outside in: ("templates", "welcome", "body").
Path = tuple[str, ...]

# A name is quoted where it holds a dot or a quote, as in JMESPath: templates."a.b".body.
_NAME = re.compile(r'"(?:[^"\\]|\\.)+"|[^."]+')
_PLAIN_NAME = re.compile(r"[^.\"\\]+")

_BY_LETTERS = {name.lower(): name for name in FIELDS if name != "userID"}


class Kind(Enum):
    """What a field holds."""

    TEXT = "a text"
    TAGS = "a list of tags"
    OBJECT = "an object"
    UNKNOWN = "whatever it is given"


class Unmappable(Exception):
    """A source object cannot be mapped: raised by a step, and made the record's flaw before anybody else sees it."""

    def __init__(self, message: str, code: str = "mapping-failed") -> None:
        super().__init__(message)
        self.flaw = Flaw.of(code, message)


def parse(text: str) -> Path | None:
    """The path that a text writes, or None where it writes none."""
    names = []
    at = 0
    while match := _NAME.match(text, at):
        name = match.group()
        if name.startswith('"'):
            try:
                name = json.loads(name)
            except ValueError:
                return None
        names.append(name)
        at = match.end()
        if at == len(text):
            return tuple(names)
        if text[at] != ".":
            return None
        at += 1
    return None


def write(path: Path) -> str:
    """The text of a path, the same for every way of writing it."""
    return ".".join(name if _PLAIN_NAME.fullmatch(name) else json.dumps(name, ensure_ascii=False) for name in path)


def parse_field(flag: str, text: str) -> Path:
    """The path of a FIELD that a flag names; raises `InputError`.

    ``userID`` is ``userId``. A name that is nearly one of an installation's would be sent as it is, and read by nobody.
    """
    path = parse(text.strip())
    if path is None:
        raise InputError(
            f"{flag} {text}: {text.strip() or 'nothing'} is no field; write names joined by dots, such as"
            ' templates.welcome.body, and "quoted" where a name holds a dot'
        )
    top = path[0]
    if top == "userID":
        return ("userId", *path[1:])
    nearly = get_close_matches(re.sub(r"[\W_]", "", top).lower(), _BY_LETTERS, n=1, cutoff=0.85)
    if nearly and top not in FIELDS:
        raise InputError(f"{flag} {text}: an installation has no field {top}; write {_BY_LETTERS[nearly[0]]}")
    return path


def with_user(fields: Fields) -> Fields:
    """The same fields, the user under the name that is sent, unless both are there: the check tells of that."""
    if "userID" in fields and fields.get("userId") in (None, ""):
        fields["userId"] = fields.pop("userID")
    return fields


def kind(path: Path) -> Kind:
    """What an installation holds at a path."""
    match path:
        case ("secondaryTiles", _, _, *_):
            return kind(path[2:])
        case ("templates", _, _, *_):
            return _kind_in_template(path[2:])
        case ("templates" | "secondaryTiles" | "pushVariables",) | ("templates" | "secondaryTiles", _):
            return Kind.OBJECT
        case ("installationId" | "userId" | "userID" | "platform" | "pushChannel" | "expirationTime",):
            return Kind.TEXT
        case ("pushChannel" | "pushVariables", _):
            return Kind.TEXT
        case (*_, "tags"):
            return Kind.TAGS
    return Kind.UNKNOWN


def _kind_in_template(path: Path) -> Kind:
    match path:
        case ("body" | "expiry",) | ("headers", _):
            return Kind.TEXT
        case ("headers",):
            return Kind.OBJECT
        case ("tags",):
            return Kind.TAGS
    return Kind.UNKNOWN


def find(fields: Fields, path: Path) -> object:
    """What stands at a path, or None."""
    value: object = fields
    for name in path:
        if type(value) is not dict:
            return None
        value = value.get(name)
    return value


def put(fields: Fields, path: Path, value: object) -> None:
    """Write at a path; raises `Unmappable` where something that holds no fields stands in the way.

    What is written into is copied first: it may be a part of the source object, which stays as it is.
    """
    holder = fields
    for depth, name in enumerate(path[:-1], 1):
        inner = holder.get(name)
        if inner is not None and inner != "" and type(inner) is not dict:
            raise Unmappable(f"{write(path)} cannot be set: {write(path[:depth])} is no object")
        holder[name] = holder = {**inner} if inner else {}
    holder[path[-1]] = value


def remove(fields: Fields, path: Path) -> None:
    """Take away what stands at a path, if anything does; copies as `put` does."""
    if type(holder := find(fields, path[:-1])) is dict and path[-1] in holder:
        if len(path) > 1:
            holder = {**holder}
            put(fields, path[:-1], holder)
        del holder[path[-1]]


def is_empty(value: object) -> bool:
    """Whether there is nothing in a value: null, an empty text, list or object."""
    return value is None or value in ("", [], {})
