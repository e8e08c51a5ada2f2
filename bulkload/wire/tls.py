"""Whom a connection trusts."""

import ssl
from pathlib import Path

from bulkload.errors import InputError


def trusting(ca_file: Path | None) -> ssl.SSLContext:
    """Full verification, by this machine's authorities and those in a file; raises `InputError`."""
    context = ssl.create_default_context()
    if ca_file is not None:
        try:
            context.load_verify_locations(ca_file)
        except (OSError, ssl.SSLError) as exc:
            raise InputError(
                f"--ca-file {ca_file} cannot be used: {exc.strerror or exc}; it holds certificates in PEM form"
            ) from exc
    return context
