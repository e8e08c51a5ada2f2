"""Source objects into installations: flags, presets, a user's own function, one idea."""

from bulkload.mapping.flags import MappingFlags
from bulkload.mapping.intake import Intake, Mapped, Mapping

__all__ = ["Intake", "Mapped", "Mapping", "MappingFlags"]
