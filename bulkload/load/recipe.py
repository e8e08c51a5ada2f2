"""What a retry has to know of its run: kept in the ledger by a load, and taken out of it again."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bulkload.client import API_VERSION
from bulkload.errors import InputError
from bulkload.ledger import Kept, Recipe, State
from bulkload.load.remains import Remains
from bulkload.mapping.flags import Transform
from bulkload.reading import Reading
from bulkload.source import Source, reopened


def recipe(reading: Reading, sources: Iterable[Source], *, api_version: str) -> Recipe:
    """What a load writes down of itself; the sources' fingerprints were awaited."""
    flags = json.dumps({"api_version": api_version, **reading.kept()})
    kept = (Kept(source.lasting_address, source.form, source.delimiter, source.columns) for source in sources)
    return Recipe(flags, tuple(kept))


def api_version_of(state: State) -> str:
    """The api-version that the run sent."""
    return str(_flags(state).get("api_version", API_VERSION))


def reading_of(state: State, ledger: str, *, transform: Transform | None) -> Reading:
    """How the run's sources are read; `transform` is its function where that came from Python.

    Raises `InputError` where the ledger does not say.
    """
    flags = _flags(state)
    flags.pop("api_version", None)
    if state.recipe is None and state.run.mapping:
        raise InputError(
            f"ledger {ledger} is of an older bulkload, which did not keep the flags of its mapping; load its dead "
            "letters with those flags instead"
        )
    match flags.get("transform"):
        case {"function": name} if transform is None:
            raise InputError(f"ledger {ledger} was begun with the Python function {name}; give it as transform")
        case {"function": _}:
            flags["transform"] = transform
    return Reading.of(flags)


def sources_of(state: State, ledger: str, reading: Reading) -> list[Source]:
    """The run's sources, opened again; raises `InputError` where one is not there any more."""
    names, fingerprints = state.run.sources, state.run.fingerprints
    recipe = state.recipe
    kept = recipe.sources if recipe is not None else tuple(map(_guessed, names, fingerprints))
    sources: list[Source] = []
    for name, fingerprint, one in zip(names, fingerprints, kept, strict=True):
        if one.address is not None:
            sources.append(reopened(one.address, name, reading.layout))
        elif names.count(name) == 1:
            sources.append(Remains(name, one, fingerprint))
        else:
            raise InputError(f"ledger {ledger} has several sources called {name}: nothing says whose its letters are")
    return sources


def _flags(state: State) -> dict[str, Any]:
    flags: dict[str, Any] = json.loads(state.recipe.flags) if state.recipe is not None else {}
    return flags


def _guessed(name: str, fingerprint: str) -> Kept:
    """A source of a ledger that kept no more than its name, and in which nothing was mapped."""
    kind = fingerprint.partition(":")[0]
    if kind == "file":
        return Kept(str(Path(os.fsdecode(name)).absolute()), None, None, None)
    return Kept(name if kind == "address" and not name.endswith("?…") else None, "ndjson", None, None)
