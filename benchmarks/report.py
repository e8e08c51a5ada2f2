"""The report of the results in a folder, made from them alone: Markdown, and a page that needs nothing else."""

import importlib.util
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import comparison, tables
from benchmarks.cases import SECTIONS
from benchmarks.findings import Findings
from benchmarks.results import Results
from benchmarks.sections import Section
from benchmarks.tables import Table

# Where there is more than one case.
TITLE = "How fast bulkload is"

# What Markdown would take for a table's border, code, emphasis, a link or HTML.
_SPECIAL = re.compile(r"([\\`*_\[\]<>|&])")

_ADVICE = "the page is left out: its charts need pip install -e '.[bench]', then python -m benchmarks report"


def write(folder: Path) -> None:
    """Write ``report.md`` and ``report.html`` of the results in a folder; without the package for charts, the first."""
    measured = list(read(folder))
    if not measured:
        sys.exit(f"{folder} has no results; python -m benchmarks -o {folder} makes some")
    files = {"report.md": markdown(*measured)}
    if importlib.util.find_spec("altair") is None:
        print(f"{_ADVICE} {folder}")
    else:
        files["report.html"] = page(*measured)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
        print(folder / name)


def read(folder: Path) -> Iterator[Results | Findings]:
    """All results in a folder, in the order in which they are told."""
    if (peers := folder / "results.json").exists():
        yield Results.from_json(peers.read_text(encoding="utf-8"))
    for case in SECTIONS:
        if (path := folder / f"{case}.json").exists():
            yield Findings.from_json(path.read_text(encoding="utf-8"))


def section(measured: Results | Findings) -> Section:
    """What is told of one case."""
    return comparison.section(measured) if isinstance(measured, Results) else SECTIONS[measured.case](measured)


def markdown(*measured: Results | Findings) -> str:
    """The report as Markdown."""
    sections = [section(one) for one in measured]
    level = "#" * _level(sections)
    parts = [f"# {_title(sections)}"]
    for part in sections:
        if len(sections) > 1:
            parts.append(f"## {_plain(part.title)}")
        parts += [*map(_plain, part.words), *(_table(table, level) for table in part.filled())]
        if part.skipped:
            parts += [f"{level} Skipped", "\n".join(f"- {_plain(line)}" for line in part.skipped)]
    return "\n\n".join([*parts, _table(tables.surroundings(measured), "##")]) + "\n"


def _title(sections: Sequence[Section]) -> str:
    return sections[0].title if len(sections) == 1 else TITLE


def _level(sections: Sequence[Section]) -> int:
    """The level of a table's heading: one case alone needs no heading of its own."""
    return 2 if len(sections) == 1 else 3


def _table(table: Table, level: str) -> str:
    rule = ["---", *("---:" for _ in table.head[1:])]
    lines = [[_plain(cell) for cell in row] for row in (table.head, *table.rows)]
    lines.insert(1, rule)
    return f"{level} {_plain(table.title)}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _plain(text: str) -> str:
    """A text that Markdown shows as it is, on one line."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def page(*measured: Results | Findings) -> str:
    """The report as a page of HTML, charts and all, which loads nothing and runs no script."""
    # All three are wanted for a page alone, and are no part of bulkload's own needs.
    from jinja2 import Environment  # noqa: PLC0415

    from benchmarks import charts, curves  # noqa: PLC0415

    sections = [section(one) for one in measured]
    template = Environment(autoescape=True, trim_blocks=False).from_string(
        Path(__file__).with_name("page.html").read_text(encoding="utf-8")
    )
    return template.render(
        title=_title(sections),
        level=_level(sections),
        sections=[
            {
                "told": part,
                "charts": [
                    *(charts.charts(part.bars) if part.bars else ()),
                    *(curves.drawn(curve) for curve in part.curves if curve.is_measured),
                ],
            }
            for part in sections
        ],
        surroundings=tables.surroundings(measured),
    )
