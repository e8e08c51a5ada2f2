"""Charts of figures along a setting, as SVG that takes its colors from the page it stands in."""

import math

import altair as alt

from benchmarks.charts import INK, NARROW, WIDE, Chart, brief, svg
from benchmarks.sections import Curve, Line, Scale, Spot

_COLORS = ("var(--plain)", "var(--tls)")

_HEIGHT = 280

# So many times the greatest figure is the axis high: above the highest point stands its figure.
_ROOM = 1.15

# Spots nearer than this part of the axis would have their figures on top of each other.
_APART = 0.11

_SHORT = "format(datum.value, datum.value < 10000 ? ',' : '~s')"


def drawn(curve: Curve) -> Chart:
    """A chart for both widths of a page; without a figure it has its axes alone."""
    chart = _layers(curve)
    wide, narrow = (svg(chart, width=width, height=_HEIGHT) for width in (WIDE, NARROW))
    return Chart(curve.title, curve.words, wide, narrow)


def _layers(curve: Curve) -> alt.LayerChart | alt.FacetChart:
    names = [line.name for line in curve.lines]
    spots = [spot for line in curve.lines for spot in line.spots]
    most = max((spot.value for spot in spots), default=1.0) * _ROOM
    measured = sorted({spot.at for line in curve.lines if not line.is_ideal for spot in line.spots})
    is_logarithmic = curve.scale == "log"
    ends = [measured[0] / 1.4, measured[-1] * 1.4] if is_logarithmic and measured else alt.Undefined
    x = alt.X(
        "at:Q",
        scale=alt.Scale(type=curve.scale, domain=ends, nice=False),
        # Of a few settings each has its tick, where the axis has room for all of them.
        axis=alt.Axis(
            title=curve.along,
            labelExpr=_SHORT,
            grid=False,
            labelOverlap=True,
            **({"values": measured} if is_logarithmic else {"tickCount": 5}),
        ),
    )
    y = alt.Y(
        "value:Q",
        scale=alt.Scale(domain=[0, most]),
        axis=alt.Axis(title=None, labelExpr=_SHORT, tickCount=5, domain=False, ticks=False),
    )
    legend = alt.Legend() if len(names) > 1 else None
    color = alt.Color("who:N", scale=alt.Scale(domain=names, range=list(_COLORS)), legend=legend)
    return alt.layer(*(layer for line in curve.lines for layer in _drawn(line, x, y, color, curve.scale)))


def _drawn(line: Line, x: alt.X, y: alt.Y, color: alt.Color, scale: Scale) -> list[alt.Chart]:
    told = _told(line, scale)
    values = [
        {"who": line.name, "at": spot.at, "value": spot.value, "words": brief(spot.value) if spot in told else ""}
        for spot in line.spots
    ]
    chart = alt.Chart({"values": values})
    if line.is_ideal:
        return [chart.mark_line(strokeDash=[6, 4]).encode(x=x, y=y, color=color)]
    return [
        chart.mark_line(point=alt.OverlayMarkDef(filled=True, size=60)).encode(x=x, y=y, color=color),
        chart.mark_text(dy=16, color=INK).encode(x=x, y=y, text="words:N"),
    ]


def _told(line: Line, scale: Scale) -> list[Spot]:
    """The spots whose figures have room: from the last one on, each that is far enough from the one before."""
    along = {spot: math.log(spot.at) if scale == "log" else spot.at for spot in line.spots}
    apart = _APART * (max(along.values(), default=0) - min(along.values(), default=0))
    told: list[Spot] = []
    for spot in reversed(line.spots):
        if not told or along[told[-1]] - along[spot] >= apart:
            told.append(spot)
    return told
