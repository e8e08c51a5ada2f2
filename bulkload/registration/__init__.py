"""What a registration is: reading it from the service's XML, writing it, and folding several into an installation."""

from bulkload.registration.atom import UNKNOWN, FeedError, FeedReader, read
from bulkload.registration.family import FAMILIES, FAMILY_OF_PLATFORM, SUFFIX, TEMPLATE, Family
from bulkload.registration.folding import Conflict, Folded, fold
from bulkload.registration.handle import Handle, addressable, read_filter
from bulkload.registration.registration import Registration, Template, is_never
from bulkload.registration.writing import description, elements, entry

__all__ = [
    "FAMILIES",
    "FAMILY_OF_PLATFORM",
    "SUFFIX",
    "TEMPLATE",
    "UNKNOWN",
    "Conflict",
    "Family",
    "FeedError",
    "FeedReader",
    "Folded",
    "Handle",
    "Registration",
    "Template",
    "addressable",
    "description",
    "elements",
    "entry",
    "fold",
    "is_never",
    "read",
    "read_filter",
]
