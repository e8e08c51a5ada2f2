"""Flags: their types, and that each is also an environment variable and a key of the config file."""

import os
import re
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import click

from bulkload.errors import InputError
from bulkload.hub import Hub
from bulkload.retry import MAX_ATTEMPTS, RECORD_TIMEOUT, USUAL, Traits

F = TypeVar("F", bound=Callable[..., Any])

CONNECTION_STRING = "BULKLOAD_CONNECTION_STRING"
HUB = "BULKLOAD_HUB"

# Where a call of a command keeps what its config file says of the hub.
_TRAITS = "bulkload.traits"
_TIMES = {"longest_retry_after", "patience"}

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+")
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


# The parts of a text in a table, by the flag's type, and what is asked for where it is something else.
_TABLE_PARTS = {
    "pair": (2, "a list of texts, or a table of texts by their fields"),
    "translation": (3, "a list of texts, or for each field a table of texts by texts"),
}


class Duration(click.ParamType[float]):
    """A time such as ``20s``, ``5m`` or ``1h30m``; a bare number is seconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        text = str(value).strip()
        if _DURATION.fullmatch(text):
            return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
        try:
            return float(text)
        except ValueError:
            self.fail(f"{text!r} is not a time; write 20s, 5m or 1h30m", param, ctx)


def flag(name: str, **attributes: Any) -> Callable[[F], F]:
    """A flag that is also ``BULKLOAD_<NAME>``."""
    attributes.setdefault("envvar", f"BULKLOAD_{name.lstrip('-').replace('-', '_').upper()}")
    if not attributes.get("is_flag"):
        attributes.setdefault("show_default", attributes.get("default") is not None)
    return click.option(name, **attributes)


def all_of(*options: Callable[[F], F]) -> Callable[[F], F]:
    """Several flags as one, in this order."""

    def add(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return add


def requesting_flags(noun: str, *, workers: int) -> Callable[[F], F]:
    """The flags of how a hub is asked, for each `noun` of which so many are on their way by default."""
    timeout = f"{RECORD_TIMEOUT / 60:.0f}m"
    return all_of(
        flag("--workers", type=int, default=workers, help="Requests in flight at the most."),
        flag("--rate", type=float, help="Requests per second at the most, retries counted.  [default: no cap]"),
        flag(
            "--max-attempts", type=int, default=MAX_ATTEMPTS, help=f"Attempts for a {noun}, throttled ones not counted."
        ),
        flag("--record-timeout", type=Duration(), default=timeout, help=f"Time for a {noun}."),
    )


ca_file_flag = flag(
    "--ca-file", type=click.Path(path_type=Path), help="Trust the certificate authorities of this PEM file, too."
)


def config_flag(function: F) -> F:
    """``--config FILE.toml``: a file whose keys are the flags' names; flags and environment beat it."""
    return click.option(
        "--config",
        type=click.Path(path_type=Path, dir_okay=False),
        envvar="BULKLOAD_CONFIG",
        is_eager=True,
        expose_value=False,
        callback=_configure,
        help="Take flags from a TOML file; a flag beats the environment beats the file.",
    )(function)


def _configure(context: click.Context, _parameter: click.Parameter, path: Path | None) -> None:
    if path is None:
        return
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise InputError(f"config file {path} cannot be read: {exc}") from exc
    mapping = settings.pop("map", {})
    if not isinstance(mapping, dict):
        raise InputError(f"config file {path}: map is a table of the mapping flags, [map]")
    if isinstance(settings.get("hub"), dict):
        # TOML has one key of a name: in a table the hub's own name is one of its keys.
        hub = settings.pop("hub")
        if "name" in hub:
            name = settings["hub"] = hub.pop("name")
            if not isinstance(name, str):
                raise InputError(f"config file {path}: [hub] name is a text, not {name!r}")
        context.meta[_TRAITS] = _traits(path, hub)
    context.default_map = dict(_flags(path, context.command, settings | mapping, _of_others(context)))


def _traits(path: Path, table: dict[str, Any]) -> Traits:
    """What a config file says of how the hub's answers are understood, in its table ``[hub]``."""
    known = {field.name for field in fields(Traits)}
    given = {}
    for key, value in table.items():
        name = key.replace("-", "_")
        if name not in known:
            keys = ", ".join(sorted({"name"} | {each.replace("_", "-") for each in known}))
            raise InputError(f"config file {path}: [hub] has the unknown key {key}; it has {keys}")
        given[name] = value
        if name in _TIMES and isinstance(value, str):
            try:
                given[name] = Duration().convert(value, None, None)
            except click.BadParameter as exc:
                raise InputError(f"config file {path}: [hub] {key}: {exc.message}") from exc
    try:
        return Traits(**given)
    except InputError as exc:
        raise InputError(f"config file {path}: {exc}") from exc


def traits_of_config() -> Traits:
    """How the hub's answers are understood, as the config file of this call says."""
    traits: Traits = click.get_current_context().meta.get(_TRAITS, USUAL)
    return traits


def _of_others(context: click.Context) -> set[str]:
    """The names of the flags that other commands have: one file serves them all."""
    group = context.parent.command if context.parent is not None else None
    commands = group.commands.values() if isinstance(group, click.Group) else ()
    return {name for command in commands for name in _options(command)}


def _options(command: click.Command) -> dict[str, click.Option]:
    """A command's options by the names that they have without their dashes."""
    return {option.opts[0].lstrip("-"): option for option in command.params if isinstance(option, click.Option)}


def _flags(path: Path, command: click.Command, settings: dict[str, Any], others: set[str]) -> Iterator[tuple[str, Any]]:
    """What a config file says of a command's flags, as the command line would say it."""
    known = _options(command)
    for key, value in settings.items():
        name = key.replace("_", "-")
        option = known.get(name)
        if option is None and name in others:
            continue
        if option is None or name in ("config", "emulator"):
            raise InputError(f"config file {path} has the unknown key {key}; keys are the names of the flags")
        if option.multiple:
            texts = list(_pairs(value)) if isinstance(value, dict) else value
            # In a table, a flag's text is taken apart already: into the field and what is said of it.
            parts, words = _TABLE_PARTS.get(option.type.name, (1, "a list of texts"))
            if not isinstance(texts, list) or not all(
                len(text) == parts if isinstance(text, tuple) else isinstance(text, str) for text in texts
            ):
                raise InputError(f"config file {path}: {option.opts[0]} is {words}, not {value!r}")
            yield str(option.name), texts
            continue
        wanted, words = _wanted(option)
        if type(value) not in wanted:
            raise InputError(f"config file {path}: {option.opts[0]} is {words}, not {value!r}")
        yield str(option.name), value if option.is_flag or isinstance(value, list) else str(value)


def _pairs(table: dict[str, Any]) -> Iterator[tuple[str, ...] | None]:
    """The pairs or triples of a table: ``{installationId = "id"}``, ``{platform = {android = "fcmv1"}}``.

    None stands for what is neither.
    """
    for key, value in table.items():
        if isinstance(value, dict):
            yield from ((key, *rest) if rest is not None else None for rest in _pairs(value))
        else:
            yield (key, str(value)) if type(value) in (str, int, float) else None


def _wanted(option: click.Option) -> tuple[tuple[type, ...], str]:
    """The types that a flag's key in a config file may have, and their name."""
    if option.is_flag:
        return (bool,), "true or false"
    if isinstance(option.type, click.Path):
        return (str,), "a path"
    if option.type.name == "words":
        return (str, list), "a list of words"
    return (str, int, float), "a text or a number"


def real_hub(name: str | None, connection_string_file: Path | None, *, usual: str | None = None) -> Hub:
    """The hub that the flags and the environment describe, called `usual` where none of them names it.

    Raises `InputError`.
    """
    if of_config("connection_string_file") and os.environ.get(CONNECTION_STRING):
        # The environment beats the config file.
        connection_string_file = None
    if connection_string_file is not None:
        try:
            text = connection_string_file.read_text(encoding="utf-8-sig").strip()
        except (OSError, UnicodeDecodeError) as exc:
            reason = exc.strerror if isinstance(exc, OSError) else "it is not text"
            raise InputError(f"--connection-string-file {connection_string_file} cannot be read: {reason}") from exc
        if not text:
            raise InputError(f"--connection-string-file {connection_string_file} is empty")
    else:
        text = os.environ.get(CONNECTION_STRING, "")
    if not text:
        has_emulator = any(option.name == "emulator" for option in click.get_current_context().command.params)
        others = "; --emulator needs neither" if has_emulator else ""
        raise InputError(f"no hub is named: set {CONNECTION_STRING}, or give --connection-string-file FILE{others}")
    return Hub.from_connection_string(text, hub=hub_name(name), usual=usual)


def of_config(name: str) -> bool:
    """Whether a flag's value comes from the config file, which the environment beats."""
    return click.get_current_context().get_parameter_source(name) is click.core.ParameterSource.DEFAULT_MAP


def is_default(name: str) -> bool:
    """Whether nobody has given a flag: neither the command line nor the environment nor the config file."""
    return click.get_current_context().get_parameter_source(name) is click.core.ParameterSource.DEFAULT


def is_typed(name: str) -> bool:
    """Whether a flag was given on the command line itself."""
    return click.get_current_context().get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE


def hub_name(given: str | None) -> str | None:
    """The hub's name by flag or environment; two that differ are refused rather than guessed at."""
    environment = os.environ.get(HUB)
    if given and environment and given != environment:
        raise InputError(f"two hubs are named: {given} and, by {HUB}, {environment}; take one away")
    return given or environment
