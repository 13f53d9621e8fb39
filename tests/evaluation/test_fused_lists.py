"""Fused lists: made of the rows on record, weights of validation cases alone, and never of the case that they list."""

import numpy as np
import polars as pl

from rar_pipeline.evaluation.systems import _fused, after_llm, both_orders, fitted_weight, fused, ordered
from rar_pipeline.settings import Settings
from rar_pipeline.tables import CASES, RECOMMENDATIONS

MOVIES = [f"tt{number}" for number in range(8)]
SETTINGS = Settings(_env_file=None, candidates=6)


def world(knows: str, count: int = 12) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Cases and both orders: the target is first for `retriever` or `llm`, and last of six for the other; in test it is the other way round."""
    cases, lists = [], []
    for split in ("validation", "test"):
        right_is_llm = (knows == "llm") == (split == "validation")
        for number in range(count):
            place = {"dataset": "redial", "split": split, "case_id": f"{split}:{number}"}
            order = list(np.random.default_rng(number).permutation(MOVIES))
            cases.append(place | {"dialogue_id": place["case_id"], "history": [], "targets": [order[5 if right_is_llm else 0]]})
            scores = [float(-rank) for rank in range(8)]
            lists.append(place | {"system": "round_0", "ranking": order, "scores": scores})
            ranking = [*order[5::-1], *order[6:]]
            lists.append(place | {"system": "round_0+llm", "ranking": ranking, "ranked": 6, "status": "answered"})
    return CASES.frame(cases), RECOMMENDATIONS.frame(lists)


def rankings(frame: pl.DataFrame) -> dict[str, list[str]]:
    return dict(frame.select("case_id", "ranking").iter_rows())


def test_the_weight_follows_who_is_right_on_validation_whatever_test_says() -> None:
    for knows, right in (("llm", "round_0+llm"), ("retriever", "round_0")):
        cases, lists = world(knows)
        weight = fitted_weight(lists, cases, "round_0", 6)
        found = rankings(_fused(cases, "round_0", lists, SETTINGS, None))
        shown = rankings(lists.filter(pl.col("system") == right))
        assert (weight > 0.5) == (knows == "llm")
        assert [movies[0] for movies in found.values()] == [shown[case][0] for case in found]
        assert weight == fitted_weight(lists.filter(pl.col("split") == "validation"), cases, "round_0", 6)


def test_an_unanswered_case_keeps_the_retrievers_order_and_has_no_part_in_the_weight() -> None:
    cases, lists = world("llm")
    failed = pl.col("case_id").is_in(["validation:3", "test:3"]) & (pl.col("system") == "round_0+llm")
    broken = lists.with_columns(status=pl.when(failed).then(pl.lit("failed")).otherwise("status"))
    assert ("validation", "validation:3") not in both_orders(broken, cases, "round_0", 6)
    own = rankings(lists.filter(pl.col("system") == "round_0"))
    found = rankings(_fused(cases, "round_0", broken, SETTINGS, None))
    assert found["validation:3"] == own["validation:3"] and found["test:3"] == own["test:3"]


def test_a_weight_that_is_given_is_used_where_there_is_no_validation() -> None:
    cases, lists = world("llm")
    test = lists.filter(pl.col("split") == "test"), cases.filter(pl.col("split") == "test")
    found = {weight: rankings(_fused(test[1], "round_0", test[0], SETTINGS, weight)) for weight in (0.0, 1.0)}
    for weight, system in ((0.0, "round_0"), (1.0, "round_0+llm")):
        assert found[weight] == rankings(test[0].filter(pl.col("system") == system))


def test_one_number_says_which_system_serves() -> None:
    assert [ordered("round_1", weight) for weight in (0.0, 0.35, 1.0)] == ["round_1", fused("round_1"), after_llm("round_1")]
