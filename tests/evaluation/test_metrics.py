"""Metrics against hand-worked figures, laws, and a plain reference."""

from __future__ import annotations

import math
import random

import ir_measures
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ir_measures import RR, Recall, nDCG

from rar_pipeline import tables
from rar_pipeline.evaluation.metrics import CUTOFFS, cikm23, fresh_turns, score, sequences
from rar_pipeline.retriever.sequences import quality, ranks


def case(case_id, targets, history=(), unlinked=0, dataset="redial"):
    return {
        "dataset": dataset,
        "split": "test",
        "case_id": case_id,
        "dialogue_id": case_id.split(":")[0],
        "turn": 1,
        "origin": "dialogue",
        "context": "Seeker: hello",
        "history": list(history),
        "disliked": [],
        "targets": list(targets),
        "unlinked_targets": unlinked,
    }


def listed(case_id, ranking, system="s", dataset="redial"):
    return {"dataset": dataset, "split": "test", "system": system, "case_id": case_id, "ranking": list(ranking)}


def scored(rankings, cases):
    return score(tables.RECOMMENDATIONS.frame(rankings), tables.CASES.frame(cases))


def values(frame, protocol):
    rows = frame.filter(pl.col("protocol") == protocol).iter_rows(named=True)
    return {(row["system"], row["case_id"], row["metric"]): row["value"] for row in rows}


def test_fresh_turns_by_hand():
    # the history (h) leaves the list, so a stands at 2 and b at 4; one further target is unlinked
    found = values(scored([listed("1:1", "xhaybz")], [case("1:1", "ab", history="h", unlinked=1)]), "fresh_turns")
    ideal = 1 + 1 / math.log2(3) + 1 / 2
    assert found["s", "1:1", "R@1"] == 0
    assert found["s", "1:1", "R@5"] == pytest.approx(2 / 3)
    assert found["s", "1:1", "N@1"] == 0
    assert found["s", "1:1", "N@5"] == pytest.approx((1 / math.log2(3) + 1 / math.log2(5)) / ideal)
    assert found["s", "1:1", "MRR@5"] == 0.5


def test_cikm23_by_hand():
    found = values(scored([listed("1:1", "xhaybz")], [case("1:1", "ab", history="h", unlinked=1)]), "cikm23")
    assert {case_id for _, case_id, _ in found} == {"1:1#a", "1:1#b", "1:1#unlinked:0"}
    assert found["s", "1:1#a", "N@5"] == pytest.approx(1 / math.log2(3))
    # the other target stays in the list: b is fourth, not third
    assert found["s", "1:1#b", "N@5"] == pytest.approx(1 / math.log2(5))
    assert found["s", "1:1#b", "MRR@10"] == 0.25
    assert found["s", "1:1#b", "R@1"] == 0
    assert all(found["s", "1:1#unlinked:0", f"R@{k}"] == 0 for k in CUTOFFS)


def users(**items):
    return pl.DataFrame(
        [{"dataset": "ml", "split": "test", "case_id": name, "items": list(own)} for name, own in items.items()],
        schema={"dataset": pl.String, "split": pl.String, "case_id": pl.String, "items": pl.List(pl.String)},
    )


def test_sequences_by_hand():
    lists = [listed(name, "bxac", dataset="ml") for name in ("one", "again", "short")]
    # one: c is last, a and b are history: x, c remain, so c is second. again: a came before, so it cannot be found. short: no case
    frame = sequences(tables.RECOMMENDATIONS.frame(lists), users(one="abc", again="aba", short="ab"))
    found = values(frame, "sequences")
    assert {case_id for _, case_id, _ in found} == {"one", "again"}
    assert [found["s", "one", f"R@{k}"] for k in CUTOFFS] == [0, 1, 1, 1, 1]
    assert found["s", "one", "N@10"] == pytest.approx(1 / math.log2(3))
    assert found["s", "one", "MRR@10"] == 0.5
    assert all(value == 0 for (_, case_id, _), value in found.items() if case_id == "again")


def test_sequences_agree_with_the_ranks_that_training_is_judged_by():
    rng = np.random.default_rng(5)
    items = [f"{i:02}" for i in range(40)]
    rows = [rng.permutation(40)[: rng.integers(3, 12)] for _ in range(60)]
    scores = rng.integers(0, 12, (60, 40)).astype(float)  # with many ties
    lists = [
        listed(str(user), [items[i] for i in np.argsort(-own, kind="stable")], dataset="ml") for user, own in enumerate(scores)
    ]
    frame = sequences(
        tables.RECOMMENDATIONS.frame(lists), users(**{str(user): [items[i] for i in row] for user, row in enumerate(rows)})
    )
    theirs = quality(ranks(scores.copy(), [row[:-1] for row in rows], np.array([row[-1] for row in rows])))
    for short, long in (("R", "recall"), ("N", "ndcg"), ("MRR", "mrr")):
        for k in CUTOFFS:
            assert frame.filter(metric=f"{short}@{k}")["value"].mean() == pytest.approx(theirs[f"{long}_{k}"][0], abs=1e-12)


def test_each_protocol_alone_is_its_part_of_the_score():
    lists = tables.RECOMMENDATIONS.frame([listed("1:1", "xab"), listed("2:1", "c")])
    cases = tables.CASES.frame([case("1:1", "ab", history="x"), case("2:1", "c", unlinked=1)])
    both = score(lists, cases)
    for protocol in (fresh_turns, cikm23):
        assert protocol(lists, cases).equals(both.filter(protocol=protocol.__name__))


def test_metrics_agree_with_ir_measures():
    """Against the library, on random lists without a history (which it does not know)."""
    rng = random.Random(3)
    names = [f"m{i}" for i in range(120)]
    cases = [case(f"{i}:1", rng.sample(names, rng.randint(1, 7)), unlinked=rng.randint(0, 2)) for i in range(150)]
    lists = [listed(c["case_id"], rng.sample(names, rng.randint(1, 50))) for c in cases]
    frame = scored(lists, cases)
    run = {row["case_id"]: {movie: float(-rank) for rank, movie in enumerate(row["ranking"])} for row in lists}
    measures = {f"{ours}@{k}": theirs @ k for ours, theirs in (("R", Recall), ("N", nDCG), ("MRR", RR)) for k in CUTOFFS}
    checked = 0
    for protocol in ("fresh_turns", "cikm23"):
        found = values(frame, protocol)
        if protocol == "fresh_turns":
            wanted = {c["case_id"]: [*c["targets"], *(f"unlinked {n}" for n in range(c["unlinked_targets"]))] for c in cases}
            asked = run
        else:
            wanted = {f"{c['case_id']}#{target}": [target] for c in cases for target in c["targets"]}
            asked = {pair: run[pair.split("#")[0]] for pair in wanted}
        relevant = {key: dict.fromkeys(targets, 1) for key, targets in wanted.items()}
        for measured in ir_measures.iter_calc(measures.values(), relevant, asked):
            name = next(name for name, measure in measures.items() if measure == measured.measure)
            assert abs(found["s", measured.query_id, name] - measured.value) < 1e-9, (protocol, measured)
            checked += 1
    assert checked == 15 * (150 + sum(len(c["targets"]) for c in cases))


def test_a_system_that_repeats_the_history_scores_zero():
    frame = scored([listed("1:1", "ab")], [case("1:1", "c", history="ab")])
    assert frame["value"].sum() == 0


def test_a_target_that_was_mentioned_before_is_no_target():
    found = values(scored([listed("1:1", "b")], [case("1:1", "ab", history="a")]), "fresh_turns")
    assert found["s", "1:1", "R@1"] == 1


def test_an_empty_list_is_a_miss_and_a_case_without_a_list_is_not_scored():
    frame = scored([listed("1:1", [])], [case("1:1", "a"), case("2:1", "a")])
    assert frame["case_id"].unique().sort().to_list() == ["1:1", "1:1#a"]
    assert frame["value"].sum() == 0


def test_only_unlinked_targets_are_a_miss():
    frame = scored([listed("1:1", "a")], [case("1:1", [], unlinked=2)])
    assert frame.filter(protocol="fresh_turns").height == 15
    assert frame.filter(protocol="cikm23").height == 30
    assert frame["value"].sum() == 0


def test_the_same_case_id_in_two_data_sets_is_two_cases():
    frame = scored(
        [listed("1:1", "a"), listed("1:1", "a", dataset="inspired")], [case("1:1", "a"), case("1:1", "b", dataset="inspired")]
    )
    hits = frame.filter(protocol="fresh_turns", metric="R@1")
    assert dict(hits.select("dataset", "value").iter_rows()) == {"redial": 1.0, "inspired": 0.0}


movies = st.lists(st.integers(0, 25).map(str), max_size=50)


@settings(deadline=None, max_examples=40)
@given(movies, st.lists(st.integers(0, 25).map(str), min_size=1, max_size=6), movies, st.integers(0, 2))
def test_laws_of_metrics(ranking, targets, history, unlinked):
    frame = scored([listed("1:1", ranking)], [case("1:1", targets, history, unlinked)])
    assert frame["value"].is_between(0, 1 + 1e-12).all()
    for protocol in ("fresh_turns", "cikm23"):
        found = values(frame, protocol)
        for case_id in {key[1] for key in found}:
            for name in ("R", "MRR") if protocol == "fresh_turns" else ("R", "N", "MRR"):
                curve = [found["s", case_id, f"{name}@{k}"] for k in CUTOFFS]
                assert curve == sorted(curve), "a longer list never loses"


@settings(deadline=None, max_examples=20)
@given(st.sets(st.integers(0, 99).map(str), min_size=1, max_size=50), st.sets(st.integers(100, 120).map(str), max_size=5))
def test_a_perfect_list_scores_one(targets, history):
    perfect = [*history, *targets]
    found = values(scored([listed("1:1", perfect)], [case("1:1", targets, history)]), "fresh_turns")
    assert found["s", "1:1", "R@50"] == pytest.approx(1)
    for k in CUTOFFS:
        assert found["s", "1:1", f"N@{k}"] == pytest.approx(1)
        assert found["s", "1:1", f"MRR@{k}"] == 1


def plain_fresh_turns(ranking, one):
    """The definition, read aloud."""
    kept = [m for m in dict.fromkeys(ranking) if m not in one["history"]]
    targets = {m for m in one["targets"] if m not in one["history"]}
    count = len(targets) + one["unlinked_targets"]
    ranks = [i for i, m in enumerate(kept, 1) if m in targets]
    result = {}
    for k in CUTOFFS:
        inside = [r for r in ranks if r <= k]
        result[f"R@{k}"] = len(inside) / count
        ideal = sum(1 / math.log2(i + 1) for i in range(1, min(count, k) + 1))
        result[f"N@{k}"] = sum(1 / math.log2(r + 1) for r in inside) / ideal
        result[f"MRR@{k}"] = 1 / inside[0] if inside else 0.0
    return result


def test_batches_agree_with_the_plain_definition():
    rng = random.Random(7)
    names = [f"m{i}" for i in range(80)]
    cases = [
        case(f"{i}:{i % 3}", rng.sample(names, rng.randint(1, 5)), rng.sample(names, rng.randint(0, 8)), rng.randint(0, 1))
        for i in range(120)
    ]
    lists = [listed(c["case_id"], rng.choices(names, k=rng.randint(0, 50)), s) for c in cases for s in ("a", "b")]
    frame = scored(lists, cases)
    fresh, pairs = values(frame, "fresh_turns"), values(frame, "cikm23")
    checked = 0
    for one, row in ((c, r) for c in cases for r in lists if r["case_id"] == c["case_id"]):
        targets = [m for m in one["targets"] if m not in one["history"]]
        if not targets and not one["unlinked_targets"]:
            continue
        for metric, value in plain_fresh_turns(row["ranking"], one).items():
            assert abs(fresh[row["system"], one["case_id"], metric] - value) < 1e-9
            checked += 1
        for target in targets:  # a case of one target is its own pair
            alone = plain_fresh_turns(row["ranking"], one | {"targets": [target], "unlinked_targets": 0})
            for metric, value in alone.items():
                assert abs(pairs[row["system"], f"{one['case_id']}#{target}", metric] - value) < 1e-9
    assert checked == len(frame.filter(protocol="fresh_turns"))
