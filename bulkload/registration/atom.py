"""Reading registrations out of the service's XML: a feed, an entry, or a description that stands alone.

Both front ends' dialects are read, and both spellings of a description: ``<AppleRegistrationDescription>`` and
``<RegistrationDescription i:type="AppleRegistrationDescription">``. Elements are told by their names, whatever prefix
their namespaces have. DTDs and entities are refused.
"""

import re
from collections.abc import Iterator
from xml.etree.ElementTree import Element, ParseError, TreeBuilder, tostring

import orjson
from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

from bulkload.registration.family import FAMILIES, SUFFIX, TEMPLATE, Family
from bulkload.registration.handle import Handle
from bulkload.registration.registration import Registration, Template

_TYPE = "{http://www.w3.org/2001/XMLSchema-instance}type"
_NIL = "{http://www.w3.org/2001/XMLSchema-instance}nil"

# What is no registration at all.
UNKNOWN = "unknown"

# A root's name that may be told, such as html: no handle is so short and of letters only.
_WORD = re.compile("[A-Za-z]{1,16}")

# An entry of a hub is six deep; to tell one raw that is a thousand deep would end the process's stack.
_DEEPEST = 50


class FeedError(ValueError):
    """What came is no feed, entry or description; its text says what is wrong, and holds nothing of what came
    but a root's short name.
    """


class FeedReader:
    """Reads a document piece by piece: `feed` takes bytes, `registrations` are those that were whole by then.

    Only the entry that is being read is held. Raises `FeedError`.
    """

    def __init__(self) -> None:
        self.registrations: list[Registration] = []
        self._root: str | None = None
        self._depth = 0
        self._entry: TreeBuilder | None = None
        self._parser = DefusedXMLParser(target=self, forbid_dtd=True)
        self._is_empty = True

    def __repr__(self) -> str:
        return f"<FeedReader {len(self.registrations)} registrations>"

    def feed(self, data: bytes) -> None:
        self._is_empty = self._is_empty and not data.strip()
        try:
            self._parser.feed(data)
        except (ParseError, DefusedXmlException, LookupError, ValueError) as exc:
            raise _error(exc) from exc

    def finish(self) -> list[Registration]:
        """All registrations of a document that has come to its end."""
        if self._is_empty:
            raise FeedError("it is empty")
        try:
            self._parser.close()
        except (ParseError, ValueError) as exc:
            raise _error(exc) from exc
        return self.registrations

    # What the parser calls.

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if self._entry is None and not self._begins(_local(tag)):
            return
        assert self._entry is not None
        self._entry.start(tag, attributes)
        self._depth += 1
        if self._depth > _DEEPEST:
            raise FeedError("it is nested too deeply")

    def _begins(self, name: str) -> bool:
        """Whether an entry begins with an element outside of any."""
        if self._root is None:
            self._root = name
            if name not in ("feed", "entry") and not name.endswith(SUFFIX):
                root = f", whose root is {name!r}" if _WORD.fullmatch(name) else ""
                raise FeedError(f"it is XML of another kind{root}")
        if name == "feed" or (self._root == "feed" and name != "entry"):
            return False
        self._entry = TreeBuilder()
        self._depth = 0
        return True

    def data(self, text: str) -> None:
        if self._entry is not None:
            self._entry.data(text)

    def end(self, tag: str) -> None:
        if self._entry is None:
            return
        self._entry.end(tag)
        self._depth -= 1
        if not self._depth:
            self.registrations.append(_registration(self._entry.close()))
            self._entry = None

    def close(self) -> None:
        """The document's end."""


def read(document: bytes) -> list[Registration]:
    """The registrations of a whole document; raises `FeedError`."""
    reader = FeedReader()
    reader.feed(document)
    return reader.finish()


def _error(exc: Exception) -> FeedError:
    if isinstance(exc, FeedError):
        return exc
    if isinstance(exc, DefusedXmlException):
        return FeedError("its XML declares a DTD or an entity")
    if isinstance(exc, LookupError):
        return FeedError("its XML declaration names an unknown encoding")
    # Their own words hold places, not what stands there.
    return FeedError(f"it is not XML: {exc}")


def _registration(entry: Element) -> Registration:
    description = next((element for element in entry.iter() if _local(element.tag).endswith(SUFFIX)), None)
    if description is None:
        return Registration(kind=UNKNOWN, raw=tostring(entry, encoding="unicode"))
    kind = _kind(description)
    parts = {_local(child.tag): child for child in description}
    family = FAMILIES.get(kind.removesuffix(TEMPLATE))
    handle = _handle(family, parts) if family is not None else None
    return Registration(
        kind=kind,
        handle=handle,
        registration_id=_told(parts, "RegistrationId"),
        etag=_told(parts, "ETag"),
        expiration_time=_told(parts, "ExpirationTime"),
        tags=tuple(tag for part in (_told(parts, "Tags") or "").split(",") if (tag := part.strip())),
        push_variables=_variables(_told(parts, "PushVariables")),
        template=_template(parts, family) if kind.endswith(TEMPLATE) or _text(parts, "BodyTemplate") else None,
        secondary_tile=_told(parts, "SecondaryTileName"),
        raw=tostring(entry, encoding="unicode") if handle is None else None,
    )


def _kind(description: Element) -> str:
    name = _local(description.tag)
    if name == SUFFIX:
        name = description.get(_TYPE, "").rpartition(":")[2]
    return name.removesuffix(SUFFIX) or UNKNOWN


def _handle(family: Family, parts: dict[str, Element]) -> Handle | None:
    found = {family.other_names.get(name, name): text for name in parts if (text := _told(parts, name)) is not None}
    if token := found.get("DeviceToken"):
        # The hub tells them in upper case, however they were given.
        found["DeviceToken"] = token.upper()
    values = tuple((name, found.get(name, "")) for name in family.handles)
    return Handle(values) if all(value for _, value in values) else None


def _template(parts: dict[str, Element], family: Family | None) -> Template:
    headers = family.headers if family is not None else None
    return Template(
        body=_text(parts, "BodyTemplate") or "",
        name=_text(parts, "TemplateName"),
        headers=dict(_headers(parts[headers])) if headers in parts else {},
        expiry=_told(parts, "Expiry"),
    )


def _headers(element: Element) -> Iterator[tuple[str, str]]:
    for header in element:
        pair = {_local(part.tag): part.text or "" for part in header}
        if name := pair.get("Header", "").strip():
            yield name, pair.get("Value", "")


def _variables(text: str | None) -> dict[str, str]:
    try:
        variables = orjson.loads(text) if text else None
    except orjson.JSONDecodeError:
        return {}
    return variables if isinstance(variables, dict) else {}


def _told(parts: dict[str, Element], name: str) -> str | None:
    """An element's text without blanks around it; None for nothing."""
    return (_text(parts, name) or "").strip() or None


def _text(parts: dict[str, Element], name: str) -> str | None:
    element = parts.get(name)
    if element is None or element.get(_NIL) == "true":
        return None
    return element.text or None


def _local(tag: object) -> str:
    """An element's name without its namespace; a comment has none."""
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""
