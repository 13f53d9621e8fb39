"""Movies without a residual that resemble a movie of the history: sequels above all, which no training conversation could name.

Scored by its text alone, the sequel that a seeker of "Jurassic Park" may like stands far behind all that training knows by name. What is added to its
score is weight x (cosine of the two texts - LIKENESS), the largest over the history; the weight is fitted on validation (fitting.py).
Left out: movies with few votes, since among so many some resemble anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from rar_pipeline.retriever.catalogue import Catalogue

LIKENESS = 0.5  # cosine from which two texts count as alike
SAME = 0.995  # cosine from which they are one movie listed twice


@dataclass(frozen=True)
class Newcomers:
    """The n most alike newcomers of each of K known movies: `rows` (K, n) int64 of the catalogue, -1 where none, `likeness` (K, n) float32."""

    rows: np.ndarray
    likeness: np.ndarray

    def alike(self, numbers: Sequence[int]) -> dict[int, float]:
        """Catalogue row -> cosine - LIKENESS, the largest over a history given as numbers of known movies (-1: not known)."""
        best: dict[int, float] = {}
        for number in numbers:
            if number >= 0:
                for row, value in zip(self.rows[number].tolist(), self.likeness[number].tolist(), strict=True):
                    if row >= 0 and value > best.get(row, 0.0):
                        best[row] = value
        return best


@lru_cache(maxsize=4)
def find_newcomers(catalogue: Catalogue, known: tuple[str, ...], neighbours: int, votes: int) -> Newcomers:
    """The most alike newcomers of the known movies, of those with so many votes; a known movie that the corpus lost has none."""
    import torch

    numbered = set(known)
    enough = np.flatnonzero(catalogue.facts[:, 0] >= np.float32(np.log10(votes + 1)))
    rows = np.array([row for row in enough.tolist() if catalogue.movie_ids[row] not in numbered], np.int64)
    kept = min(neighbours, len(rows))
    found, likeness = np.full((len(known), kept), -1, np.int64), np.zeros((len(known), kept), np.float32)
    there = [(number, catalogue.index[movie_id]) for number, movie_id in enumerate(known) if movie_id in catalogue.index]
    if not kept or not there:
        return Newcomers(found, likeness)

    def directions(chosen: np.ndarray) -> torch.Tensor:
        return torch.nn.functional.normalize(torch.from_numpy(catalogue.embeddings[chosen].astype(np.float32)), dim=1)

    others = directions(rows)
    for start in range(0, len(there), 256):
        numbers, asked = (np.array(part, np.int64) for part in zip(*there[start : start + 256], strict=True))
        cosines = directions(asked) @ others.T
        values, places = cosines.masked_fill_(cosines > SAME, -1.0).topk(kept, dim=1)
        alike = (values > LIKENESS).numpy()
        found[numbers] = np.where(alike, rows[places.numpy()], -1)
        likeness[numbers] = np.where(alike, values.numpy() - LIKENESS, 0.0)
    return Newcomers(found, likeness)
