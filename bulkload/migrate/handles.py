"""The handles of the devices that are asked for: from flags, and from files of them."""

import asyncio
import io
import os
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

import orjson

from bulkload.errors import InputError
from bulkload.registration import Handle
from bulkload.source.files import printable
from bulkload.source.reading import read_ahead
from bulkload.source.standard_input import STANDARD_INPUT

# Lines that are read together; and the longest line, far above the longest handle.
TOGETHER = 500
LONGEST_LINE = 64 * 1024


@dataclass(frozen=True, slots=True)
class Unusable:
    """A line that holds no handle: where it stands, and why. Neither tells what it holds."""

    place: str
    reason: str


class _Line(NamedTuple):
    place: str
    text: bytes
    size: int
    is_too_long: bool


class Handles:
    """Handles that were given, then those in `files`, one a line; ``-`` is standard input.

    A line is a handle by its form (a URI, hex digits, else a registration id of GCM), or a JSON object with `platform`
    and `pushChannel`, as installations are. Raises `InputError` for a file that cannot be read. Several tasks may take
    from it with `next`.
    """

    def __init__(self, given: Iterable[Handle], files: Sequence[str] = ()) -> None:
        self._given = list(given)
        self._files = files
        self.size = None if STANDARD_INPUT in files else len(self._given) + sum(map(_size, files))
        self.consumed = 0
        self._lock = asyncio.Lock()
        self._all = self._taken()

    def __repr__(self) -> str:
        return f"<Handles {self.consumed} of {self.size} read>"

    async def next(self) -> Handle | Unusable | None:
        """The next one; None at the end."""
        async with self._lock:
            return await anext(self._all, None)

    async def close(self) -> None:
        """Let go of the files, also where they were not read to their end."""
        async with self._lock:
            await self._all.aclose()

    async def _taken(self) -> AsyncGenerator[Handle | Unusable, None]:
        for handle in self._given:
            self.consumed += 1
            yield handle
        for file in self._files:
            async with aclosing(read_ahead(lambda file=file: _batches(file))) as batches:  # type: ignore[misc]
                async for batch in batches:
                    for line in batch:
                        self.consumed += line.size
                        if line.is_too_long or line.text.strip():
                            yield _handle(line)


def _size(file: str) -> int:
    try:
        return Path(file).stat().st_size
    except OSError as exc:
        raise InputError(f"handles {printable(file)} cannot be read: {exc.strerror}") from exc


def _batches(file: str) -> Iterator[list[_Line]]:
    name = "standard input" if file == STANDARD_INPUT else printable(file)
    try:
        with _opened(file) as lines:
            batch: list[_Line] = []
            number = 0
            # A byte more than the longest tells that there is more, or that the line ends there.
            while text := lines.readline(LONGEST_LINE + 1):
                number += 1
                rest, size = text, len(text)
                while len(rest) > LONGEST_LINE and not rest.endswith(b"\n"):
                    rest = lines.readline(LONGEST_LINE + 1)
                    size += len(rest)
                is_too_long = size - len(rest) + len(rest.rstrip(b"\r\n")) > LONGEST_LINE
                batch.append(_Line(f"{name} line {number:,}", b"" if is_too_long else text, size, is_too_long))
                if len(batch) == TOGETHER:
                    yield batch
                    batch = []
            yield batch
    except OSError as exc:
        raise InputError(f"handles {name} cannot be read: {exc.strerror}") from exc


def _opened(file: str) -> BinaryIO:
    # Unbuffered and not sys.stdin: its lock would be held by an abandoned read when the process ends.
    if file == STANDARD_INPUT:
        return io.BufferedReader(io.FileIO(os.dup(0)))
    return Path(file).open("rb")


def _handle(line: _Line) -> Handle | Unusable:
    if line.is_too_long:
        return Unusable(line.place, f"it is longer than {LONGEST_LINE // 1024} KiB")
    try:
        text = line.text.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        return Unusable(line.place, "it is not UTF-8")
    try:
        if not text.startswith("{"):
            return Handle.guessed(text) if text.isprintable() else Unusable(line.place, "it holds control characters")
        fields = orjson.loads(text)
        return Handle.of_installation(fields)
    except orjson.JSONDecodeError:
        return Unusable(line.place, "it begins like a JSON object and is none")
    except InputError as exc:
        return Unusable(line.place, str(exc))
