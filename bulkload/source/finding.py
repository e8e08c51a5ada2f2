"""Sources by their names, which are paths, folders, patterns, standard input and addresses, and Python's iterables."""

import glob
import os
import re
from collections.abc import AsyncIterable, Iterable, Iterator
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from bulkload.errors import InputError
from bulkload.source.files import FileSource, printable
from bulkload.source.folders import is_meant_by_folder, is_meant_by_pattern
from bulkload.source.iterables import Element, IterableSource
from bulkload.source.layout import Layout
from bulkload.source.place import Source
from bulkload.source.remote import RemoteSource, find_remote
from bulkload.source.standard_input import STANDARD_INPUT, StandardInput
from bulkload.source.stored import StoredSource

# A scheme of one letter is a drive.
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+(::[a-z0-9+.:/-]*)?://", re.IGNORECASE)
_LOCAL_SCHEMES = ("file", "local")

# What a source may be, from Python.
Given = str | os.PathLike[str] | Iterable[Element] | AsyncIterable[Element]


def opened(sources: Iterable[Given], layout: Layout) -> Iterator[Source]:
    """What a caller named or gave, as sources in order; raises `InputError`."""
    names: list[str] = []
    for source in sources:
        if isinstance(source, str | os.PathLike):
            names.append(os.fspath(source))
            continue
        yield from find_sources(names, layout)
        names.clear()
        yield IterableSource(source)
    yield from find_sources(names, layout)


def reopened(address: str, name: str, layout: Layout) -> Source:
    """A source by its `lasting_address`, under the name that it had; raises `InputError` where it is not there."""
    is_remote = _ADDRESS.match(address) is not None
    source: StoredSource = find_remote(address, layout)[0] if is_remote else FileSource(address, layout)
    source.name = name
    return source


def find_sources(names: Iterable[str], layout: Layout | None = None) -> list[Source]:
    """Open the named sources in order: paths, folders and patterns (in sorted order), addresses, and ``-``.

    A folder means every file in it, at any depth, save hidden ones and what runs leave behind. Raises `InputError` for
    what is missing, unreadable, or named twice.
    """
    layout = layout or Layout()
    sources: list[Source] = []
    for name in names:
        sources += _named(name, layout)
    seen: set[str] = set()
    for source in sources:
        key = _key(source)
        if key in seen:
            raise InputError(f"source {source.name} is named twice; name it once")
        seen.add(key)
    return sources


def _named(name: str, layout: Layout) -> Iterator[Source]:
    if name == STANDARD_INPUT:
        yield StandardInput(layout=layout)
    elif _ADDRESS.match(name) and urlsplit(name).scheme not in _LOCAL_SCHEMES:
        yield from find_remote(name, layout)
    else:
        path = url2pathname(urlsplit(name).path) if _ADDRESS.match(name) else name
        yield from (FileSource(found, layout) for found in _files(path))


def _key(source: Source) -> str:
    if isinstance(source, FileSource):
        return os.path.realpath(source.path)
    return source.address if isinstance(source, RemoteSource) else source.name


def _files(name: str) -> list[str]:
    # No name at all would be the current folder.
    if name and Path(name).is_dir():
        return _within(name)
    if os.path.exists(name):
        return [name]
    if not glob.has_magic(name):
        raise InputError(f"source {name} does not exist; check the path")
    found = sorted(path for path in glob.glob(name, recursive=True) if is_meant_by_pattern(path, name))
    if not found:
        raise InputError(f"no file matches {name}; check the pattern")
    # A folder that matches may hold files that match as well.
    return list(dict.fromkeys(file for path in found for file in (_within(path) if Path(path).is_dir() else [path])))


def _within(folder: str) -> list[str]:
    """The files of a folder, in the order of their paths."""
    found = sorted(
        str(path)
        for path in Path(folder).rglob("*")
        if path.is_file() and is_meant_by_folder(path.relative_to(folder).as_posix())
    )
    if not found:
        raise InputError(f"source {printable(folder)} is a folder without a file; check the path")
    return found
