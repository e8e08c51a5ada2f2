"""Text of any encoding as UTF-8, and UTF-16 that nobody announced."""

import codecs

from bulkload.errors import InputError
from bulkload.source.streams import Readable

UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")
UTF_32_MARKS = (b"\xff\xfe\0\0", b"\0\0\xfe\xff")
LONGEST_MARK = 4

# What stands for bytes that the encoding does not have: half a surrogate pair, which is never valid UTF-8, so that
# only the row which holds it is flawed.
_UNDECODABLE = "\udc80"
_ERRORS = "bulkload.undecodable"


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
    codecs.register_error(_ERRORS, _undecodable)
    return codecs.getincrementaldecoder(encoding)(_ERRORS)


def _undecodable(exc: UnicodeError) -> tuple[str, int]:
    assert isinstance(exc, UnicodeDecodeError)
    return _UNDECODABLE, exc.end
