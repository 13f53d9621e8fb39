"""Sets are drawn as Plackett and Luce say, rewards are NDCG, the judge is asked where it can say something, and pairs follow the rewards."""

import itertools
import math

import numpy as np
import polars as pl
import pytest
import torch

from rar_pipeline.conversations.cases import reserved_dialogues
from rar_pipeline.generation.questions import Answer, Candidate, Question
from rar_pipeline.preference.feedback import asked_of, build_preferences, choose_contexts, collect_feedback
from rar_pipeline.preference.objectives import plackett_luce_log_probability
from rar_pipeline.preference.sampling import draw_sets, ndcg
from rar_pipeline.retriever.catalogue import Catalogue
from rar_pipeline.tables import CASES, FEEDBACK


def test_gumbel_top_k_draws_from_plackett_luce() -> None:
    logits = np.log(np.array([4.0, 2.0, 1.0, 1.0]))
    generator = np.random.default_rng(0)
    drawn = draw_sets(np.arange(4), logits, [], sets=40_000, size=2, temperature=1.0, generator=generator).rows
    for order in itertools.permutations(range(4), 2):
        expected = plackett_luce_log_probability(torch.from_numpy(logits)[None], torch.tensor([order])).exp().item()
        assert (drawn == order).all(axis=1).mean() == pytest.approx(expected, abs=0.01)


def test_a_target_is_put_in_where_no_set_holds_one() -> None:
    scores = np.array([50.0, 40.0, 30.0, -50.0])
    drawn = draw_sets(np.array([7, 8, 9, 3]), scores, [3], sets=2, size=2, temperature=1.0, generator=np.random.default_rng(0))
    assert drawn.forced and drawn.rows[0].tolist() == [7, 3] and 3 not in drawn.rows[1]


def test_ndcg_by_hand() -> None:
    assert ndcg(["a", "b", "c"], ["b"]) == pytest.approx(1 / math.log2(3))
    assert ndcg(["x", "a", "b"], ["a", "b"]) == pytest.approx((1 / math.log2(3) + 1 / 2) / (1 + 1 / math.log2(3)))
    assert ndcg(["x"] * 10 + ["a"], ["a"]) == 0.0


def case(number: int, targets: list[str], **extra: object) -> dict[str, object]:
    base = {
        "dataset": "redial",
        "split": "train",
        "case_id": f"{number}:1",
        "dialogue_id": str(number),
        "turn": 1,
        "origin": "dialogue",
    }
    return {**base, "context": "Seeker: hi", "history": [], "targets": targets, "disliked": [], "unlinked_targets": 0, **extra}


CATALOGUE = Catalogue(tuple(f"m{n}" for n in range(8)), np.zeros((8, 2), np.float16), np.zeros((8, 3), np.float32))


def collect(
    cases: pl.DataFrame, answer: object, scores: np.ndarray, skip_known: bool = True, sets: int = 2
) -> tuple[pl.DataFrame, list[Question]]:
    asked: list[Question] = []

    def ask(questions: list[Question]) -> list[Answer]:
        asked.extend(questions)
        return [answer(question) for question in questions]

    pools = np.tile(np.arange(8), (len(cases), 1))
    cards = lambda movie_ids: {movie: Candidate(movie, movie, None, "") for movie in movie_ids}  # noqa: E731
    frame = collect_feedback(
        cases,
        pools,
        np.tile(scores, (len(cases), 1)),
        CATALOGUE,
        cards,
        ask,
        sets=sets,
        size=3,
        temperature=1.0,
        skip_known=skip_known,
        seed=0,
        round_number=1,
    )
    return frame, asked


def answered(question: Question) -> Answer:
    ranking = tuple(candidate.movie_id for candidate in question.candidates)
    return Answer(question.question_id, "answered", "likelihood", "fake", "hash", ranking=ranking, prompt_tokens=5, seconds=1.0)


def test_the_judge_is_asked_only_where_the_winner_is_open() -> None:
    always, never = np.array([90.0] + [0.0] * 7), np.array([0.0] * 7 + [-90.0])
    frame, asked = collect(CASES.frame([case(1, ["m0"])]), answered, always)
    assert len(asked) == 2 and frame["status"].to_list() == ["answered"] * 2
    frame, asked = collect(CASES.frame([case(1, ["m7"])]), answered, never)
    assert not asked and frame["status"].to_list() == ["skipped"] * 2
    assert frame["reward"].to_list() == [1.0, 0.0], "the set with the forced target wins unasked"
    assert build_preferences(frame)["reason"].to_list() == ["target"]
    assert frame.select("forced", "target_places").rows() == [(True, [2]), (False, [])]


def test_objectives_that_learn_from_rewards_have_every_set_with_a_target_ranked() -> None:
    frame, asked = collect(CASES.frame([case(1, ["m7"])]), answered, np.array([0.0] * 7 + [-90.0]), skip_known=False, sets=4)
    assert [question.question_id for question in asked] == ["1:1#0"]
    assert frame["status"].to_list() == ["answered", "skipped", "skipped", "skipped"]
    assert frame["reward"].to_list() == [pytest.approx(1 / math.log2(4)), 0.0, 0.0, 0.0], "the judge left it on the third place"


def test_what_the_seeker_disliked_is_not_taught() -> None:
    disliked = case(1, ["m0", "m1"], disliked=["m0"])
    frame, _ = collect(CASES.frame([disliked]), answered, np.array([90.0] + [0.0] * 6 + [-90.0]))
    assert set(frame["targets"].explode()) == {"m1"}
    only_disliked = CASES.frame([case(2, ["m0"], disliked=["m0"])])
    assert not len(choose_contexts(only_disliked, CATALOGUE, 10, seed=0, round_number=1))


def test_a_pool_that_the_catalogue_could_not_fill_gives_no_movie_twice() -> None:
    pool, scores = np.array([4, 5, 6, -1, -1]), np.array([1.0, 1.0, 1.0, -np.inf, -np.inf])
    drawn = draw_sets(pool, scores, [], sets=50, size=4, temperature=1.0, generator=np.random.default_rng(0)).rows
    assert all(sorted(members) == [4, 5, 6] for members in drawn.tolist())


def test_a_failed_call_costs_its_case_and_is_counted() -> None:
    def failing(question: Question) -> Answer:
        if question.question_id.startswith("1:"):
            return Answer(question.question_id, "failed", "likelihood", "fake", "hash", error="Timeout")
        return answered(question)

    frame, _ = collect(CASES.frame([case(1, ["m0"]), case(2, ["m0"])]), failing, np.array([90.0] + [0.0] * 7))
    assert frame.filter(pl.col("case_id") == "1:1")["reward"].null_count() == 2
    assert frame.filter(pl.col("case_id") == "2:1")["reward"].null_count() == 0
    assert not len(build_preferences(frame.filter(pl.col("case_id") == "1:1")))


def test_what_came_of_the_questions_is_counted_and_skipped_sets_put_none() -> None:
    def rows(**counts: int) -> pl.DataFrame:
        statuses = [status for status, count in counts.items() for _ in range(count)]
        return FEEDBACK.frame({"case_id": f"{n}", "set_id": 0, "status": status} for n, status in enumerate(statuses))

    came = asked_of(rows(answered=6, skipped=90, failed=3, unparsed=1))
    assert came == (6, 3, 1) and came.share == 0.6
    assert came.said == "6 of 10 questions were answered (3 failed, 1 unparsed); made again, only the failed ones are asked again"
    assert asked_of(rows(skipped=4)).share == 1, "nothing was asked, so that nothing is missing"


def test_the_same_seed_draws_the_same_contexts_and_every_round_others() -> None:
    cases = CASES.frame([case(number, ["m1"]) for number in range(50)] + [case(99, ["gone"]), case(98, ["m1"], split="test")])
    first = choose_contexts(cases, CATALOGUE, 10, seed=0, round_number=1)["case_id"].to_list()
    assert first == choose_contexts(cases, CATALOGUE, 10, seed=0, round_number=1)["case_id"].to_list()
    assert first != choose_contexts(cases, CATALOGUE, 10, seed=0, round_number=2)["case_id"].to_list()
    assert not {"99:1", "98:1"} & set(choose_contexts(cases, CATALOGUE, 100, seed=0, round_number=1)["case_id"])


def test_equal_rewards_make_no_pair() -> None:
    rows = [
        {"case_id": "1", "set_id": n, "candidates": [f"m{n}"], "targets": ["m0"], "status": "answered", "reward": reward}
        for n, reward in enumerate((0.5, 0.5, 1.0))
    ]
    pairs = build_preferences(FEEDBACK.frame(rows))
    assert pairs.select("winner_set", "loser_set", "winner_reward", "loser_reward").rows() == [(2, 0, 1.0, 0.5), (2, 1, 1.0, 0.5)]


def test_rounds_ask_about_dialogues_that_supervision_was_not_taught() -> None:
    cases = CASES.frame(
        {
            "dataset": "redial",
            "split": "train",
            "origin": "dialogue" if number % 3 else "sequence",
            "case_id": f"{number}:1",
            "dialogue_id": str(number),
            "context": "Seeker: hello",
            "history": [],
            "targets": [CATALOGUE.movie_ids[0]],
            "disliked": [],
        }
        for number in range(300)
    )
    kept = reserved_dialogues(cases, 0.4)["dialogue_id"].to_list()
    assert 50 < len(kept) < 110
    assert all(int(name) % 3 for name in kept), "what has no text cannot be asked about"
    assert set(kept) <= set(reserved_dialogues(cases, 0.6)["dialogue_id"]), "a larger share only adds"
    asked = choose_contexts(cases, CATALOGUE, 1000, seed=0, round_number=1, reserved_share=0.4)
    assert set(asked["dialogue_id"]) == set(kept)
    assert len(reserved_dialogues(cases, 0.0)) == 0
