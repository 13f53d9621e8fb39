"""Titles that IMDb lists and the corpus leaves out, without memory for what is not known of them.

They must be known, so that they cannot come back through another source. Episodes are three quarters of IMDb's twelve million titles; of those that
are too short for a film only the ids count (a record that carries one is left out). The others also have titles and people, by which records are
told to be theirs.
"""

from __future__ import annotations

import polars as pl

from rar_pipeline.tables import SOURCE_MOVIES


def bare(titles: pl.DataFrame) -> pl.DataFrame:
    """Rows of SOURCE_MOVIES for titles of which only source_id and kind are known; columns that are null throughout take no memory."""
    known = titles.with_columns(pl.lit("imdb").alias("source"), pl.col("source_id").alias("imdb_id"))
    nulls = [pl.lit(None, dtype=dtype).alias(name) for name, dtype in SOURCE_MOVIES.schema.items() if name not in known.columns]
    return known.with_columns(nulls).select(list(SOURCE_MOVIES.schema))


def met(excluded: pl.LazyFrame, claims: pl.DataFrame) -> pl.DataFrame:
    """The excluded titles that a merge of `claims` can meet: those with a title, and those whose id a claim carries.

    `excluded` may be a scan of the table in the lake, of which no more than that is then held in memory.
    """
    carried = claims.lazy().select(pl.col("imdb_id").alias("source_id")).drop_nulls().unique()
    titled = pl.col("title").is_not_null()
    return pl.concat([excluded.filter(titled), excluded.filter(~titled).join(carried, on="source_id", how="semi")]).collect()
