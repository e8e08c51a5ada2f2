"""Source objects from bytes and iterables: opening, identifying, splitting."""

from bulkload.source.files import FileSource, StandardInput, find_sources
from bulkload.source.iterables import IterableSource
from bulkload.source.place import START, Batch, Broken, Datum, Place, Source

__all__ = [
    "START",
    "Batch",
    "Broken",
    "Datum",
    "FileSource",
    "IterableSource",
    "Place",
    "Source",
    "StandardInput",
    "find_sources",
]
