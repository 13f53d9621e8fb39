"""A judge that knows more than the retriever may teach it; one that copies, guesses or fails may not, and the reason is told with figures."""

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from rar_pipeline.evaluation.bootstrap import paired_difference
from rar_pipeline.generation.questions import Answer, Question
from rar_pipeline.preference.judge_check import (
    Proposed,
    Verdict,
    chance,
    check_judge,
    decide,
    place_correlation,
    proposed,
    verdict,
)
from rar_pipeline.preference.sampling import ndcg
from rar_pipeline.quality import validate
from rar_pipeline.retriever.rounds import pretrain, supervised_round
from rar_pipeline.settings import Settings
from rar_pipeline.tables import JUDGE_CHECK, MOVIES

from ..retriever.conftest import World, world  # noqa: F401  (a fixture)

IDS = [f"m{number:02}" for number in range(12)]
FILMS = MOVIES.frame([{"movie_id": movie, "title": movie, "genres": [], "directors": [], "cast": []} for movie in IDS])
Judge = Callable[[Question, str], Sequence[str]]  # a question and its target -> the order


def cases(count: int = 60, each: int = 2) -> list[Proposed]:
    """Cases for which the retriever is right more often than not, `each` of them from one conversation."""
    generator = np.random.default_rng(0)
    found = []
    for number in range(count):
        candidates = generator.permutation(IDS).tolist()
        target = candidates[min(int(generator.exponential(3)), 11)]
        case = {"dataset": "redial", "case_id": f"{number:03}", "dialogue_id": str(number // each), "targets": [target]}
        scores = {movie: 9.0 - 0.5 * place for place, movie in enumerate(candidates)}
        found.append(Proposed(case | {"context": "Seeker: hi", "history": []}, scores))
    return found


def knows(question: Question, target: str) -> list[str]:
    return [target, *(candidate.movie_id for candidate in question.candidates if candidate.movie_id != target)]


def guesses(question: Question, target: str) -> list[str]:
    # by the question, so that the order in which the candidates stand says nothing
    seed = [ord(letter) for letter in question.question_id.split("#")[0]]
    return np.random.default_rng(seed).permutation(sorted(candidate.movie_id for candidate in question.candidates)).tolist()


def copies(question: Question, target: str) -> list[str]:
    return [candidate.movie_id for candidate in question.candidates]


def knows_a_half(question: Question, target: str) -> list[str]:
    """The target stands anywhere in the first half, whatever the retriever thinks of it."""
    order = guesses(question, target)
    place = order.index(target)
    order[place], order[place % 6] = order[place % 6], order[place]
    return order


def answer(question: Question, order: Sequence[str], **changes: object) -> Answer:
    told = {"status": "answered", "ranking": tuple(order), "prompt_tokens": 100, "seconds": 0.5, "cost": 0.25} | changes
    return Answer(question.question_id, mode="label", model="fake", prompt_hash="hash", **told)


def check(judge: Judge, drawn: Sequence[Proposed], fails: Callable[[Question], bool] = lambda question: False) -> pl.DataFrame:
    targets = {case["case_id"]: case["targets"][0] for case, _ in drawn}

    def ask(questions: Sequence[Question]) -> list[Answer]:
        return [
            answer(question, (), status="failed", error="APITimeoutError")
            if fails(question)
            else answer(question, judge(question, targets[question.question_id.split("#")[0]]))
            for question in questions
        ]

    return check_judge(drawn, FILMS, ask, seed=0)


def judged(judge: Judge, drawn: Sequence[Proposed] | None = None) -> Verdict:
    return verdict(check(judge, drawn or cases()), paired_difference)


def test_a_judge_that_knows_the_target_passes() -> None:
    found = judged(knows)
    alone, fused = found.differences
    assert found.passes and alone.beats and fused.beats
    assert found.figures["judge"] == 1.0 > found.figures["retriever"] > found.figures["chance"]
    assert alone.difference == pytest.approx(1.0 - found.figures["retriever"])
    assert found.figures["conversations"] == 30
    assert "beats the retriever's" in found.sentence and "60 validation cases of 30 conversations" in found.sentence


def test_a_few_conversations_let_no_judge_pass_and_the_sentence_says_why() -> None:
    found = judged(knows, cases(18))
    assert found.figures["conversations"] == 9 and found.differences[0].low > 0
    assert not found.passes
    assert "does not beat the retriever's in enough conversations to be believed" in found.sentence


def test_a_judge_that_guesses_does_not_pass_and_fusion_makes_no_judge_of_it() -> None:
    found = judged(guesses)
    alone, fused = found.differences
    assert not found.passes
    assert alone.high < 0, "it is worse than the retriever"
    assert abs(fused.difference) < 0.05
    assert found.figures["judge"] == pytest.approx(found.figures["chance"], abs=0.1)
    assert "does not beat the retriever's" in found.sentence


def test_a_judge_may_pass_by_what_it_adds_to_the_retriever() -> None:
    found = judged(knows_a_half, cases(count=200))
    alone, fused = found.differences
    assert not alone.beats and fused.beats and found.passes
    assert 0 < found.figures["weight"] < 1


def test_a_judge_that_copies_what_it_is_shown_is_found_out_by_another_order() -> None:
    found = judged(copies)
    assert not found.passes
    assert found.differences[0].difference == found.differences[0].low == found.differences[0].high == 0.0
    assert found.figures["judge_shown_shuffled"] < found.figures["judge_shown_retriever"]
    for shown in ("retriever", "shuffled"):
        assert found.figures[f"order_correlation_{shown}"] == found.figures[f"first_copied_{shown}"] == 1.0
    free = judged(guesses)
    assert abs(free.figures["order_correlation_shuffled"]) < 0.1
    assert free.figures["first_copied_shuffled"] < 0.25


def test_a_failed_call_costs_its_case_and_is_counted() -> None:
    table = check(knows, cases(), fails=lambda question: question.question_id < "015")
    found = verdict(table, paired_difference)
    assert [found.figures[name] for name in ("cases", "answered", "failed")] == [60, 45, 15]
    assert found.passes and "15 not answered" in found.sentence
    failed = table.filter(pl.col("status") == "failed")
    assert failed["judge"].null_count() == failed["fused"].null_count() == len(failed) == 30
    assert set(failed["raw_answer"]) == {"APITimeoutError"}
    none = verdict(check(knows, cases(), fails=lambda question: True), paired_difference)
    assert not none.passes and none.sentence == "the judge answered none of 60 questions: APITimeoutError"


def test_without_cases_or_with_one_conversation_nothing_can_be_said_and_nothing_passes() -> None:
    assert not judged(knows, cases(count=10, each=10)).passes
    assert "too few conversations" in judged(knows, cases(count=10, each=10)).sentence
    nothing = verdict(JUDGE_CHECK.empty(), paired_difference)
    assert not nothing.passes and "no validation case" in nothing.sentence


@pytest.mark.parametrize("judge", [knows, guesses, copies])
def test_the_table_keeps_its_expectations_and_says_what_was_shown(judge: Judge) -> None:
    drawn = cases(count=130)
    table = check(judge, drawn)
    assert [result.name for result in validate(JUDGE_CHECK, table).results if not result.passed] == []
    assert dict(table["shown"].value_counts().iter_rows()) == {"retriever": 130, "shuffled": 100}
    scores = {case["case_id"]: dict(scores) for case, scores in drawn}
    for row in table.iter_rows(named=True):
        assert dict(zip(row["candidates"], row["scores"], strict=True)) == scores[row["case_id"]]
        assert (row["candidates"] == list(scores[row["case_id"]])) == (row["shown"] == "retriever")
        assert row["judge"] == ndcg(row["ranking"], row["targets"])
        assert (row["fused"] is None) == (row["shown"] == "shuffled")


def test_a_list_that_leaves_candidates_out_goes_on_in_the_retrievers_order() -> None:
    drawn = cases(count=4)
    table = check(lambda question, target: [], drawn)
    shown = table.filter(pl.col("shown") == "retriever")
    assert shown["judge"].to_list() == shown["retriever"].to_list()


def test_prompts_of_one_candidate_each_are_paid_for_once() -> None:
    drawn = cases(count=3)

    def ask(questions: Sequence[Question]) -> list[Answer]:
        return [Answer(q.question_id, "answered", "likelihood", "fake", "", prompt_tokens=7) for q in questions]

    found = verdict(check_judge(drawn, FILMS, ask, seed=0), paired_difference)
    assert (found.figures["questions"], found.figures["prompt_tokens"]) == (3, 21)
    spent = judged(copies, drawn).figures
    assert (spent["questions"], spent["prompt_tokens"], spent["seconds"], spent["cost"]) == (6, 600, 3.0, 1.5)


@given(st.integers(1, 5), st.integers(1, 3))
def test_chance_is_the_mean_over_all_orders(candidates: int, held: int) -> None:
    movies = IDS[:candidates]
    targets = [*movies[:held], "elsewhere"]
    expected = np.mean([ndcg(order, targets) for order in itertools.permutations(movies)])
    assert chance(movies, targets) == pytest.approx(expected)


def test_chance_counts_ten_places() -> None:
    assert chance([str(number) for number in range(20)], ["3"]) == pytest.approx(0.2272, abs=1e-4)


@given(st.permutations(IDS), st.integers(2, 12))
def test_the_correlation_of_places_is_spearmans(order: list[str], answered: int) -> None:
    ranking = ["added", *order[:answered]]
    places = [IDS.index(movie) for movie in order[:answered]]
    expected = spearmanr(range(answered), places).statistic
    assert place_correlation(IDS, ranking) == pytest.approx(expected)
    assert place_correlation(IDS, order[:1]) is None


def test_what_the_check_advises_against_is_collected_only_where_that_is_forced() -> None:
    stops, passes = judged(guesses), judged(knows)
    real = {"sources": "mirror", "_env_file": None}
    stopped = decide(stops, Settings(**real))
    assert not stopped.collects
    assert stopped.said == f"collection stopped: {stops.sentence}; RAR_FORCE_FEEDBACK=true collects anyway"
    forced = decide(stops, Settings(**real, force_feedback=True))
    assert forced.collects and "RAR_FORCE_FEEDBACK is set" in forced.said and stops.sentence in forced.said
    shown = decide(stops, Settings(_env_file=None, sources="sample"))
    assert shown.collects and "sample world" in shown.said
    assert not decide(stops, Settings(_env_file=None, sources="sample", force_feedback=False)).collects
    assert decide(passes, Settings(**real)).collects
    assert decide(passes, Settings(**real, force_feedback=False)).collects


def test_only_validation_cases_with_a_proposed_target_are_drawn_and_always_the_same(world: World, tmp_path: Path) -> None:  # noqa: F811
    settings = Settings(
        _env_file=None, hidden=16, pretraining_epochs=1, epochs=1, batch=32, learning_rate=0.01, negatives=8, neighbours=5, candidates=8
    )  # fmt: skip
    made_of = world.catalogue, world.encode, settings, lambda line: None
    pretrain(tmp_path / "pretrained", tmp_path / "attempts", world.cases, world.mentions, *made_of)
    supervised_round(tmp_path / "round_0", tmp_path / "attempts", "redial", world.cases, tmp_path / "pretrained", *made_of)

    def draw(**changes: object) -> list[Proposed]:
        changed = settings.model_copy(update=changes)
        return proposed(world.cases, world.catalogue, tmp_path / "round_0", world.encode, changed)

    every = draw(judge_check_cases=1000)
    assert 0 < len(every) < 30, "some of the thirty, not all"
    for case, scores in every:
        assert case["split"] == "validation" and set(case["targets"]) & set(scores)
        assert not set(case["history"]) & set(scores) and len(scores) == 8
        assert list(scores.values()) == sorted(scores.values(), reverse=True)
    few = draw(judge_check_cases=5)
    assert len(few) == 5
    assert [case["case_id"] for case, _ in few] == [case["case_id"] for case, _ in draw(judge_check_cases=5)]
    assert {case["case_id"] for case, _ in few} < {case["case_id"] for case, _ in every}
    assert [case["case_id"] for case, _ in few] != [case["case_id"] for case, _ in draw(judge_check_cases=5, seed=1)]
