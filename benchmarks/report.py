"""The report of a throughput measurement, made from its results alone: Markdown, and a page that needs nothing else."""

import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks import tables
from benchmarks.results import SCHEMES, Results
from benchmarks.tables import Table

TITLE = "bulkload beside its peers"

# What Markdown would take for a table's border, code, emphasis, a link or HTML.
_SPECIAL = re.compile(r"([\\`*_\[\]<>|&])")

_ADVICE = "the page is left out: its charts need pip install -e '.[bench]', then python -m benchmarks report"


def write_again(folder: Path) -> None:
    """Make the report in a folder from the results there."""
    try:
        text = (folder / "results.json").read_text(encoding="utf-8")
    except FileNotFoundError:
        sys.exit(f"{folder} has no results.json; python -m benchmarks -o {folder} makes one")
    write(Results.from_json(text), folder)


def write(results: Results, folder: Path) -> None:
    """Write ``report.md`` and ``report.html``; without the package that draws charts, the first alone."""
    files = {"report.md": markdown(results)}
    if importlib.util.find_spec("altair") is None:
        print(f"{_ADVICE} {folder}")
    else:
        files["report.html"] = page(results)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
        print(folder / name)


def words(results: Results) -> Iterator[str]:
    """What was measured and how, a paragraph each."""
    yield (
        "The client has one core and the server another one, of the same machine. bulkload is the whole pipeline as a "
        "user runs it, with its default settings and its ledger: its rate is all records by the time from the start of "
        f"its process to its end. It brings {results.records:,} records of about {results.record_bytes:,} bytes."
    )
    yield (
        "The peers do the bare PUTs: the same request with an id of its own, one token made beforehand and one body "
        f"of that size, {results.in_flight} in flight unless their name says otherwise. Their rate counts from their "
        "first request to their last answer, without the start of their process, and slower ones send fewer. All of "
        "them verify the server's certificate, save wrk, which cannot; wrk is no client but the limit."
    )
    yield (
        f"Rounds: {results.asked_runs}. In each every row has its turn; a figure is the median over them, a ratio "
        "is one of medians. CPU time and peak memory are the client's process from its start to its end, and no peak "
        "under 9 MB can be told. Where the server is busy all the time, it is what limits the row; where neither it "
        "nor the client is, others had the cores, or the client waits."
    )
    if results.crowded:
        runs = sum(len(row.runs) for row in results.rows)
        yield (
            f"In {results.crowded} of {runs} runs neither client nor server worked for four fifths of the time: most "
            "likely others used this machine, and the ratios are less sure than they look. CPU time per record suffers "
            "least."
        )
    if results.asked_runs < 5:
        yield f"Only {results.asked_runs} of 5 rounds: these figures are a trial."


def markdown(results: Results) -> str:
    """The report as Markdown."""
    parts = [f"# {TITLE}", *words(results), _table(tables.goals(results))]
    parts += [_table(tables.rates(results, scheme)) for scheme in SCHEMES if results.of(scheme)]
    if results.skipped:
        parts += ["## Skipped", "\n".join(f"- {_plain(line)}" for line in results.skipped)]
    return "\n\n".join([*parts, _table(tables.surroundings(results))]) + "\n"


def _table(table: Table) -> str:
    rule = ["---", *("---:" for _ in table.head[1:])]
    lines = [[_plain(cell) for cell in row] for row in (table.head, *table.rows)]
    lines.insert(1, rule)
    return f"## {_plain(table.title)}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _plain(text: str) -> str:
    """A text that Markdown shows as it is, on one line."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def page(results: Results) -> str:
    """The report as a page of HTML, charts and all, which loads nothing and runs no script."""
    # Both are wanted for a page alone, and are no part of bulkload's own needs.
    from jinja2 import Environment  # noqa: PLC0415

    from benchmarks.charts import charts  # noqa: PLC0415

    template = Environment(autoescape=True, trim_blocks=False).from_string(
        Path(__file__).with_name("page.html").read_text(encoding="utf-8")
    )
    return template.render(
        title=TITLE,
        words=list(words(results)),
        goals=tables.goals(results),
        charts=list(charts(results)),
        all_rates=[tables.rates(results, scheme) for scheme in SCHEMES if results.of(scheme)],
        skipped=results.skipped,
        surroundings=tables.surroundings(results),
    )
