"""The charts of a throughput report, as SVG that takes its colors from the page it stands in."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import altair as alt
import vl_convert

from benchmarks.results import SCHEMES, Figures, Results, Row
from benchmarks.tables import OVER

# The page's own variables: dark or light is then its matter, and no script's.
INK, QUIET, _GRID = "var(--ink)", "var(--quiet)", "var(--grid)"
_SCHEMES = ("var(--plain)", "var(--tls)")
_FONT = "Helvetica, Arial, sans-serif"

# In pixels: what a wide page and a telephone have room for, and what a row and all around the rows take.
WIDE, NARROW = 900, 346
_ROW, _AROUND = 38, 64

# So many times the greatest figure is the axis long: behind the longest bar stands its figure.
_ROOM = 1.3

Figure = Callable[[Figures], float | None]

_Layered = alt.LayerChart | alt.FacetChart


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart with its title and what it shows in words; `wide` and `narrow` are it for two widths of a page."""

    title: str
    words: str
    wide: str
    narrow: str


@dataclass(frozen=True, slots=True)
class _Bar:
    """What is drawn of a row: from `least` to `most`, with the main figure at `at`, and what stands beside it."""

    row: Row
    at: float
    least: float
    most: float
    words: str


def charts(results: Results) -> Iterator[Chart]:
    """All of them, the rows in the same order: the fastest first."""
    rows = [row for scheme in SCHEMES for row in results.of(scheme)]
    if not rows:
        return
    yield _drawn(
        "Records per second",
        "The median of the rounds; a thin line goes from the slowest to the fastest. More is better.",
        list(_spreads(rows, lambda run: run.per_second)),
        is_logarithmic=False,
    )
    yield _drawn(
        "Processor time per record, in µs",
        "Of the client's process, its start included; the scale is logarithmic. Less is better.",
        list(_spreads(rows, lambda run: run.cpu_microseconds)),
        is_logarithmic=True,
    )
    if latencies := list(_latencies(rows)):
        yield _drawn(
            "Latency, in ms",
            "From a request to its answer: a point for the median, a line to the 99th percentile; the scale is "
            "logarithmic. Less is better.",
            latencies,
            is_logarithmic=True,
        )
    yield _drawn(
        "Peak memory, in MB",
        "Of the client's process. Less is better.",
        list(_spreads(rows, lambda run: run.peak_megabytes)),
        is_logarithmic=False,
    )


def _spreads(rows: Sequence[Row], figure: Figure) -> Iterator[_Bar]:
    for row in rows:
        if spread := row.spread(figure):
            yield _Bar(row, spread.median, spread.least, spread.most, brief(spread.median))


def _latencies(rows: Sequence[Row]) -> Iterator[_Bar]:
    for row in rows:
        half, most = row.spread(lambda run: run.p50), row.spread(lambda run: run.p99)
        if half and most:
            p50, p99 = half.median * 1000, most.median * 1000
            yield _Bar(row, p50, p50, p99, f"{brief(p50)} to {brief(p99)}")


def brief(figure: float) -> str:
    """A figure of three digits, or as many as it has before the point: a telephone has room for no more."""
    return f"{figure:,.0f}" if figure >= 100 else f"{figure:.1f}"


def _drawn(title: str, words: str, bars: Sequence[_Bar], *, is_logarithmic: bool) -> Chart:
    fastest_first = sorted(bars, key=lambda bar: -bar.row.per_second.median)
    order = list(dict.fromkeys(bar.row.title for bar in fastest_first))
    chart = _layers(bars, order, is_logarithmic=is_logarithmic)
    wide, narrow = (svg(chart, width=width, height=_AROUND + _ROW * len(order)) for width in (WIDE, NARROW))
    return Chart(title, words, wide, narrow)


def _layers(bars: Sequence[_Bar], order: Sequence[str], *, is_logarithmic: bool) -> _Layered:
    values = [
        {
            "who": bar.row.title,
            "over": OVER[bar.row.scheme],
            "at": bar.at,
            "least": bar.least,
            "most": bar.most,
            "words": bar.words,
        }
        for bar in bars
    ]
    over = list(OVER.values())
    is_bulkload = "test(/^bulkload/, datum.value)"
    chart = alt.Chart({"values": values}).encode(
        y=alt.Y(
            "who:N",
            sort=order,
            axis=alt.Axis(
                title=None,
                ticks=False,
                domain=False,
                labelLimit=NARROW / 2,
                labelPadding=6,
                labelFontWeight=alt.condition(is_bulkload, alt.value("bold"), alt.value("normal")),
            ),
        ),
        yOffset=alt.YOffset("over:N", sort=over),
    )
    color = alt.Color("over:N", scale=alt.Scale(domain=over, range=list(_SCHEMES)))
    axis = alt.Axis(title=None, tickCount=4, labelExpr="format(datum.value, '~s')")
    ends = [min(bar.least for bar in bars), max(bar.most for bar in bars)]
    if is_logarithmic:
        # The figures' room is a part of the axis's length, which goes by powers here.
        scale = alt.Scale(type="log", domain=[ends[0] / 1.5, ends[1] * (ends[1] / ends[0]) ** 0.5])
        main = chart.mark_point(filled=True, size=60, opacity=1)
    else:
        scale = alt.Scale(domain=[0, ends[1] * _ROOM])
        main = chart.mark_bar()
    at = alt.X("at:Q", axis=axis, scale=scale)
    line = chart.mark_rule(color=INK).encode(x=alt.X("least:Q", scale=scale, axis=axis), x2="most:Q")
    if is_logarithmic:
        line = line.encode(color=color)
    words = chart.mark_text(align="left", dx=6, color=INK).encode(x=alt.X("most:Q", scale=scale), text="words:N")
    return alt.layer(main.encode(x=at, color=color), line, words)


def svg(chart: _Layered, *, width: int, height: int) -> str:
    """A chart of so many pixels as text, in the page's colors and letters."""
    fitted = chart.properties(width=width, height=height, autosize=alt.AutoSizeParams(type="fit", contains="padding"))
    styled = (
        fitted.configure(font=_FONT, background="transparent", padding=2)
        .configure_view(stroke=None)
        .configure_axis(
            labelColor=INK,
            titleColor=QUIET,
            titleFontWeight="normal",
            titleFontSize=12,
            gridColor=_GRID,
            tickColor=_GRID,
            domainColor=_GRID,
            labelFontSize=12,
        )
        .configure_legend(labelColor=INK, orient="top", title=None, labelFontSize=12)
        .configure_text(fontSize=11)
    )
    return str(vl_convert.vegalite_to_svg(styled.to_dict()))
