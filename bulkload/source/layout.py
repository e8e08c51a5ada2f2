"""How the bytes of sources are laid out, as far as their content does not tell."""

from dataclasses import dataclass
from typing import Literal, get_args

Format = Literal["auto", "ndjson", "csv", "json", "parquet"]
FORMATS: tuple[Format, ...] = get_args(Format)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The flags that say how sources are read; `delimiter` None means the one that the header row uses.

    `records` is the path of the array within a JSON document, names joined by dots.
    """

    format: Format = "auto"
    delimiter: str | None = None
    encoding: str = "utf-8"
    records: str | None = None
