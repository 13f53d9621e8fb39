"""Recommenders that need no LLM and no training of a network: popularity, EASE on mentions, dense retrieval on the dialogue.

All give frames of `tables.RECOMMENDATIONS`: at most 50 movies a case, the case's history left out, ties broken by movie_id.
Each is fitted and asked for one data set at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from rar_pipeline import tables
from rar_pipeline.errors import RarError
from rar_pipeline.evaluation.breakdowns import training_counts

LENGTH = 50
EASE_RIDGE = 50.0
EASE_POPULARITY = 1e-4
_CHUNK = 256  # cases scored at once: 300,000 movies x 256 x 4 bytes = 0.3 GB

Floats = NDArray[np.float32]


def popularity(mentions: pl.DataFrame, cases: pl.DataFrame, *, system: str = "popularity") -> pl.DataFrame:
    """The movies that most training conversations mention, the same for all cases but for their histories.

    `mentions` is a frame of `tables.MENTIONS`, of which the training part is read, without what the seeker disliked; `cases` a
    frame of `tables.CASES`.
    """
    counts = training_counts(_not_disliked(mentions)).sort("movie_id")
    scores = counts["count"].to_numpy().astype(np.float32)
    parts = (np.broadcast_to(scores, (stop - start, len(scores))) for start, stop in _chunks(cases.height))
    return rank(parts, counts["movie_id"].to_list(), cases, system=system)


@dataclass(frozen=True)
class Ease:
    """Item-item weights of EASE: movie_ids in order, weights (movies, movies), counts (movies,) of conversations with each."""

    movie_ids: list[str]
    weights: Floats
    counts: Floats


def fit_ease(mentions: pl.DataFrame, *, ridge: float = EASE_RIDGE) -> Ease:
    """EASE (Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019, eq. 8) on the movies of each training
    conversation.

    B = -P / diag(P) with zero diagonal, P = (X'X + ridge I)^-1, X the (conversations, movies) matrix of mentions in 0/1.
    Float32; memory is two matrices of movies x movies. Raises RarError where no training mention is linked.
    """
    from scipy.linalg.lapack import spotrf, spotri
    from scipy.sparse import csr_array

    pairs = (
        _not_disliked(mentions)
        .filter(pl.col("split") == "train", pl.col("movie_id").is_not_null())
        .select("dialogue_id", "movie_id")
        .unique()
    )
    if pairs.is_empty():
        raise RarError("EASE: the mentions hold no linked movie of a training conversation; check the linker's report")
    movie_ids = pairs["movie_id"].unique().sort().to_list()
    column = _positions(pairs["movie_id"], movie_ids)
    row = pairs["dialogue_id"].rank("dense").cast(pl.Int64).to_numpy() - 1
    seen = csr_array((np.ones(len(row), dtype=np.float32), (row, column)), shape=(row.max() + 1, len(movie_ids)))
    gram = (seen.T @ seen).toarray()
    counts = gram.diagonal().copy()
    np.fill_diagonal(gram, counts + np.float32(ridge))
    # the matrix is positive definite: Cholesky takes a third of the work of a general inverse; the lower triangle comes back
    factor, _ = spotrf(gram, lower=True)
    inverse, _ = spotri(factor, lower=True)
    lower = np.tril(inverse, -1)
    weights = lower + lower.T
    weights /= -inverse.diagonal()[None, :]
    return Ease(movie_ids, weights, counts)


def ease(model: Ease, cases: pl.DataFrame, *, popularity_weight: float = EASE_POPULARITY, system: str = "ease") -> pl.DataFrame:
    """Movies by the sum of EASE weights from the case's history, plus `popularity_weight` times training counts.

    The small popularity term orders the movies of cases without a history. Movies of the history that training never saw are
    ignored.
    """
    histories = _history_positions(cases, model.movie_ids)
    base = np.float32(popularity_weight) * model.counts

    def parts() -> Iterable[Floats]:
        for start, stop in _chunks(cases.height):
            yield np.stack([model.weights[history].sum(axis=0) + base for history in histories[start:stop]])

    return rank(parts(), model.movie_ids, cases, system=system)


def dense(
    queries: Floats, items: NDArray[np.floating], movie_ids: Sequence[str], cases: pl.DataFrame, *, system: str = "dense"
) -> pl.DataFrame:
    """Movies by the cosine between a vector of the dialogue and the movie's text embedding.

    `queries` is (cases, width) in the order of `cases`, `items` (movies, width) in the order of `movie_ids`; rows need no unit
    length.
    """
    unit_items = _unit(items)
    unit_queries = _unit(queries)
    parts = (unit_queries[start:stop] @ unit_items.T for start, stop in _chunks(cases.height))
    return rank(parts, movie_ids, cases, system=system)


def _not_disliked(mentions: pl.DataFrame) -> pl.DataFrame:
    return mentions.filter(pl.col("liked").is_null() | (pl.col("liked") != 0))


def rank(
    parts: Iterable[Floats], movie_ids: Sequence[str], cases: pl.DataFrame, *, system: str, length: int = LENGTH
) -> pl.DataFrame:
    """Scores as ranked lists: a frame of `tables.RECOMMENDATIONS`.

    `parts` are consecutive blocks (some cases, movies) of the score matrix in the order of `cases`, so that the whole of it
    need not be in memory. The history and movies scored -inf are left out; ties go to the smaller movie_id. Raises ValueError
    where the blocks hold more or fewer rows than there are cases.
    """
    names = np.array(movie_ids, dtype=object)
    order = np.argsort(names, kind="stable")  # so that among equal scores the first column is the smallest id
    in_order = bool((order == np.arange(len(order))).all())
    names = names[order]
    histories = _history_positions(cases, names.tolist())
    rankings: list[list[str]] = []
    for block in parts:
        for scores in block:
            row = scores.copy() if in_order else scores[order]
            row[histories[len(rankings)]] = -np.inf
            rankings.append(names[_top(row, length)].tolist())
    if len(rankings) != cases.height:
        raise ValueError(f"{system}: scores of {len(rankings)} cases for {cases.height} cases")
    return listed(cases, system, rankings)


def listed(cases: pl.DataFrame, system: str, rankings: Sequence[Sequence[str]], **others: Sequence[object]) -> pl.DataFrame:
    """Lists of one system in the order of `cases`, as a frame of `tables.RECOMMENDATIONS`; `others` fill further columns, the rest is null."""
    given: dict[str, Sequence[object]] = {"system": [system] * cases.height, "ranking": [list(one) for one in rankings], **others}
    absent = tables.RECOMMENDATIONS.schema.keys() - given.keys() - {"dataset", "split", "case_id"}
    types = tables.RECOMMENDATIONS.schema
    return tables.RECOMMENDATIONS.conform(
        cases.select("dataset", "split", "case_id").with_columns(
            *(pl.Series(name, values, dtype=types[name]) for name, values in given.items()),
            *(pl.lit(None, types[name]).alias(name) for name in absent),
        )
    )


def _top(scores: Floats, length: int) -> NDArray[np.int64]:
    """Positions of the best scores, best first; among equals the smaller position first; -inf never."""
    allowed = np.flatnonzero(scores > -np.inf)
    if len(allowed) > length:
        kept = scores[allowed]
        threshold = np.partition(kept, len(kept) - length)[len(kept) - length]
        allowed = allowed[kept >= threshold]  # more than `length` where the last place is tied
    return allowed[np.argsort(-scores[allowed], kind="stable")][:length]


def _chunks(cases: int) -> Iterable[tuple[int, int]]:
    return ((start, min(start + _CHUNK, cases)) for start in range(0, cases, _CHUNK))


def _unit(vectors: NDArray[np.floating]) -> Floats:
    floats = np.asarray(vectors, dtype=np.float32)
    return floats / np.maximum(np.linalg.norm(floats, axis=1, keepdims=True), np.float32(1e-12))


def _positions(ids: pl.Series, movie_ids: Sequence[str]) -> NDArray[np.int64]:
    known = pl.DataFrame({"movie_id": movie_ids, "position": np.arange(len(movie_ids))})
    return ids.to_frame("movie_id").join(known, on="movie_id", how="inner", maintain_order="left")["position"].to_numpy()


def _history_positions(cases: pl.DataFrame, movie_ids: Sequence[str]) -> list[NDArray[np.int64]]:
    """Columns of each case's history, without movies that are no column."""
    known = {movie_id: i for i, movie_id in enumerate(movie_ids)}
    return [
        np.array(sorted({known[movie] for movie in history if movie in known}), dtype=np.int64)
        for history in cases["history"].to_list()
    ]
