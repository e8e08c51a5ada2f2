"""Who an installation is: its id, and its user's."""

import hashlib
import re
from collections.abc import Iterator

from bulkload.installation.flaw import Finding
from bulkload.installation.words import kind, missing, shown

# The characters of an id, in the service's words: entity segments can contain only letters, numbers, periods, hyphens
# and underscores.
ID = "A-Za-z0-9._-"
_ID = re.compile(f"[{ID}]+")

# Nearly every id, told in one look: those that begin with a dot want a second one.
is_plain_id = re.compile(f"[A-Za-z0-9_-][{ID}]*").fullmatch

# The characters of a user's id: "alphanumeric characters and -_@#.:=". An empty one is none.
USER_ID = "A-Za-z0-9_@#.:=-"
is_user_id = re.compile(f"[{USER_ID}]*").fullmatch


def hashed(text: str) -> str:
    """An id made of any text: the first 32 hex digits of its SHA-256."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:32]


def id_findings(fields: dict[str, object]) -> Iterator[Finding]:
    """What is wrong with an installation's id."""
    value = fields.get("installationId")
    if value is None or value == "":
        yield Finding("id-missing", missing("installationId", fields))
    elif type(value) is not str:
        yield Finding("id-not-text", f"installationId is a string, this is {kind(value)}")
    elif value in (".", ".."):
        yield Finding("id-dots", f"installationId {value!r} is taken for a folder in an address")
    elif not _ID.fullmatch(value):
        yield Finding("id-characters", f"installationId {shown(value)} may hold letters, digits, '.', '-' and '_' only")


def user_findings(value: object, name: str) -> Iterator[Finding]:
    """What is wrong with a user's id, which stands under this name."""
    if value is None:
        return
    if type(value) is not str:
        yield Finding("user-id-not-text", f"{name} is a string, this is {kind(value)}")
    elif not is_user_id(value):
        yield Finding(
            "user-id-characters",
            f"{name} {shown(value)} may hold letters, digits and '_', '@', '#', '.', ':', '-', '=' only",
        )
