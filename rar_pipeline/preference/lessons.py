"""The tables FEEDBACK and PREFERENCES of a round as arrays over the pools that its sets were drawn from: what training reads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from rar_pipeline.preference.credit import movie_credits
from rar_pipeline.retriever.catalogue import Catalogue

COLUMNS = ("case_id", "set_id", "candidates", "targets", "forced", "status", "ranking", "reward")  # of FEEDBACK, what teaches


@dataclass(frozen=True)
class Lessons:
    """What a round teaches about n contexts with G sets of k movies each, in pools of M.

    pools: (n, M) catalogue rows, -1 where there is none; sets: (n, G, k) places in the pool, in the order of the draw; rewards: (n, G), NaN where
    unknown; drawn: (n, G) bool, drawn from the policy and rewarded by the judge or by holding no target; beats: (n, G, G) bool, the first set is
    preferred to the second; credits: (n, M), mean over the ranked answers; targets: (n, M) bool.
    """

    pools: np.ndarray
    sets: np.ndarray
    rewards: np.ndarray
    drawn: np.ndarray
    beats: np.ndarray
    credits: np.ndarray
    targets: np.ndarray

    def __len__(self) -> int:
        """N."""
        return len(self.pools)

    @property
    def pairs(self) -> int:
        """Preference pairs of all contexts."""
        return int(self.beats.sum())


def rewarded(feedback: pl.DataFrame) -> pl.DataFrame:
    """The rows of FEEDBACK whose worth is known, of contexts that have any, sorted: what `build_lessons` reads."""
    return feedback.filter(pl.col("reward").is_not_null()).select(COLUMNS).sort("case_id", "set_id")


def build_lessons(feedback: pl.DataFrame, preferences: pl.DataFrame, pools: np.ndarray, catalogue: Catalogue) -> Lessons:
    """Lessons of the rows that `rewarded` gives; pools (n, M): of its contexts, in the order of case_id.

    A movie that was put into a set by force, and is not in the pool, takes the pool's last place that no set uses. Sets without a known reward
    are left out: they repeat the context's first set and are neither drawn nor in a pair.
    """
    count = len(pools)
    width = max(feedback["set_id"].to_list(), default=0) + 1
    size = max(feedback["candidates"].list.len().to_list(), default=1)
    pools = pools.copy()
    sets = np.zeros((count, width, size), np.int64)
    rewards, drawn = np.full((count, width), np.nan, np.float32), np.zeros((count, width), bool)
    beats = np.zeros((count, width, width), bool)
    credits, targets = np.zeros(pools.shape, np.float32), np.zeros(pools.shape, bool)
    number_of: dict[str, int] = {}
    for number, ((case_id,), group) in enumerate(feedback.group_by(["case_id"], maintain_order=True)):
        number_of[str(case_id)] = number
        members = {row["set_id"]: catalogue.rows(row["candidates"]) for row in group.iter_rows(named=True)}
        used = {movie for rows in members.values() for movie in rows}
        pool = pools[number]
        for forced in sorted(used - set(pool.tolist())):
            pool[max(place for place, movie in enumerate(pool.tolist()) if movie not in used)] = forced
        place_of = {movie: place for place, movie in enumerate(pool.tolist()) if movie >= 0}
        sets[number] = [place_of[movie] for movie in next(iter(members.values()))]
        for row in group.iter_rows(named=True):
            set_id = row["set_id"]
            sets[number, set_id] = [place_of[movie] for movie in members[set_id]]
            rewards[number, set_id] = row["reward"]
            # a set that won unasked was given 1, which is not what the judge would have made of it
            drawn[number, set_id] = not row["forced"] and (row["status"] == "answered" or row["reward"] == 0)
        targets[number, [place_of[row] for row in catalogue.rows(group["targets"][0].to_list()) if row in place_of]] = True
        answered = group.filter(pl.col("status") == "answered")
        for ranking, wanted in answered.select("ranking", "targets").iter_rows():
            for movie, credit in movie_credits(ranking, wanted).items():
                if (place := place_of.get(catalogue.index.get(movie, -1))) is not None:
                    credits[number, place] += credit / len(answered)
    for case_id, winner, loser in preferences.select("case_id", "winner_set", "loser_set").iter_rows():
        beats[number_of[case_id], winner, loser] = True
    return Lessons(pools, sets, rewards, drawn, beats, credits, targets)
