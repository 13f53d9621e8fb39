"""The corpus counted: how complete its fields are, which sources overlap, what each field came from, what was disputed or left out.

Frames and numbers only; `quality_sections` puts them into words, `quality_plots` draws them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from rar_pipeline.corpus.duplicates import likely_duplicates
from rar_pipeline.evaluation.corpus_records import CorpusRecords
from rar_pipeline.tables import MOVIES

FIELDS = ("year", "genres", "directors", "cast", "plot", "runtime", "rating")
VOTES = {1: "none", 10: "1 to 9", 100: "10 to 99", 1_000: "100 to 999", 10_000: "1,000 to 9,999", 100_000: "10,000 to 99,999"}
MOST_VOTES = "100,000 and more"
NO_YEAR = "no year"
EXAMPLES = 3  # of the conflicts of one field
SHOWN_DUPLICATES = 10


@dataclass(frozen=True)
class DataQuality:
    """Figures of one corpus. Shares are 0 to 1."""

    movies: int
    by_decade: pl.DataFrame  # bucket, movies, then for each of FIELDS the share that has a value; oldest first
    by_votes: pl.DataFrame  # the same by IMDb votes
    sources: pl.DataFrame  # source, movies, alone (known to no other source); largest first
    combinations: pl.DataFrame  # sources (list), movies; largest first
    origins: (
        pl.DataFrame
    )  # field, source, values, share of the field's values; fields in the order of MOVIES, largest source first
    overruled: pl.DataFrame  # field, values, overruled (values that another source contradicted)
    conflicts: pl.DataFrame  # field, source, rows; most rows first
    conflict_examples: pl.DataFrame  # field, movie, kept, source, overruled, source_id: the best-known movies of each field
    left_out: pl.DataFrame  # step, source, reason, rows
    duplicates: pl.DataFrame  # corpus.duplicates.SCHEMA
    verdicts: Sequence[Mapping[str, Any]]  # the files expectations.json

    @property
    def repeated(self) -> int:
        """Movies that are likely repeats of another."""
        return self.duplicates["other_id"].n_unique()


def data_quality(movies: pl.DataFrame, records: CorpusRecords) -> DataQuality:
    """Count a corpus (`tables.MOVIES`) and its records; 300,000 movies take about three seconds, most of them for the duplicates."""
    decade = pl.col("year") // 10 * 10
    of_sources = movies.select(pl.col("sources").list.sort())
    combinations = (
        of_sources.group_by("sources")
        .agg(movies=pl.len())
        .sort(-pl.col("movies").cast(pl.Int64), pl.col("sources").list.join(" "))
    )
    listed = of_sources.with_columns(alone=pl.col("sources").list.len() == 1).explode("sources").drop_nulls("sources")
    return DataQuality(
        movies=movies.height,
        by_decade=_coverage(movies, decade, pl.format("{}s", "at").fill_null(NO_YEAR)),
        by_votes=_coverage(
            movies, _votes_bucket(), pl.col("at").replace_strict(VOTES, default=MOST_VOTES, return_dtype=pl.String)
        ),
        sources=listed.group_by(source="sources")
        .agg(movies=pl.len(), alone=pl.sum("alone"))
        .sort("movies", "source", descending=[True, False]),
        combinations=combinations,
        origins=_origins(records.provenance),
        overruled=records.provenance.group_by("field")
        .agg(values=pl.len(), overruled=(pl.col("overruled").list.len() > 0).sum())
        .sort(_place()),
        conflicts=records.conflicts.group_by("field", "source")
        .agg(rows=pl.len())
        .sort("rows", "field", "source", descending=[True, False, False]),
        conflict_examples=_conflict_examples(movies, records.conflicts),
        left_out=records.left_out.sort("step", "source", "rows", "reason", descending=[True, False, True, False]),
        duplicates=likely_duplicates(movies),
        verdicts=records.verdicts,
    )


def as_json(quality: DataQuality) -> dict[str, Any]:
    """The figures for `report.json`; of the duplicates and the failing rows only what a person would look at."""
    frames = (
        "by_decade",
        "by_votes",
        "sources",
        "combinations",
        "origins",
        "overruled",
        "conflicts",
        "conflict_examples",
        "left_out",
    )
    share = quality.repeated / quality.movies if quality.movies else 0.0
    pairs = quality.duplicates
    return {name: getattr(quality, name).to_dicts() for name in frames} | {
        "likely_duplicates": {
            "pairs": pairs.height,
            "movies": quality.repeated,
            "share": share,
            "examples": pairs.head(SHOWN_DUPLICATES).to_dicts(),
        },
        "expectations": [dict(verdict) for verdict in quality.verdicts],
    }


def has(name: str) -> pl.Expr:
    """Whether a movie has a value in a column of `tables.MOVIES`; an empty list is none."""
    return pl.col(name).list.len() > 0 if isinstance(MOVIES.schema[name], pl.List) else pl.col(name).is_not_null()


def _coverage(movies: pl.DataFrame, bucket: pl.Expr, label: pl.Expr) -> pl.DataFrame:
    shares = [has(name).mean().alias(name) for name in FIELDS]
    counted = movies.group_by(at=bucket).agg(movies=pl.len(), **dict(zip(FIELDS, shares, strict=True)))
    return counted.sort("at", nulls_last=True).select(label.alias("bucket"), "movies", *FIELDS)


def _votes_bucket() -> pl.Expr:
    votes = pl.col("votes").fill_null(0)
    bucket = pl.lit(10 * max(VOTES))
    for end in sorted(VOTES, reverse=True):
        bucket = pl.when(votes < end).then(pl.lit(end)).otherwise(bucket)
    return bucket


def _place() -> pl.Expr:
    places = {column.name: place for place, column in enumerate(MOVIES.columns)}
    return pl.col("field").replace_strict(places, default=len(places), return_dtype=pl.Int64)


def _origins(provenance: pl.DataFrame) -> pl.DataFrame:
    counted = provenance.group_by("field", "source").agg(values=pl.len())
    share = pl.col("values") / pl.col("values").sum().over("field")
    return counted.with_columns(share=share).sort(_place(), "values", "source", descending=[False, True, False])


def _conflict_examples(movies: pl.DataFrame, conflicts: pl.DataFrame) -> pl.DataFrame:
    known = movies.select("movie_id", "title", movie_year="year", votes=pl.col("votes").fill_null(0))
    named = conflicts.join(known, on="movie_id", how="left").sort(
        "field", "votes", "source", "source_id", descending=[False, True, False, False], nulls_last=True
    )
    title = pl.coalesce(pl.format("{} ({})", "title", "movie_year"), "title", "movie_id")
    return (
        named.group_by("field", maintain_order=True)
        .head(EXAMPLES)
        .select("field", title.alias("movie"), "kept", "source", "overruled", "source_id")
    )
