"""Ready-made mappings for the exports of the systems that people leave."""

from bulkload.errors import InputError
from bulkload.mapping.preset import Preset


def presets() -> tuple[Preset, ...]:
    """Every preset, in the order in which people are told of them."""
    return ()


def find_preset(name: str) -> Preset:
    """The preset of this name; raises `InputError` where there is none."""
    raise InputError(f"there is no preset {name!r}")
