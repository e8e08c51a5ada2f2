"""A user's own function in place of each, where and map."""

import contextlib
import hashlib
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import module_from_spec
from itertools import count
from pathlib import Path
from types import CodeType, TracebackType
from typing import Any, cast

import orjson

from bulkload.errors import InputError
from bulkload.installation import Fields, Flaw
from bulkload.mapping.flags import Transform

FUNCTION = "transform"

# Texts of a source object shorter than this say nothing about a person's device; longer ones may be push channels.
TELLING = 16

LONGEST_MESSAGE = 200

# A function that yields more than this of one source object is taken for one that never ends.
MOST = 1_000_000


class TransformRun:
    """A user's function as the mapping calls it: what it yields, and its failures as flaws.

    `fingerprint` is the file's digest, or the callable's name and source. What a file imports is not part of it.
    """

    def __init__(self, transform: Transform | str | os.PathLike[str]) -> None:
        if callable(transform):
            self._function: Callable[[Fields], Any] = transform
            self.name = f"--transform {_name(transform)}"
            self._file = getattr(getattr(transform, "__code__", None), "co_filename", "")
            self.fingerprint = f"{_name(transform)}:{_digest(_source(transform))}"
        else:
            path, function = _split(os.fspath(transform))
            self.name = f"--transform {path}"
            self._file = str(path.absolute())
            data = _read(path)
            self._function = _load(path, data, function)
            self.fingerprint = f"{function}:{_digest(data)}"
        if inspect.iscoroutinefunction(self._function) or inspect.isasyncgenfunction(self._function):
            raise InputError(f"{self.name}: the function is asynchronous; write a plain generator with def and yield")

    def __repr__(self) -> str:
        return f"<TransformRun {self.name}>"

    def of(self, source_object: Fields) -> Iterator[Fields | Flaw]:
        """What the function yields for an object; an exception ends it as a flaw, what came before stands.

        The function gets a copy whose own fields it may change; what is nested in them it must leave as it is.
        """
        elements = self._called(source_object)
        for number in count():
            try:
                element = next(elements)
            except StopIteration:
                return
            except KeyboardInterrupt:
                raise
            except BaseException as exc:  # noqa: BLE001 - also what would end the process, or the task in its name
                yield self._flaw(exc, source_object)
                return
            if number == MOST:
                words = f"the function yields more than {MOST:,} installations of one source object; does it end?"
                yield Flaw.of("mapping-failed", f"{self.name}: {words}")
                return
            yield element if isinstance(element, Flaw) else self._fields(element)

    def _called(self, source_object: Fields) -> Iterator[object]:
        made = self._function({**source_object})
        if isinstance(made, dict):
            yield made
        elif isinstance(made, Iterable) and not isinstance(made, str | bytes):
            yield from made
        else:
            words = f"the function returned {type(made).__name__}; yield installations, or return a list of them"
            yield Flaw.of("mapping-failed", f"{self.name}: {words}")

    def _fields(self, element: object) -> Fields | Flaw:
        if not isinstance(element, dict):
            kind = type(element).__name__
            return Flaw.of("mapping-failed", f"{self.name}: an installation is a dict, the function yielded a {kind}")
        try:
            # Written and read: dates, tuples and subclasses of str become JSON, and what the function keeps is its own.
            return cast("Fields", orjson.loads(orjson.dumps(element)))
        except TypeError as exc:
            return Flaw.of("mapping-failed", f"{self.name}: what was yielded cannot be written as JSON: {exc}")

    def _flaw(self, exc: BaseException, source_object: Fields) -> Flaw:
        line = _line(exc.__traceback__, self._file)
        place = f"{self.name}, line {line}" if line else self.name
        words = _words(exc)
        for text in sorted(_texts(source_object), key=len, reverse=True):
            words = words.replace(text, "…")
        if len(words) > LONGEST_MESSAGE:
            words = f"{words[: LONGEST_MESSAGE - 1]}…"
        return Flaw.of("mapping-failed", f"{place}: {type(exc).__name__}{f': {words}' if words else ''}")


class _Loader(SourceFileLoader):
    """Runs the very bytes whose digest was taken, and leaves no compiled file beside them."""

    def __init__(self, name: str, path: str, data: bytes) -> None:
        super().__init__(name, path)
        self._data = data

    def get_code(self, fullname: str) -> CodeType:  # noqa: ARG002
        return self.source_to_code(self._data, self.path)


def _split(text: str) -> tuple[Path, str]:
    """``FILE.py[:FUNCTION]`` taken apart."""
    file, colon, function = text.rpartition(":")
    if colon and file and not text.endswith(".py"):
        return Path(file), function
    return Path(text), FUNCTION


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise InputError(
            f"--transform {path} cannot be read: {exc.strerror}; it is FILE.py or FILE.py:FUNCTION"
        ) from exc


def _load(path: Path, data: bytes, function: str) -> Transform:
    """The function of a file, which may import what stands beside it; raises `InputError`."""
    file = str(path.absolute())
    name = f"_bulkload_transform_{_digest(file.encode())[:16]}"
    loader = _Loader(name, file, data)
    module = module_from_spec(ModuleSpec(name, loader, origin=file))
    module.__file__ = file
    folder = str(path.absolute().parent)
    # First while it loads, as for a script; last afterwards, so that it hides nothing from what is imported later.
    sys.path.insert(0, folder)
    # Dataclasses and pickles look a module up by its name.
    sys.modules[name] = module
    try:
        # What it prints is not part of what the command writes.
        with contextlib.redirect_stdout(sys.stderr):
            loader.exec_module(module)
    except SyntaxError as exc:
        raise InputError(f"--transform {_place(path, exc, file)}: {exc.msg}") from exc
    except (Exception, SystemExit) as exc:
        raise InputError(f"--transform {_place(path, exc, file)}: {type(exc).__name__}: {_words(exc)}") from exc
    finally:
        sys.path.remove(folder)
        if folder not in sys.path:
            sys.path.append(folder)
    found = getattr(module, function, None)
    if not callable(found):
        raise InputError(f"--transform {path}: there is no function {function}; name another as {path}:FUNCTION")
    return cast("Transform", found)


def _words(exc: BaseException) -> str:
    """What an exception says, in one line, unless it cannot even say it."""
    try:
        return " ".join(str(exc).split())
    except Exception:  # noqa: BLE001 - a user's class may raise anything
        return ""


def _place(path: Path, exc: BaseException, file: str) -> str:
    """The file and the line to mend; a file that does not parse may also be one that it imports."""
    if isinstance(exc, SyntaxError):
        name, line = exc.filename if exc.filename not in (None, file) else path, exc.lineno
    else:
        name, line = path, _line(exc.__traceback__, file)
    return f"{name}, line {line}" if line else f"{name}"


def _line(trace: TracebackType | None, file: str) -> int | None:
    """The line of a file at which an exception passed it last."""
    lines = [line for frame, line in traceback.walk_tb(trace) if frame.f_code.co_filename == file]
    return lines[-1] if lines else None


def _texts(value: object) -> set[str]:
    """The longer texts in an object: what must not stand in a message."""
    found: set[str] = set()
    rest = [value]
    while rest:
        match rest.pop():
            case str(text) if len(text) >= TELLING:
                found.add(text)
            case dict(fields):
                rest += fields.values()
            case list(elements):
                rest += elements
    return found


def _name(function: Callable[..., object]) -> str:
    """A callable's name, without the address that `repr` may show."""
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}.{named.__qualname__}"


def _source(function: Callable[..., object]) -> bytes:
    """A callable's source as far as it can be had."""
    try:
        return inspect.getsource(function if hasattr(function, "__code__") else type(function)).encode()
    except (OSError, TypeError):
        return b""


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]
