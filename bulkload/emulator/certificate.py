"""A certificate for this machine's loopback addresses, and the authority that vouches for it."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import trustme

_NAMES = ("127.0.0.1", "::1", "localhost")


class Certificate(NamedTuple):
    """What a server needs to speak TLS, and the PEM file that its clients need to believe it."""

    context: ssl.SSLContext
    ca_file: Path


@contextmanager
def temporary() -> Iterator[Certificate]:
    """Make an authority and a certificate; the authority's file (mode 0600) is removed at the end."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*_NAMES).configure_cert(context)
    with authority.cert_pem.tempfile() as ca_file:
        yield Certificate(context, Path(ca_file))
