"""What one ranked answer says of each movie in it (METHOD: `lambda_credit`)."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np


def movie_credits(ranking: Sequence[str], targets: Collection[str]) -> dict[str, float]:
    """movie_id -> credit, of a judge's ranking (best first) and the movies that were wanted.

    A target on place r (from 1) gains its NDCG, 1 / log2(r + 1) over the ideal gain of all targets. A movie above it that nobody wanted costs what
    its absence would have gained the target: a_j = -(1 / log2(r) - 1 / log2(r + 1)), over the same. A target that the answer does not hold
    gains nothing and counts as one place below the end. There is no cut-off: at any place it helps to come one place higher.
    """
    wanted = set(targets)
    ideal = sum(1 / np.log2(place + 2) for place in range(len(wanted)))
    place_of = {movie: place for place, movie in reversed(list(enumerate(ranking, 1)))}
    credits: dict[str, float] = {}
    for target in wanted:
        place = place_of.get(target, len(ranking) + 1)
        if target in place_of:
            credits[target] = float(1 / np.log2(place + 1) / ideal)
        if place == 1:
            continue
        cost = float((1 / np.log2(place) - 1 / np.log2(place + 1)) / ideal)
        for movie in dict.fromkeys(ranking[: place - 1]):
            if movie not in wanted:
                credits[movie] = credits.get(movie, 0.0) - cost
    return credits
