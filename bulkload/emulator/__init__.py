"""A hub on this machine that answers like the real one."""

from bulkload.emulator.process import EmbeddedHub
from bulkload.emulator.server import Emulator

__all__ = ["EmbeddedHub", "Emulator"]
