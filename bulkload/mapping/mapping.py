"""What a mapping is: one function, whatever it is made of."""

from collections.abc import Iterable
from typing import Protocol

from bulkload.installation import Fields, Finding, Flaw

# What a mapping makes of a source object, one by one: an installation's fields with what there is to say of how they
# were made, why they could not be, or None for one that it leaves out.
Mapped = tuple[Fields, tuple[Finding, ...]] | Flaw | None


class Mapping(Protocol):
    """A deterministic function from one source object to zero, one or several installations."""

    @property
    def fingerprint(self) -> str:
        """A text that tells this mapping from another, for the ledger; empty where it changes nothing."""

    @property
    def leaves_objects(self) -> bool:
        """Whether JSON objects are their own installations, so that a text can be sent as it came."""

    def read(self, text: bytes) -> object:
        """The source object that a text of a source holds, most often its JSON; raises `ValueError`."""

    def installations(self, source_object: Fields) -> Iterable[Mapped]:
        """What it makes of a JSON object, which is left as it is. What goes wrong is a `Flaw`; it never raises."""

    def of_row(self, row: Fields) -> Iterable[Mapped]:
        """What it makes of a row, its cells by their columns, in the same way."""
