"""The breakdowns of the report in words: by year, by LLM, hit rates, calibration, order bias, and what a turn costs."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from rar_pipeline.evaluation import breakdowns, plots
from rar_pipeline.evaluation.calibration import calibration_errors, reliability
from rar_pipeline.evaluation.grids import Block, Grid, drawn, format_count, format_figure, format_share, format_signed
from rar_pipeline.evaluation.order_bias import order_bias
from rar_pipeline.tables import DATASETS

DATASET_NAMES = {"redial": "ReDial", "inspired": "INSPIRED", "reddit": "Reddit-Movie"}


def named(dataset: str) -> str:
    """What people call a data set."""
    return DATASET_NAMES.get(dataset, dataset)


def years(metrics: pl.DataFrame, movies: pl.DataFrame, metric: str, split: str, cutoff: int) -> list[Block]:
    """A table a data set and scope: the metric by the year of the right movie."""
    found: list[Block] = []
    for scope, part in breakdowns.comparable(metrics).items():
        rows = breakdowns.by_year(part, movies, cutoff).filter(pl.col("metric") == metric, pl.col("split") == split)
        for dataset in _present(rows):
            own = rows.filter(pl.col("dataset") == dataset)
            sizes = dict(own.group_by("bucket").agg(pl.col("cases").max()).iter_rows())
            buckets = [bucket for bucket in breakdowns.year_buckets(cutoff) if bucket in sizes]
            lines = [
                (str(system), *(format_figure(values.get(bucket)) for bucket in buckets))
                for (system,), of in own.group_by("system", maintain_order=True)
                for values in [dict(of.select("bucket", "value").iter_rows())]
            ]
            columns = ("System", *(f"{bucket} (n = {sizes[bucket]:,})" for bucket in buckets))
            caption = f"{named(dataset)}: {metric} by year of the right movie; cikm23, {scope} cases"
            found.append(Block("" if found else "By year of the right movie", "", Grid(caption, columns, lines)))
    return found


def backbones(leaderboard: pl.DataFrame, recommendations: pl.DataFrame, metric: str, split: str) -> Block:
    """Every system with an LLM beside the LLM's name: the metric, and the difference from the system's reference, on the judged cases."""
    models = recommendations.filter(pl.col("model").is_not_null(), pl.col("split") == split)
    models = models.select("dataset", "system", "model").unique()
    rows = (
        leaderboard.filter(pl.col("split") == split, pl.col("protocol") == "fresh_turns", pl.col("metric") == metric)
        .join(models, on=["dataset", "system"], how="inner")
        .sort(-pl.col("cases"), pl.col("scope") != "judged", maintain_order=True)
        .unique(["dataset", "system", "model"], keep="first", maintain_order=True)
        .sort(_order(), "model", "system")
    )
    lines = [
        (
            row["model"],
            named(row["dataset"]),
            row["system"],
            format_figure(row["value"]) + _interval(row["low"], row["high"], format_figure),
            format_signed(row["difference"]) + _interval(row["difference_low"], row["difference_high"], format_signed)
            if row["reference"]
            else "–",
            row["reference"] or "–",
            format_count(row["cases"]),
        )
        for row in rows.iter_rows(named=True)
    ]
    columns = ("LLM", "Data set", "System", f"{metric} (95 %)", "Difference (95 %)", "from", "Cases")
    text = "" if lines else "No LLM was asked."
    return Block("By LLM", text, Grid(f"{metric} by the LLM that re-ranks ({split}, fresh_turns)", columns, lines, (1, 2, 5)))


def hits(recommendations: pl.DataFrame, cases: pl.DataFrame, split: str) -> Block:
    """How often the first k of each system hold a right movie: what is left for an LLM that re-ranks them."""
    lists = recommendations.filter(pl.col("model").is_null(), pl.col("split") == split)
    rows = breakdowns.hit_rates(lists, cases).sort(_order(), "system")
    lines = [
        (
            row["system"],
            named(row["dataset"]),
            *(format_share(row[f"hit@{k}"]) for k in breakdowns.HIT_CUTOFFS),
            f"{row['cases']:,}",
        )
        for row in rows.iter_rows(named=True)
    ]
    columns = ("System", "Data set", *(f"first {k}" for k in breakdowns.HIT_CUTOFFS), "Cases")
    return Block(
        "Candidates that hold a right movie",
        "An LLM that re-ranks the first k can find the right movie in so many cases at most.",
        Grid(f"Share of cases with a right movie among the first k ({split})", columns, lines, (1,)),
    )


def calibration(recommendations: pl.DataFrame, cases: pl.DataFrame, split: str, candidates: int) -> list[Block]:
    """A reliability figure a data set, with the calibration error of each retriever."""
    bins = reliability(recommendations.filter(pl.col("split") == split), cases, candidates)
    errors = calibration_errors(bins)
    found = []
    for dataset in _present(bins):
        own = bins.filter(pl.col("dataset") == dataset)
        lines = [
            (row["system"], format_figure(row["ece"]), f"{row['cases']:,}")
            for row in errors.filter(pl.col("dataset") == dataset).iter_rows(named=True)
        ]
        said = "; ".join(f"{system}: error {ece} on {number} cases" for system, ece, number in lines)
        title = f"{named(dataset)}: how sure the retriever's scores are"
        text = (
            f"Softmax over the first {candidates}, where they hold a right movie, by tenths: the share that the scores give, and the share that "
            "was right. On the diagonal they agree; below it they are too sure."
        )
        grid = Grid(
            f"{named(dataset)}: expected calibration error, the mean distance from the diagonal",
            ("System", "Error", "Cases"),
            lines,
        )
        found.append(Block(title, text, grid, drawn(plots.reliability_plot(own), title, said)))
    return found


def order(recommendations: pl.DataFrame, split: str, candidates: int) -> Block:
    """Whether the LLM ranks films or repeats the order that it was shown."""
    rows = order_bias(recommendations.filter(pl.col("split") == split), candidates).sort(_order(), "system")
    lines = [
        (
            row["system"],
            named(row["dataset"]),
            *(format_figure(row[name]) for name in ("kept_first", "kept_order", "followed", "opposed")),
            format_signed(row["order_bias"]),
            f"{row['lists']:,}",
            f"{row['probed']:,}",
        )
        for row in rows.iter_rows(named=True)
    ]
    columns = (
        "System",
        "Data set",
        "First kept",
        "Pairs kept",
        "Turned along",
        "Turned against",
        "Order bias",
        "Lists",
        "Asked twice",
    )
    text = (
        "First kept: lists that begin with the first candidate shown. Pairs kept: pairs of candidates in the order shown (.500: no relation). "
        "Some cases were also shown in reverse: order bias is the share of pairs whose order turned along with the prompt, less those that "
        "turned against it; 0 for a judge that reads films alone, 1 for one that copies."
    )
    return Block(
        "Order bias of the LLM",
        text if lines else "No LLM re-ranked anything.",
        Grid(f"Order of the candidates and of the answer ({split})", columns, lines, (1,)),
    )


def spent(recommendations: pl.DataFrame) -> Block:
    """What a turn costs in calls, tokens, money and seconds."""
    rows = breakdowns.costs(recommendations).sort(_order(), "split", "system")
    lines = [
        (
            row["system"],
            named(row["dataset"]),
            row["split"],
            *(f"{row[name]:,}" for name in ("calls", "answered", "failed", "unparsed")),
            format_count(row["prompt_tokens"]),
            format_count(row["answer_tokens"]),
            "–" if row["cost"] is None else f"{row['cost']:.5f}",
            f"{row['seconds']:.2f}",
        )
        for row in rows.iter_rows(named=True)
    ]
    means = ("Tokens sent", "Received", "Cost", "Seconds")
    columns = ("System", "Data set", "Part", "Calls", "Answered", "Failed", "Unparsed", *means)
    text = (
        "One call a turn. Seconds and cost of what was answered from the store are those of the call that paid for it; cost is in the currency "
        "of the prices that the settings give, – where they give none. Systems without an LLM make no call."
    )
    return Block(
        "What a turn costs",
        text if lines else "No LLM was asked.",
        Grid("Calls, and tokens, cost and seconds as means a turn", columns, lines, (1, 2)),
    )


def _present(frame: pl.DataFrame) -> list[str]:
    there = set(frame["dataset"].unique())
    return [dataset for dataset in DATASETS if dataset in there]


def _order() -> pl.Expr:
    return pl.col("dataset").replace_strict({name: place for place, name in enumerate(DATASETS)}, default=len(DATASETS))


def _interval(low: float | None, high: float | None, form: object) -> str:
    return "" if low is None or high is None or not callable(form) else f" ({form(low)} to {form(high)})"


def blocks(
    leaderboard: pl.DataFrame,
    metrics: pl.DataFrame,
    recommendations: pl.DataFrame,
    cases: pl.DataFrame,
    movies: pl.DataFrame,
    *,
    metric: str,
    headline: str,
    split: str,
    candidates: int,
    cutoff: int,
) -> Sequence[Block]:
    """All of these breakdowns, in the order of the report."""
    return [
        *years(metrics, movies, metric, split, cutoff),
        hits(recommendations, cases, split),
        *calibration(recommendations, cases, split, candidates),
        backbones(leaderboard, recommendations, headline, split),
        order(recommendations, split, candidates),
        spent(recommendations),
    ]
