"""Fusion stands between two orders, and its weight is fitted on cases that it is not judged on."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rar_pipeline.preference.fusion import RankedCase, cross_fitted_weights, fit_weight, fuse

MOVIES = [f"m{number}" for number in range(6)]
SCORES = {movie: 6.0 - number for number, movie in enumerate(MOVIES)}
LLM_ORDER = st.lists(st.sampled_from([*MOVIES, "added"]), unique=True)


@given(LLM_ORDER)
def test_the_ends_are_the_two_orders(order: list[str]) -> None:
    added = [movie for movie in order if movie not in MOVIES]
    assert fuse(SCORES, order, 0.0) == MOVIES + added
    assert fuse(SCORES, order, 1.0) == order + [movie for movie in MOVIES if movie not in order]


@given(LLM_ORDER, st.floats(0, 1))
def test_where_both_agree_on_two_movies_so_does_the_fusion(order: list[str], weight: float) -> None:
    fused = fuse(SCORES, order, weight)
    assert sorted(fused) == sorted({*MOVIES, *order})
    place = {movie: number for number, movie in enumerate(fused)}
    llm = {movie: number for number, movie in enumerate(order)}
    for number, better in enumerate(MOVIES):
        for worse in MOVIES[number + 1 :]:
            if llm.get(better, len(order)) <= llm.get(worse, len(order)):
                assert place[better] < place[worse]


def test_an_answer_without_titles_leaves_the_retrievers_order() -> None:
    assert all(fuse(SCORES, [], weight) == MOVIES for weight in (0.0, 0.5, 1.0))
    assert fuse({}, ["a", "b"], 0.5) == ["a", "b"]
    assert fuse({}, [], 0.5) == []


def test_by_hand() -> None:
    # scores 3, 1, 0 are 1.336, -0.267, -1.069 standardised; places c, b, a are 1.225, 0, -1.225
    scores = {"a": 3.0, "b": 1.0, "c": 0.0}
    assert fuse(scores, ["c", "b", "a"], 0.5) == ["c", "a", "b"]  # sums .078, .056, -.134
    assert fuse(scores, ["c", "b", "a"], 0.4) == ["a", "c", "b"]


def cases(knows: float, count: int = 60, seed: int = 0) -> list[RankedCase]:
    """The retriever puts the target anywhere; the judge puts it first in the share `knows` of the cases, else anywhere. Two cases a conversation."""
    generator = np.random.default_rng(seed)
    found = []
    for number in range(count):
        target = str(generator.choice(MOVIES))
        order = [str(movie) for movie in generator.permutation(MOVIES)]
        if generator.random() < knows:
            order = [target, *(movie for movie in order if movie != target)]
        found.append(RankedCase(str(number // 2), SCORES, order, [target]))
    return found


def test_a_judge_that_knows_gets_the_weight_and_a_useless_one_none() -> None:
    assert fit_weight(cases(knows=1.0)) > 0.5
    retriever_knows = [RankedCase(str(n), SCORES, MOVIES[::-1], ["m0"]) for n in range(10)]
    assert fit_weight(retriever_knows) == 0.0
    same = [RankedCase(str(n), SCORES, MOVIES, ["m3"]) for n in range(10)]
    assert fit_weight(same) == 0.0, "equals go to the retriever"
    assert fit_weight([]) == 0.0


def test_no_case_helps_to_choose_its_own_weight() -> None:
    known = cases(knows=0.5, count=20)
    weights = cross_fitted_weights(known, seed=0)
    assert len(weights) == len(known)
    by_dialogue: dict[str, set[float]] = {}
    for case, weight in zip(known, weights, strict=True):
        by_dialogue.setdefault(case.dialogue_id, set()).add(weight)
    assert all(len(found) == 1 for found in by_dialogue.values()), "a conversation lies in one fold"
    for number, case in enumerate(known):
        # another truth about one conversation leaves the weights of its fold as they were
        changed = [
            RankedCase(other.dialogue_id, other.scores, other.order, ["m5"]) if other.dialogue_id == case.dialogue_id else other
            for other in known
        ]
        assert cross_fitted_weights(changed, seed=0)[number] == weights[number]


def test_two_conversations_learn_from_each_other_and_one_from_nobody() -> None:
    one = RankedCase("one", SCORES, MOVIES[::-1], ["m5"])
    other = RankedCase("other", SCORES, MOVIES[::-1], ["m0"])
    assert cross_fitted_weights([one], seed=0) == [0.0]
    (of_one, of_other) = cross_fitted_weights([one, other], seed=0)
    assert of_one == 0.0 < of_other
    assert cross_fitted_weights([], seed=0) == []
    with pytest.raises(ValueError, match="at least two"):
        cross_fitted_weights([one], seed=0, folds=1)
    with pytest.raises(ValueError, match="0 to 1"):
        fuse(SCORES, [], 1.5)
