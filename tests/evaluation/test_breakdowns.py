"""Buckets and properties of whole lists, by hand."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from rar_pipeline import tables
from rar_pipeline.evaluation.breakdowns import (
    by_history,
    by_popularity,
    by_year,
    comparable,
    costs,
    hit_rates,
    list_quality,
    popularity_buckets,
    training_counts,
    year_buckets,
)
from rar_pipeline.evaluation.calibration import calibration_errors, reliability
from rar_pipeline.evaluation.metrics import score
from rar_pipeline.evaluation.order_bias import order_bias

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


def test_targets_are_told_apart_by_year_and_what_the_llm_cannot_know_stands_alone():
    years = {"a": 1979, "b": 1980, "c": 2009, "d": 2010, "e": 2023, "f": 2024, "g": None}
    movies = tables.MOVIES.frame({"movie_id": name, "title": name, "year": year} for name, year in years.items())
    cases = [case("1:1", "abcdefg", unlinked=1)]
    found = by_year(score(tables.RECOMMENDATIONS.frame([listed("1:1", "f")]), tables.CASES.frame(cases)), movies, 2023)
    rows = found.filter(metric="R@1")
    assert dict(rows.select("bucket", "cases").iter_rows()) == {
        "before 1980": 1,
        "1980 to 1999": 1,
        "2000 to 2009": 1,
        "2010 to 2023": 2,
        "after 2023": 1,
        "year unknown": 1,
        "unlinked": 1,
    }
    assert rows.filter(pl.col("value") > 0)["bucket"].to_list() == ["after 2023"]
    assert set(rows["bucket"]) == set(year_buckets(2023))


def test_candidates_hold_a_right_movie_in_so_many_cases():
    cases = tables.CASES.frame([case("1:1", "xy"), case("2:1", "z")])
    lists = tables.RECOMMENDATIONS.frame([listed("1:1", "abcdefx"), listed("2:1", "abc")])
    (row,) = hit_rates(lists, cases).to_dicts()
    assert (row["hit@5"], row["hit@10"], row["hit@50"], row["cases"]) == (0, 0.5, 0.5, 2)


def test_costs_are_means_a_turn_and_unknown_without_a_price():
    asked = {"model": "m", "status": "answered", "prompt_tokens": 100, "answer_tokens": 10, "seconds": 2.0, "cost": 0.0}
    lists = [listed("1:1", "a") | asked, listed("2:1", "a") | asked | {"status": "failed", "prompt_tokens": 0, "seconds": 0.0}]
    (row,) = costs(tables.RECOMMENDATIONS.frame([*lists, listed("1:1", "a", "no llm")])).to_dicts()
    assert (row["calls"], row["answered"], row["failed"], row["prompt_tokens"], row["seconds"]) == (2, 1, 1, 50, 1.0)
    assert row["cost"] is None
    (row,) = costs(tables.RECOMMENDATIONS.frame([lists[0] | {"cost": 0.02}, lists[1]])).to_dicts()
    assert row["cost"] == pytest.approx(0.01)


def ranked(base, own, reverse=None):
    order = listed("1:1", base, "round_0") | {"scores": [float(-n) for n in range(len(base))]}
    answer = {"model": "m", "status": "answered", "ranked": len(own), "reversed": list(reverse) if reverse else None}
    rest = [movie for movie in base if movie not in own]
    return tables.RECOMMENDATIONS.frame([order, listed("1:1", [*own, *rest], "round_0+llm") | answer])


@pytest.mark.parametrize(
    ("own", "reverse", "bias", "kept"),
    [
        ("abcd", "dcba", 1.0, 1.0),  # copies what it sees
        ("dcba", "abcd", -1.0, 0.0),  # turns what it sees round
        ("bdac", "bdac", 0.0, 0.5),  # reads the films
        ("ab", "ab", 0.0, 1.0),  # agrees, which is no bias; what it did not name does not count
    ],
)
def test_order_bias_is_what_turns_with_the_prompt(own, reverse, bias, kept):
    (row,) = order_bias(ranked("abcd", own, reverse), 4).to_dicts()
    assert (row["order_bias"], row["kept_order"], row["probed"]) == (bias, kept, 1)
    assert row["kept_first"] == (own[0] == "a")


def test_without_a_second_asking_there_is_no_order_bias():
    (row,) = order_bias(ranked("abcd", "abcd"), 4).to_dicts()
    assert (row["order_bias"], row["probed"], row["kept_order"]) == (None, 0, 1.0)


def test_scores_that_say_what_happens_are_calibrated_and_others_are_not():
    rng = np.random.default_rng(0)
    names, cases, lists = "abcd", [], []
    for number in range(4000):
        logits = np.sort(rng.normal(0, 1.5, 4))[::-1]
        p = np.exp(logits) / np.exp(logits).sum()
        cases.append(case(f"{number}:1", names[rng.choice(4, p=p)]))
        lists += [
            listed(f"{number}:1", names, system) | {"scores": (factor * logits).tolist()}
            for system, factor in (("honest", 1), ("too sure", 3))
        ]
    bins = reliability(tables.RECOMMENDATIONS.frame(lists), tables.CASES.frame(cases), 4)
    errors = dict(calibration_errors(bins).select("system", "ece").iter_rows())
    assert errors["honest"] < 0.02 < 0.05 < errors["too sure"]
    assert bins.filter(system="honest")["movies"].to_list() == [1600] * 10


def test_calibration_by_hand():
    cases = [case("1:1", "a"), case("2:1", "ab"), case("3:1", "z")]
    lists = [listed(c["case_id"], "abcd") | {"scores": [0.0, 0.0, -50.0, 9.0]} for c in cases]
    # the first two candidates share the probability; case 3 has no right one among them and does not count
    bins = reliability(tables.RECOMMENDATIONS.frame(lists), tables.CASES.frame(cases), 2)
    assert bins["cases"].to_list() == [2] * 4
    assert bins["predicted"].to_list() == pytest.approx([0.5] * 4)
    assert sorted(bins["observed"]) == [0.0, 0.5, 0.5, 1.0]
