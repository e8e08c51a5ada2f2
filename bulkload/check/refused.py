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

    Sources of another form than the first that needs it (CSV beside NDJSON, other columns) have a file of their own,
    whose name is the given one with the form's ending. Raises `InputError` where the file cannot be begun.
    """

    def __init__(self, path: Path, sources: Sequence[Source], *, encoding: str = "utf-8") -> None:
        self.name = printable(str(path))
        self._path = path
        self._sources = sources
        self._encoding = encoding
        self._forms: list[Form] = []
        self._files: dict[Form, BinaryIO] = {}
        self._last: tuple[int, int] | None = None
        for source in sources:
            if isinstance(source, FileSource) and path.exists() and path.samefile(source.path):
                raise InputError(f"--invalid {self.name} is a source itself; name another file")
        try:
            self._first: BinaryIO | None = _begun(path)
        except OSError as exc:
            raise InputError(f"--invalid {self.name} cannot be written: {exc.strerror}; name another file") from exc

    def __repr__(self) -> str:
        return f"<Refused {self.name}>"

    def __call__(self, source: int, position: int, datum: Datum, offset: int, line: int, flaw: Flaw) -> None:
        # An object that yielded several records is written whole, once.
        if self._last == (source, offset):
            return
        self._last = (source, offset)
        if not self._forms:
            self._forms = forms(self._sources, self._encoding)
        letter = Letter(Origin(source, datum, Place(offset, line)), position, Outcome.INVALID, f"line {line}: {flaw}")
        form = self._forms[source]
        try:
            self._file(form).write(form.render(letter, self._sources[source].name))
        except OSError as exc:
            raise self._failed(exc) from exc

    def close(self) -> None:
        """Put all of it on the disk; raises `Halt`."""
        try:
            for file in [*self._files.values(), *([self._first] if self._first else [])]:
                file.close()
        except OSError as exc:
            raise self._failed(exc) from exc

    def _file(self, form: Form) -> BinaryIO:
        file = self._files.get(form)
        if file is None:
            file = self._first or _begun(self._path.with_name(f"{self._path.name}.{form.ending}"))
            self._first = None
            self._files[form] = file
            file.write(form.head)
        return file

    def _failed(self, exc: OSError) -> Halt:
        return Halt(f"--invalid {self.name} cannot be written: {exc.strerror}; make room and check again")


def _begun(path: Path) -> BinaryIO:
    return open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, MODE), "wb")
