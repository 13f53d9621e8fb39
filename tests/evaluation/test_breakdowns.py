"""Buckets and properties of whole lists, by hand."""

from __future__ import annotations

import polars as pl
import pytest

from rar_pipeline import tables
from rar_pipeline.evaluation.breakdowns import (
    by_history,
    by_popularity,
    comparable,
    list_quality,
    popularity_buckets,
    training_counts,
)
from rar_pipeline.evaluation.metrics import score

from .test_baselines import mentions
from .test_metrics import case, listed, scored


def test_counts_are_training_conversations():
    counts = training_counts(mentions("aab", "a").vstack(mentions("a", split="test")))
    assert dict(counts.select("movie_id", "count").iter_rows()) == {"a": 2, "b": 1}


def test_top_100_needs_more_than_rare_and_ties_go_by_id():
    counts = pl.DataFrame(
        {
            "dataset": ["redial"] * 103,
            "movie_id": [f"m{i:03}" for i in range(103)],
            "count": [10] * 101 + [4, 5],
        },
        schema_overrides={"count": pl.Int64},
    )
    buckets = dict(popularity_buckets(counts).select("movie_id", "bucket").iter_rows())
    assert buckets["m099"] == "top 100"
    assert buckets["m100"] == "middle"
    assert buckets["m101"] == "rare"
    assert buckets["m102"] == "middle"


def test_recall_by_popularity_counts_each_target_once():
    counts = training_counts(mentions(*["a"] * 5, "b"))
    metrics = scored([listed("1:1", "ac")], [case("1:1", "abc", unlinked=1)])
    found = by_popularity(metrics, counts).filter(metric="R@5")
    assert {row["bucket"]: (row["value"], row["cases"]) for row in found.iter_rows(named=True)} == {
        "top 100": (1, 1),
        "rare": (0, 1),
        "unseen": (1, 1),
        "unlinked": (0, 1),
    }


def test_history_buckets():
    cases = tables.CASES.frame([case("1:1", "a"), case("2:1", "a", "x"), case("3:1", "a", "xy"), case("4:1", "b", "xyz")])
    lists = tables.RECOMMENDATIONS.frame([listed(f"{i}:1", "a") for i in range(1, 5)])
    found = by_history(score(lists, cases), cases).filter(metric="R@1")
    assert list(found.select("bucket", "value", "cases").iter_rows()) == [("0", 1, 1), ("1", 1, 1), ("2+", 0.5, 2)]


def test_coverage_gini_and_unmatched_rate():
    lists = tables.RECOMMENDATIONS.frame(
        [
            listed("1:1", "a", "same"),
            listed("2:1", "a", "same"),
            listed("1:1", "ab", "even") | {"unmatched": 1, "titles": 3},
            listed("2:1", "cd", "even") | {"unmatched": 3, "titles": 5},
            listed("1:1", "", "none"),
        ]
    )
    quality = {row["system"]: row for row in list_quality(lists, catalogue=4).iter_rows(named=True)}
    assert quality["same"]["coverage"] == 0.25
    assert quality["same"]["gini"] == pytest.approx(0.75)  # one movie of four takes all: 1 - 1/4
    assert quality["even"]["coverage"] == 1
    assert quality["even"]["gini"] == pytest.approx(0)
    assert quality["even"]["unmatched_rate"] == 0.5
    assert quality["same"]["unmatched_rate"] is None
    assert quality["none"]["empty"] == 1


def test_systems_are_broken_down_on_the_same_cases_only():
    lists = [listed(f"{i}:1", "a", "everywhere") for i in range(4)] + [listed("0:1", "a", "judge"), listed("1:1", "b", "judge")]
    metrics = scored(lists, [case(f"{i}:1", "a") for i in range(4)])
    parts = comparable(metrics)
    assert parts["all"]["system"].unique().to_list() == ["everywhere"]
    assert parts["judged"].filter(protocol="fresh_turns").group_by("system").agg(pl.col("case_id").n_unique()).sort("system")[
        "case_id"
    ].to_list() == [2, 2]
    assert list(comparable(metrics.filter(system="everywhere"))) == ["all"]
