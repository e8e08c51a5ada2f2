"""Source objects into installations: flags, presets, a user's own function, one idea."""

from bulkload.mapping.arguments import assignment, value_rule
from bulkload.mapping.build import build
from bulkload.mapping.flags import TAG_SEPARATOR, MappingFlags, Transform
from bulkload.mapping.intake import Intake
from bulkload.mapping.mapping import Mapped, Mapping
from bulkload.mapping.preset import Preset
from bulkload.mapping.repair import REPAIRS

__all__ = [
    "REPAIRS",
    "TAG_SEPARATOR",
    "Intake",
    "Mapped",
    "Mapping",
    "MappingFlags",
    "Preset",
    "Transform",
    "assignment",
    "build",
    "value_rule",
]
