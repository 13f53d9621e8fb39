"""The plot of the experiment: how what a round gains depends on how good its judge is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from rar_pipeline.preference.experiment import AFTER, CONTROL, PUBLISHED, START
from rar_pipeline.preference.simulated import NAME

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def dose_and_response(table: pl.DataFrame, bucket: str = "all") -> Figure:
    """Test N@10 after the judge over round 0, in percent, with 95 % intervals, by the judge's lift of N@10; one line an objective.

    table: JUDGE_EXPERIMENT of one data set. The lifts of published rankers are marked.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.5, 4.6), layout="constrained")
    axes = figure.add_subplot()
    shown = table.filter(
        (pl.col("metric") == AFTER) & (pl.col("bucket") == bucket) & (pl.col("reference") == START) & (pl.col("seed") == "all")
    ).with_columns(base=pl.col("value") - pl.col("difference"))
    names = shown["objective"].unique().sort().to_list()
    for place, name in enumerate(names):
        line = shown.filter((pl.col("objective") == name) & (pl.col("base") > 0)).sort("judge_lift")
        gain, low, high = (100 * (line[column] / line["base"]).to_numpy() for column in ("difference", "low", "high"))
        spread = 0.6 * (place - (len(names) - 1) / 2)  # side by side, so that intervals can be told apart
        drawn = axes.errorbar(
            100 * line["judge_lift"].to_numpy() + spread,
            gain,
            yerr=[gain - low, high - gain],
            capsize=2,
            marker="o",
            ms=4,
            label=name,
        )
        if name == CONTROL:
            drawn.lines[0].set(color="black", linestyle="--")
    for name, lift in PUBLISHED.items():
        axes.axvline(100 * lift, color="0.6", linewidth=1, linestyle=":")
        axes.annotate(name, (100 * lift, 0.98), xycoords=("data", "axes fraction"), fontsize=8, color="0.4", ha="left", va="top")
    axes.axhline(0, color="0.8", linewidth=1, zorder=0)
    axes.set_xscale("symlog", linthresh=50)
    axes.set_xlabel(f"competence: N@10 of the {NAME}'s order over the retriever's own, validation, %")
    axes.set_ylabel(f"test N@10 after the {NAME}\nover {START}, % (95 % interval)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    return figure
