"""How the bytes of sources are laid out, as far as their content does not tell."""

from dataclasses import dataclass
from typing import Literal, get_args

from bulkload.errors import InputError
from bulkload.source.encoding import check_encoding

Format = Literal["auto", "ndjson", "csv", "json", "parquet"]
FORMATS: tuple[Format, ...] = get_args(Format)

# What a source turned out to be.
FormName = Literal["ndjson", "csv", "json", "parquet"]

# How people write a tab where a shell does not let them.
_TABS = ("\\t", "tab")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The flags that say how sources are read; `delimiter` None means the one that the header row uses.

    `delimiter` is one character, or ``tab`` or ``\\t`` for that. `records` is the path of the array within a JSON
    document, names joined by dots; without it, `usual` is taken where a document has that array. `is_whole` says that
    the object at a document's top is one source object, which a mapping takes apart. Raises `InputError` for what
    cannot be.
    """

    format: Format = "auto"
    delimiter: str | None = None
    encoding: str = "utf-8"
    records: str | None = None
    usual: str | None = None
    is_whole: bool = False

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise InputError(f"--format {self.format} is not one of {', '.join(FORMATS)}")
        delimiter = self.separator
        if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n\0'):
            raise InputError(f"--delimiter {delimiter!r} is not one character; give one such as ';', or tab")
        check_encoding(self.encoding)
        if self.records is not None and "" in self.records.split("."):
            raise InputError(f"--records {self.records!r} is not a path of names joined by dots, such as data.channels")

    @property
    def separator(self) -> str | None:
        """The delimiter as the character that it is."""
        return "\t" if self.delimiter in _TABS else self.delimiter
