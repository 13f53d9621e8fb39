"""Where a system is good: by popularity or year of the target, by length of the history; what its lists look like, what they cost.

Breakdowns by target read the `cikm23` rows, where every row has one target: a case of several targets belongs to no one bucket.
"""

from __future__ import annotations

import polars as pl

from rar_pipeline.evaluation.metrics import UNLINKED

POPULARITY_BUCKETS = ("unseen", "rare", "middle", "top 100", "unlinked")
HISTORY_BUCKETS = ("0", "1", "2+")
YEARS = ((1980, "before 1980"), (2000, "1980 to 1999"), (2010, "2000 to 2009"))
HIT_CUTOFFS = (5, 10, 20, 50)
RARE_AT_MOST = 4
TOP = 100

_GROUP = ("dataset", "split", "protocol", "system", "bucket", "metric")
_MEAN = (
    (pl.col("value").sum() / pl.col("weight").sum()).alias("value"),
    pl.len().cast(pl.Int64).alias("cases"),
)


def training_counts(mentions: pl.DataFrame) -> pl.DataFrame:
    """Number of training conversations that mention each movie: dataset, movie_id, count; a frame of `tables.MENTIONS` in."""
    return (
        mentions.filter(pl.col("split") == "train", pl.col("movie_id").is_not_null())
        .group_by("dataset", "movie_id")
        .agg(count=pl.col("dialogue_id").n_unique().cast(pl.Int64))
        .sort("dataset", "movie_id")
    )


def popularity_buckets(counts: pl.DataFrame) -> pl.DataFrame:
    """Bucket of every movie seen in training: dataset, movie_id, bucket (rare is 1 to 4 conversations, middle the rest)."""
    place = pl.struct(-pl.col("count"), "movie_id").rank("ordinal").over("dataset")
    return counts.select(
        "dataset",
        "movie_id",
        bucket=pl.when(pl.col("count") <= RARE_AT_MOST)
        .then(pl.lit("rare"))
        .when(place <= TOP)
        .then(pl.lit("top 100"))
        .otherwise(pl.lit("middle")),
    )


def by_popularity(metrics: pl.DataFrame, counts: pl.DataFrame) -> pl.DataFrame:
    """Means by popularity of the target in training: dataset, split, protocol, system, bucket, metric, value, cases.

    `metrics` is a frame of `tables.METRICS`, `counts` comes from `training_counts`. Only `cikm23` rows are read.
    """
    target = pl.col("case_id").str.extract(r"#([^#]*)$")
    return (
        metrics.filter(pl.col("protocol") == "cikm23")
        .with_columns(movie_id=target)
        .join(popularity_buckets(counts), on=["dataset", "movie_id"], how="left")
        .with_columns(
            bucket=pl.when(pl.col("movie_id").str.starts_with(UNLINKED))
            .then(pl.lit("unlinked"))
            .otherwise(pl.col("bucket").fill_null("unseen"))
        )
        .group_by(_GROUP)
        .agg(_MEAN)
        .sort(_GROUP)
    )


def year_buckets(cutoff: int) -> tuple[str, ...]:
    """Names of the buckets of `by_year`, in order; what came out after the year `cutoff` is the last but two."""
    return (*(name for _, name in YEARS), f"2010 to {cutoff}", f"after {cutoff}", "year unknown", "unlinked")


def by_year(metrics: pl.DataFrame, movies: pl.DataFrame, cutoff: int) -> pl.DataFrame:
    """Means by the target's year of release; the columns of `by_popularity`. `movies` is a frame of `tables.MOVIES`, `cutoff` from 2010 on.

    What is newer than the last year that the LLM has read of tells whether the system leans on what the LLM remembers.
    """
    *_, until, after, unknown, unlinked = year_buckets(cutoff)
    bucket = pl.lit(until)
    for end, name in reversed(YEARS):
        bucket = pl.when(pl.col("year") < end).then(pl.lit(name)).otherwise(bucket)
    bucket = pl.when(pl.col("year") > cutoff).then(pl.lit(after)).otherwise(bucket)
    bucket = pl.when(pl.col("year").is_null()).then(pl.lit(unknown)).otherwise(bucket)
    bucket = pl.when(pl.col("movie_id").str.starts_with(UNLINKED)).then(pl.lit(unlinked)).otherwise(bucket)
    return (
        metrics.filter(pl.col("protocol") == "cikm23")
        .with_columns(movie_id=pl.col("case_id").str.extract(r"#([^#]*)$"))
        .join(movies.select("movie_id", "year"), on="movie_id", how="left")
        .with_columns(bucket=bucket)
        .group_by(_GROUP)
        .agg(_MEAN)
        .sort(_GROUP)
    )


def by_history(metrics: pl.DataFrame, cases: pl.DataFrame) -> pl.DataFrame:
    """Means under `fresh_turns` by the number of earlier movies (0, 1, 2+); the columns of `by_popularity`."""
    length = pl.col("history").list.n_unique()
    buckets = cases.select(
        "dataset",
        "split",
        "case_id",
        bucket=pl.when(length == 0).then(pl.lit("0")).when(length == 1).then(pl.lit("1")).otherwise(pl.lit("2+")),
    )
    return (
        metrics.filter(pl.col("protocol") == "fresh_turns")
        .join(buckets, on=["dataset", "split", "case_id"], how="inner")
        .group_by(_GROUP)
        .agg(_MEAN)
        .sort(_GROUP)
    )


def comparable(metrics: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Metrics in parts in which all systems of a data set, split and protocol have the same cases.

    "all": the systems that have every case; "judged": every system, on the cases that all have; only where that is another thing.
    """
    place = ("dataset", "split", "protocol")
    case = (*place, "case_id")
    cases = metrics.select(*case, "system").unique()
    every = cases.group_by(place).agg(cases=pl.col("case_id").n_unique(), systems=pl.col("system").n_unique())
    complete = (
        cases.group_by(*place, "system")
        .len()
        .join(every, on=place)
        .filter(pl.col("len") == pl.col("cases"))
        .select(*place, "system")
    )
    shared = cases.group_by(case).len().join(every, on=place).filter(pl.col("len") == pl.col("systems")).select(case)
    parts = {"all": metrics.join(complete, on=[*place, "system"], how="semi", maintain_order="left")}
    if parts["all"].height < metrics.height:
        parts["judged"] = metrics.join(shared, on=case, how="semi", maintain_order="left")
    return parts


def list_quality(recommendations: pl.DataFrame, catalogue: int, cutoff: int = 10) -> pl.DataFrame:
    """What the lists of a system look like: dataset, split, system, lists, titles, unmatched_rate, coverage, gini, empty.

    `coverage` is the share of the catalogue (its size in movies) that stands in some top `cutoff`; `gini` is over how often
    each movie of the catalogue stands there (0: all equally often, 1: always the same one); `unmatched_rate` is titles unknown
    to the corpus over all titles that the LLM wrote, null where no LLM wrote; `empty` counts lists without a movie.
    """
    keys = ("dataset", "split", "system")
    shown = (
        recommendations.select(*keys, movie_id=pl.col("ranking").list.head(cutoff))
        .explode("movie_id", empty_as_null=False, keep_nulls=False)
        .group_by(*keys, "movie_id")
        .agg(times=pl.len().cast(pl.Int64))
    )
    # Gini = 2 * sum(i * x_i) / (n * sum x) - (n + 1) / n over ascending x; movies never shown come first and add nothing
    place = pl.col("times").rank("ordinal") + catalogue - pl.len()
    spread = shown.group_by(keys).agg(
        coverage=pl.len() / catalogue,
        gini=2 * (place * pl.col("times")).sum() / (catalogue * pl.col("times").sum()) - (catalogue + 1) / catalogue,
    )
    return (
        recommendations.group_by(keys)
        .agg(
            lists=pl.len().cast(pl.Int64),
            empty=(pl.col("ranking").list.len() == 0).sum().cast(pl.Int64),
            unmatched_rate=pl.when(pl.col("titles").sum() > 0).then(pl.col("unmatched").sum() / pl.col("titles").sum()),
        )
        .join(spread, on=keys, how="left")
        .sort(keys)
    )


def hit_rates(recommendations: pl.DataFrame, cases: pl.DataFrame) -> pl.DataFrame:
    """Share of cases with a right movie among a system's first k: dataset, split, system, cases, and a column `hit@k` for k of HIT_CUTOFFS.

    For a retriever this bounds what an LLM that re-ranks its k candidates can reach.
    """
    keys = ("dataset", "split", "case_id")
    hits = (
        pl.col("ranking").list.head(k).list.set_intersection("targets").list.len().gt(0).mean().alias(f"hit@{k}")
        for k in HIT_CUTOFFS
    )
    joined = recommendations.join(cases.select(*keys, "targets"), on=keys, how="inner")
    return joined.group_by("dataset", "split", "system").agg(pl.len().cast(pl.Int64).alias("cases"), *hits).sort(pl.all())


def costs(recommendations: pl.DataFrame) -> pl.DataFrame:
    """What a turn costs where an LLM is asked: dataset, split, system, model, calls, answered, failed, unparsed, and means a turn.

    Means: prompt_tokens, answer_tokens, seconds, and `cost` in the currency of the prices, null where no price is set.
    """
    statuses = ((pl.col("status") == name).sum().cast(pl.Int64).alias(name) for name in ("answered", "failed", "unparsed"))
    return (
        recommendations.filter(pl.col("model").is_not_null())
        .group_by("dataset", "split", "system", "model")
        .agg(
            pl.len().cast(pl.Int64).alias("calls"),
            *statuses,
            pl.col("prompt_tokens", "answer_tokens", "seconds").mean(),
            cost=pl.when(pl.col("cost").sum() > 0).then(pl.col("cost").mean()),
        )
        .sort("dataset", "split", "system", "model")
    )
