"""How many movies of the corpus are likely there twice: what the merge is measured by. The rule is sql/corpus/likely_duplicates.sql."""

from __future__ import annotations

import duckdb
import polars as pl

from rar_pipeline.corpus.normalise import normalise_name, normalised
from rar_pipeline.sql import statement

SCHEMA = {
    "movie_id": pl.String(),
    "other_id": pl.String(),
    "title": pl.String(),
    "other_title": pl.String(),
    "year": pl.Int64(),
    "other_year": pl.Int64(),
    "shared_directors": pl.Int64(),
    "shared_cast": pl.Int64(),
}


def likely_duplicates(movies: pl.DataFrame) -> pl.DataFrame:
    """Pairs of movies with the same normalised title, years at most one apart, and a director or two of the cast in common.

    `movies` needs movie_id, title, year, directors and cast of `tables.MOVIES`. Returns the columns of `SCHEMA`, one row a pair, `movie_id` before
    `other_id`; a movie without a year is in no pair.
    """
    named = movies.select("movie_id", "title", "year", "directors", "cast").join(
        normalised(movies["title"]), left_on="title", right_on="text"
    )
    # names are normalised in Python: only those of movies that share a title with another
    people = pl.sum_horizontal(pl.col("directors").list.len(), pl.col("cast").list.len())
    suspects = named.filter(pl.col("year").is_not_null(), pl.len().over("key") > 1, people > 0)
    if suspects.is_empty():
        return pl.DataFrame(schema=SCHEMA)
    names = pl.concat([suspects["directors"].explode(), suspects["cast"].explode()])
    con = duckdb.connect()
    try:
        con.register("movies", suspects)
        con.register("name_keys", normalised(names, normalise_name))
        return con.sql(statement("corpus", "likely_duplicates")).pl().cast(SCHEMA)
    finally:
        con.close()


def repeats(movies: pl.DataFrame) -> pl.Series:
    """Whether each movie is likely a repeat of one with a smaller movie_id; the share of these is the share of likely duplicates."""
    return movies["movie_id"].is_in(likely_duplicates(movies)["other_id"].implode())
