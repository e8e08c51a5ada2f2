"""Where installations are written: a file that is there once it is whole, or a stream."""

import os
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Protocol, Self

from bulkload.errors import Halt, InputError
from bulkload.source.files import printable

# Push channels are personal data.
MODE = 0o600

# Beside the output: registrations of which no installation can be made.
LEFT_OUT = ".left-out.ndjson"


class Output(Protocol):
    """Takes lines from its beginning to its end, within an ``async with`` block."""

    name: str | None
    left_out: str | None
    """Where the registrations stand that were left out; None where there are none."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    async def write(self, lines: Iterable[bytes]) -> None:
        """Write installations, each a line."""

    async def leave_out(self, lines: Iterable[bytes]) -> None:
        """Keep registrations, each a line."""


class FileOutput:
    """A file, written beside its place (mode 0600) and put there at the end; what it replaces stays until then.

    Raises `InputError` where it cannot be made, `Halt` where it cannot be written to its end.
    """

    def __init__(self, path: Path) -> None:
        # What a link leads to is written, and the link stays.
        self._path = path.resolve() if path.is_symlink() else path
        self.name: str | None = printable(str(path))
        self.left_out: str | None = None
        self._beside = Path(f"{self._path}.part")
        self._left_out_path = Path(f"{self._path}{LEFT_OUT}")
        self._left_out_beside = Path(f"{self._left_out_path}.part")
        if path.is_dir():
            raise InputError(f"-o {self.name} is a folder; name a file in it")
        if path.exists() and not path.is_file():
            raise InputError(f"-o {self.name} is no regular file; leave -o out for standard output")
        if not os.access(self._path.parent, os.W_OK | os.X_OK):
            raise InputError(f"-o {self.name} cannot be written: its folder is missing or read-only; name another")

    def __repr__(self) -> str:
        return f"<FileOutput {self.name}>"

    async def __aenter__(self) -> Self:
        self._file = _made(self._beside)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            with self._file:
                if exc is None:
                    _reach_the_disk(self._file)
            if exc is None:
                self._put_in_place()
        except OSError as error:
            raise self._full(error) from error
        finally:
            _remove(self._beside)
            _remove(self._left_out_beside)

    def _put_in_place(self) -> None:
        """From now on both files are what this run made."""
        if self.left_out is None:
            _remove(self._left_out_path)
        else:
            self._left_out_beside.replace(self._left_out_path)
        self._beside.replace(self._path)

    async def write(self, lines: Iterable[bytes]) -> None:
        try:
            self._file.writelines(b"%b\n" % line for line in lines)
        except OSError as exc:
            raise self._full(exc) from exc

    async def leave_out(self, lines: Iterable[bytes]) -> None:
        iterator = iter(lines)
        first = next(iterator, None)
        if first is None:
            return
        self.left_out = printable(str(self._left_out_path))
        try:
            with _made(self._left_out_beside) as file:
                file.write(b"%b\n" % first)
                file.writelines(b"%b\n" % line for line in iterator)
                _reach_the_disk(file)
        except OSError as exc:
            raise self._full(exc) from exc

    def _full(self, exc: OSError) -> Halt:
        return Halt(f"{self.name} cannot be written: {exc.strerror}; make room and run the same command again")


class StreamOutput:
    """A stream, by what writes lines to it and what makes them leave."""

    name: str | None = None
    left_out: str | None = None

    def __init__(
        self, write: Callable[[Iterable[bytes]], Awaitable[None]], flush: Callable[[], Awaitable[None]]
    ) -> None:
        self._write = write
        self._flush = flush

    def __repr__(self) -> str:
        return "<StreamOutput>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._flush()

    async def write(self, lines: Iterable[bytes]) -> None:
        await self._write(lines)

    async def leave_out(self, lines: Iterable[bytes]) -> None:
        """There is no room for them beside a stream; they are counted by whoever gives them."""
        for _ in lines:
            pass


def _reach_the_disk(file: BinaryIO) -> None:
    """What it was made of is wiped next: a power cut must not take both."""
    file.flush()
    os.fsync(file.fileno())


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


def _made(path: Path) -> BinaryIO:
    try:
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, MODE), "wb")
    except OSError as exc:
        raise InputError(f"{printable(str(path))} cannot be written: {exc.strerror}; name another with -o") from exc
