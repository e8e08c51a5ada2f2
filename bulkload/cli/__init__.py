"""The command ``bulkload``: commands and flags; errors become one line and an exit code."""

from bulkload.cli.program import main

__all__ = ["main"]
