"""One run at a time for a ledger: the kernel's lock on the file itself, which goes with its process."""

import fcntl
import os
from pathlib import Path

from bulkload.errors import InputError, LedgerLocked

# Only its owner reads a ledger: it names devices.
MODE = 0o600


class Lock:
    """Holds a ledger file, making it where it does not exist.

    flock and SQLite's own locks do not see each other. Closing a descriptor of the file drops SQLite's locks, though,
    so this one stays open until SQLite has closed the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        while True:
            self._file = _locked(path)
            if _is_still(path, self._file):
                return
            # Its holder put the file aside while we waited for the lock.
            os.close(self._file)

    def __repr__(self) -> str:
        return f"<Lock of {self.path}>"

    def release(self) -> None:
        os.close(self._file)


def _locked(path: Path) -> int:
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, MODE)
    except OSError as exc:
        raise InputError(f"ledger {path} cannot be written: {exc.strerror}; name another with --ledger") from exc
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        os.close(file)
        raise LedgerLocked(
            f"another run holds ledger {path}; wait for its end (--wait-lock 5m) or name another with --ledger"
        ) from exc
    except OSError as exc:
        os.close(file)
        raise InputError(
            f"ledger {path} cannot be locked here ({exc.strerror}); name one on a local disk with --ledger"
        ) from exc
    return file


def _is_still(path: Path, file: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file))
    except FileNotFoundError:
        return False
