"""Intervals over conversations: known answers, coverage of what they must show, and pairing."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from rar_pipeline import tables
from rar_pipeline.evaluation.bootstrap import leaderboard, paired_difference


def metrics_of(system, values, dialogues, metric="N@10", cases=None):
    return tables.METRICS.frame(
        {
            "dataset": "redial",
            "split": "test",
            "protocol": "fresh_turns",
            "system": system,
            "case_id": f"c{i}" if cases is None else cases[i],
            "dialogue_id": str(d),
            "metric": metric,
            "value": float(v),
            "weight": 1.0,
        }
        for i, (v, d) in enumerate(zip(values, dialogues, strict=True))
    )


def row(board, system):
    return board.filter(pl.col("system") == system).row(0, named=True)


def test_interval_is_that_of_the_mean_over_independent_conversations():
    values = np.random.default_rng(1).normal(0.3, 0.1, 400)
    found = row(leaderboard(metrics_of("a", values, range(400)), scope="all", references={}, seed=0), "a")
    error = values.std() / np.sqrt(400)
    assert found["value"] == pytest.approx(values.mean())
    assert found["standard_error"] == pytest.approx(error, rel=0.03)
    assert found["low"] == pytest.approx(values.mean() - 1.96 * error, abs=0.1 * error)
    assert found["high"] == pytest.approx(values.mean() + 1.96 * error, abs=0.1 * error)
    assert found["reference"] is None
    assert found["cases"] == 400


def test_conversations_are_drawn_not_cases():
    # ten cases a conversation, all alike inside it: drawing cases would claim an interval three times too narrow
    of_dialogue = np.random.default_rng(2).random(50)
    found = row(
        leaderboard(metrics_of("a", np.repeat(of_dialogue, 10), np.repeat(range(50), 10)), scope="all", references={}, seed=0),
        "a",
    )
    assert found["standard_error"] == pytest.approx(of_dialogue.std() / np.sqrt(50), rel=0.05)


def test_pairing_sees_a_small_steady_gain_that_the_single_intervals_hide():
    values = np.random.default_rng(3).random(200)
    both = pl.concat([metrics_of("base", values, range(200)), metrics_of("better", values + 0.01, range(200))])
    board = leaderboard(both, scope="all", references={"better": "base"}, seed=0)
    better, base = row(board, "better"), row(board, "base")
    assert better["low"] < base["high"]
    assert better["difference_low"] == pytest.approx(0.01)
    assert better["difference_high"] == pytest.approx(0.01)
    assert better["reference"] == "base"


def test_difference_is_on_the_cases_of_both():
    many = metrics_of("many", [0, 0, 1, 1], range(4))
    few = metrics_of("few", [1, 1], range(2, 4), cases=["c2", "c3"])
    board = leaderboard(pl.concat([many, few]), scope="all", references={"few": "many"}, seed=0)
    assert row(board, "few")["difference"] == 0
    assert row(board, "many")["value"] == 0.5
    judged = leaderboard(pl.concat([many, few]), scope="judged", references={}, seed=0)
    assert judged["cases"].to_list() == [2, 2]
    assert row(judged, "many")["value"] == 1
    only_many = leaderboard(pl.concat([many, few]), scope="judged", references={}, seed=0, common=["many"])
    assert row(only_many, "many")["cases"] == 4


def test_a_system_is_never_compared_where_no_case_is_shared():
    both = pl.concat([metrics_of("a", [1, 0], range(2)), metrics_of("b", [1, 0], range(2, 4), cases=["x", "y"])])
    board = leaderboard(both, scope="all", references={"b": "a"}, seed=0)
    assert row(board, "b")["difference"] is None
    assert paired_difference(both.filter(system="a"), both.filter(system="b"), "N@10").cases == 0


def test_one_conversation_gives_no_interval_and_no_win():
    a, b = metrics_of("a", [1, 1], [0, 0]), metrics_of("b", [0, 0], [0, 0])
    found = paired_difference(a, b, "N@10")
    assert found.difference == 1
    assert not found.low > 0
    assert row(leaderboard(a, scope="all", references={}, seed=0), "a")["low"] is None


def test_paired_difference_agrees_with_the_leaderboard():
    rng = np.random.default_rng(4)
    a, b = metrics_of("a", rng.random(60), np.arange(60) // 2), metrics_of("b", rng.random(60), np.arange(60) // 2)
    found = paired_difference(a, b, "N@10", seed=5)
    board = row(leaderboard(pl.concat([a, b]), scope="all", references={"a": "b"}, seed=5), "a")
    assert found.difference == pytest.approx(board["difference"])
    assert (found.low, found.high) == pytest.approx((board["difference_low"], board["difference_high"]))
    assert found.cases == 60


def test_the_same_seed_gives_the_same_intervals_whatever_else_is_compared():
    a = metrics_of("a", np.random.default_rng(6).random(30), range(30))
    alone = leaderboard(a, scope="all", references={}, seed=1)
    beside = leaderboard(pl.concat([a, a.with_columns(system=pl.lit("b"))]), scope="all", references={}, seed=1)
    assert_frame_equal(alone, beside.filter(system="a"), rel_tol=1e-12)


def test_mixed_frames_are_refused():
    a = metrics_of("a", [1], [0])
    with pytest.raises(ValueError, match="one system"):
        paired_difference(pl.concat([a, a.with_columns(system=pl.lit("b"))]), a, "N@10")
    with pytest.raises(ValueError, match="scope"):
        leaderboard(a, scope="some", references={}, seed=0)
