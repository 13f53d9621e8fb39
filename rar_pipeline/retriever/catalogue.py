"""The catalogue as the retriever sees it: movies in the order of movie_id, their embeddings, facts and traits."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from rar_pipeline.errors import RarError
from rar_pipeline.retriever.traits import Traits, build_traits


@dataclass(frozen=True, eq=False)  # the same only as itself, so that what is found of it can be kept
class Catalogue:
    """N movies: `movie_ids` sorted; `embeddings` (N, E) float16; `facts` (N, 3) float32: log10 votes, has a plot, decades before 2020.

    `traits`: genres, people and ratings; without them nothing is rescored (rescoring.py).
    """

    movie_ids: tuple[str, ...]
    embeddings: np.ndarray
    facts: np.ndarray
    traits: Traits | None = None

    @cached_property
    def index(self) -> dict[str, int]:
        """movie_id -> row."""
        return {movie_id: row for row, movie_id in enumerate(self.movie_ids)}

    def rows(self, movie_ids: list[str]) -> list[int]:
        """Rows of the movie_ids that the catalogue holds, order kept."""
        return [self.index[movie_id] for movie_id in movie_ids if movie_id in self.index]


def build_catalogue(movies: pl.DataFrame, embeddings: pl.DataFrame) -> Catalogue:
    """The catalogue of the tables MOVIES and ITEM_EMBEDDINGS. Raises RarError where they do not hold the same movies."""
    movies = movies.sort("movie_id")
    embeddings = embeddings.sort("movie_id")
    if not movies["movie_id"].equals(embeddings["movie_id"]):
        raise RarError("item_embeddings does not hold the movies of the corpus; materialise item_embeddings again")
    facts = movies.select(
        votes=(pl.col("votes").fill_null(0) + 1).log10(),
        plot=pl.col("plot").is_not_null(),
        age=(2020 - pl.col("year").fill_null(1980)) / 10,
    ).cast(pl.Float32)
    numbers = facts.to_numpy()
    return Catalogue(tuple(movies["movie_id"]), embeddings["embedding"].to_numpy(), numbers, build_traits(movies, numbers))
