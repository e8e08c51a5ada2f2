"""Reading one answer as its bytes come, by httptools."""

import re

import httptools
from multidict import CIMultiDict

from bulkload.wire.answer import OK, Answer

# A body of an error says its cause in its first lines; a proxy's page is not worth more memory.
KEPT_OF_BODY = 16 * 1024

_PROTOCOL = b"HTTP/1."

# The head of an answer has some hundred bytes.
LONGEST_HEAD = 64 * 1024

# One header, but those that say where an answer ends and whether the connection stays open after it. Most names begin
# with a letter that none of those has: 0.05 us less for an answer.
_VALUE = rb":[^\r\n\0]*+\r\n"
_QUICK = rb"[ABD-SV-Zabd-sv-z][!-9;-~]*+%b" % _VALUE
_OTHER = rb"(?!(?i:content-length|transfer-encoding|connection|upgrade))[!-9;-~]++%b" % _VALUE
_OTHERS = rb"(?:%b|%b|Connection: keep-alive\r\n)*+" % (_QUICK, _OTHER)

# An acceptance without a body, whole, after which the connection stays open, and nothing else: the usual answer is
# known by its look in 0.7 us, where to read it takes 4. What looks any different is read.
is_usual = re.compile(rb"HTTP/1\.1 200 [^\r\n\0]*\r\n%bContent-Length: 0\r\n%b\r\n" % (_OTHERS, _OTHERS)).fullmatch


class Garbled(Exception):
    """What came is no answer in HTTP/1."""


class AnswerReader:
    """Reads one answer: `feed` takes its bytes until it `is_whole`; then `answer` is what came.

    Answers in between (1xx) are passed over. Of a body that is longer than what is kept the rest is not waited for.
    """

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        # A strange sign in a header leaves the answer what it is.
        self._parser.set_dangerous_leniencies(lenient_headers=True)
        self._headers: CIMultiDict[str] = CIMultiDict()
        self._body = bytearray()
        self._status = 0
        self._fed = self._head_size = 0
        self._beginning = b""
        self._is_garbled = False
        self._is_in_head = True
        self._ends_with_connection = False
        self.is_whole = False
        # Whether the connection may be used again.
        self.is_kept = False

    def __repr__(self) -> str:
        return f"<AnswerReader, {'whole' if self.is_whole else 'in the midst'}>"

    @property
    def answer(self) -> Answer:
        """What came; every acceptance is the same object."""
        return OK if self._status == 200 else Answer(self._status, self._headers, bytes(self._body))

    def feed(self, data: bytes) -> None:
        """Read on; raises `Garbled`."""
        if self._fed < len(_PROTOCOL):
            self._beginning += data[: len(_PROTOCOL)]
            if self._beginning[: len(_PROTOCOL)] != _PROTOCOL[: len(self._beginning)]:
                # The parser takes others, too.
                raise Garbled
        self._fed += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as exc:
            # What follows a whole answer is nobody's.
            self.is_kept = False
            if not self.is_whole:
                raise Garbled from exc
        if self._is_garbled or (self._fed if self._is_in_head else self._head_size) > LONGEST_HEAD:
            raise Garbled

    def end(self) -> None:
        """The connection ended: that ends a body whose length was not told."""
        if not self._is_in_head and self._ends_with_connection:
            self.is_whole = True

    # What httptools tells.

    def on_message_begin(self) -> None:
        # After a whole answer: another one, which nobody asked for.
        self.is_kept = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_size += len(name) + len(value)
        self._is_garbled |= b"\0" in value
        if not self.is_whole:
            self._headers.add(name.decode("latin-1"), value.decode("latin-1"))

    def on_headers_complete(self) -> None:
        if self.is_whole:
            return
        self._status = self._parser.get_status_code()
        if 100 <= self._status < 200:
            self._headers.clear()
            return
        self._is_in_head = False
        has_length = "Content-Length" in self._headers or "Transfer-Encoding" in self._headers
        self._ends_with_connection = not has_length

    def on_body(self, data: bytes) -> None:
        if self.is_whole:
            return
        self._body += data[: KEPT_OF_BODY - len(self._body)]
        if len(self._body) == KEPT_OF_BODY:
            self.is_whole = True

    def on_message_complete(self) -> None:
        if not self._is_in_head and not self.is_whole:
            self.is_whole = True
            self.is_kept = self._parser.should_keep_alive()
