"""An emulator in a process of its own, which never outlives the one that started it."""

import asyncio
import os
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from bulkload.errors import InputError
from bulkload.hub import Hub
from bulkload.process import import_path

# A start takes half a second; a machine on its knees may need many times that.
_START_WITHIN = 30.0

# The child is done within a second of its standard input's end; past twice that, it hangs.
_END_WITHIN = 2.0

# What stands for its host in a ledger: its port is another each time.
_ALIAS = "emulator"


class EmbeddedHub:
    """An empty hub in a child process, for as long as its ``async with`` block lasts.

    The child ends as soon as its standard input does, so a parent that is killed takes it along. A session of its
    own keeps the terminal's Ctrl-C away from it: a run that finishes its last requests still finds its hub. What it
    says on standard error comes out on this process's own when the block ends. Entering raises `InputError` when
    the child does not start; the attributes exist from then on.
    """

    hub: Hub
    ca_file: Path | None
    pid: int

    def __init__(self, *, hub: str, tls: bool = False) -> None:
        self._name = hub
        self._tls = tls
        self._child: _Child | None = None

    def __repr__(self) -> str:
        state = "not started" if self._child is None else f"pid {self.pid}"
        return f"<EmbeddedHub {self._name}, {state}>"

    async def __aenter__(self) -> Self:
        child = await _Child.spawn(["--hub", self._name, *(["--tls"] if self._tls else [])])
        try:
            self.hub = replace(Hub.from_connection_string(await child.line()), alias=_ALIAS)
            self.ca_file = Path(await child.line()) if self._tls else None
        except BaseException:
            await child.end()
            raise
        self.pid = child.pid
        self._child = child
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._child is not None:
            said = await self._child.end()
            with suppress(OSError):
                sys.stderr.write(said)


class _Child:
    """The process, and the unnamed file that collects what it says on standard error.

    A pipe would have to be read all along, or a child with much to say would stand still.
    """

    def __init__(self, process: Process, said: IO[bytes]) -> None:
        self._process = process
        self._said = said
        self.pid = process.pid

    @classmethod
    async def spawn(cls, options: list[str]) -> "_Child":
        said = tempfile.TemporaryFile()  # noqa: SIM115 - closed by end()
        try:
            process = await asyncio.create_subprocess_exec(
                # -P, or a file of the current folder could stand in for a module of Python's own.
                *(sys.executable, "-P", "-m", "bulkload.emulator", *options),
                stdin=PIPE,
                stdout=PIPE,
                stderr=said,
                env=os.environ | {"PYTHONPATH": import_path()},
                start_new_session=True,
            )
        except BaseException as exc:
            said.close()
            if isinstance(exc, OSError):
                raise InputError(f"the embedded hub did not start: {exc}") from exc
            raise
        return cls(process, said)

    async def line(self) -> str:
        """Return the next line of its standard output; raise `InputError` when it ends instead, or says nothing."""
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(_START_WITHIN):
                line = await self._process.stdout.readline()
        except TimeoutError:
            raise InputError(f"the embedded hub did not start within {_START_WITHIN:.0f} s; try again") from None
        if not line:
            raise InputError(f"the embedded hub did not start: {self._last_words()}")
        return line.decode().rstrip("\n")

    async def end(self) -> str:
        """End it, by force if it hangs, and return what it said on standard error."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(_END_WITHIN):
                await self._process.communicate()
        except TimeoutError:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.communicate()
        with self._said:
            return self._words()

    def _words(self) -> str:
        self._said.seek(0)
        return self._said.read().decode(errors="replace")

    def _last_words(self) -> str:
        lines = self._words().strip().splitlines()
        return lines[-1] if lines else "it ended without a word"
