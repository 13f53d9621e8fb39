"""A preference round raises what won, keeps the start where nothing helped, is the same when it is made again, and is kept while its inputs stay."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from rar_pipeline.generation.questions import Answer, Question
from rar_pipeline.preference.compared import made_versions, objective_versions, version_name
from rar_pipeline.preference.feedback import build_preferences
from rar_pipeline.preference.rounds import AFTER_LLM, ancestry, feedback_of_round, preference_round
from rar_pipeline.retriever.examples import build_queries
from rar_pipeline.retriever.rounds import pretrain, supervised_round
from rar_pipeline.retriever.search import build_index, search
from rar_pipeline.retriever.version import Version, load, read_record
from rar_pipeline.settings import Settings
from rar_pipeline.tables import FEEDBACK, MOVIES

from ..retriever.conftest import World, world  # noqa: F401  (a fixture)

SETTINGS = Settings(
    hidden=16, pretraining_epochs=2, epochs=1, batch=32, learning_rate=0.01, negatives=8, neighbours=5, pool=40, candidates=4,
    preference_epochs=6, preference_patience=6, sft_weight=0.0, preference_learning_rate=0.02, kl_ceiling=100, feedback_contexts=60,
)  # fmt: skip
OBJECTIVES = ("dpo", "odds", "mult_dpo", "pl_rloo", "lambda_credit", "sft")


@pytest.fixture(scope="module")
def parent(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    folder = tmp_path_factory.mktemp("rounds")
    made_of = world.catalogue, world.encode, SETTINGS, print
    pretrain(folder / "pretrained", folder / "attempts", world.cases, world.mentions, *made_of)
    supervised_round(folder / "round_0", folder / "attempts", "redial", world.cases, folder / "pretrained", *made_of)
    return folder


def movies(world: World) -> pl.DataFrame:  # noqa: F811
    return MOVIES.frame({"movie_id": movie, "title": movie} for movie in world.catalogue.movie_ids)


def nobody(questions: Sequence[Question]) -> list[Answer]:
    assert not questions, "nothing was to be asked"
    return []


def winning(world: World, parent: Path, places: int) -> pl.DataFrame:  # noqa: F811
    """Feedback of 60 training cases in which movies from `places` of the present list on beat those at places 0 to 3."""
    retriever, version = load(parent / "round_0")
    cases = world.cases.filter(pl.col("split") == "train").head(60)
    queries = build_queries(cases, world.catalogue, world.encode, turns=6, max_history=50)
    found, _ = search(build_index(retriever, world.catalogue, version.known), queries, 40)
    rows = []
    for case_id, shown in zip(cases["case_id"], found, strict=True):
        ids = [world.catalogue.movie_ids[row] for row in shown]
        # what is wanted stands first in the winner and last in the loser, so that every objective has something to learn
        for set_id, (members, reward) in enumerate(((ids[places : places + 4], 1.0), ([*ids[:3], ids[places]], 0.4))):
            answer = {"status": "answered", "ranking": members, "reward": reward, "forced": False, "targets": [ids[places]]}
            rows.append({"case_id": case_id, "set_id": set_id, "candidates": members, **answer})
    return FEEDBACK.frame(rows)


def perfect(world: World, parent: Path) -> World:  # noqa: F811
    """The world in which every validation case wants what the parent puts first, so that training can only harm."""
    retriever, version = load(parent / "round_0")
    cases = world.cases.filter(pl.col("split") == "validation")
    queries = build_queries(cases, world.catalogue, world.encode, turns=6, max_history=50)
    found, _ = search(build_index(retriever, world.catalogue, version.known), queries, 1)
    first = pl.Series([[world.catalogue.movie_ids[row]] for row in found[:, 0]])
    return replace(world, cases=pl.concat([world.cases.filter(pl.col("split") == "train"), cases.with_columns(targets=first)]))


def train(
    world: World,  # noqa: F811
    parent: Path,
    feedback: pl.DataFrame,
    name: str,
    settings: Settings = SETTINGS,
    ask: object = nobody,
) -> tuple[Version, bool]:
    pairs = build_preferences(feedback)
    made_of = world.cases, feedback, pairs, movies(world), world.catalogue, world.encode, ask, settings, print
    return preference_round(parent / name, parent / "round_0", 1, *made_of)


@pytest.mark.parametrize("objective", OBJECTIVES[:-1])
def test_training_prefers_the_winners_more_and_the_record_names_its_parent(world: World, parent: Path, objective: str) -> None:  # noqa: F811
    settings = SETTINGS.model_copy(update={"objective": objective, "beta": 1.0})
    version, now = train(world, parent, winning(world, parent, 10), f"prefers_{objective}", settings)
    assert now and version.parent == "round_0" and version.figures["pairs"] == 60
    trained = version.curve[1:]
    assert trained[-1]["preferred"] > 0.9, "pairs are preferred more than the reference prefers them, not one by chance"
    assert trained[-1]["kl"] > 0 == version.curve[0]["kl"]


def test_the_ancestry_of_a_round_leads_to_what_supervision_began_with(world: World, parent: Path) -> None:  # noqa: F811
    train(world, parent, winning(world, parent, 10), "round_1")
    assert [found.name for found in ancestry(lambda name: parent / name, "round_1")] == ["round_1", "round_0", "pretrained"]


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_same_inputs_give_the_same_weights(world: World, parent: Path, objective: str) -> None:  # noqa: F811
    settings = SETTINGS.model_copy(update={"objective": objective, "sft_weight": 1.0, "preference_epochs": 2})
    feedback = winning(world, parent, 1)
    one, two = (train(world, parent, feedback, f"{objective}_{name}", settings)[0] for name in ("one", "two"))
    assert one.curve[-1]["kl"] > 0, "something was trained"
    assert (one.weights_sha256, one.figures, one.curve) == (two.weights_sha256, two.figures, two.curve)
    assert one.training["feedback"] and one.training["parent_sha256"] == read_record(parent / "round_0").weights_sha256


def test_a_round_that_only_harms_ends_where_it_began_and_says_so(world: World, parent: Path) -> None:  # noqa: F811
    before = read_record(parent / "round_0")
    version, _ = train(perfect(world, parent), parent, winning(world, parent, 10), "harmful")
    assert version.weights_sha256 == before.weights_sha256
    figures = version.figures
    assert figures["ended_where_it_began"] == 1 and figures["kept_epoch"] == 0 == figures["updates"]
    assert figures["ndcg_10_best_trained"] < figures["ndcg_10_before"] == 1.0
    assert figures["ndcg_10"] == figures["ndcg_10_before"]


def test_an_epoch_beyond_the_ceiling_of_divergence_ends_the_round_and_is_not_kept(world: World, parent: Path) -> None:  # noqa: F811
    settings = SETTINGS.model_copy(update={"kl_ceiling": 1e-4})
    version, _ = train(world, parent, winning(world, parent, 10), "ceiling", settings)
    assert len(version.curve) == 2 and version.curve[1]["kl"] > 1e-4 and not version.curve[1]["eligible"]
    assert version.figures["kept_epoch"] == 0


def test_a_round_stops_when_nothing_gets_better(world: World, parent: Path) -> None:  # noqa: F811
    impatient = SETTINGS.model_copy(update={"preference_patience": 1})
    version, _ = train(perfect(world, parent), parent, winning(world, parent, 10), "patient", impatient)
    assert [record["epoch"] for record in version.curve] == [0, 1]


def test_what_is_watched_after_the_llm_chooses_the_epoch(world: World, parent: Path) -> None:  # noqa: F811
    """The judge puts the list upside down, so that for it the worst list is the best: the epoch is chosen by what it makes of it."""
    asked: list[int] = []

    def upside_down(questions: Sequence[Question]) -> list[Answer]:
        asked.append(len(questions))
        return [
            Answer(q.question_id, "answered", "label", "fake", "hash", ranking=tuple(c.movie_id for c in reversed(q.candidates)))
            for q in questions
        ]

    settings = SETTINGS.model_copy(update={"watched_cases": 12})
    version, _ = train(world, parent, winning(world, parent, 10), "watched", settings, upside_down)
    assert asked == [12] * len(version.curve), "the same number of cases after every epoch, the start included"
    best = max(version.curve, key=lambda record: record[AFTER_LLM])
    assert version.figures["kept_epoch"] == best["epoch"] and version.figures[AFTER_LLM] == best[AFTER_LLM]
    assert version.figures[f"{AFTER_LLM}_before"] == version.curve[0][AFTER_LLM]


def test_without_feedback_the_round_is_its_parent(world: World, parent: Path) -> None:  # noqa: F811
    version, _ = train(world, parent, FEEDBACK.empty(), "empty")
    assert version.weights_sha256 == read_record(parent / "round_0").weights_sha256
    failed = winning(world, parent, 10).with_columns(status=pl.lit("failed"), reward=pl.lit(None, pl.Float64))
    assert train(world, parent, failed, "failed")[0].weights_sha256 == version.weights_sha256


def test_the_same_feedback_is_not_trained_twice(world: World, parent: Path) -> None:  # noqa: F811
    feedback = winning(world, parent, 10)
    train(world, parent, feedback, "again")
    assert not train(world, parent, feedback.with_columns(seconds=pl.lit(9.0)), "again")[1], "what a call cost teaches nothing"
    assert train(world, parent, feedback.head(60), "again")[1]


@pytest.mark.parametrize(("objective", "sets"), [("dpo", 2), ("lambda_credit", 3), ("pl_rloo", 4)])
def test_a_round_goes_from_feedback_to_a_version(world: World, parent: Path, objective: str, sets: int) -> None:  # noqa: F811
    """On-policy sets, ranked by a judge that knows the answer, through the real entry points."""
    targets = dict(world.cases.select("case_id", pl.col("targets").list.first()).iter_rows())

    def oracle(questions: Sequence[Question]) -> list[Answer]:
        found = []
        for question in questions:
            shown = [candidate.movie_id for candidate in question.candidates]
            shown.sort(key=lambda movie: movie != targets[question.question_id.split("#")[0]])
            found.append(Answer(question.question_id, "answered", "label", "oracle", "hash", ranking=tuple(shown)))
        return found

    settings = SETTINGS.model_copy(update={"objective": objective, "sets": sets, "sft_weight": 1.0, "preference_epochs": 1})
    feedback = feedback_of_round(
        parent / "round_0", 1, world.cases, movies(world), world.catalogue, world.encode, oracle, settings
    )
    assert feedback.group_by("case_id").len()["len"].unique().to_list() == [sets]
    version, _ = train(world, parent, feedback, f"whole_{objective}", settings)
    assert version.figures["contexts"] == 60 and version.curve[-1]["kl"] > 0


def test_objectives_are_compared_on_the_same_feedback_in_the_same_steps_and_only_while_it_teaches(
    world: World,  # noqa: F811
    parent: Path,
) -> None:
    few = ("dpo", "odds", "lambda_credit", "sft")
    settings = SETTINGS.model_copy(update={"objectives": few, "preference_epochs": 1, "sft_weight": 1.0, "rounds": 1})
    folder = parent / "compared"
    folder.mkdir()
    (folder / "round_0").symlink_to(parent / "round_0")

    def compare(feedback: pl.DataFrame) -> list[tuple[Version, bool]]:
        tables = world.cases, feedback, build_preferences(feedback), movies(world), world.catalogue, world.encode

        def trained(place: Path, settings: Settings, name: str) -> tuple[Version, bool]:
            return preference_round(place, folder / "round_0", 1, *tables, nobody, settings, print, name=name)

        return objective_versions(lambda name: folder / name, feedback, trained, settings, print)

    taught = winning(world, parent, 10)
    made = [version for version, now in compare(taught) if now]
    names = ["round_1_odds", "round_1_lambda_credit", "round_1_sft"]
    assert [version.name for version in made] == names == list(made_versions(lambda name: folder / name, settings))
    assert "dpo" not in settings.further_objectives and version_name("sft") == names[-1]
    assert len({(version.training["feedback"], version.figures["contexts"], len(version.curve)) for version in made}) == 1
    assert len({version.curve[-1]["kl"] for version in made}) == 3, "each objective taught something else"
    assert {version.parent for version in made} == {"round_0"}
    assert not any(now for _, now in compare(taught)), "kept while the feedback stays"
    assert compare(FEEDBACK.empty()) == []
    assert not made_versions(lambda name: folder / name, settings), "what other feedback taught is not read as this one's"
