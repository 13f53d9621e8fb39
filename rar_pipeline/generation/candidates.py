"""Movies of the corpus as the candidates that a prompt shows."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from rar_pipeline.corpus.cards import card
from rar_pipeline.generation.questions import Candidate


def candidates_of(movies: pl.DataFrame, movie_ids: Sequence[str]) -> dict[str, Candidate]:
    """movie_id -> candidate, of rows of the table MOVIES."""
    rows = movies.filter(pl.col("movie_id").is_in(pl.Series(movie_ids, dtype=pl.String).implode()))
    return {
        row["movie_id"]: Candidate(row["movie_id"], row["title"], row["year"], card(row)) for row in rows.iter_rows(named=True)
    }
