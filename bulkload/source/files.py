"""Files of this machine as sources."""

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import BinaryIO

from bulkload.errors import InputError
from bulkload.source.compression import MAGIC_BYTES, beginning
from bulkload.source.encoding import LONGEST_MARK, refuse_unannounced
from bulkload.source.layout import Layout
from bulkload.source.stored import StoredSource
from bulkload.source.streams import Bounded, RawFile

# Enough of a file's two ends to tell two exports apart without reading millions of lines.
FINGERPRINT_BYTES = 64 * 1024


def printable(name: str) -> str:
    """A file's name as text that can be written anywhere, also where its bytes are not UTF-8."""
    return os.fsencode(name).decode(errors="replace")


class FileSource(StoredSource):
    """A file of this machine. Raises `InputError` where it is missing or cannot be read."""

    def __init__(self, path: str | os.PathLike[str], layout: Layout | None = None) -> None:
        super().__init__(layout or Layout())
        self.path = Path(path)
        self.name = printable(os.fspath(path))
        self.ledger_name = os.fspath(path)
        self.lasting_address = str(self.path.absolute())
        try:
            self._fingerprint = self._looked_at()
        except OSError as exc:
            raise InputError(f"source {self.name} cannot be read: {exc.strerror}") from exc

    def _identify(self) -> str:
        return self._fingerprint

    @contextmanager
    def _open(self, offset: int) -> Iterator[RawFile]:
        with open(self.path, "rb", buffering=0) as raw:
            raw.seek(offset)
            # What is added to it meanwhile is not of the version that the ledger belongs to.
            yield Bounded(raw, self.size or 0)

    def _open_anywhere(self) -> AbstractContextManager[BinaryIO]:
        return open(self.path, "rb")

    def _looked_at(self) -> str:
        status = self.path.stat()
        if not stat.S_ISREG(status.st_mode):
            # Looked at before it is opened: a pipe that nobody writes to would never open.
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "no regular file"
            raise InputError(f"source {self.name} is {kind}; name a file, or - for standard input")
        with self.path.open("rb") as file:
            head = file.read(FINGERPRINT_BYTES)
            file.seek(max(0, status.st_size - FINGERPRINT_BYTES))
            digest = hashlib.sha256(head + file.read(FINGERPRINT_BYTES)).hexdigest()[:32]
        if not self._is_transcoded:
            refuse_unannounced(self.name, beginning(head, LONGEST_MARK))
        self.size, self._magic = status.st_size, head[:MAGIC_BYTES]
        return f"file:{status.st_size}:{digest}"
