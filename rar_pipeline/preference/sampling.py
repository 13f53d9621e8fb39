"""Candidate sets drawn on-policy from a retriever (METHOD: feedback and preference optimisation)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class CandidateSets:
    """The sets of one context: catalogue rows (G, k), and whether a target was put in by force."""

    rows: np.ndarray
    forced: bool


def draw_sets(
    pool: np.ndarray,
    scores: np.ndarray,
    targets: Sequence[int],
    *,
    sets: int,
    size: int,
    temperature: float,
    generator: np.random.Generator,
) -> CandidateSets:
    """Gumbel-top-k: `sets` draws of `size` movies without replacement from softmax(scores / temperature) over the pool.

    pool: (M,) catalogue rows, -1 where the catalogue had no more; scores: (M,). The order within a set is the order of the draw (Plackett-Luce).
    Where no set holds a target, the first target takes the last place of the first set, so that every context teaches something (PRIME, KDD 2025).
    """
    pool, scores = pool[pool >= 0], scores[pool >= 0]
    size = min(size, len(pool))
    noise = generator.gumbel(size=(sets, len(pool)))
    order = np.argsort(-(scores / temperature + noise), axis=1, kind="stable")[:, :size]
    rows = pool[order]
    forced = not np.isin(rows, targets).any() and len(targets) > 0
    if forced:
        rows[0, -1] = targets[0]
    return CandidateSets(rows, forced)


def ndcg(ranking: Sequence[str], targets: Sequence[str], cutoff: int = 10) -> float:
    """NDCG of a ranking against several targets, with the ideal list: the reward of a candidate set."""
    wanted = set(targets)
    gain = sum(1 / np.log2(place + 2) for place, movie in enumerate(ranking[:cutoff]) if movie in wanted)
    ideal = sum(1 / np.log2(place + 2) for place in range(min(cutoff, len(wanted))))
    return float(gain / ideal) if ideal else 0.0
