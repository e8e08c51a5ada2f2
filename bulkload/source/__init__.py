"""Source objects from bytes and iterables: opening, identifying, splitting."""

from bulkload.source.files import FileSource
from bulkload.source.finding import Given, find_sources, opened, reopened
from bulkload.source.iterables import IterableSource
from bulkload.source.layout import FORMATS, Format, FormName, Layout
from bulkload.source.place import START, Batch, Broken, Datum, Place, Source, taken
from bulkload.source.remote import RemoteSource
from bulkload.source.standard_input import StandardInput

__all__ = [
    "FORMATS",
    "START",
    "Batch",
    "Broken",
    "Datum",
    "FileSource",
    "FormName",
    "Format",
    "Given",
    "IterableSource",
    "Layout",
    "Place",
    "RemoteSource",
    "Source",
    "StandardInput",
    "find_sources",
    "opened",
    "reopened",
    "taken",
]
