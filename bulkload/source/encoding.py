"""Text of any encoding as UTF-8, and UTF-16 that nobody announced."""

import codecs
import sys

from bulkload.errors import InputError
from bulkload.source.streams import Readable

UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")
UTF_32_MARKS = (b"\xff\xfe\0\0", b"\0\0\xfe\xff")
LONGEST_MARK = 4

# The name by which codecs know what to do with bytes that their encoding does not have: each becomes half a surrogate
# pair, from U+DC00 on, which is never valid UTF-8, so that only the row which holds it is flawed; and back again.
CARRIED = "bulkload.carried"
_FIRST, _LAST = "\udc00", "\udcff"


def is_utf_8(encoding: str) -> bool:
    """Whether text of this encoding is taken as it is."""
    return codecs.lookup(encoding).name in ("utf-8", "utf-8-sig")


def check_encoding(encoding: str) -> None:
    """Raise `InputError` for what is no encoding of text."""
    try:
        # A transform such as rot13 is looked up, too; only an encoding of text takes this way back and forth.
        is_known = _decoder(encoding).decode("a".encode(encoding), final=True) == "a"
    except (LookupError, UnicodeError, TypeError, ValueError):
        is_known = False
    if not is_known:
        raise InputError(f"--encoding {encoding} is no encoding of text; give one such as cp1252 or utf-16")


def refuse_unannounced(name: str, beginning: bytes) -> None:
    """Refuse UTF-16 and UTF-32 by their byte order mark: each of its lines would be a flaw that tells nobody why."""
    width = 32 if beginning.startswith(UTF_32_MARKS) else 16
    if beginning.startswith((*UTF_16_MARKS, *UTF_32_MARKS)):
        raise InputError(
            f"source {name} is UTF-{width} text; say --encoding utf-{width}, or convert it to UTF-8 first, "
            "for example with iconv"
        )


class Transcoded:
    """A stream of text in some encoding, as UTF-8."""

    def __init__(self, name: str, stream: Readable, encoding: str) -> None:
        self._name = name
        self._stream = stream
        self._encoding = encoding
        self._decoder = _decoder(encoding)
        self._ready = b""

    def read(self, size: int, /) -> bytes:
        while not self._ready:
            block = self._stream.read(size)
            try:
                text = self._decoder.decode(block, final=not block)
            except UnicodeError as exc:
                raise InputError(
                    f"source {self._name} is no {self._encoding} text: {exc}; check --encoding"
                    + (" (utf-16-le and utf-16-be need no mark)" if "BOM" in str(exc) else "")
                ) from exc
            # Some codecs give surrogates of their own, such as that of utf-7.
            self._ready = text.encode(errors="surrogatepass")
            if not block:
                break
        data, self._ready = self._ready[:size], self._ready[size:]
        return data


def _decoder(encoding: str) -> codecs.IncrementalDecoder:
    return codecs.getincrementaldecoder(encoding)(CARRIED)


def _carry(exc: UnicodeError) -> tuple[str | bytes, int]:
    if isinstance(exc, UnicodeDecodeError):
        return "".join([chr(ord(_FIRST) + byte) for byte in exc.object[exc.start : exc.end]]), exc.end
    assert isinstance(exc, UnicodeEncodeError)
    end = exc.start
    while end < len(exc.object) and _FIRST <= exc.object[end] <= _LAST:
        end += 1
    carried = bytes([ord(sign) - ord(_FIRST) for sign in exc.object[exc.start : end]])
    if not exc.encoding.startswith(("utf-16", "utf-32")):
        return (carried, end) if carried else ("?", exc.start + 1)
    # Within a text these begin with no mark.
    encoding = exc.encoding if exc.encoding.endswith(("le", "be")) else f"{exc.encoding}-{sys.byteorder[0]}e"
    if not carried or len(carried) % len("a".encode(encoding)):
        # What is left of a character stays no text.
        return exc.object[exc.start].encode(encoding, "surrogatepass"), exc.start + 1
    return carried, end


codecs.register_error(CARRIED, _carry)
