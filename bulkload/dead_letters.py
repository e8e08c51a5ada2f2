"""The dead letters: the source objects of what settled badly, in the form in which they came.

One file for each form stands beside a ledger, made only when needed: ``LEDGER.dead.ndjson`` and ``LEDGER.dead.csv``
(and ``LEDGER.dead.2.csv`` … where sources have other columns). A letter is on the disk before the ledger shows its
record as settled, and the files are built anew from ledger and source when a session starts: so they equal the ledger
after any kill.
"""

import base64
import codecs
import contextlib
import csv
import io
import json
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from glob import escape, glob
from pathlib import Path
from typing import NamedTuple, Protocol

import orjson

from bulkload.errors import Halt
from bulkload.record import Origin, Outcome
from bulkload.source import Broken
from bulkload.source.table import OWN, OWN_HEAD, OWN_ROW

# Only their owner reads them: they hold push channels.
MODE = 0o600

# What the name of a file ends with that is still being built.
_NEW = ".new"

# The columns that tell of a CSV letter.
ABOUT = (f"{OWN}source", f"{OWN}position", f"{OWN}outcome", f"{OWN}reason", OWN_ROW, OWN_HEAD)

# The name by which codecs know how to write a character that they have not: as JSON does.
_ESCAPED = "bulkload.escaped"


def _escape(exc: UnicodeError) -> tuple[str, int]:
    assert isinstance(exc, UnicodeEncodeError)
    return json.dumps(exc.object[exc.start : exc.end])[1:-1], exc.end


class Letter(NamedTuple):
    """A source object of which a record settled badly: that record's position and outcome, and why."""

    origin: Origin
    position: int
    outcome: Outcome
    reason: str


class Laid(Protocol):
    """What has to be known of a source: its name, and how its rows are laid out where it has rows."""

    @property
    def name(self) -> str: ...

    @property
    def columns(self) -> tuple[str, ...] | None:
        """The columns of CSV; None where source objects are JSON."""

    @property
    def delimiter(self) -> str | None: ...


class DeadLetters:
    """Writes the dead letters of a run.

    `stem` is what all their files' names begin with, see `stem_of`; `encoding` is that of the sources' text, so that a
    mended file is read with the flags that read its source. What fails raises `Halt`.
    """

    def __init__(self, stem: Path, sources: Sequence[Laid], *, encoding: str = "utf-8") -> None:
        self._stem = stem
        self._names = [source.name for source in sources]
        self._forms = forms(sources, encoding)
        self._shelf = _Shelf(stem)

    def __repr__(self) -> str:
        return f"<DeadLetters {self._stem}>"

    def write(self, letters: Sequence[Letter]) -> None:
        """Put letters on the disk."""
        self._put(self._shelf, letters)

    @contextlib.contextmanager
    def rebuilding(self) -> Iterator["Rebuild"]:
        """What is written within this block replaces all that stood there before, once the block has ended well."""
        self.close()
        shelf = _Shelf(self._stem, _NEW)
        try:
            shelf.clear()
            yield Rebuild(
                lambda letters: self._put(shelf, letters), lambda number, keep: self._keep(shelf, number, keep)
            )
            made = shelf.close()
            with _failing(self._stem):
                for path in standing(self._stem):
                    if path.name.removeprefix(f"{self._stem.name}.") not in made:
                        path.unlink()
                for path in _found(self._stem, _NEW):
                    path.replace(path.with_name(path.name.removesuffix(_NEW)))
        finally:
            # Whoever still writes, in a thread that nobody waits for any more, finds it closed.
            shelf.close()
            shelf.clear()

    def close(self) -> None:
        self._shelf.close()
        self._shelf = _Shelf(self._stem)

    def _put(self, shelf: "_Shelf", letters: Sequence[Letter]) -> None:
        rendered: dict[Form, list[bytes]] = {}
        for letter in letters:
            number = letter.origin.source
            form = self._forms[number]
            rendered.setdefault(form, []).append(form.render(letter, self._names[number]))
        for form, texts in rendered.items():
            shelf.put(form, b"".join(texts))

    def _keep(self, shelf: "_Shelf", number: int, is_dead: Callable[[int], bool]) -> int:
        """Take over the letters of a source that stand there and are still true; returns how many."""
        form = self._forms[number]
        path = Path(f"{self._stem}.{form.ending}")
        kept = 0
        with _failing(path):
            if not path.exists() or self._names.count(self._names[number]) > 1:
                return 0
            for text, source, position in form.read(path):
                if source == form.writable(self._names[number]) and is_dead(position):
                    shelf.put(form, text)
                    kept += 1
        return kept


class Rebuild(NamedTuple):
    """How letters come back: written anew, or for a source by its number taken over by their positions."""

    write: Callable[[Sequence[Letter]], None]
    keep: Callable[[int, Callable[[int], bool]], int]


class _Shelf:
    """The files of one stem, each begun when it is needed; threads may write to it until it is closed."""

    def __init__(self, stem: Path, suffix: str = "") -> None:
        self._stem = stem
        self._suffix = suffix
        self._files: dict[str, _File] = {}
        self._lock = threading.Lock()
        self._is_closed = False

    def put(self, form: "Form", data: bytes) -> None:
        with self._lock:
            if self._is_closed:
                return
            path = Path(f"{self._stem}.{form.ending}{self._suffix}")
            with _failing(path):
                if form.ending not in self._files:
                    self._files[form.ending] = _File(path, form.head)
                self._files[form.ending].append(data)

    def close(self) -> set[str]:
        """Let go of the files; returns the ends of their names."""
        with self._lock:
            self._is_closed = True
            made = set(self._files)
            for file in self._files.values():
                file.close()
            self._files.clear()
            return made

    def clear(self) -> None:
        """Remove what an earlier one with this suffix left."""
        with _failing(self._stem):
            for path in _found(self._stem, self._suffix):
                path.unlink()


def stem_of(ledger: Path) -> Path:
    """What the names of a ledger's dead letters begin with."""
    return ledger.with_name(f"{ledger.name}.dead")


def standing(stem: Path) -> list[Path]:
    """The files of dead letters that are there."""
    return [path for path in _found(stem, "") if path.suffix in (".ndjson", ".csv")]


def named(stem: Path) -> str | None:
    """The path of the dead letters that are there, or the pattern for several files; None where there are none."""
    found = standing(stem)
    return f"{stem}.*" if len(found) > 1 else str(found[0]) if found else None


def put_aside(stem: Path, new: Path, *, is_kept: bool) -> None:
    """Make room for another run's dead letters: those that are there go to a new stem, or away."""
    with _failing(stem):
        for path in standing(stem):
            if is_kept:
                path.rename(path.with_name(path.name.replace(stem.name, new.name, 1)))
            else:
                path.unlink()


def _found(stem: Path, suffix: str) -> list[Path]:
    return [Path(name) for name in sorted(glob(f"{escape(str(stem))}.*{suffix}"))]


class Form(Protocol):
    """How letters are written: the end of the file's name, what stands at its head, and a letter's text."""

    ending: str
    head: bytes

    def render(self, letter: Letter, source: str) -> bytes: ...

    def read(self, path: Path) -> Iterator[tuple[bytes, str, int]]:
        """The letters of a file: the text of each, its source's name as it was written, and its position."""

    def writable(self, text: str) -> str:
        """A text of ours in letters that the file's encoding has."""


def forms(sources: Sequence[Laid], encoding: str) -> list[Form]:
    """The form for each source; those that are laid out alike share one."""
    made: list[Form] = []
    known: dict[object, Form] = {}
    tables = 0
    for source in sources:
        layout = source.columns and (source.columns, source.delimiter)
        if layout not in known:
            if source.columns is None:
                known[layout] = _JsonForm(encoding)
            else:
                tables += 1
                known[layout] = _CsvForm(source.columns, source.delimiter or ",", encoding, number=tables)
        made.append(known[layout])
    return made


class _JsonForm:
    """A line of JSON for each letter."""

    ending = "ndjson"

    def __init__(self, encoding: str) -> None:
        self._encoding = _Encoding(encoding)
        self.head = self._encoding.mark

    def render(self, letter: Letter, source: str) -> bytes:
        datum, place = letter.origin.datum, letter.origin.place
        about: dict[str, object] = {
            "source": source,
            "position": letter.position,
            "outcome": letter.outcome.word,
            "reason": letter.reason,
        }
        if isinstance(datum, Broken) and datum.size > len(datum.text):
            about["bytes"] = [place.offset, place.offset + datum.size]
            return self._line(about, b"head", _base64(datum.text))
        assert not isinstance(datum, dict)
        text = datum.text if isinstance(datum, Broken) else datum
        record = _on_one_line(text)
        return self._line(about, b"base64", _base64(text)) if record is None else self._line(about, b"record", record)

    def _line(self, about: dict[str, object], key: bytes, value: bytes) -> bytes:
        line = b'{"_bulkload":%s,"%s":%s}\n' % (orjson.dumps(about), key, value)
        # What the encoding has not is written as JSON has it for all.
        return line if self._encoding.is_utf_8 else self._encoding.encode(line.decode(), _ESCAPED)

    def read(self, path: Path) -> Iterator[tuple[bytes, str, int]]:
        with path.open(encoding=self._encoding.name, newline="\n") as file:
            for line in file:
                # The last one may be half of a line.
                with contextlib.suppress(orjson.JSONDecodeError, KeyError, TypeError):
                    about = orjson.loads(line)["_bulkload"]
                    yield self._encoding.encode(line.rstrip("\n") + "\n", _ESCAPED), about["source"], about["position"]

    def writable(self, text: str) -> str:
        return text


class _CsvForm:
    """A row for each letter: the source's columns, and then those of `ABOUT`."""

    def __init__(self, columns: tuple[str, ...], delimiter: str, encoding: str, *, number: int) -> None:
        self._columns = columns
        self._delimiter = delimiter
        self._encoding = _Encoding(encoding)
        self.ending = "csv" if number == 1 else f"{number}.csv"
        self.head = self._encoding.mark + self._row([*columns, *ABOUT])

    def render(self, letter: Letter, source: str) -> bytes:
        datum, place = letter.origin.datum, letter.origin.place
        about = [self.writable(source), str(letter.position), letter.outcome.word, self.writable(letter.reason)]
        if isinstance(datum, dict):
            return self._row([*(datum.get(column, "") for column in self._columns), *about, "", ""])
        assert isinstance(datum, Broken)
        text = datum.text.decode(errors="surrogateescape")
        if datum.size > len(datum.text):
            about[-1] += f" (bytes {place.offset} to {place.offset + datum.size})"
            return self._row([*[""] * len(self._columns), *about, "", text])
        return self._row([*[""] * len(self._columns), *about, text, ""])

    def _row(self, cells: list[str]) -> bytes:
        text = io.StringIO()
        csv.writer(text, delimiter=self._delimiter, lineterminator="\n").writerow(cells)
        return self._encoding.encode(text.getvalue(), "surrogateescape")

    def read(self, path: Path) -> Iterator[tuple[bytes, str, int]]:
        place = len(self._columns)
        with path.open(encoding=self._encoding.name, errors="surrogateescape", newline="") as file:
            for row in csv.reader(file, delimiter=self._delimiter):
                if len(row) == place + len(ABOUT) and row[place + 1].isdecimal():
                    yield self._row(row), row[place], int(row[place + 1])

    def writable(self, text: str) -> str:
        return text.encode(self._encoding.name, "backslashreplace").decode(self._encoding.name)


class _Encoding:
    """How text becomes bytes, piece by piece.

    Some codecs put a mark before every text that they write; a file has one, at its beginning.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.mark = "".encode(name)
        codecs.register_error(_ESCAPED, _escape)
        self.is_utf_8 = codecs.lookup(name).name == "utf-8"

    def encode(self, text: str, errors: str) -> bytes:
        return text.encode(self.name, errors).removeprefix(self.mark)


class _File:
    """A file that grows at its end, and is on the disk when `append` returns."""

    def __init__(self, path: Path, head: bytes) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, MODE)
        if head and not os.fstat(self._descriptor).st_size:
            self.append(head)

    def append(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]
        os.fsync(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)


def _base64(data: bytes) -> bytes:
    return b'"%s"' % base64.b64encode(data)


def _on_one_line(text: bytes) -> bytes | None:
    """A JSON text as it came, where it can stand on one line; None where it is none."""
    try:
        value = orjson.loads(text)
        return orjson.dumps(value) if b"\n" in text or b"\r" in text else text
    except (orjson.JSONDecodeError, TypeError):
        return None


@contextlib.contextmanager
def _failing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise Halt(
            f"dead letters {path} cannot be written: {exc.strerror}; what the ledger shows as settled is settled, "
            "make room and run the same command again"
        ) from exc
