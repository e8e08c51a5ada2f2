"""One run at a time for a ledger: the kernel's lock on the file itself, which goes with its process."""

import asyncio
import fcntl
import os
import stat
import time
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import ClassVar, TypeVar

from bulkload.errors import InputError, LedgerLocked

T = TypeVar("T")

# Only its owner reads a ledger: it names devices.
MODE = 0o600

# How often a ledger that another run holds is tried again.
PAUSE = 0.2


async def held(hold: Callable[[], T], wait: float) -> T:
    """What `hold` gives, tried again for so many seconds while another run holds the ledger."""
    give_up = time.monotonic() + wait
    while True:
        try:
            return hold()
        except LedgerLocked:
            if time.monotonic() >= give_up:
                raise
            await asyncio.sleep(PAUSE)


class Lock:
    """Holds a ledger file, making it where it does not exist.

    flock and SQLite's own locks do not see each other. Closing any descriptor of the file drops SQLite's locks in this
    process, though: so this one stays open until SQLite has closed the file, and a ledger that this process holds is
    not opened a second time.
    """

    _held: ClassVar[set[tuple[int, int]]] = set()

    def __init__(self, path: Path) -> None:
        self.path = path
        while True:
            self._file = _locked(path, self._held)
            if _is_still(path, self._file):
                break
            # Its holder put the file aside while we waited for the lock.
            os.close(self._file)
        self._identity = _identity(os.fstat(self._file))
        self._held.add(self._identity)

    def __repr__(self) -> str:
        return f"<Lock of {self.path}>"

    def head(self, size: int) -> bytes:
        """The first bytes of the file."""
        return os.pread(self._file, size, 0)

    @property
    def is_in_place(self) -> bool:
        """Whether the file that is held still stands under its name."""
        return _is_still(self.path, self._file)

    def make_private(self) -> None:
        """Nobody else may read the file, also where it was there before it became a ledger."""
        os.fchmod(self._file, MODE)

    def release(self) -> None:
        self._held.discard(self._identity)
        os.close(self._file)


def _locked(path: Path, held: AbstractSet[tuple[int, int]]) -> int:
    busy = f"another run holds ledger {path}; wait for its end (--wait-lock 5m) or name another with --ledger"
    try:
        if path.exists() and _identity(path.stat()) in held:
            raise LedgerLocked(busy)
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, MODE)
    except OSError as exc:
        raise InputError(f"ledger {path} cannot be written: {exc.strerror}; name another with --ledger") from exc
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise InputError(f"ledger {path} is no regular file; name another with --ledger")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        os.close(file)
        raise LedgerLocked(busy) from exc
    except OSError as exc:
        os.close(file)
        raise InputError(
            f"ledger {path} cannot be locked here ({exc.strerror}); name one on a local disk with --ledger"
        ) from exc
    return file


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _is_still(path: Path, file: int) -> bool:
    try:
        return _identity(path.stat()) == _identity(os.fstat(file))
    except FileNotFoundError:
        return False
