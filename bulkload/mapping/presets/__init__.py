"""Ready-made mappings for the exports of the systems that people leave."""

from bulkload.mapping.presets.catalog import find_preset, presets

__all__ = ["find_preset", "presets"]
