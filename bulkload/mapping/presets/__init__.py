"""The presets by name."""

from bulkload.mapping.preset import Preset


def presets() -> tuple[Preset, ...]:
    """Every preset, in the order of their names."""
    return ()
