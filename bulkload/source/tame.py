"""JSON text that a streaming parser can take, whatever somebody wrote into it.

The parser's memory grows with the square of the depth, as it knows the path of every open object and array: 24 GB for a
million brackets. It ends the process at an integer of 4,301 digits, ends at a long exponent and at bytes that are no
UTF-8, and makes a question mark of half a surrogate pair. Here each of these becomes something that it takes, and that
the reader of an element still refuses.
"""

import codecs
import re
import secrets

from bulkload.source.streams import Readable

# Readers refuse elements that are nested more than 1,024 deep.
DEEPEST = 1_100

# Digits of a number; one of 309 is beyond all doubles.
MOST_DIGITS = 600

# Elements that people write are not as deep as this.
_MOST_TURNS = 20

# What nobody else can have written; before hex digits it stands for a byte that is no UTF-8 and for half a pair.
MARK = f"\ufdd0{secrets.token_hex(8)}"
_BYTE, _HALF = f"{MARK}b", f"{MARK}h"
_MARKED = re.compile(f"{_BYTE}([0-9a-f]{{2}})|{_HALF}([0-9a-fA-F]{{4}})".encode())

_OTHERS = bytes(set(range(256)) - set(b"[]{}"))
_DIGITS = b"0123456789"
_LONG_NUMBER = re.compile(rb"[eE][+-]?[0-9]{5}|[0-9]{%d}" % MOST_DIGITS)
_SIGN = re.compile(rb'\\.|["\[\]{}]|[eE][+-]?[0-9]{5,}|[0-9]{%d,}' % MOST_DIGITS, re.DOTALL)
# As much of those as is kept: an exponent of four digits is beyond all doubles, too.
_SHORT_NUMBER = re.compile(rb"[eE][+-]?[0-9]{4}|[0-9]{%d}" % MOST_DIGITS)
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u([dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)
# What may be the beginning of an escape, or of a pair of them.
_UNFINISHED = re.compile(
    rb"\\(?:u(?:[0-9a-fA-F]{0,3}|[dD][89abAB][0-9a-fA-F]{2}(?:\\(?:u[0-9a-fA-F]{0,3})?)?)?)?\Z", re.DOTALL
)
_LONGEST_UNFINISHED = 11

_ERRORS = "bulkload.marked"


class Tame:
    """A stream of JSON text without what is nested deeper than `DEEPEST`, its numbers cut, and what is no text marked.

    Costs 1 us for a record of 170 bytes, of which the parser takes 2.3.
    """

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8")(_ERRORS)
        self._is_at_end = False
        # The beginning of an escape, which comes with the rest of it.
        self._held = b""
        self._depth = 0
        self._is_in_text = False
        # Of the number at the end of what was read.
        self._digits = 0

    def read(self, size: int = -1, /) -> bytes:
        # An empty read asks whether there are bytes.
        while size and not self._is_at_end:
            block = self._stream.read(size)
            self._is_at_end = not block
            data = self._held + self._decoder.decode(block, final=self._is_at_end).encode()
            held = 0 if self._is_at_end else _unfinished(data)
            data, self._held = data[: len(data) - held], data[len(data) - held :]
            if data and (tamed := self._tamed(_marked(data))):
                return tamed
        return b""

    def _tamed(self, data: bytes) -> bytes:
        # Pairs first: what is left of a backslash then escapes what follows it.
        parts = data.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')
        outside = b'"'.join(parts[self._is_in_text :: 2])
        brackets = outside.translate(None, _OTHERS)
        if self._may_be_deep(brackets) or self._may_be_long(outside):
            tamed = self._cut(data)
        else:
            opened = brackets.count(b"[") + brackets.count(b"{")
            self._depth = max(0, self._depth + opened - (len(brackets) - opened))
            self._is_in_text ^= len(parts) % 2 == 0
            tamed = data
        last = 0 if self._is_in_text else _last_digits(data)
        self._digits = last + self._digits if last == len(data) else last
        return tamed

    def _may_be_deep(self, brackets: bytes) -> bool:
        """Whether the brackets of a part might pass `DEEPEST`, once pairs with nothing between them are taken out."""
        for turn in range(_MOST_TURNS):
            # Each turn takes out one level or two.
            if self._depth + 2 * turn + brackets.count(b"[") + brackets.count(b"{") <= DEEPEST:
                return False
            brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
        return True

    def _may_be_long(self, outside: bytes) -> bool:
        first = len(outside) - len(outside.lstrip(_DIGITS))
        return self._digits + first > MOST_DIGITS or _LONG_NUMBER.search(outside) is not None

    # One pass over all kinds of signs.
    def _cut(self, data: bytes) -> bytes:  # noqa: C901
        """The same, sign by sign."""
        kept: list[bytes] = []
        begin = 0
        if not self._is_in_text and self._digits:
            begin = len(data) - len(data.lstrip(_DIGITS))
            if self._depth <= DEEPEST:
                kept.append(data[: min(begin, max(0, MOST_DIGITS - self._digits))])
        for match in _SIGN.finditer(data, begin):
            sign = match[0]
            if sign == b'"':
                self._is_in_text = not self._is_in_text
            elif self._is_in_text or sign.startswith(b"\\"):
                continue
            elif sign in b"[{":
                self._depth += 1
                if self._depth == DEEPEST + 1:
                    kept += (data[begin : match.start()], b"0")
            elif sign in b"]}":
                self._depth = max(0, self._depth - 1)
                if self._depth == DEEPEST:
                    begin = match.end()
            elif self._depth <= DEEPEST:
                number = _SHORT_NUMBER.match(sign)
                assert number is not None
                kept += (data[begin : match.start()], number[0])
                begin = match.end()
        if self._depth <= DEEPEST:
            kept.append(data[begin:])
        return b"".join(kept)


def restored(text: bytes) -> bytes | None:
    """An element's text as it came, if anything of it was marked."""
    if _MARKED.search(text) is None:
        return None
    return _MARKED.sub(lambda mark: b"\\u" + mark[2] if mark[2] else bytes.fromhex(mark[1].decode()), text)


def _marked(data: bytes) -> bytes:
    if b"\\ud" in data or b"\\uD" in data:
        return _ESCAPE.sub(lambda escape: _HALF.encode() + escape[1] if escape[1] else escape[0], data)
    return data


def _last_digits(data: bytes) -> int:
    """How many digits are at the end; the first of them may belong to an escape."""
    before = data.rstrip(_DIGITS)
    backslashes = len(before) - len(before.rstrip(b"\\"))
    return max(0, len(data) - len(before) - backslashes % 2)


def _unfinished(data: bytes) -> int:
    """The length of what may go on at the end: an exponent, an escape, or one before what looks like the other."""
    begin = data.rstrip(_DIGITS)
    exponent = 0
    if begin.endswith((b"e", b"E", b"e+", b"E+", b"e-", b"E-")):
        exponent = min(len(data), len(data) - len(begin) + 2)
    return exponent + _unfinished_escape(data[: len(data) - exponent])


def _unfinished_escape(data: bytes) -> int:
    at = max(0, len(data) - _LONGEST_UNFINISHED)
    while match := _UNFINISHED.search(data, at):
        before = data[: match.start()]
        if (len(before) - len(before.rstrip(b"\\"))) % 2 == 0:
            return len(data) - match.start()
        # This backslash is itself escaped.
        at = match.start() + 1
    return 0


def _mark(exc: UnicodeError) -> tuple[str, int]:
    assert isinstance(exc, UnicodeDecodeError)
    return "".join([f"{_BYTE}{byte:02x}" for byte in exc.object[exc.start : exc.end]]), exc.end


codecs.register_error(_ERRORS, _mark)
