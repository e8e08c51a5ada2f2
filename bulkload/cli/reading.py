"""The flags that say how sources are read, mapped and checked; ``load`` and ``check`` share them."""

from collections.abc import Iterable
from typing import Any

import click

from bulkload.cli.options import all_of, flag
from bulkload.mapping import REPAIRS, TAG_SEPARATOR, assignment, value_rule
from bulkload.reading import Reading, ReadingFlags
from bulkload.source.layout import FORMATS


class Pair(click.ParamType[tuple[str, ...]]):
    """``FIELD=VALUE``, cut at the first equals sign outside of quotes; from a config file it comes as a pair."""

    name = "pair"

    def convert(
        self,
        value: Any,
        param: click.Parameter | None,
        ctx: click.Context | None,  # noqa: ARG002 - click's signature
    ) -> tuple[str, ...]:
        assert param is not None
        return tuple(value) if isinstance(value, tuple) else assignment(param.opts[0], value)


class Translation(click.ParamType[tuple[str, ...]]):
    r"""``FIELD:FROM=TO``; ``\:`` and ``\=`` stand for the signs themselves."""

    name = "translation"

    def convert(
        self,
        value: Any,
        param: click.Parameter | None,  # noqa: ARG002 - click's signature
        ctx: click.Context | None,  # noqa: ARG002
    ) -> tuple[str, ...]:
        return tuple(value) if isinstance(value, tuple) else value_rule(value)


class Words(click.ParamType[tuple[str, ...]]):
    """Words joined by commas."""

    name = "words"

    def convert(
        self,
        value: Any,
        param: click.Parameter | None,  # noqa: ARG002 - click's signature
        ctx: click.Context | None,  # noqa: ARG002
    ) -> tuple[str, ...]:
        words = value if isinstance(value, tuple | list) else str(value).split(",")
        return tuple(word.strip() for word in words if word.strip())


map_value_flag = flag(
    "--map-value",
    metavar="FIELD:FROM=TO",
    type=Translation(),
    multiple=True,
    envvar=None,
    help="Translate a field's value; * for the rest.",
)

# The flags of reading, mapping and checking.
reading_flags = all_of(
    flag("--format", type=click.Choice(FORMATS), default="auto", help="What the sources hold; auto tells by content."),
    flag("--delimiter", metavar="CHAR", help="Between the cells of CSV; tab for a tab.  [default: by the header]"),
    flag("--encoding", default="utf-8", help="The sources' text encoding."),
    flag("--records", metavar="PATH", help="Where the array is in a JSON document, such as channels."),
    flag("--preset", metavar="NAME", help="The export of another system; bulkload presets lists them."),
    flag("--json-column", metavar="NAME", multiple=True, envvar=None, help="A cell or text that holds JSON."),
    flag("--each", metavar="EXPR", help="Several records of one object; it is _parent to them."),
    flag("--where", metavar="EXPR", help="Take only objects for which this holds."),
    flag("--map", metavar="FIELD=EXPR", type=Pair(), multiple=True, envvar=None, help="Fill a field."),
    flag("--transform", metavar="FILE.py[:FUNCTION]", help="A generator of installations instead of the three above."),
    map_value_flag,
    flag("--default", metavar="FIELD=TEXT", type=Pair(), multiple=True, envvar=None, help="Where a field is empty."),
    flag("--set", metavar="FIELD=TEXT", type=Pair(), multiple=True, envvar=None, help="Always."),
    flag("--tag", metavar="TEXT", multiple=True, envvar=None, help="Add a tag, such as 'country:{country}'."),
    flag("--id-from", metavar="EXPR", help="Make the id from this, for every record; push-channel is one, too."),
    flag("--repair", metavar="WHAT,...", type=Words(), help=f"Mend what the hub refuses: {', '.join(REPAIRS)}."),
    flag("--convert-gcm-templates", is_flag=True, help="Rewrite template bodies from GCM's form to FCM v1's."),
    flag("--tag-separator", metavar="TEXT", default=TAG_SEPARATOR, help="Between the tags of one cell."),
    flag("--allow", metavar="CODE", multiple=True, envvar=None, help="Make a rule's error a warning."),
    flag("--deny", metavar="CODE", multiple=True, envvar=None, help="Make a rule's warning an error."),
)


def take_reading(flags: dict[str, Any]) -> Reading:
    """Take these flags out of a command's; raises `InputError`."""
    given = {name: flags.pop(name) for name in ReadingFlags.__annotations__}
    for name in ("map", "default", "set"):
        given[name] = dict(given[name])
    return Reading.of(given | {"map_value": take_map_value(given["map_value"])})


def take_map_value(given: Iterable[tuple[str, ...]]) -> dict[str, dict[str, str]]:
    """The tables that several ``--map-value`` make together."""
    translations: dict[str, dict[str, str]] = {}
    for field, found, becomes in given:
        translations.setdefault(field, {})[found] = becomes
    return translations
