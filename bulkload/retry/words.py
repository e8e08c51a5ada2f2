"""What an answer says, on one printable line, and which of it are the hub's own words."""

import re
from collections.abc import Iterable
from html import unescape
from typing import NamedTuple

from bulkload.wire import Answer

# What a line of a terminal or a ledger bears of an answer's words, and what a log bears of its body.
LONGEST_WORDS = 300
LONGEST_RAW = 500

# A shorter value would tear the hub's own words where it is cut out of them.
SHORTEST_VALUE = 8

# What an answer repeats of a value and cuts short is known by its beginning.
SHORTEST_BEGINNING = 16

_DETAIL = re.compile(r"<Detail>(.*?)</Detail>", re.DOTALL)
_TRACKING_ID = re.compile(r"\.?TrackingId:([0-9A-Za-z_-]+)")

# JSON as .NET writes it has such escapes for signs that push channels are full of: + and &.
_JSON_ESCAPE = re.compile(r"\\u([0-9A-Fa-f]{4})")

# What stands there was somebody else's word first: tags and ids in quotes, addresses. An apostrophe is no quote.
_ADDRESS = re.compile(r"https?://\S+", re.IGNORECASE)
_QUOTED = re.compile(r"""(?<!\w)'[^']*'(?!\w)|"[^"]*\"""")

# What differs between two answers that say the same.
_VARYING = re.compile(r"[\w-]*\d[\w-]*|\b[AP]M\b")


class Said(NamedTuple):
    """An answer's words: as they may be shown, and those that are the hub's own; its TrackingId apart.

    `is_detail` says that they stood where the service puts them.
    """

    shown: str
    own: str
    tracking_id: str | None
    is_detail: bool


def said(answer: Answer, *, hide: Iterable[str] = ()) -> Said:
    """Take an answer's words out of its body; the values in `hide` are cut out of them, in any case of letters."""
    text = answer.body.decode(errors="replace")
    found = _DETAIL.search(text)
    words = _plain(found[1] if found else text)
    tracking_id = answer.tracking_id
    if in_words := _TRACKING_ID.search(words):
        tracking_id = tracking_id or in_words[1]
        words = words[: in_words.start()]
    values = list(hide)
    own = _ADDRESS.sub(" ", _cut(words, (value for value in values if len(value) >= SHORTEST_VALUE)))
    if found:
        # In other forms of a body quotes are its syntax.
        own = _QUOTED.sub(" ", own)
    return Said(_line(_cut(words, values)), _line(own), tracking_id, found is not None)


def described(answer: Answer, words: Said) -> str:
    """Status, the service's words without its tracking, and the TrackingId, on one printable line."""
    line = words.shown[:LONGEST_WORDS]
    tracking = f", TrackingId {words.tracking_id}" if words.tracking_id else ""
    return f"{answer.status} {line or 'without a word'}{tracking}"


def raw(answer: Answer, *, hide: Iterable[str] = ()) -> str:
    """The body as it came, its form included, as far as a log may bear it."""
    return _line(_cut(_plain(answer.body.decode(errors="replace")), hide))[:LONGEST_RAW]


def likeness(words: Said) -> str:
    """What is the same of all answers that say the same: no numbers, times and ids."""
    return _line(_VARYING.sub(" ", words.own))[:LONGEST_RAW]


def _plain(text: str) -> str:
    """The characters that escapes stand for: what is to be hidden is looked for among them."""
    return _JSON_ESCAPE.sub(lambda escape: chr(int(escape[1], 16)), unescape(text))


def _cut(text: str, values: Iterable[str]) -> str:
    folded = text.casefold()
    for value in values:
        # To look first spares most answers the compilation of a pattern, 100 us for each push channel.
        if value.casefold() in folded:
            text = re.sub(re.escape(value), "…", text, flags=re.IGNORECASE)
        elif value[:SHORTEST_BEGINNING].casefold() in folded and len(value) > SHORTEST_BEGINNING:
            text = _cut_short(text, value)
    return text


def _cut_short(text: str, value: str) -> str:
    """Cut out a value of which the text has the beginning only."""
    parts, at = [], 0
    for match in re.finditer(re.escape(value[:SHORTEST_BEGINNING]), text, re.IGNORECASE):
        if match.start() >= at:
            parts.append(text[at : match.start()])
            at = match.end()
            while text[at : at + 1].casefold() == value[at - match.start() : at - match.start() + 1].casefold() != "":
                at += 1
    return "…".join([*parts, text[at:]])


def _line(text: str) -> str:
    """A text on one line; a terminal would obey control characters."""
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())
