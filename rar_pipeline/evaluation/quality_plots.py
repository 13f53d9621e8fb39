"""Figures of the data-quality section, in the palette and the manner of `plots`.

Areas are tinted at most half, so that the figures written on them can be read in the light and in the dark theme.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

from rar_pipeline.evaluation.plots import FAINT, INK, SERIES, canvas

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TINT = 0.5
ROOM = 0.13  # share of a bar from which on a name fits inside


def coverage_map(coverage: pl.DataFrame, fields: Sequence[str]) -> Figure:
    """Shares as a map: a row a bucket, a column a field, the percentage in each cell. Columns: bucket, movies, and the fields (0 to 1)."""
    from matplotlib.patches import Rectangle

    rows = coverage.to_dicts()
    figure, axes = canvas(0.7 + 0.21 * max(len(rows), 1))
    for y, row in enumerate(rows):
        for x, field in enumerate(fields):
            share = row[field] or 0.0
            axes.add_patch(Rectangle((x + 0.03, y + 0.04), 0.94, 0.92, facecolor=SERIES[0], alpha=TINT * share, linewidth=0))
            axes.text(x + 0.5, y + 0.52, percent(share), ha="center", va="center", fontsize=8, color=INK)
    axes.set_xlim(0, len(fields))
    axes.set_ylim(max(len(rows), 1), 0)
    axes.set_xticks([x + 0.5 for x in range(len(fields))], fields, rotation=35, ha="left", rotation_mode="anchor")
    axes.xaxis.tick_top()
    axes.set_yticks([y + 0.5 for y in range(len(rows))], [f"{row['bucket']} ({row['movies']:,})" for row in rows])
    axes.tick_params(labelsize=8)
    axes.spines["bottom"].set_visible(False)
    return figure


def overlap_plot(combinations: pl.DataFrame, sources: Sequence[str]) -> Figure:
    """How many movies which sources know together (the idea of UpSet, Lex et al. 2014, lying down): a row a combination.

    `combinations`: sources (list), movies, in the order to be drawn; `sources`: the columns of dots.
    """
    rows = combinations.to_dicts()
    figure, axes = canvas(0.95 + 0.2 * max(len(rows), 1))
    most, left = max((row["movies"] for row in rows), default=1), len(sources) + 0.2
    wide = 0.8 * len(sources)
    for y, row in enumerate(rows):
        inside = [x for x, name in enumerate(sources) if name in row["sources"]]
        axes.plot(range(len(sources)), [y] * len(sources), linestyle="", marker="o", color=FAINT, markersize=3.5, alpha=0.7)
        axes.plot(inside, [y] * len(inside), color=SERIES[0], marker="o", markersize=5.5, linewidth=1.4)
        axes.barh(y, wide * row["movies"] / most, left=left, height=0.62, color=SERIES[0], alpha=TINT)
        axes.text(left + wide * row["movies"] / most + 0.15, y, f"{row['movies']:,}", va="center", fontsize=8, color=INK)
    axes.set_xlim(-0.5, left + wide + 2.2)
    axes.set_ylim(max(len(rows), 1) - 0.4, -0.6)
    axes.set_xticks(range(len(sources)), sources, rotation=55, ha="left")
    axes.xaxis.tick_top()
    axes.set_yticks([])
    axes.tick_params(labelsize=8)
    axes.spines["bottom"].set_visible(False)
    return figure


def origin_bars(origins: pl.DataFrame) -> Figure:
    """Which source the values of each field came from: a bar of shares a field. Columns: field, source, share (0 to 1)."""
    fields = origins["field"].unique(maintain_order=True).to_list()
    sources = (
        origins.group_by("source").agg(pl.sum("values")).sort("values", "source", descending=[True, False])["source"].to_list()
    )
    figure, axes = canvas(0.85 + 0.23 * max(len(fields), 1))
    ends = dict.fromkeys(fields, 0.0)
    for number, source in enumerate(sources):
        part = origins.filter(pl.col("source") == source)
        colour = SERIES[number % len(SERIES)]
        # there are more sources than colours: the second round of them is hatched
        filled, hatch, alpha = (colour, "", TINT) if number < len(SERIES) else ("none", "/////", 1.0)
        for field, share in part.select("field", "share").iter_rows():
            y = fields.index(field)
            axes.barh(
                y,
                share,
                left=ends[field],
                height=0.74,
                facecolor=filled,
                edgecolor=colour,
                hatch=hatch,
                alpha=alpha,
                linewidth=0.6,
            )
            if share >= ROOM:
                axes.text(ends[field] + share / 2, y, percent(share), ha="center", va="center", fontsize=8, color=INK)
            ends[field] += share
        axes.barh(0, 0, label=source, facecolor=filled, edgecolor=colour, hatch=hatch, alpha=alpha)
    axes.set_xlim(0, 1)
    axes.set_ylim(len(fields) - 0.5, -0.5)
    axes.set_yticks(range(len(fields)), fields)
    axes.set_xticks([])
    axes.tick_params(labelsize=8)
    axes.spines["bottom"].set_visible(False)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, fontsize=8, labelcolor=INK, loc="outside upper left", ncols=3)
    return figure


def percent(share: float) -> str:
    """A share as a whole percentage that says 0 and 100 only where that is exact: 99.97 % is >99, 0.02 % is <1."""
    if 0 < share < 0.005:
        return "<1"
    return ">99" if 0.995 <= share < 1 else f"{100 * share:.0f}"
