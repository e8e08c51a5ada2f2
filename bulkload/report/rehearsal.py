"""The report of a check as people read it."""

import io
from collections.abc import Iterable, Iterator

from rich import box
from rich.columns import Columns
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from bulkload.report.checked import CheckReport, Repeated, RuleBroken
from bulkload.report.text import count, duration

# An id is shown so far: a UUID, and most of what else people take.
LONGEST_ID = 40

_STYLES = {"error": "red", "warning": "yellow"}


def describe_check(report: CheckReport, *, width: int = 100, is_terminal: bool = False) -> str:
    """Several paragraphs: what was shown, the outcome, rules broken with examples, duplicates, platforms, tags, time.

    For a terminal with tables and colors, for everything else as plain text with aligned columns.
    """
    stream = io.StringIO()
    console = Console(
        file=stream,
        width=width,
        force_terminal=is_terminal,
        color_system="standard" if is_terminal else None,
        legacy_windows=False,
        highlight=False,
        markup=False,
        emoji=False,
    )
    for part in _parts(report, is_terminal=is_terminal):
        # Where lines are cut by nobody, a finding stands on one line: it may be looked for with grep.
        console.print(part, soft_wrap=not is_terminal and isinstance(part, Text))
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines())


def _parts(report: CheckReport, *, is_terminal: bool) -> Iterator[RenderableType]:
    for shown in report.shown:
        yield Text(f"{_clean(shown.source)}:{shown.line}", style="bold")
        yield Text(f"  before   {_clean(shown.before)}")
        for body in shown.bodies:
            yield Text(f"  after    {_clean(body)}")
        for flaw in shown.flaws:
            yield Text(f"  invalid  {_clean(flaw)}", style="red")
        if not shown.bodies and not shown.flaws:
            yield Text("  filtered: nothing is sent of it", style="dim")
        yield Text()
    yield Text(_headline(report), style="bold")
    for warning in report.warnings:
        yield Text(f"warning: {_clean(warning)}", style="yellow")
    if report.rules:
        yield Text()
        yield _rules(report.rules, is_terminal=is_terminal)
        yield from _examples(report.rules, is_terminal=is_terminal)
    yield Text()
    yield _numbers(report)
    yield from _duplicates(report, is_terminal=is_terminal)
    if report.invalid_file is not None and report.records.invalid:
        yield Text()
        yield Text(f"invalid records: {_clean(report.invalid_file)}; mend them there and load that file")


def _headline(report: CheckReport) -> str:
    records = report.records
    sources = report.sources[0] if len(report.sources) == 1 else count(len(report.sources), "source")
    words = "stopped" if report.outcome == "stopped" else "checked"
    parts = [f"{count(records.read, 'record')} of {_clean(sources)}"]
    parts.append(f"{records.invalid:,} invalid" if records.invalid else "none invalid")
    if records.filtered:
        parts.append(f"{records.filtered:,} left out by the mapping")
    text = f"{words} in {duration(report.elapsed)}: {', '.join(parts)}"
    return f"{text}\nstopped early: {_clean(report.reason)}" if report.reason else text


def _rules(rules: Iterable[RuleBroken], *, is_terminal: bool) -> Table:
    table = Table(box=box.SIMPLE_HEAD if is_terminal else None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("rule broken", no_wrap=True)
    table.add_column("severity")
    table.add_column("records", justify="right")
    table.add_column("findings", justify="right")
    for rule in rules:
        style = _STYLES[rule.severity]
        table.add_row(
            Text(rule.code, style=style), Text(rule.severity, style=style), f"{rule.records:,}", f"{rule.findings:,}"
        )
    return table


def _examples(rules: Iterable[RuleBroken], *, is_terminal: bool) -> Iterator[RenderableType]:
    for rule in rules:
        yield Text()
        first = "the first of them" if rule.records > len(rule.examples) else ""
        yield Text.assemble((rule.code, _STYLES[rule.severity]), f"  {first}" if first else "")
        for example in rule.examples:
            place = _where(example.source, example.line, example.id)
            yield _indented(f"{place}  {_clean(example.message)}", is_terminal=is_terminal)


def _numbers(report: CheckReport) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column()
    platforms = ", ".join(f"{_clean(name)} {number:,}" for name, number in report.platforms.items())
    table.add_row("platforms", platforms or "none")
    tags = report.tags
    table.add_row("tags", f"{tags.distinct:,} different" if tags.distinct else "none")
    if tags.commonest:
        table.add_row("", Columns([f"{_clean(used.tag)} {used.uses:,}" for used in tags.commonest], padding=(0, 3)))
    load = report.load
    table.add_row(
        "load", f"{count(load.requests, 'request')}, {duration(load.seconds)} at {load.rate:,.10g} requests per second"
    )
    table.add_row("duplicate ids", _repeated(report.duplicates.ids, "id", "superseded in a load"))
    channels = report.duplicates.push_channels
    others = f", {channels.other_ids:,} of them with another id" if channels.other_ids else ""
    words = f"beyond the first of each{others}"
    table.add_row("duplicate push channels", _repeated(channels, "channel", words))
    return table


def _repeated(repeated: Repeated, noun: str, words: str) -> str:
    if not repeated.values:
        return "none"
    return f"{count(repeated.values, noun)}, {count(repeated.records, 'record')} {words}"


def _duplicates(report: CheckReport, *, is_terminal: bool) -> Iterator[RenderableType]:
    pairs = (("duplicate ids", report.duplicates.ids), ("duplicate push channels", report.duplicates.push_channels))
    for title, repeated in pairs:
        if not repeated.values:
            continue
        yield Text()
        yield Text(f"{title}{'  the first of them' if repeated.values > len(repeated.examples) else ''}")
        for twice in repeated.examples:
            first, again = twice.first, twice.again
            place = _where(first.source, first.line, first.id)
            other_id = again.id if again.id != first.id else None
            words = f"{place}  again at {_where(again.source, again.line, other_id)}"
            yield _indented(words, is_terminal=is_terminal)


def _indented(words: str, *, is_terminal: bool) -> RenderableType:
    """A line below a title; on a terminal all its parts are indented."""
    return Padding(Text(words), (0, 0, 0, 2), expand=False) if is_terminal else Text(f"  {words}")


def _where(source: str, line: int, id_: str | None) -> str:
    shown = "" if id_ is None else f"  {_short(_clean(id_))}"
    return f"{_clean(source)}:{line}{shown}"


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_ID else f"{text[: LONGEST_ID - 1]}…"


def _clean(text: str) -> str:
    """A text of a source as it can be shown: what would move a terminal's cursor is taken out."""
    return (
        text
        if text.isprintable()
        else "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)
    )
