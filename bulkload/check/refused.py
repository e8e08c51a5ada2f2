"""The file of invalid records that a check writes when asked: dead letters, as a load would leave them."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from bulkload.dead_letters import MODE, Form, Letter, forms
from bulkload.errors import Halt, InputError
from bulkload.installation import Flaw
from bulkload.record import Origin, Outcome
from bulkload.source import Datum, FileSource, Place, Source
from bulkload.source.files import printable


class Refused:
    """Writes the source objects of invalid records, each once: the file is there, and empty, where there are none.

    Sources of another form than the first (CSV beside NDJSON, other columns) have a file of their own, whose name is
    the given one with the form's ending. It is made once the sources' forms are known. Raises `InputError` where a file
    cannot be begun, or would be a source itself.
    """

    def __init__(self, path: Path, sources: Sequence[Source], *, encoding: str = "utf-8") -> None:
        self._sources = sources
        self._forms = forms(sources, encoding)
        self._last: tuple[int, int] | None = None
        self._paths: dict[Form, Path] = {}
        for form in self._forms:
            name = path.name if not self._paths or form in self._paths else f"{path.name}.{form.ending}"
            self._paths.setdefault(form, path.with_name(name))
        for target in self._paths.values():
            if any(isinstance(source, FileSource) and _is_same(target, source.path) for source in sources):
                raise InputError(f"--invalid {printable(str(target))} is a source itself; name another file")
        self._path = path
        self._files: dict[Form, BinaryIO] = {}
        try:
            for form in list(self._paths)[:1]:
                self._files[form] = _begun(path)
        except OSError as exc:
            name = printable(str(path))
            raise InputError(f"--invalid {name} cannot be written: {exc.strerror}; name another file") from exc

    def __repr__(self) -> str:
        return f"<Refused {self._path}>"

    def __call__(self, source: int, position: int, datum: Datum, offset: int, line: int, flaw: Flaw) -> None:
        # An object that yielded several records is written whole, once.
        if self._last == (source, offset):
            return
        self._last = (source, offset)
        letter = Letter(Origin(source, datum, Place(offset, line)), position, Outcome.INVALID, f"line {line}: {flaw}")
        form = self._forms[source]
        try:
            self._file(form).write(form.render(letter, self._sources[source].name))
        except OSError as exc:
            raise self._failed(exc) from exc

    def close(self) -> None:
        """Put all of it on the disk; raises `Halt`."""
        try:
            for file in self._files.values():
                file.close()
        except OSError as exc:
            raise self._failed(exc) from exc

    def _file(self, form: Form) -> BinaryIO:
        file = self._files.get(form)
        if file is None:
            file = self._files[form] = _begun(self._paths[form])
        if not file.tell():
            file.write(form.head)
        return file

    def _failed(self, exc: OSError) -> Halt:
        return Halt(f"--invalid {printable(str(self._path))} cannot be written: {exc.strerror}; make room, check again")


def _is_same(one: Path, other: Path) -> bool:
    return one.exists() and one.samefile(other)


def _begun(path: Path) -> BinaryIO:
    return open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, MODE), "wb")
