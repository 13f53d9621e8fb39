"""Versions are found, compared, loaded by name and asked, from a lake alone."""

import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

import rar_pipeline
from rar_pipeline.errors import RarError
from rar_pipeline.preference.rounds import preference_round
from rar_pipeline.retriever.rounds import pretrain, supervised_round
from rar_pipeline.settings import Settings
from rar_pipeline.tables import FEEDBACK, ITEM_EMBEDDINGS, MOVIES, PREFERENCES

from .retriever.conftest import World, genre_of, world  # noqa: F401  (a fixture)

SETTINGS = Settings(
    hidden=16, pretraining_epochs=2, epochs=1, batch=32, learning_rate=0.01, negatives=8, neighbours=5, pool=40,
    preference_epochs=1, preference_patience=1, preference_learning_rate=0.01,
)  # fmt: skip


@pytest.fixture(scope="module")
def lake(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    """A lake with a corpus and two versions."""
    root = tmp_path_factory.mktemp("lake")
    ids = list(world.catalogue.movie_ids)
    movies = MOVIES.frame({"movie_id": movie, "title": f"Film {movie}", "year": 2000} for movie in ids)
    vectors = pl.DataFrame({"movie_id": ids, "text_hash": ids, "embedding": world.catalogue.embeddings})
    for table, frame in ((MOVIES, movies), (ITEM_EMBEDDINGS, vectors)):
        path = root / table.stage / table.name / "data.parquet"
        path.parent.mkdir(parents=True)
        frame.write_parquet(path)
    folder = lambda name, part="redial": root / "retriever" / name / f"dataset={part}"  # noqa: E731
    made_of = world.catalogue, world.encode, SETTINGS, print
    pretrain(folder("pretrained", "all"), root / "attempts", world.cases, world.mentions, *made_of)
    supervised_round(folder("round_0"), root / "attempts", "redial", world.cases, folder("pretrained", "all"), *made_of)
    first = world.cases.filter(pl.col("split") == "train")[:20]
    answered = {"status": "answered", "reward": 1.0, "forced": False, "set_id": 0}
    rows = [
        {**answered, "case_id": case, "candidates": targets, "ranking": targets, "targets": targets}
        for case, targets in first.select("case_id", "targets").iter_rows()
    ]
    tables = world.cases, FEEDBACK.frame(rows), PREFERENCES.empty(), movies
    rest = world.catalogue, world.encode, lambda questions: [], SETTINGS, print
    preference_round(folder("round_1"), folder("round_0"), 1, *tables, *rest)
    return root


def test_a_loaded_version_finds_what_the_conversation_asks_for(world: World, lake: Path) -> None:  # noqa: F811
    retriever = rar_pipeline.load_retriever("redial", "round_1", lake=lake, encode=world.encode)
    assert (retriever.version.name, retriever.version.parent) == ("round_1", "round_0")
    found = retriever.search("Seeker: I like genre 4", history=["tt048", "tt049"], k=5)
    assert len(found) == 5 and {genre_of(movie.movie_id) for movie in found} == {4}
    assert not {"tt048", "tt049"} & {movie.movie_id for movie in found}
    assert found[0].title == f"Film {found[0].movie_id}"
    assert [movie.score for movie in found] == sorted((movie.score for movie in found), reverse=True)
    turns = retriever.search([("seeker", "I like genre 4")], history=["tt048", "tt049"], k=5)
    assert turns == found == retriever.search("I like genre 4", history=["tt048", "tt049"], k=5)


def test_versions_are_listed_oldest_first_and_compared_by_what_is_on_record(lake: Path) -> None:
    listed = rar_pipeline.versions("redial", lake=lake)
    assert [record.name for record in listed] == ["round_0", "round_1"]
    table = rar_pipeline.compare("redial", "round_0", "round_1", lake=lake)
    row = table.row(by_predicate=pl.col("figure") == "ndcg_10", named=True)
    assert row["round_0"] == listed[0].figures["ndcg_10"] and row["round_1"] == listed[1].figures["ndcg_10"]
    assert row["difference"] == pytest.approx(row["round_1"] - row["round_0"])
    assert rar_pipeline.versions("inspired", lake=lake) == []


def test_mistakes_are_told_in_one_line_with_what_there_is(world: World, lake: Path) -> None:  # noqa: F811
    with pytest.raises(RarError, match="no version 'round_9' of 'redial'; there are round_0, round_1"):
        rar_pipeline.load_retriever("redial", "round_9", lake=lake)
    with pytest.raises(RarError, match="there are none"):
        rar_pipeline.compare("reddit", "round_0", "round_1", lake=lake)
    retriever = rar_pipeline.load_retriever("redial", "round_0", lake=lake, encode=world.encode)
    with pytest.raises(RarError, match="'tt999' is no movie_id"):
        retriever.search("Seeker: hi", history=["tt999"])
    with pytest.raises(RarError, match="at least 1"):
        retriever.search("Seeker: hi", k=0)


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys, rar_pipeline; print(any(name in sys.modules for name in ('torch', 'polars', 'pydantic', 'dagster')))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
    with pytest.raises(AttributeError):
        rar_pipeline.load_nothing  # noqa: B018
