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
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from glob import escape, glob
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import orjson

from bulkload.errors import Halt
from bulkload.mapping.unwrapping import unwrap
from bulkload.record import Origin, Outcome
from bulkload.source import Broken, Place
from bulkload.source.encoding import CARRIED, is_utf_8
from bulkload.source.lines import is_text
from bulkload.source.table import OWN, OWN_HEAD, OWN_ROW, csv_reader, csv_row

# Only their owner reads them: they hold push channels.
MODE = 0o600

# What the name of a file ends with that is still being built.
_NEW = ".new"

# The columns that tell of a CSV letter.
ABOUT = (f"{OWN}source", f"{OWN}position", f"{OWN}outcome", f"{OWN}reason", OWN_ROW, OWN_HEAD)

# How a letter of JSON begins, up to what it tells.
_HEAD = re.compile(r'\{\s*"_bulkload"\s*:\s*')

# A position in a row; more digits are none.
_POSITION = re.compile(r"[0-9]{1,19}")

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


class Told(Protocol):
    """What a letter has to tell of a record that settled badly, and the place of its source object."""

    @property
    def position(self) -> int: ...

    @property
    def place(self) -> Place: ...

    @property
    def outcome(self) -> Outcome: ...

    @property
    def detail(self) -> str | None: ...


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
            yield Rebuild(lambda letters: self._put(shelf, letters), lambda *which: self._keep(shelf, *which))
            made = shelf.close()
            with failing(self._stem):
                for path in standing(self._stem):
                    if path.name.removeprefix(f"{self._stem.name}.") not in made:
                        path.unlink()
                for path in _found(self._stem, _NEW):
                    path.replace(path.with_name(path.name.removesuffix(_NEW)))
        finally:
            # Whoever still writes, in a thread that nobody waits for any more, finds it closed.
            shelf.close()
            shelf.clear()

    def can_tell(self, name: str) -> bool:
        """Whether the letters of a source of this name are known as its own."""
        return self._names.count(name) == 1

    def objects(self, number: int) -> Iterator[tuple[int, bytes | dict[str, Any]]]:
        """The source objects of a source that its letters hold whole, each with its letter's position.

        They come in no order; somebody may have mended some.
        """
        form = self._forms[number]
        for text, position in self._standing(number):
            if (datum := form.datum(text)) is not None:
                yield position, datum

    def broken(self, numbers: Sequence[int]) -> list[Path]:
        """The files of these sources' letters in which something is no letter any more."""
        used = dict.fromkeys(self._forms[number] for number in numbers)
        return [self._path(form) for form in used if any(letter is None for letter in self._read(form))]

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

    def _keep(self, shelf: "_Shelf", number: int, find: Callable[[int], Told | None], objects: int) -> bool:
        """Take over the letters of a source that stand there, if they are of so many objects, and tell what is true."""
        form = self._forms[number]
        wanted = {told.place.offset for _, position in self._standing(number) if (told := find(position)) is not None}
        if len(wanted) < objects:
            return False
        for text, position in self._standing(number):
            if (told := find(position)) is not None and told.place.offset in wanted:
                wanted.remove(told.place.offset)
                # What was never sent is as it was, and its letter may say more than the ledger.
                is_true = told.outcome is Outcome.INVALID and told.position == position
                shelf.put(form, text if is_true else form.retold(text, told))
        return True

    def _standing(self, number: int) -> Iterator[tuple[bytes, int]]:
        """The letters of a source that stand there: the text of each, and its position."""
        form = self._forms[number]
        name = form.writable(self._names[number])
        # Of sources with the same name, nothing says whose a letter is.
        if self.can_tell(self._names[number]):
            for letter in self._read(form):
                if letter is not None and letter[1] == name:
                    yield letter[0], letter[2]

    def _read(self, form: "Form") -> Iterator[tuple[bytes, str, int] | None]:
        path = self._path(form)
        if path.exists():
            with failing(path):
                yield from form.read(path)

    def _path(self, form: "Form") -> Path:
        return Path(f"{self._stem}.{form.ending}")


class Rebuild(NamedTuple):
    """How letters come back: written anew, or taken over where all of a source are there.

    `keep` takes the source's number, what tells by a letter's position which record that settled badly it stands for,
    and how many letters there have to be; it returns whether they were taken over.
    """

    write: Callable[[Sequence[Letter]], None]
    keep: Callable[[int, Callable[[int], Told | None], int], bool]


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
            with failing(path):
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
        with failing(self._stem):
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
    with failing(stem):
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

    def read(self, path: Path) -> Iterator[tuple[bytes, str, int] | None]:
        """The letters of a file: the text of each, its source's name as it was written, and its position.

        Somebody may have edited it: None stands for what is no letter any more.
        """

    def retold(self, text: bytes, told: Told) -> bytes:
        """A letter's text with what is true by now, its source object as it stands there."""

    def datum(self, text: bytes) -> bytes | dict[str, Any] | None:
        """The source object in a letter's text; None where it holds none, or only a part of one."""

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
        if record is not None:
            return self._line(about, b"record", record)
        return self._line(about, b"base64", _base64(text if is_text(text) else self._encoding.original(text)))

    def _line(self, about: dict[str, object], key: bytes, value: bytes) -> bytes:
        line = b'{"_bulkload":%s,"%s":%s}\n' % (orjson.dumps(about), key, value)
        # What the encoding has not is written as JSON has it for all.
        return line if self._encoding.is_utf_8 else self._encoding.encode(line.decode(), _ESCAPED)

    def read(self, path: Path) -> Iterator[tuple[bytes, str, int] | None]:
        try:
            with path.open(encoding=self._encoding.name, errors=CARRIED, newline="\n") as file:
                for line in file:
                    match _json(line):
                        case {"_bulkload": {"source": str(source), "position": int(position)}}:
                            yield self._encoding.encode(line.rstrip("\n") + "\n", _ESCAPED), source, position
                        case _:
                            yield None
        except UnicodeError:
            # It was saved in another encoding.
            yield None

    def retold(self, text: bytes, told: Told) -> bytes:
        line = self._encoding.decode(text)
        if (head := _HEAD.match(line)) is None:
            # Somebody wrote it in another order.
            return text
        about, end = json.JSONDecoder().raw_decode(line, head.end())
        if not isinstance(about, dict):
            return text
        about |= {"position": told.position, "outcome": told.outcome.word, "reason": told.detail or ""}
        return self._encoding.encode(f"{head[0]}{orjson.dumps(about).decode()}{line[end:]}", _ESCAPED)

    def datum(self, text: bytes) -> bytes | None:
        inner = unwrap(self._encoding.decode(text).rstrip("\n").encode(errors="surrogatepass"))
        return inner if isinstance(inner, bytes) else None

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
        if datum.size > len(datum.text):
            about[-1] += f" (bytes {place.offset} to {place.offset + datum.size})"
            head = self.writable(datum.text.decode(errors="replace"))
            return self._row([*[""] * len(self._columns), *about, "", head])
        return self._row([*[""] * len(self._columns), *about, self._encoding.text(datum.text), ""])

    def _row(self, cells: list[str]) -> bytes:
        return self._encoding.encode(csv_row(cells, self._delimiter), CARRIED)

    def read(self, path: Path) -> Iterator[tuple[bytes, str, int] | None]:
        place = len(self._columns)
        try:
            with path.open(encoding=self._encoding.name, errors=CARRIED, newline="") as file:
                rows = csv_reader(file, self._delimiter)
                if next(rows, None) != [*self._columns, *ABOUT]:
                    yield None
                for row in rows:
                    if len(row) == place + len(ABOUT) and _POSITION.fullmatch(row[place + 1]):
                        yield self._row(row), row[place], int(row[place + 1])
                    else:
                        yield None
        except (csv.Error, UnicodeError):
            # A row that cannot be read is the last, and another encoding has none.
            yield None

    def retold(self, text: bytes, told: Told) -> bytes:
        row, place = self._cells(text), len(self._columns)
        row[place + 1 : place + 4] = [str(told.position), told.outcome.word, self.writable(told.detail or "")]
        return self._row(row)

    def datum(self, text: bytes) -> dict[str, Any] | None:
        row, place = self._cells(text), len(self._columns)
        if row[place + 4] or row[place + 5]:
            return None
        return {name: cell for name, cell in zip(self._columns, row, strict=False) if name}

    def _cells(self, text: bytes) -> list[str]:
        lines = io.StringIO(self._encoding.decode(text), newline="")
        return next(csv_reader(lines, self._delimiter))

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
        self.is_utf_8 = is_utf_8(name)

    def text(self, raw: bytes) -> str:
        """A source object's bytes as text in which those that are none stay what they are."""
        return raw.decode(errors="surrogateescape" if self.is_utf_8 else "surrogatepass")

    def original(self, raw: bytes) -> bytes:
        """The bytes of a source object as they stand in the source."""
        return raw if self.is_utf_8 else self.encode(self.text(raw), CARRIED)

    def encode(self, text: str, errors: str) -> bytes:
        return text.encode(self.name, errors).removeprefix(self.mark)

    def decode(self, data: bytes) -> str:
        """What `encode` made, as text again."""
        return (self.mark + data).decode(self.name, CARRIED)


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


def _json(line: str) -> object:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return None


def _on_one_line(text: bytes) -> bytes | None:
    """A JSON text as it came, where it can stand on one line; None where it is none."""
    try:
        value = orjson.loads(text)
        return orjson.dumps(value) if b"\n" in text or b"\r" in text else text
    except (orjson.JSONDecodeError, TypeError):
        return None


@contextlib.contextmanager
def failing(path: Path) -> Iterator[None]:
    """What the disk refuses within this block stops the run."""
    try:
        yield
    except OSError as exc:
        raise Halt(
            f"dead letters {path} cannot be written: {exc.strerror}; what the ledger shows as settled is settled, "
            "make room and run the same command again"
        ) from exc
