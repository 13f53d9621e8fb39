"""How far an LLM follows the order in which candidates are shown, instead of what they are."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import polars as pl

from rar_pipeline.evaluation.systems import before_llm

SCHEMA = {
    "dataset": pl.String(),
    "split": pl.String(),
    "system": pl.String(),
    "lists": pl.Int64(),
    "kept_first": pl.Float64(),
    "kept_order": pl.Float64(),
    "probed": pl.Int64(),
    "followed": pl.Float64(),
    "opposed": pl.Float64(),
    "order_bias": pl.Float64(),
}


def pairs_in_order(ranking: Sequence[str], order: Sequence[str]) -> dict[tuple[str, str], bool]:
    """For each pair of movies that both lists hold, (a, b) in the sequence of `order`: whether `ranking` has a before b."""
    place = {movie: rank for rank, movie in enumerate(ranking)}
    return {(a, b): place[a] < place[b] for a, b in combinations([movie for movie in order if movie in place], 2)}


def order_bias(recommendations: pl.DataFrame, candidates: int) -> pl.DataFrame:
    """One row a (dataset, split, system) in which an LLM re-ranks a version's first `candidates`; columns as in SCHEMA, null without data.

    `kept_first`: share of lists that begin with the first candidate; `kept_order`: mean share of pairs in the order shown (.5: no relation,
    1: copied). That may be agreement. The proof are cases that were also shown in reverse: `followed` is the share of pairs that both times
    stand as shown, so that their order turned with the prompt, `opposed` of pairs that both times stand against it; `order_bias` is the
    difference, 0 for a judge that reads films alone, 1 for one that copies.
    """
    keys = ("dataset", "split", "case_id")
    lists = recommendations.filter(pl.col("status") == "answered", pl.col("ranked") > 0)
    lists = lists.with_columns(base=pl.col("system").map_elements(before_llm, return_dtype=pl.String)).drop_nulls("base")
    shown = recommendations.select(*keys, base="system", shown=pl.col("ranking").list.head(candidates))
    joined = lists.join(shown, on=[*keys, "base"], how="inner").sort("dataset", "split", "system", "case_id")
    rows: list[dict[str, object]] = []
    for (dataset, split, system), part in joined.group_by("dataset", "split", "system", maintain_order=True):
        first, kept, followed, opposed = [], [], [], []
        for row in part.iter_rows(named=True):
            order, own = row["shown"], row["ranking"][: row["ranked"]]
            forward = pairs_in_order(own, order)
            first.append(own[0] == order[0])
            if forward:
                kept.append(sum(forward.values()) / len(forward))
            if row["reversed"]:
                backward = pairs_in_order(row["reversed"], order)
                both = [(forward[pair], backward[pair]) for pair in forward if pair in backward]
                if both:
                    followed.append(sum(a and not b for a, b in both) / len(both))
                    opposed.append(sum(b and not a for a, b in both) / len(both))
        figures = {"kept_first": _mean(first), "kept_order": _mean(kept), "followed": _mean(followed), "opposed": _mean(opposed)}
        bias = _mean([a - b for a, b in zip(followed, opposed, strict=True)])
        place = {"dataset": dataset, "split": split, "system": system, "lists": part.height, "probed": len(followed)}
        rows.append({**place, **figures, "order_bias": bias})
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
