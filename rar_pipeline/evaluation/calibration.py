"""Does a retriever's softmax say how sure it may be? Reliability of its scores over the candidates that go to the LLM.

Read where the candidates hold a right movie: of the candidates' softmax, the share that falls on right ones should be the share that is right.
"""

from __future__ import annotations

import polars as pl

BINS = 10
_SYSTEM = ("dataset", "split", "system")


def reliability(recommendations: pl.DataFrame, cases: pl.DataFrame, candidates: int) -> pl.DataFrame:
    """Predicted and observed share of right movies, by tenths of the predicted: *_SYSTEM, bin, predicted, observed, movies, cases.

    `recommendations` with `scores` (frames of RECOMMENDATIONS, others are left out), of which the first `candidates` are read; p = softmax of
    their scores. Of a case with m right ones among them each counts 1 / m, as p sums to one. `bin` has equal numbers of movies. Nothing is
    read of cases whose candidates hold no right movie.
    """
    keys = ("dataset", "split", "case_id")
    shown = (
        recommendations.filter(pl.col("scores").is_not_null())
        .join(cases.select(*keys, "targets"), on=keys, how="inner")
        .select(
            *_SYSTEM,
            "case_id",
            "targets",
            movie_id=pl.col("ranking").list.head(candidates),
            score=pl.col("scores").list.head(candidates),
        )
        .explode("movie_id", "score", empty_as_null=False, keep_nulls=False)
    )
    case = (*_SYSTEM, "case_id")
    weight = (pl.col("score") - pl.col("score").max().over(case)).exp()
    right = pl.col("targets").list.contains(pl.col("movie_id")).cast(pl.Float64)
    valued = (
        shown.with_columns(p=weight / weight.sum().over(case), right=right)
        .with_columns(found=pl.col("right").sum().over(case))
        .filter(pl.col("found") > 0)
        .with_columns(right=pl.col("right") / pl.col("found"))
    )
    place = pl.struct("p", "case_id", "movie_id").rank("ordinal").over(_SYSTEM) - 1
    return (
        valued.with_columns(
            bin=(place * BINS // pl.len().over(_SYSTEM)).cast(pl.Int64), all=pl.col("case_id").n_unique().over(_SYSTEM)
        )
        .group_by(*_SYSTEM, "bin")
        .agg(
            predicted=pl.col("p").mean(),
            observed=pl.col("right").mean(),
            movies=pl.len().cast(pl.Int64),
            cases=pl.col("all").first().cast(pl.Int64),
        )
        .sort(*_SYSTEM, "bin")
    )


def calibration_errors(bins: pl.DataFrame) -> pl.DataFrame:
    """Expected calibration error a system: the mean of |predicted - observed| over `reliability`'s bins; *_SYSTEM, ece, cases."""
    gap = (pl.col("predicted") - pl.col("observed")).abs()
    return (
        bins.group_by(_SYSTEM)
        .agg(ece=(gap * pl.col("movies")).sum() / pl.col("movies").sum(), cases=pl.col("cases").first())
        .sort(_SYSTEM)
    )
