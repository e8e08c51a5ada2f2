"""The upload's connection to a hub: the seam at which a transport plugs in, and the lean one of our own."""

from bulkload.wire.answer import OK, Answer, Fault, words_of
from bulkload.wire.pool import ANSWER_TIMEOUT, CONNECT_TIMEOUT, WireTransport
from bulkload.wire.reader import KEPT_OF_BODY
from bulkload.wire.tls import trusting
from bulkload.wire.transport import Sender, Transport

__all__ = [
    "ANSWER_TIMEOUT",
    "CONNECT_TIMEOUT",
    "KEPT_OF_BODY",
    "OK",
    "Answer",
    "Fault",
    "Sender",
    "Transport",
    "WireTransport",
    "trusting",
    "words_of",
]
