"""What a list of registrations asks for: its ``$filter``, its ``$top``, and where it goes on.

A continuation token goes to the client percent-encoded, and comes back as it went. It always holds a ``+``, so one that
was decoded on its way is none. One that was encoded once more is taken, since the official JavaScript SDK sends it so,
and the service itself in the addresses of its next pages.
"""

import binascii
import struct
from base64 import b64decode, b64encode
from collections.abc import Mapping
from urllib.parse import quote, quote_plus, unquote
from zlib import crc32

from bulkload.emulator.register import Question
from bulkload.registration import FAMILIES, TEMPLATE, Handle, read_filter

# As many as the service's clients ask for, and as many as it gives.
_USUAL_TOP = 100
_MOST_TOP = 1000

# The words of the specification.
_NO_QUERY = "Notification hubs do not support this query"

# The name under which the service finds any platform's handle.
_ANY = "ChannelUri"

# First a byte whose base64 begins with '+', then a registration's number, and what tells a broken token.
_TOKEN = struct.Struct(">BQ")
_CHECK = struct.Struct(">I")
_MARK = 0xFB


def question(parameters: Mapping[str, str], *, tag: str | None = None) -> Question | str:
    """What a query asks for, or why it cannot be answered."""
    top = parameters.get("$top", str(_USUAL_TOP))
    if not (top.isascii() and top.isdigit()) or not int(top):
        return f"The $top query parameter is a number from 1 on, not {top}"
    token = parameters.get("continuationtoken")
    after = _number(token) if token is not None else 0
    if after is None:
        return "The continuation token is invalid"
    asked = Question(top=min(int(top), _MOST_TOP), after=after, tag=tag)
    if "$filter" not in parameters:
        return asked
    terms = read_filter(parameters["$filter"])
    kinds = _kinds(terms) if terms is not None and tag is None else None
    if terms is None or kinds is None:
        return _NO_QUERY
    return asked._replace(channels=tuple(dict.fromkeys((_channel(terms), _channel(_decoded(terms))))), kinds=kinds)


def continuation(number: int) -> str:
    """The token of a list that goes on behind a registration's number, as it stands in an address."""
    token = _TOKEN.pack(_MARK, number)
    return quote(b64encode(token + _CHECK.pack(crc32(token))), safe="")


def next_query(query: str, token: str) -> str:
    """The query that goes on with a token. The service encodes all of it once more, the token too."""
    pairs = (part.partition("=") for part in query.split("&"))
    asked = ((unquote(name), value) for name, _, value in pairs)
    kept = [f"{quote_plus(name)}={value}" for name, value in asked if name.lower() != "continuationtoken"]
    return "&".join((*kept, f"continuationtoken={quote(token)}"))


def _number(token: str) -> int | None:
    try:
        decoded = b64decode(unquote(token), validate=True)
        mark, number = _TOKEN.unpack(decoded[: _TOKEN.size])
        check = _CHECK.unpack(decoded[_TOKEN.size :])[0]
    except (binascii.Error, ValueError, struct.error):
        return None
    return int(number) if mark == _MARK and check == crc32(decoded[: _TOKEN.size]) else None


def _kinds(terms: Mapping[str, str]) -> tuple[str, ...] | None:
    """The kinds that are found by these names; none for all of them, None where there is no such family."""
    if terms.keys() == {_ANY}:
        return ()
    names = [family.name for family in FAMILIES.values() if terms.keys() == set(family.handles)]
    return tuple(kind for name in names for kind in (name, f"{name}{TEMPLATE}")) or None


def _channel(terms: Mapping[str, str]) -> str:
    """The key of a handle with these parts, in the order that its family gives them."""
    names = next((family.handles for family in FAMILIES.values() if terms.keys() == set(family.handles)), ())
    return Handle(tuple((name, terms[name]) for name in names)).key


def _decoded(terms: Mapping[str, str]) -> dict[str, str]:
    """The specification wants a handle encoded by itself, and then again with the query; clients do either."""
    return {name: unquote(value) for name, value in terms.items()}
