"""From the flags to the mapping: everything is compiled once, and what is wrong with them is said before a run."""

import hashlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeVar

import orjson

from bulkload.errors import InputError
from bulkload.mapping.expressions import Expression
from bulkload.mapping.flags import TAG_SEPARATOR, MappingFlags
from bulkload.mapping.gcm import convert
from bulkload.mapping.mapping import Mapping as AnyMapping
from bulkload.mapping.mappings import FlagMapping, Nesting, Plan
from bulkload.mapping.paths import parse_field, write
from bulkload.mapping.preset import Preset
from bulkload.mapping.presets import find_preset
from bulkload.mapping.repair import Repair
from bulkload.mapping.steps import (
    default_steps,
    id_steps,
    map_expressions,
    map_steps,
    set_steps,
    tag_steps,
    value_steps,
)
from bulkload.mapping.transform import TransformRun

# Of what records are shaped by: a later version that shapes them otherwise changes it.
VERSION = 1

T = TypeVar("T")


def build(flags: MappingFlags, *, preset: Preset | None = None) -> AnyMapping | None:
    """The mapping of these flags on top of a preset, or of the one that they name; raises `InputError`.

    None where nothing is mapped. Where only tags are separated otherwise, JSON objects are still left as they are.
    """
    if not flags.tag_separator:
        raise InputError("--tag-separator is empty; it is what stands between two tags, such as |")
    _require_one_way(flags)
    if preset is None and flags.preset is not None:
        preset = find_preset(flags.preset)
    if preset is None and flags.is_empty:
        if flags.tag_separator == TAG_SEPARATOR:
            return None
        return Nesting(flags.tag_separator, fingerprint=_digest({"tag_separator": flags.tag_separator}))
    merged = replace(flags, preset=None)
    if preset is not None:
        merged = merged.over(preset.flags)
        _require_one_way(merged)
    return FlagMapping(_plan(merged, preset))


def _require_one_way(flags: MappingFlags) -> None:
    if flags.transform is None:
        return
    others = {"--each": flags.each is not None, "--where": flags.where is not None, "--map": bool(flags.map)}
    for name, is_given in others.items():
        if is_given:
            raise InputError(f"--transform takes the place of --each, --where and --map; take it or {name} away")


def _plan(flags: MappingFlags, preset: Preset | None) -> Plan:
    separator = flags.tag_separator
    maps, replaced = map_steps(flags.map, separator)
    ids = id_steps(flags.id_from)
    steps = (
        *maps,
        *value_steps(flags.map_value),
        *default_steps(flags.default, separator),
        *set_steps(flags.set, separator),
        *tag_steps(flags.tag),
        *ids,
    )
    transform = TransformRun(flags.transform) if flags.transform is not None else None
    return Plan(
        fingerprint=_fingerprint(flags, preset, transform),
        tag_separator=separator,
        preset=preset,
        json_columns=flags.json_column,
        each=Expression(f"--each {flags.each}", flags.each) if flags.each is not None else None,
        where=Expression(f"--where {flags.where}", flags.where) if flags.where is not None else None,
        transform=transform,
        steps=steps,
        id_step=ids[0] if ids else None,
        id_expression=map_expressions(flags.map).get(("installationId",)),
        mends=(
            *([Repair(flags.repair)] if flags.repair else []),
            *([convert] if flags.convert_gcm_templates else []),
        ),
        replaced=replaced,
    )


def _fingerprint(flags: MappingFlags, preset: Preset | None, transform: TransformRun | None) -> str:
    """The same for flags that mean the same, whatever the order of those whose order means nothing."""
    return _digest(
        {
            "preset": [preset.name, preset.records, _code(preset.objects), _code(preset.read)] if preset else None,
            "json_column": sorted(flags.json_column),
            "each": flags.each,
            "where": flags.where,
            "map": _by_path("--map", flags.map),
            "transform": transform.fingerprint if transform is not None else None,
            "map_value": {
                name: {key.casefold(): value for key, value in table.items()}
                for name, table in _by_path("--map-value", flags.map_value).items()
            },
            "default": _by_path("--default", flags.default),
            "set": _by_path("--set", flags.set),
            "tag": list(flags.tag),
            "id_from": flags.id_from,
            "repair": sorted(flags.repair),
            "convert_gcm_templates": flags.convert_gcm_templates,
            "tag_separator": flags.tag_separator,
        }
    )


def _by_path(flag: str, values: Mapping[str, T]) -> dict[str, T]:
    return {write(parse_field(flag, name)): value for name, value in values.items()}


def _code(function: Callable[..., object] | None) -> str | None:
    """A digest of the whole module of a preset's function: what it calls there shapes records as well."""
    if function is None:
        return None
    module = inspect.getmodule(function)
    try:
        return hashlib.sha256(inspect.getsource(module or function).encode()).hexdigest()
    except (OSError, TypeError):
        return f"{function.__module__}.{function.__qualname__}"


def _digest(shaping: Mapping[str, object]) -> str:
    text = orjson.dumps({"version": VERSION, **shaping}, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(text).hexdigest()[:32]
