"""What can go wrong with a run, as one small tree.

::

    BulkloadError
    ├── InputError      the call, a setting, a source or a ledger cannot be used as given (exit code 2)
    ├── LedgerLocked    another run holds the ledger; the same call works later (exit code 75)
    ├── CallFailed      the hub refused one operation, or all attempts for it failed; others may do (exit code 1)
    └── Halt            a run that had begun has to stop: the hub or this machine fails it (exit code 4)

A record's bad data is never an exception: it is a `Flaw` or an `Answer`, and ends as a settlement.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import UnionType
from typing import Any, ClassVar, NamedTuple, Never

# The exit code of a failure that is nobody's but the code's own: a bug, with its traceback.
BUG = 6


class BulkloadError(Exception):
    """The root; its text is one line that says what happened, to what, and what to do."""

    exit_code: ClassVar[int]


class InputError(BulkloadError):
    """Something given to bulkload cannot be used; nothing was sent."""

    exit_code = 2


class LedgerLocked(BulkloadError):
    """Another process is writing to this ledger; nothing was sent."""

    exit_code = 75


class CallFailed(BulkloadError):
    """One operation came to nothing; others are not touched by that. `is_refused` says that the hub refuses it."""

    exit_code = 1

    def __init__(self, message: str, *, is_refused: bool = False) -> None:
        super().__init__(message)
        self.is_refused = is_refused


class Halt(BulkloadError):
    """The run stops where it is; what was settled before stays settled and a later session goes on."""

    exit_code = 4


class Stop(NamedTuple):
    """Why a run or a check ends before its work does, and with which exit code."""

    exit_code: int
    reason: str


@contextmanager
def as_one_failure() -> Iterator[None]:
    """Let the first failure of a group of tasks surface as itself, with the cause that it came with."""
    try:
        yield
    except BaseExceptionGroup as group:
        failure = group.exceptions[0]
        raise failure from failure.__cause__


async def raised(failure: Exception) -> Never:
    """A task that ends its group with a failure which a callback met: nobody waits for what that raises."""
    raise failure


def require(flag: str, value: object, types: type | UnionType, holds: Callable[[Any], bool], words: str) -> None:
    """Raise `InputError` for a flag's value that is not of these types, or of which something does not hold."""
    require_value(f"--{flag}", value, types, holds, words)


def require_value(name: str, value: object, types: type | UnionType, holds: Callable[[Any], bool], words: str) -> None:
    """The same for what is no flag, under the name that it has for people."""
    if (isinstance(value, bool) and types is not bool) or not isinstance(value, types) or not holds(value):
        raise InputError(f"{name} is {words}, not {value!r}")
