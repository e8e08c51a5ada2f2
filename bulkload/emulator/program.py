"""The emulator as a program: what it prints, and when it ends."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bulkload import process
from bulkload.emulator.behaviour import Behaviour
from bulkload.emulator.dialect import DIALECT

_STDIN = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What the program serves, in the words of `Emulator`; with `until_eof` it ends with its standard input, too."""

    hub: str
    port: int
    tls: bool
    until_eof: bool
    dialect: str = DIALECT
    save: Path | None = None
    behaviour: Behaviour | None = None


def run(program: Program) -> None:
    """Serve in a process that has nothing else to do."""
    process.run(serve(program))


async def serve(program: Program) -> None:
    """Serve until SIGINT or SIGTERM, or with `until_eof` until standard input ends.

    Standard output gets the connection string and, with TLS, a second line with the authority's PEM file. Raises
    `InputError` where the hub's name, the port or the file is of no use, and `Halt` where the file cannot be written
    any more.
    """
    # Over aiohttp, which costs a start 0.1 s: other commands know this program by its flags only.
    from bulkload.emulator.server import Emulator  # noqa: PLC0415

    emulator = Emulator(
        hub=program.hub,
        port=program.port,
        tls=program.tls,
        dialect=program.dialect,
        save=program.save,
        behaviour=program.behaviour,
    )
    with _signals(emulator.ended.set):
        async with emulator:
            lines = [emulator.connection_string, *([emulator.ca_file] if emulator.ca_file else [])]
            sys.stdout.writelines(f"{line}\n" for line in lines)
            sys.stdout.flush()
            if program.until_eof:
                _watch_stdin(emulator.ended.set)
            await emulator.ended.wait()


@contextmanager
def _signals(end: Callable[[], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    both = (signal.SIGINT, signal.SIGTERM)
    for number in both:
        loop.add_signal_handler(number, end)
    try:
        yield
    finally:
        for number in both:
            loop.remove_signal_handler(number)


def _watch_stdin(end: Callable[[], None]) -> None:
    """Call `end` once standard input has ended: whoever held its other end is gone."""
    loop = asyncio.get_running_loop()

    def read() -> None:
        if not _read_stdin():
            loop.remove_reader(_STDIN)
            end()

    try:
        loop.add_reader(_STDIN, read)
    except OSError:
        # A file, /dev/null or a closed descriptor cannot be watched, and nobody holds another end of it.
        end()


def _read_stdin() -> bytes:
    try:
        return os.read(_STDIN, 4096)
    except OSError:
        return b""
