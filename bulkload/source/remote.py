"""Files at addresses, such as https:// and az://, by way of fsspec and the package for each kind of them."""

import contextlib
import hashlib
import io
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import BinaryIO, Protocol, cast

from bulkload.errors import BulkloadError, InputError
from bulkload.source.breaking import BROKEN
from bulkload.source.compression import MAGIC_BYTES, beginning
from bulkload.source.encoding import LONGEST_MARK, refuse_unannounced
from bulkload.source.files import FINGERPRINT_BYTES
from bulkload.source.folders import is_meant_by_folder, is_meant_by_pattern
from bulkload.source.layout import Layout
from bulkload.source.stored import StoredSource
from bulkload.source.streams import RawFile, fill, skipped

# Bytes asked for at once: at 4 MiB the time to the first byte hardly counts, and a read holds two of them.
BLOCK = 4 * 1024 * 1024

# What says that content is the same, in the words of the file systems; a date or a size alone does not.
_TAGS = ("ETag", "etag", "e_tag", "Content-MD5", "content_md5", "md5Hash", "crc32c", "checksum", "uid")

# Seconds in which a server has to answer, and then to go on.
_CONNECT, _READ = 30, 120

_WEB = ("http://", "https://")


class FileSystem(Protocol):
    """What is used of a file system of fsspec."""

    def info(self, path: str, /) -> dict[str, object]: ...
    def find(self, path: str, /) -> list[str]: ...
    def glob(self, path: str, /) -> list[str]: ...
    def open(self, path: str, mode: str, /, **options: object) -> io.BufferedIOBase: ...
    def unstrip_protocol(self, path: str, /) -> str: ...


def find_remote(address: str, layout: Layout) -> list["RemoteSource"]:
    """The files that an address names: itself, those of a folder, or those that match its pattern, sorted."""
    system, path = _file_system(address)
    name = printable_address(address)
    with _refusing(name):
        if "*" in path:
            found = [match for match in sorted(system.glob(path)) if is_meant_by_pattern(match, path)]
            if not found:
                raise InputError(f"no file matches {name}; check the pattern")
        elif not address.startswith(_WEB) and system.info(path).get("type") == "directory":
            prefix = path.rstrip("/") + "/"
            found = [match for match in sorted(system.find(path)) if is_meant_by_folder(match.removeprefix(prefix))]
            if not found:
                raise InputError(f"source {name} is a folder without a file; check the address")
        else:
            return [RemoteSource(address, layout, system, path)]
    return [RemoteSource(system.unstrip_protocol(match), layout, system, match) for match in found]


class RemoteSource(StoredSource):
    """A file at an address, read in blocks, or as one stream where its server knows no ranges."""

    def __init__(self, address: str, layout: Layout, system: FileSystem, path: str) -> None:
        super().__init__(layout)
        self.address = address
        self.name = printable_address(address)
        self.lasting_address = address if self.name == address else None
        self.ledger_name = re.sub(r"[?#].*", "", address).rstrip("/").rpartition("/")[2] or None
        self._system = system
        self._path = path
        self._fingerprint: str | None = None
        # Whether it can be read from any place on.
        self._has_ranges = False

    def _identify(self) -> str:
        if self._fingerprint is None:
            with _refusing(self.name):
                self._fingerprint = self._looked_at()
        return self._fingerprint

    def _looked_at(self) -> str:
        info = self._system.info(self._path)
        size = info.get("size")
        self.size = size if isinstance(size, int) else None
        with self._opened(FINGERPRINT_BYTES) as file:
            head = fill(file, FINGERPRINT_BYTES)
        self._magic = head[:MAGIC_BYTES]
        if not self._is_transcoded:
            refuse_unannounced(self.name, beginning(head, LONGEST_MARK))
        tail = self._tail()
        tag = next((str(info[key]) for key in _TAGS if info.get(key)), None)
        said = tag.encode() if tag else head + tail
        return f"address:{self.size}:{hashlib.sha256(said).hexdigest()[:32]}"

    def _tail(self) -> bytes:
        """Its end, as far as it can be read without what comes before it."""
        if not self.size:
            return b""
        self._has_ranges = True
        try:
            with self._opened(FINGERPRINT_BYTES) as file:
                # From the second byte on at the earliest: whoever gives the first one need not know ranges.
                file.seek(max(1, self.size - FINGERPRINT_BYTES))
                return fill(file, FINGERPRINT_BYTES)
        except (ValueError, io.UnsupportedOperation):
            self._has_ranges = False
            return b""

    @contextlib.contextmanager
    def _open(self, offset: int) -> Iterator[RawFile]:
        with contextlib.closing(_File(lambda: self._opened(BLOCK))) as file:
            if self._has_ranges:
                file.seek(offset)
            else:
                skipped(file, offset)
            yield file

    def _open_anywhere(self) -> AbstractContextManager[BinaryIO]:
        if not self._has_ranges:
            raise InputError(f"source {self.name} is Parquet, and its server reads no ranges; copy it to a file first")
        return contextlib.closing(cast(BinaryIO, _File(lambda: self._opened(BLOCK))))

    def _opened(self, block: int) -> io.BufferedIOBase:
        # For fsspec, a web server's file without blocks is one stream.
        is_stream = self._path.startswith(_WEB) and not self._has_ranges
        return self._system.open(self._path, "rb", block_size=0 if is_stream else block)


class _File:
    """A file of fsspec whose errors are those of a disk, and that knows where it stands also where it is a stream."""

    def __init__(self, open_file: Callable[[], io.BufferedIOBase]) -> None:
        with _translated():
            self._file = open_file()
        self._at = 0

    @property
    def closed(self) -> bool:
        return self._file.closed

    def read(self, size: int = -1, /) -> bytes:
        with _translated():
            data = self._file.read(size)
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        with _translated():
            self._at = self._file.seek(offset, whence)
        return self._at

    def tell(self) -> int:
        return self._at

    def close(self) -> None:
        with _translated():
            self._file.close()


def _file_system(address: str) -> tuple[FileSystem, str]:
    """The file system of an address, and its path there."""
    # Imported here: 70 ms that only an address needs.
    from fsspec.core import url_to_fs  # noqa: PLC0415
    from fsspec.registry import available_protocols  # noqa: PLC0415

    scheme = re.split("::|://", address, maxsplit=1)[0]
    name = printable_address(address)
    if scheme not in available_protocols():
        raise InputError(f"source {name} has an address of an unknown kind, {scheme}://; check it")
    options: dict[str, object] = {}
    if address.startswith(_WEB):
        # 0.1 s of a start, for those that need it.
        import aiohttp  # noqa: PLC0415

        # Its own limit of five minutes for a whole file would break a long run off.
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT, sock_read=_READ)
        options = {"client_kwargs": {"timeout": timeout, "trust_env": True}}
    with _refusing(name):
        try:
            system, path = url_to_fs(address, **options)
        except ImportError as exc:
            raise InputError(f"source {name} needs a package; pip install {_package(scheme, exc)}") from exc
    return cast(FileSystem, system), str(path)


def _package(scheme: str, exc: ImportError) -> str:
    """The one that is missing for addresses of this scheme."""
    from fsspec.registry import known_implementations  # noqa: PLC0415

    package = str(known_implementations.get(scheme, {}).get("class", "")).partition(".")[0]
    if package not in ("", "fsspec"):
        return package
    missing = exc if exc.__cause__ is None else exc.__cause__
    return str(getattr(missing, "name", None) or scheme).partition(".")[0]


def printable_address(address: str) -> str:
    """An address without what may be a key: its query, a user of the web, and a password."""
    user = "[^/@]*" if address.startswith(_WEB) else "[^/@:]*:[^/@]*"
    return re.sub(r"\?.+", "?…", re.sub(f"//{user}@", "//", address, count=1), count=1, flags=re.DOTALL)


@contextlib.contextmanager
def _refusing(name: str) -> Iterator[None]:
    """Raise `InputError` for what cannot be looked at."""
    try:
        yield
    except BulkloadError:
        raise
    except Exception as exc:
        # Every package has errors of its own; what fsspec raises for the web says that nothing is there, whatever was
        # answered.
        real = exc.__cause__ if isinstance(exc, FileNotFoundError) and exc.__cause__ else exc
        if isinstance(real, FileNotFoundError) or getattr(real, "status", None) == 404:
            raise InputError(f"source {name} does not exist; check the address") from exc
        raise InputError(f"source {name} cannot be read: {_words(real)}") from exc


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """Raise `OSError` for what fails while it is read."""
    try:
        yield
    except (BulkloadError, *BROKEN):
        raise
    except Exception as exc:
        # Every package has errors of its own.
        raise OSError(_words(exc)) from exc


def _words(exc: BaseException) -> str:
    """What an exception says, in one line and without keys."""
    from aiohttp import ClientResponseError  # noqa: PLC0415

    if isinstance(exc, ClientResponseError):
        return f"the server answers {exc.status} {exc.message}"
    text = " ".join(str(exc).split()) or type(exc).__name__
    return re.sub(r"\w+://[^\s'\"]+", lambda found: printable_address(found[0]), text)
