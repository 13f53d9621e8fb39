"""Exact search: the best movies of the catalogue for a batch of queries, movies of the history left out, ties in the order of movie_id.

Where a retriever has weights of features, the best of the exact search are rescored (rescoring.py).
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rar_pipeline.retriever.catalogue import Catalogue
from rar_pipeline.retriever.examples import Queries
from rar_pipeline.retriever.newcomers import Newcomers, find_newcomers
from rar_pipeline.retriever.rescoring import FEATURES, features
from rar_pipeline.retriever.traits import Traits

if TYPE_CHECKING:
    import torch

    from rar_pipeline.retriever.network import Retriever
    from rar_pipeline.retriever.topk import FlatIndex

ROWS = 256  # queries at once


@dataclass(frozen=True)
class Index:
    """A retriever laid out for search over one catalogue: item vectors (N, H), `known` (N,) residual number or -1, and what is searched.

    Where only some movies may be found, `allowed` are their catalogue rows, ascending, and `flat` holds these alone. `biases` (N,) are of all.
    """

    retriever: Retriever
    vectors: torch.Tensor
    biases: torch.Tensor
    known: torch.Tensor
    newcomers: Newcomers
    traits: Traits | None
    flat: FlatIndex
    allowed: np.ndarray | None = None

    @property
    def rescores(self) -> bool:
        """Whether the best of the exact search get features added."""
        return self.traits is not None and self.retriever.rescores


def known_numbers(catalogue: Catalogue, known: list[str]) -> np.ndarray:
    """For each catalogue row the number of its residual, or -1: (N,) int64."""
    numbers = np.full(len(catalogue.movie_ids), -1, np.int64)
    for number, movie_id in enumerate(known):
        if movie_id in catalogue.index:
            numbers[catalogue.index[movie_id]] = number
    return numbers


def build_index(retriever: Retriever, catalogue: Catalogue, known: list[str], allowed: Sequence[int] | None = None) -> Index:
    """All item vectors and biases under the retriever's present weights, on its device; `allowed`: catalogue rows that may be found."""
    import torch

    from rar_pipeline.retriever.topk import FlatIndex

    device = retriever.start.device
    numbers = torch.from_numpy(known_numbers(catalogue, known)).to(device)
    # catalogue row of every known movie, -1 where the corpus lost it
    rows = torch.tensor([catalogue.index.get(movie_id, -1) for movie_id in known], dtype=torch.long, device=device)
    with torch.no_grad():
        parts = []
        for start in range(0, len(numbers), 65536):
            items = torch.from_numpy(catalogue.embeddings[start : start + 65536].astype(np.float32)).to(device)
            parts.append(retriever.vectors(items, numbers[start : start + 65536]))
        biases = retriever.biases(torch.from_numpy(catalogue.facts).to(device), numbers)
    vectors = torch.cat(parts)
    alike = find_newcomers(catalogue, tuple(known), retriever.config.newcomers, retriever.config.newcomer_votes)
    if allowed is None:
        return Index(retriever, vectors, biases, numbers, alike, catalogue.traits, FlatIndex(vectors, biases, rows))
    chosen = np.unique(np.asarray(allowed, np.int64))
    place = torch.full((len(numbers) + 1,), -1, dtype=torch.long, device=device)  # the last entry answers to row -1
    place[torch.from_numpy(chosen)] = torch.arange(len(chosen), device=device)
    flat = FlatIndex(vectors[chosen], biases[chosen], place[rows])
    return Index(retriever, vectors, biases, numbers, alike, catalogue.traits, flat, chosen)


def cooccurrence(retriever: Retriever, histories: Sequence[Sequence[int]]) -> torch.Tensor:
    """What the movies named so far say for every known movie, unweighted: (b, K). Histories as numbers of known movies, -1 elsewhere."""
    import torch

    device = retriever.cooccurrence_values.device
    sums = torch.zeros(len(histories), retriever.config.known, device=device)
    for place, history in enumerate(histories):
        numbers = torch.tensor(sorted({number for number in history if number >= 0}), dtype=torch.long, device=device)
        columns = retriever.cooccurrence_columns[numbers].long().flatten()
        sums[place].index_add_(0, columns, retriever.cooccurrence_values[numbers].flatten())
    return sums


def search(
    index: Index, queries: Queries, k: int, cooccurrence_weight: float | None = None, newcomer_weight: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Catalogue rows (n, k) int64 and scores (n, k) float32 of the k best movies of every query, best first.

    Where fewer than k are left, a list ends in row -1, score -inf. The weights take the place of the
    retriever's own.
    """
    import torch

    retriever, device = index.retriever, index.vectors.device
    retriever.eval()
    weight = float(retriever.cooccurrence_weight) if cooccurrence_weight is None else cooccurrence_weight
    forward = float(retriever.newcomer_weight) if newcomer_weight is None else newcomer_weight
    depth = min(max(k, retriever.config.rescored) if index.rescores else k, len(index.flat))
    k = min(k, depth)
    place = None if index.allowed is None else {row: number for number, row in enumerate(index.allowed.tolist())}
    found_rows, found_scores = np.zeros((len(queries), k), np.int64), np.zeros((len(queries), k), np.float32)
    catalogue_rows = None if index.allowed is None else torch.from_numpy(np.append(index.allowed, -1)).to(device)
    for start in range(0, len(queries), ROWS):
        rows = list(range(start, min(start + ROWS, len(queries))))
        history, *rest = (part.to(device) for part in queries.batch(rows))
        seen = [queries.histories[row] for row in rows]
        with torch.no_grad():
            asked = retriever.query(index.vectors[history], *rest)
            extra = cooccurrence(retriever, [index.known[list(movies)].tolist() for movies in seen]) * weight if weight else None
        if place is not None:
            seen = [tuple(place[movie] for movie in movies if movie in place) for movies in seen]
        top_rows, top_scores = index.flat.top(asked, depth, seen, extra)
        if catalogue_rows is not None:
            top_rows = catalogue_rows[top_rows]
        if forward:
            _put_forward(index, asked, [queries.histories[row] for row in rows], forward, place, top_rows, top_scores)
        best, values = top_rows.cpu().numpy(), top_scores.cpu().numpy()
        if index.rescores:
            best, values = _rescored(index, queries.some(rows), best, values)
        found_rows[rows], found_scores[rows] = best[:, :k], values[:, :k]
    return found_rows, found_scores


def features_of(index: Index, queries: Queries, rows: np.ndarray) -> np.ndarray:
    """Features (n, M, F) of rescoring.py for catalogue rows (n, M) of n queries. The catalogue has traits."""
    import torch

    retriever, device = index.retriever, index.vectors.device
    if index.traits is None:
        raise ValueError("a catalogue without traits has no features")
    parts = []
    for start in range(0, len(queries), ROWS):
        some = queries.some(range(start, min(start + ROWS, len(queries))))
        found = torch.from_numpy(rows[start : start + ROWS]).to(device)
        numbers = index.known[found]  # (b, M), -1 where training does not know the movie
        sums = cooccurrence(retriever, [index.known[list(movies)].tolist() for movies in some.histories])
        together = torch.gather(sums, 1, numbers.clamp(min=0)) * (numbers >= 0)
        asked = torch.from_numpy(some.text.astype(np.float32) * some.has_text[:, None]).to(device) @ retriever.axes.T  # (b, A)
        cosine = torch.einsum("ba,bma->bm", asked, index.vectors[found, retriever.config.hidden :])
        named = retriever.named[numbers.clamp(min=0)] * (numbers >= 0)
        known = (part.cpu().numpy() for part in (together, cosine, named))
        parts.append(features(index.traits, some.histories, some.wishes, found.cpu().numpy(), *known))
    return np.concatenate(parts) if parts else np.zeros((0, rows.shape[1], len(FEATURES)), np.float32)


def _rescored(index: Index, queries: Queries, found: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The best movies (b, M) and their scores with w . features added to the first `rescored` of them, which are put in order anew, ties by row."""
    first = min(index.retriever.config.rescored, found.shape[1])
    scores[:, :first] += features_of(index, queries, found[:, :first]) @ index.retriever.feature_weights.cpu().numpy()
    order = np.lexsort((found[:, :first], -scores[:, :first]), axis=1)
    for values in (found, scores):
        values[:, :first] = np.take_along_axis(values[:, :first], order, axis=1)
    return found, scores


def _put_forward(
    index: Index,
    asked: torch.Tensor,
    histories: Sequence[Sequence[int]],
    weight: float,
    allowed: Container[int] | None,
    found: torch.Tensor,
    scores: torch.Tensor,
) -> None:
    """Add to the newcomers' scores and put them into the lists `found`, `scores` (b, k) where they belong: since scores only rise, none is missed."""
    import torch

    from rar_pipeline.retriever.topk import best_pairs, score_pairs

    pairs = [
        (query, row, weight * likeness)
        for query, history in enumerate(histories)
        for row, likeness in index.newcomers.alike(index.known[list(history)].tolist()).items()
        if row not in history and (allowed is None or row in allowed)
    ]
    if not pairs:
        return
    device = found.device
    query, row, added = (torch.tensor(part, device=device) for part in zip(*pairs, strict=True))
    values = score_pairs(index.vectors, index.biases.double(), asked.double(), query, row, added.double())
    owner, place = (found >= 0).nonzero(as_tuple=True)
    there, count = found[owner, place], len(index.known)
    other = ~torch.isin(owner * count + there, query * count + row)
    others, before = (owner[other], there[other]), scores[owner, place][other]
    best_pairs(torch.cat([others[0], query]), torch.cat([others[1], row]), torch.cat([before, values]), found, scores)
