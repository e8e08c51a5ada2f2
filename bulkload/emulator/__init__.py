"""A hub on this machine that answers like the real one."""

from typing import TYPE_CHECKING, Any

from bulkload.emulator.process import EmbeddedHub

if TYPE_CHECKING:
    from bulkload.emulator.server import Emulator

__all__ = ["EmbeddedHub", "Emulator"]


def __getattr__(name: str) -> Any:
    """`Emulator` stands on aiohttp's server, which costs a start 0.1 s: it is imported for those who ask for it."""
    if name == "Emulator":
        from bulkload.emulator.server import Emulator  # noqa: PLC0415

        return Emulator
    raise AttributeError(name)
