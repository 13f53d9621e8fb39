"""Recall, NDCG and reciprocal rank of every case under the protocols `fresh_turns`, `cikm23` and `sequences`; no averaging here.

Whole batches in polars: rankings are exploded, movies of the history are taken out, targets are joined to their ranks. A mean
over cases is sum(value) / sum(weight); all protocols weigh every row of theirs alike.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from rar_pipeline import tables

CUTOFFS = (1, 5, 10, 20, 50)
METRIC_NAMES = tuple(f"{name}@{k}" for name in ("R", "N", "MRR") for k in CUTOFFS)
UNLINKED = "unlinked:"

_CASE = ("dataset", "split", "case_id")
_LIST = ("dataset", "split", "system", "case_id")


def score(recommendations: pl.DataFrame, cases: pl.DataFrame) -> pl.DataFrame:
    """Metrics of every recommended list under `fresh_turns` and `cikm23`, as a frame of `tables.METRICS`.

    Movies of a case's history leave the list before ranks are counted, and are no targets. A movie that a list repeats counts
    where it stands first. `unlinked_targets` are targets that nobody can hit. Lists without a case are left out, as are cases
    without a target; a system is scored on the cases for which it has a list, an empty one included.
    """
    found = _found(recommendations, cases)
    return tables.METRICS.conform(pl.concat([_long(_by_case(found), "fresh_turns"), _long(_by_target(found), "cikm23")]))


def fresh_turns(recommendations: pl.DataFrame, cases: pl.DataFrame) -> pl.DataFrame:
    """Kostric and Balog, SIGIR 2026 (PROTOCOL.md, B): a row a case, a frame of `tables.METRICS`; what counts, see `score`.

    R@K is hits / targets of the case, N@K is DCG over the DCG of the ideal list, MRR@K the reciprocal rank of the first hit. Means are over
    cases, so a turn with many targets weighs no more than another.
    """
    return tables.METRICS.conform(_long(_by_case(_found(recommendations, cases)), "fresh_turns"))


def cikm23(recommendations: pl.DataFrame, cases: pl.DataFrame) -> pl.DataFrame:
    """He et al., CIKM 2023 (PROTOCOL.md, A): a row a (case, target), `case_id` = `<case>#<target>`; a frame of `tables.METRICS`; see `score`.

    The other targets of the turn stay in the list as any other movie; N@K = 1 / log2(rank + 1).
    """
    return tables.METRICS.conform(_long(_by_target(_found(recommendations, cases)), "cikm23"))


def sequences(recommendations: pl.DataFrame, users: pl.DataFrame) -> pl.DataFrame:
    """LRURec's protocol (PROTOCOL.md, C), leave-last-out: a row a user with at least three items, a frame of `tables.METRICS`.

    `users`: dataset, split, case_id, items (list of ids in time order). The last item is the target, the others are history and leave the
    list, which is of all items; a last item that the user had before cannot be recommended. N@K = 1 / log2(rank + 1).
    """
    long_enough = users.filter(pl.col("items").list.len() >= 3)
    cases = long_enough.select(
        *_CASE,
        pl.col("case_id").alias("dialogue_id"),
        history=pl.col("items").list.head(pl.col("items").list.len() - 1),
        targets=pl.col("items").list.tail(1),
    )
    had = pl.col("history").list.contains(pl.col("targets").list.first())
    cases = cases.with_columns(unlinked_targets=had.cast(pl.Int64))
    return tables.METRICS.conform(_long(_by_case(_found(recommendations, cases)), "sequences"))


def _found(recommendations: pl.DataFrame, cases: pl.DataFrame) -> pl.DataFrame:
    """One row a (list, target); `rank` is null where the list misses the target."""
    targets = _targets(cases)
    lists = recommendations.select(*_LIST, "ranking").join(
        targets.select(*_CASE, "dialogue_id").unique(), on=_CASE, how="inner", maintain_order="left"
    )
    asked = lists.drop("ranking").join(targets.drop("dialogue_id"), on=_CASE, how="inner", maintain_order="left_right")
    return asked.join(_ranks(lists, cases), on=[*_LIST, "movie_id"], how="left", maintain_order="left")


def _targets(cases: pl.DataFrame) -> pl.DataFrame:
    """One row a (case, new target): dataset, split, case_id, dialogue_id, movie_id; unlinked targets as `unlinked:<n>`."""
    keys = (*_CASE, "dialogue_id")
    linked = (
        cases.select(*keys, movie_id=pl.col("targets"))
        .explode("movie_id", empty_as_null=False, keep_nulls=False)
        .join(_seen(cases), on=[*_CASE, "movie_id"], how="anti", maintain_order="left")
        .unique(maintain_order=True)
    )
    unlinked = (
        cases.select(*keys, number=pl.int_ranges(0, pl.col("unlinked_targets")))
        .explode("number", empty_as_null=False, keep_nulls=False)
        .select(*keys, movie_id=pl.lit(UNLINKED) + pl.col("number").cast(pl.String))
    )
    return pl.concat([linked, unlinked])


def _seen(cases: pl.DataFrame) -> pl.DataFrame:
    """One row a (case, movie of its history)."""
    return cases.select(*_CASE, movie_id=pl.col("history")).explode("movie_id", empty_as_null=False, keep_nulls=False).unique()


def _ranks(lists: pl.DataFrame, cases: pl.DataFrame) -> pl.DataFrame:
    """Rank from 1 of every movie in every list, counted without the history and without repetitions."""
    return (
        lists.select(*_LIST, movie_id=pl.col("ranking").list.unique(maintain_order=True))
        .explode("movie_id", empty_as_null=False, keep_nulls=False)
        .join(_seen(cases), on=[*_CASE, "movie_id"], how="anti", maintain_order="left")
        .with_columns(rank=pl.int_range(1, pl.len() + 1, dtype=pl.Int64).over(_LIST))
    )


def _gain(cutoff: int) -> pl.Expr:
    """1 / log2(rank + 1) inside the cut-off, else 0."""
    return pl.when(pl.col("rank") <= cutoff).then(1.0 / (pl.col("rank") + 1).log(2)).otherwise(0.0)


def _reciprocal(cutoff: int) -> pl.Expr:
    return pl.when(pl.col("rank") <= cutoff).then(1.0 / pl.col("rank")).otherwise(0.0)


def _hit(cutoff: int) -> pl.Expr:
    return (pl.col("rank") <= cutoff).fill_null(False).cast(pl.Float64)


def ideal_gain(targets: int, cutoff: int) -> float:
    """DCG@K of a list that begins with all targets."""
    return float((1.0 / np.log2(np.arange(2, min(targets, cutoff) + 2))).sum())


def _by_case(found: pl.DataFrame) -> pl.DataFrame:
    """Metrics of each (system, case), all its targets together."""
    per_case = found.group_by(*_LIST, "dialogue_id", maintain_order=True).agg(
        *(_hit(k).mean().alias(f"R@{k}") for k in CUTOFFS),
        *(_gain(k).sum().alias(f"N@{k}") for k in CUTOFFS),
        *(_reciprocal(k).max().alias(f"MRR@{k}") for k in CUTOFFS),
        targets=pl.len().cast(pl.Int64),
    )
    counts = per_case["targets"].unique().to_list()
    ideals = (pl.col("targets").replace_strict({n: ideal_gain(n, k) for n in counts}, return_dtype=pl.Float64) for k in CUTOFFS)
    return per_case.with_columns((pl.col(f"N@{k}") / ideal).alias(f"N@{k}") for k, ideal in zip(CUTOFFS, ideals, strict=True))


def _by_target(found: pl.DataFrame) -> pl.DataFrame:
    """Metrics of each (system, case, target)."""
    return found.select(
        "dataset",
        "split",
        "system",
        pl.concat_str("case_id", pl.lit("#"), "movie_id").alias("case_id"),
        "dialogue_id",
        *(_hit(k).alias(f"R@{k}") for k in CUTOFFS),
        *(_gain(k).alias(f"N@{k}") for k in CUTOFFS),
        *(_reciprocal(k).alias(f"MRR@{k}") for k in CUTOFFS),
    )


def _long(wide: pl.DataFrame, protocol: str) -> pl.DataFrame:
    long = wide.unpivot(METRIC_NAMES, index=[*_LIST, "dialogue_id"], variable_name="metric", value_name="value")
    return long.select(
        "dataset",
        "split",
        pl.lit(protocol).alias("protocol"),
        "system",
        "case_id",
        "dialogue_id",
        "metric",
        "value",
        pl.lit(1.0).alias("weight"),
    )
