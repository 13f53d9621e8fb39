"""Figures of the report and of the UI, drawn by matplotlib without its global state.

A figure is drawn once, in the palette below. As SVG inside a page its colours become CSS (`currentColor` and
`var(--series-n)`), so that it follows the light or dark theme of the page; as PNG for Dagster's metadata it keeps them on
white. Series differ in marker, too, not in colour alone.
"""

from __future__ import annotations

import base64
import hashlib
import html
import io
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from rar_pipeline.evaluation.breakdowns import POPULARITY_BUCKETS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#3d4451"
FAINT = "#c3c8d0"
SERIES = ("#1f6fb2", "#c2571a", "#2a8a5f", "#8a5bb5", "#a3792b", "#54616f")
MARKERS = ("o", "s", "^", "D", "v", "P")
WIDTH = 4.4  # inches


def leaderboard_plot(board: pl.DataFrame, metric: str) -> Figure:
    """Dot and 95 % interval of one metric, a line a system, best on top.

    `board`: rows of `tables.LEADERBOARD` of one data set, split, protocol and scope.
    """
    rows = board.filter(pl.col("metric") == metric).sort("value", "system").to_dicts()
    figure, axes = canvas(max(1.5, 0.6 + 0.25 * len(rows)))
    for place, row in enumerate(rows):
        if row["low"] is not None:
            axes.plot(
                [row["low"], row["high"]], [place, place], color=SERIES[0], linewidth=2.2, alpha=0.45, solid_capstyle="round"
            )
        axes.plot(row["value"], place, marker="o", color=SERIES[0], markersize=5.5)
    axes.set_yticks(range(len(rows)), [row["system"] for row in rows])
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_xlim(left=0)
    axes.set_xlabel(f"{metric}, mean and 95 % interval")
    axes.grid(axis="x", color=FAINT, linewidth=0.5)
    return figure


def training_curves(curves: pl.DataFrame, label: str) -> Figure:
    """Lines of `value` over `epoch`, one a `series`. `label`: what the values are, for the vertical axis."""
    from matplotlib.ticker import MaxNLocator

    figure, axes = canvas(2.4)
    for number, (name, part) in enumerate(_series(curves)):
        line = part.drop_nulls("value").sort("epoch")
        axes.plot(line["epoch"].to_list(), line["value"].to_list(), label=name, **_look(number), markersize=3.5, linewidth=1.4)
    axes.set_xlabel("epoch")
    axes.set_ylabel(label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y", color=FAINT, linewidth=0.5)
    _legend(figure, axes)
    return figure


def recall_by_popularity(breakdown: pl.DataFrame, metric: str, systems: Sequence[str]) -> Figure:
    """One metric by popularity bucket of the target; `breakdown` of one data set and split from `breakdowns.by_popularity`."""
    rows = breakdown.filter(pl.col("metric") == metric)
    sizes = dict(rows.group_by("bucket").agg(pl.col("cases").max()).iter_rows())
    buckets = [bucket for bucket in POPULARITY_BUCKETS if bucket in sizes and bucket != "unlinked"]
    figure, axes = canvas(2.6)
    for number, system in enumerate(systems):
        found = dict(rows.filter(pl.col("system") == system).select("bucket", "value").iter_rows())
        values = [found.get(bucket, float("nan")) for bucket in buckets]
        axes.plot(range(len(buckets)), values, label=system, **_look(number), markersize=5, linewidth=1.2)
    axes.set_xticks(range(len(buckets)), [f"{bucket}\nn = {sizes[bucket]:,}" for bucket in buckets])
    axes.set_xlim(-0.3, len(buckets) - 0.7)
    axes.set_ylim(bottom=0)
    axes.set_ylabel(metric)
    axes.grid(axis="y", color=FAINT, linewidth=0.5)
    _legend(figure, axes)
    return figure


def reliability_plot(bins: pl.DataFrame) -> Figure:
    """Observed over predicted share of right movies, a line a system; `bins` of one data set and split from `calibration.reliability`."""
    figure, axes = canvas(3.0)
    end = 1.05 * max([0.05, *bins["predicted"], *bins["observed"]])
    axes.plot([0, end], [0, end], color=FAINT, linewidth=1, linestyle="--")
    for number, (name, part) in enumerate(_series(bins.with_columns(series="system"))):
        axes.plot(
            part["predicted"].to_list(), part["observed"].to_list(), label=name, **_look(number), markersize=4, linewidth=1.2
        )
    axes.set_xlim(0, end)
    axes.set_ylim(0, end)
    axes.set_xlabel("share that the scores give")
    axes.set_ylabel("share that was right")
    axes.grid(color=FAINT, linewidth=0.5)
    _legend(figure, axes)
    return figure


def corpus_by_decade(decades: pl.DataFrame) -> Figure:
    """Movies of the corpus by decade, and those among them with a plot. Columns: decade, movies, with_plot."""
    rows = decades.drop_nulls("decade").sort("decade").to_dicts()
    figure, axes = canvas(2.3)
    places = range(len(rows))
    axes.bar(places, [row["movies"] for row in rows], color=FAINT, width=0.8, label="movies")
    axes.bar(places, [row["with_plot"] for row in rows], color=SERIES[0], width=0.5, label="with a plot")
    axes.set_xticks(places, [f"{row['decade']}s" for row in rows], rotation=45, ha="right")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set_ylabel("movies")
    _legend(figure, axes)
    return figure


def rewards_histogram(rewards: pl.DataFrame) -> Figure:
    """How the judge's rewards (NDCG@10 of a candidate set, 0 to 1) are spread; columns round, reward; a step line a round."""
    figure, axes = canvas(2.3)
    edges = [i / 20 for i in range(21)]
    for number, (name, part) in enumerate(_series(rewards.with_columns(series=pl.format("round {}", "round")))):
        axes.hist(
            part["reward"].drop_nulls().to_list(),
            bins=edges,
            histtype="step",
            color=SERIES[number % len(SERIES)],
            linestyle=("-", "--", ":", "-.")[number % 4],
            linewidth=1.5,
            label=name,
        )
    axes.set_xlabel("reward of a candidate set, NDCG@10")
    axes.set_ylabel("sets")
    _legend(figure, axes)
    return figure


def svg(figure: Figure, title: str, description: str) -> str:
    """The figure as one `<svg>` element for a page: themed by CSS, named for screen readers; the same bytes each time."""
    import matplotlib

    prefix = "f" + hashlib.sha256(f"{title}\n{description}".encode()).hexdigest()[:8]
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": prefix}):
        figure.savefig(buffer, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    # several figures share a page: ids must not meet
    text = re.sub(r'\bid="', f'id="{prefix}-', text)
    text = text.replace("url(#", f"url(#{prefix}-").replace('href="#', f'href="#{prefix}-')
    text = re.sub(r"font-family: [^;\"]*; ?", "", text)
    text = text.replace(INK, "currentColor").replace(FAINT, f"var(--faint, {FAINT})")
    for number, colour in enumerate(SERIES, 1):
        text = text.replace(colour, f"var(--series-{number}, {colour})")
    opening, rest = text.split(">", 1)
    opening = re.sub(r' (width|height)="[^"]*"', "", opening)
    names = f"<title>{html.escape(title)}</title><desc>{html.escape(description)}</desc>"
    return f'{opening} role="img" aria-label="{html.escape(title)}. {html.escape(description)}">{names}{rest}'


def markdown_image(figure: Figure, alt: str) -> str:
    """The figure as a markdown image with its PNG inside, for Dagster's metadata."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, facecolor="white", metadata={"Software": None})
    return f"![{alt}](data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()})"


def canvas(height: float) -> tuple[Figure, Axes]:
    """A figure of the report's width, `height` inches high, with quiet axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.add_subplot()
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(FAINT)
    axes.tick_params(colors=INK, labelsize=9, length=0)
    axes.xaxis.label.set(color=INK, fontsize=9)
    axes.yaxis.label.set(color=INK, fontsize=9)
    axes.set_axisbelow(True)
    return figure, axes


def _look(number: int) -> dict[str, Any]:
    return {"color": SERIES[number % len(SERIES)], "marker": MARKERS[number % len(MARKERS)]}


def _series(frame: pl.DataFrame) -> list[tuple[str, pl.DataFrame]]:
    return [(str(name), part) for (name,), part in frame.group_by("series", maintain_order=True)]


def _legend(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        figure.legend(
            handles, labels, frameon=False, fontsize=8.5, labelcolor=INK, loc="outside upper left", ncols=min(3, len(labels))
        )
