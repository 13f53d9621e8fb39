"""`rar.duckdb` and the data dictionary: every table, every column explained, and nothing in them can go stale."""

import re
import subprocess
import sys
from pathlib import Path

import dagster as dg
import duckdb
import polars as pl
import pytest

from rar_pipeline import tables
from rar_pipeline.database import publish_database
from rar_pipeline.definitions import defs
from rar_pipeline.dictionary import COMMAND
from rar_pipeline.places import made_by, place

from .conftest import PROJECT

BROWSE = (PROJECT / "docs" / "browse.md").read_text(encoding="utf-8")
QUERIES = re.findall(r"```sql\n(.*?)```", BROWSE, flags=re.DOTALL)

MATRIX = {
    "movie_id": "tt0133093",
    "imdb_id": "tt0133093",
    "title": "The Matrix",
    "year": 1999,
    "kind": "movie",
    "votes": 1_900_000,
} | {
    "rating": 8.7,
    "genres": ["Action", "Sci-Fi"],
    "directors": ["Lana Wachowski", "Lilly Wachowski"],
    "cast": ["Keanu Reeves"],
    "plot": "A hacker wakes up.",
    "plot_source": "tmdb",
    "sources": ["imdb", "tmdb"],
}
TALK = {"dataset": "redial", "split": "test", "dialogue_id": "7"}
ROWS = {
    "movies": [MATRIX],
    "provenance": [
        {"movie_id": "tt0133093", "field": "plot", "source": "tmdb", "source_id": "603", "overruled": ["omdb: A man ..."]}
    ],
    "conflicts": [
        {"source": "tmdb", "source_id": "603", "field": "year", "movie_id": "tt0133093", "kept": "1999", "overruled": "2003"}
    ],
    "mentions": [{**TALK, "turn": 0, "position": 0, "text": "matrix", "movie_id": "tt0133093", "score": 1.0, "reason": "title"}],
    "cases": [{**TALK, "case_id": "7:1", "turn": 1, "context": "Seeker: hi", "targets": ["tt0133093"], "history": []}],
    "dialogues": [{**TALK, "turn": 0, "speaker": "seeker", "text": "I like the matrix"}],
    "feedback": [{"case_id": "7:1", "set_id": 0, "status": "answered", "reward": 0.5, "seconds": 1.0}],
    "leaderboard": [
        {"dataset": "redial", "split": "test", "protocol": "fresh_turns", "scope": "all", "system": "round_0", "metric": "R@10"}
        | {"value": 0.1, "low": 0.05, "high": 0.15, "cases": 1}
    ],
}


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake with a row in every table that people ask for, none in the others, and two rounds of two data sets."""
    root = tmp_path_factory.mktemp("l'ake")
    for table in tables.TABLES:
        frame = table.frame(ROWS.get(table.name, []))
        for number in (1, 12):
            for dataset in ("redial", "inspired"):
                words = {"round": number, "dataset": dataset, "publisher": "imdb", "source": "imdb"}
                path = root / re.sub("<([a-z]+)>", lambda found, words=words: str(words[found[1]]), place(table).file)
                path.parent.mkdir(parents=True, exist_ok=True)
                frame.write_parquet(path)
    publish_database(root, tables.TABLES)
    return root


@pytest.fixture
def rar(lake: Path):
    with duckdb.connect(str(lake / "rar.duckdb"), read_only=True) as con:
        yield con


def test_every_table_is_a_view_with_its_columns(rar):
    for table in tables.TABLES:
        found = rar.sql(f'SELECT * FROM "{table.name}"').pl()
        assert set(table.schema) <= set(found.columns), table.name


def test_every_view_and_every_column_is_explained(rar):
    columns = rar.sql("SELECT table_name, column_name, comment FROM duckdb_columns() WHERE database_name = 'rar'").fetchall()
    views = rar.sql("SELECT view_name, comment FROM duckdb_views() WHERE NOT internal").fetchall()
    assert len(columns) >= sum(len(table.columns) for table in tables.TABLES)
    assert len(views) == len(tables.TABLES)
    assert [row for row in (*columns, *views) if not row[-1]] == []


def test_rounds_are_one_view_that_says_which_round_and_data_set(rar):
    for name in ("feedback", "preferences"):
        assert rar.sql(f"SELECT * FROM {name}").columns[:2] == ["round", "dataset"]
    found = rar.sql("SELECT DISTINCT round, dataset FROM feedback ORDER BY ALL").fetchall()
    assert found == [(1, "inspired"), (1, "redial"), (12, "inspired"), (12, "redial")]
    assert rar.sql("SELECT round FROM feedback").types == ["BIGINT"]


def test_tables_that_a_lake_lacks_are_left_out_and_the_rest_is_there(tmp_path):
    path = tmp_path / "corpus" / "movies" / "data.parquet"
    path.parent.mkdir(parents=True)
    tables.MOVIES.frame([MATRIX]).write_parquet(path)
    assert publish_database(tmp_path, tables.TABLES) == ["movies"]


@pytest.mark.parametrize("number", range(len(QUERIES)))
def test_every_query_of_the_documentation_runs_and_answers(rar, number):
    assert rar.sql(QUERIES[number]).pl().height > 0


def test_there_are_queries_to_start_from():
    assert len(QUERIES) >= 5


def test_the_data_dictionary_is_what_the_tables_say():
    told = subprocess.run([sys.executable, "-m", "rar_pipeline.tables"], capture_output=True, text=True, check=True, cwd=PROJECT)
    kept = (PROJECT / "docs" / "data-dictionary.md").read_text(encoding="utf-8")
    assert kept == told.stdout, f"docs/data-dictionary.md is stale; run: {COMMAND}"
    for table in tables.TABLES:
        assert f"\n## {table.name}\n" in kept
        assert all(f"| `{column.name}` |" in kept for column in table.columns)


def test_every_table_is_made_by_an_asset_that_exists_where_the_lake_keeps_it():
    assets = {key.to_user_string() for key in defs.resolve_all_asset_keys()}
    for table in tables.TABLES:
        pattern = re.sub("<[a-z]+>", "[^/]+", place(table).asset)
        assert any(re.fullmatch(pattern, asset) for asset in assets), place(table).asset
        assert place(table).file.startswith(f"{table.stage}/")


@pytest.mark.parametrize(
    ("asked", "asset", "partition"),
    [
        ((tables.RAW_FILES, "imdb"), "raw/imdb", None),
        ((tables.SOURCE_MOVIES, "tmdb"), "source_movies/tmdb", None),
        ((tables.SOURCE_MOVIES, "imdb", "excluded_movies"), "source_movies/imdb", None),
        ((tables.ALIASES,), "movies", None),
        ((tables.CASES, "redial"), "cases", "redial"),
        ((tables.CASES, "chat"), "chat_cases", None),
        ((tables.MENTIONS, "redial", "unlinked_mentions"), "dialogues", "redial"),
        ((tables.FEEDBACK, "inspired", "round_1_feedback"), "round_1/feedback", "inspired"),
    ],
)
def test_who_made_a_file_is_told_by_key_and_partition(asked, asset, partition):
    assert made_by(*asked) == (f"{asset} (partition {partition})" if partition else asset)
    assert defs.resolve_asset_graph().get(dg.AssetKey(asset.split("/"))).is_partitioned == (partition is not None)


def test_types_are_told_in_words():
    kept = (PROJECT / "docs" / "data-dictionary.md").read_text(encoding="utf-8")
    assert not re.search(r"\| (List|Array|Int64|String)", kept)
    assert isinstance(tables.MOVIES.schema["cast"], pl.List)
