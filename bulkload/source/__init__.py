"""Source objects from bytes and iterables: opening, identifying, splitting."""

from bulkload.source.files import FileSource, StandardInput, find_sources
from bulkload.source.iterables import IterableSource
from bulkload.source.place import START, Batch, Place, Source, SourceObject

__all__ = [
    "START",
    "Batch",
    "FileSource",
    "IterableSource",
    "Place",
    "Source",
    "SourceObject",
    "StandardInput",
    "find_sources",
]
