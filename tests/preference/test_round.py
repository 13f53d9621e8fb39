"""A preference round raises what won, keeps the start where nothing helped, and is kept itself while its inputs stay."""

from pathlib import Path

import polars as pl
import pytest

from rar_pipeline.preference.rounds import ancestry, preference_round
from rar_pipeline.retriever.examples import build_queries
from rar_pipeline.retriever.rounds import pretrain, supervised_round
from rar_pipeline.retriever.search import build_index, search
from rar_pipeline.retriever.version import load, read_record
from rar_pipeline.settings import Settings
from rar_pipeline.tables import PREFERENCES

from ..retriever.conftest import World, world  # noqa: F401  (a fixture)

SETTINGS = Settings(
    hidden=16, pretraining_epochs=2, epochs=1, batch=32, learning_rate=0.01, negatives=8, neighbours=5, pool=40, candidates=4,
    preference_epochs=8, sft_weight=0.0, preference_learning_rate=0.02,
)  # fmt: skip


@pytest.fixture(scope="module")
def parent(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    folder = tmp_path_factory.mktemp("rounds")
    made_of = world.catalogue, world.encode, SETTINGS, print
    pretrain(folder / "pretrained", folder / "attempts", world.cases, world.mentions, *made_of)
    supervised_round(folder / "round_0", folder / "attempts", "redial", world.cases, folder / "pretrained", *made_of)
    return folder


def preferences(world: World, parent: Path, winners: int) -> pl.DataFrame:  # noqa: F811
    """For every training case: movies at places 10 to 13 of the present list win over those at places 0 to 3."""
    retriever, version = load(parent / "round_0")
    cases = world.cases.filter(pl.col("split") == "train").head(60)
    queries = build_queries(cases, world.catalogue, world.encode, turns=6, max_history=50)
    found, _ = search(build_index(retriever, world.catalogue, version.known), queries, 40)
    ids = [[world.catalogue.movie_ids[row] for row in rows] for rows in found]
    rows = [
        {
            "case_id": case_id,
            "winner": movies[winners : winners + 4],
            "loser": movies[:4],
            "winner_reward": 1.0,
            "loser_reward": 0.0,
            "reason": "judge",
        }
        for case_id, movies in zip(cases["case_id"], ids, strict=True)
    ]
    return PREFERENCES.frame(rows)


def train(world: World, parent: Path, pairs: pl.DataFrame, name: str = "round_1") -> tuple[object, bool]:  # noqa: F811
    return preference_round(
        parent / name, parent / "round_0", 1, world.cases, pairs, world.catalogue, world.encode, SETTINGS, print
    )


def test_training_prefers_the_winners_more_and_the_record_names_its_parent(world: World, parent: Path) -> None:  # noqa: F811
    version, now = train(world, parent, preferences(world, parent, 10))
    assert now and version.parent == "round_0" and version.figures["pairs"] == 60
    trained = [record["preferred"] for record in version.curve if "preferred" in record]
    assert trained[-1] > 0.9, "pairs are preferred more than the reference prefers them, not one by chance"
    assert version.curve[-1]["kl"] > 0
    assert [found.name for found in ancestry(lambda name: parent / name, "round_1")] == ["round_1", "round_0", "pretrained"]


def test_a_round_that_only_harms_ends_where_it_began(world: World, parent: Path) -> None:  # noqa: F811
    version, _ = train(world, parent, preferences(world, parent, 30), "harmful")
    assert version.figures["ndcg_10"] >= version.figures["ndcg_10_before"] - 1e-9


def test_without_pairs_the_round_is_its_parent(world: World, parent: Path) -> None:  # noqa: F811
    version, _ = train(world, parent, PREFERENCES.empty(), "empty")
    assert version.weights_sha256 == read_record(parent / "round_0").weights_sha256


def test_the_same_pairs_are_not_trained_twice(world: World, parent: Path) -> None:  # noqa: F811
    pairs = preferences(world, parent, 10)
    train(world, parent, pairs, "again")
    assert not train(world, parent, pairs, "again")[1]
    assert train(world, parent, pairs.head(30), "again")[1]
