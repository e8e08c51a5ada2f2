"""``bulkload presets``: the systems whose exports load as they are."""

import textwrap

import click
import orjson

from bulkload.mapping.presets import presets as all_presets

# The width of a terminal of old, which a pipe has not outgrown either.
_WIDTH = 100


@click.command(short_help="List the presets and what each expects.")
@click.option("--json", "as_json", is_flag=True, help="Write them as JSON: name, expects and records.")
def presets(*, as_json: bool) -> int:
    """List the presets, for --preset NAME, and what each expects.

    \b
    Examples:
      bulkload presets
      bulkload presets --json | jq -r '.[].name'
    """
    if as_json:
        told = [{"name": one.name, "expects": one.expects, "records": one.records} for one in all_presets()]
        click.echo(orjson.dumps(told, option=orjson.OPT_INDENT_2).decode())
        return 0
    click.echo("\n".join(describe(one.name, one.expects) for one in all_presets()))
    return 0


def describe(name: str, expects: str) -> str:
    """A preset's name with, below it, what it expects, wrapped."""
    return f"{name}\n{textwrap.fill(expects, _WIDTH, initial_indent='  ', subsequent_indent='  ')}"
