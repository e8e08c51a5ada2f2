"""Why a record cannot be sent, and what else there is to say of one."""

from dataclasses import dataclass
from typing import NamedTuple

# What is kept of the id of a record that cannot be sent: it may be a whole novel.
LONGEST_KEPT_ID = 200


class Finding(NamedTuple):
    """One rule broken: its stable code, and one line that names the place within the record."""

    code: str
    message: str

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


@dataclass(frozen=True, slots=True)
class Flaw:
    """Why a record cannot be sent: what it breaks, at least one finding, and the record's id if it has one.

    The first finding is what a person would mend first.
    """

    findings: tuple[Finding, ...]
    id: str | None = None

    @classmethod
    def of(cls, code: str, message: str, id: str | None = None) -> "Flaw":  # noqa: A002
        """A flaw of one finding."""
        return cls((Finding(code, message),), id)

    @property
    def code(self) -> str:
        return self.findings[0].code

    @property
    def message(self) -> str:
        return self.findings[0].message

    def __str__(self) -> str:
        more = len(self.findings) - 1
        return f"{self.findings[0]}{f' (and {more} more)' if more else ''}"
