"""A sound table passes; each way of being wrong is found, named and shown, and stops what lies downstream."""

import os
import subprocess
import sys

import dagster as dg
import numpy as np
import polars as pl
import pytest

from rar_pipeline import tables
from rar_pipeline.corpus.sources import SOURCES
from rar_pipeline.errors import RarError
from rar_pipeline.expectations import MAY_BE_EMPTY, SUITES, expectations
from rar_pipeline.quality import CHECK, check_result, check_spec, validate

UNIT = (np.ones(tables.EMBEDDING_WIDTH) / np.sqrt(tables.EMBEDDING_WIDTH)).astype(np.float16)
TALK = {"dataset": "redial", "split": "test", "dialogue_id": "7"}
SCORED = {"dataset": "redial", "split": "test", "system": "popularity", "case_id": "7:1"}
MEAN = {"protocol": "fresh_turns", "scope": "all", "metric": "R@10"}
MATRIX = {"title": "The Matrix", "year": 1999, "rating": 8.7, "votes": 2, "runtime": 136, "genres": ["Sci-Fi"]} | {
    "plot": "A hacker wakes up.",
    "plot_source": "sample",
    "directors": ["Lana Wachowski"],
    "cast": ["Keanu Reeves"],
}
SOUND = {
    tables.RAW_FILES: [{"file": "imdb/a.tsv", "path": "imdb/a.tsv.gz", "bytes": 9, "sha256": "0f" * 32, "publisher": "imdb"}],
    tables.SOURCE_MOVIES: [
        {"source": "imdb", "source_id": "tt0133093", "imdb_id": "tt0133093", "kind": "movie", **MATRIX},
        {"source": "wikidata", "source_id": "Q1", "imdb_id": "tt0133094", "wikidata_id": "Q1", "title": "Öl & <3", "year": 1920},
        {
            "source": "wikipedia",
            "source_id": "x",
            "title": "Lost",
            "year": 1920,
            "plot": "A film.",
            "genres": ["Drama"],
            "cast": ["A"],
        },
    ],
    tables.MOVIES: [
        {"movie_id": "tt0133093", "imdb_id": "tt0133093", "kind": "movie", "sources": ["imdb", "streaming"], **MATRIX},
        {
            "movie_id": "wikidata:x",
            "title": "Lost <3 Film",
            "kind": "movie",
            "year": 1920,
            "genres": ["Drama"],
            "sources": ["wikidata"],
        },
    ],
    tables.PROVENANCE: [
        {"movie_id": "tt1", "field": "title", "source": "imdb", "source_id": "tt1", "overruled": []},
        {"movie_id": "tt1", "field": "year", "source": "imdb", "source_id": "tt1", "overruled": []},
        {"movie_id": "tt1", "field": "cast", "source": "omdb", "source_id": "tt1", "overruled": ["tmdb: A One"]},
    ],
    tables.CONFLICTS: [
        {"movie_id": "tt1", "source": "tmdb", "source_id": "603", "field": "year", "kept": "1999", "overruled": "2003"},
        {"movie_id": None, "source": "streaming", "source_id": "s1", "field": "movie", "kept": "tt1"},
    ],
    tables.TITLES: [{"key": "matrix", "movie_id": "tt0133093", "title": "The Matrix", "variant": "title", "votes": 0}],
    tables.ITEM_EMBEDDINGS: [{"movie_id": "tt0133093", "text_hash": "ab", "embedding": UNIT}],
    tables.DIALOGUES: [{**TALK, "turn": turn, "speaker": who, "text": "Hi"} for turn, who in ((0, "seeker"), (1, "recommender"))],
    tables.MENTIONS: [
        {
            **TALK,
            "turn": 1,
            "position": 0,
            "speaker": "seeker",
            "text": "Matrix",
            "movie_id": "tt0133093",
            "score": 1.0,
            "liked": 1,
        },
        {**TALK, "turn": 1, "position": 1, "speaker": "seeker", "text": "Matrrix", "score": 0.2},
    ],
    tables.CASES: [
        {**TALK, "case_id": "7:1", "turn": 1, "origin": "dialogue", "history": ["tt1"], "unlinked_targets": 1}
        | {"targets": ["tt2", "tt3"], "disliked": ["tt3"], "context": "Seeker: hi"},
        {**TALK, "case_id": "7:3", "turn": 3, "origin": "dialogue", "history": [], "unlinked_targets": 1}
        | {"targets": [], "disliked": [], "context": "Seeker: hi"},
    ],
    tables.JUDGE_CHECK: [
        {"dataset": "redial", "case_id": "7:1", "shown": shown, "status": status, "mode": "label", "candidates": ["tt1", "tt2"]}
        | {"scores": [2.0, 1.5], "targets": ["tt2"], "ranking": ["tt2"], "retriever": 0.63, "chance": 0.8, "judge": 1.0}
        for shown, status in (("retriever", "answered"), ("shuffled", "failed"))
    ],
    tables.FEEDBACK: [
        {"case_id": "7:1", "set_id": 0, "candidates": ["tt1", "tt2"], "status": "answered", "mode": "label", "reward": 0.5}
        | {"ranking": ["tt2", "tt1"]},
        {"case_id": "7:1", "set_id": 1, "candidates": ["tt1", "tt4"], "status": "skipped"},
    ],
    tables.PREFERENCES: [
        {"case_id": "7:1", "winner": ["tt1", "tt2"], "loser": ["tt1", "tt4"], "winner_reward": 0.5, "loser_reward": 0.5}
        | {"reason": "target"},
        {"case_id": "7:1", "winner": ["tt1", "tt2"], "loser": ["tt4", "tt1"], "reason": "target"},
    ],
    tables.RECOMMENDATIONS: [{**SCORED, "ranking": ["tt1", "tt2"], "unmatched": 0}, {**SCORED, "case_id": "7:3", "ranking": []}],
    tables.METRICS: [{**SCORED, "protocol": "cikm23", "dialogue_id": "7", "metric": "R@10", "value": 1.0, "weight": 1.0}],
    tables.LEADERBOARD: [{**SCORED, **MEAN, "value": 0.1, "low": 0.1, "high": 0.2, "standard_error": 0.0, "cases": 3}],
}


def sound(table: tables.Table) -> pl.DataFrame:
    return table.frame([{name: row[name] for name in row if name in table.schema} for row in SOUND[table]])


def broken(table: tables.Table, frame: pl.DataFrame) -> list[str]:
    return [result.name for result in validate(table, frame).results if not result.passed]


def test_every_suite_has_its_table():
    assert {table.name for table in SOUND} == set(SUITES)
    assert set(SUITES) <= {table.name for table in tables.TABLES}


@pytest.mark.parametrize("table", SOUND, ids=lambda table: table.name)
def test_a_sound_table_passes_and_an_empty_one_only_where_that_is_sound(table):
    verdict = validate(table, sound(table))
    assert [result for result in verdict.results if not result.passed] == []
    assert verdict.passed
    assert verdict.rows == len(SOUND[table])
    assert len(verdict.results) == len(expectations(table))
    assert broken(table, table.empty()) == ([] if table.name in MAY_BE_EMPTY else ["at least 1 row"])


def vectors(vector: np.ndarray) -> pl.Expr:
    return pl.lit(pl.Series([vector], dtype=tables.ITEM_EMBEDDINGS.schema["embedding"]))


NO_TEXT = pl.lit(None, pl.String)
NO_NUMBER = pl.lit(None, pl.Int64)
NOBODY = pl.lit([], pl.List(pl.String))
BROKEN = [
    (
        tables.RAW_FILES,
        {"sha256": pl.lit("unknown"), "bytes": pl.lit(0, pl.Int64)},
        {"sha256 is 64 hexadecimal digits", "bytes is at least 1"},
    ),
    (
        tables.MOVIES,
        {"movie_id": pl.lit("tt0133093"), "title": NO_TEXT, "kind": pl.lit("tvSeries"), "year": pl.lit(19, pl.Int64)}
        | {"rating": pl.lit(87.0), "plot": NO_TEXT, "imdb_id": pl.lit("133093")},
        {
            "movie_id is unique",
            "title has a value",
            "kind is one of movie, tvMovie, video, short, tvShort, tvSpecial",
            "year is at least 1870 and at most 2035 in at least 99.9 % of rows",
            "rating is at least 1 and at most 10",
            "plot has a value in at least 80 % of movies of texts",
            "no plots without source",
            "imdb_id is tt and at least seven digits",
            "imdb_id is unique",
            "no ids beside imdb",
        },
    ),
    # a file of IMDb's that was not joined, a merge that found nothing, entities that were not resolved
    (
        tables.MOVIES,
        {"genres": NOBODY, "directors": NOBODY, "cast": NOBODY, "runtime": NO_NUMBER, "rating": NO_NUMBER.cast(pl.Float64)},
        {
            "genres has a value in at least 70 % of movies",
            "directors has a value in at least 40 % of movies",
            "cast has a value in at least 20 % of movies",
            "runtime has a value in at least 50 % of movies",
            "rating has a value in at least 40 % of movies",
        },
    ),
    (
        tables.MOVIES,
        {"imdb_id": NO_TEXT, "tmdb_id": pl.lit(603, pl.Int64), "title": pl.lit("Tom &amp; Jerry"), "sources": NOBODY},
        {
            "imdb_id has a value in at least 50 % of movies",
            "tmdb_id is unique",
            "no markup in title in at least 99.7 % of rows",
            "a movie is known to a source",
        },
    ),
    (
        tables.MOVIES,
        {"title": pl.lit("Home"), "year": pl.Series([2010, 2011]), "directors": pl.lit(["Ann Lee"])},
        {"fewer than 0.7 % likely duplicates: same title, years one apart at most, shared people"},
    ),
    (
        tables.SOURCE_MOVIES,
        {"imdb_id": pl.lit("133093"), "year": NO_NUMBER, "cast": NOBODY, "plot": NO_TEXT},
        {
            "imdb_id is tt and at least seven digits",
            "year has a value in at least 90 % of records",
            "cast has a value in at least 20 % of the records of sources with credits",
            "plot has a value in at least 80 % of the records of sources that are made of texts",
        },
    ),
    (
        tables.SOURCE_MOVIES,
        {"source": pl.lit("imdb"), "kind": NO_TEXT, "imdb_id": NO_TEXT, "genres": NOBODY, "directors": NOBODY}
        | {"rating": NO_NUMBER.cast(pl.Float64)},
        {
            "kind has a value",
            "imdb_id has a value in at least 70 % of the records of sources that know IMDb's ids",
            "genres has a value in at least 60 % of the records of sources with genres",
            "directors has a value in at least 40 % of the records of sources with credits",
            "rating has a value in at least 40 % of the records of sources with ratings",
        },
    ),
    (
        tables.PROVENANCE,
        {"field": pl.lit("budget"), "source": pl.lit("rumour"), "overruled": pl.lit(["imdb: 1"])},
        {
            "(movie_id, field) is unique",
            "field is one of " + ", ".join(tables.MOVIES.schema),
            "source is one of " + ", ".join(SOURCES),
            "uncontested in at least 60 % of rows",
        },
    ),
    (tables.CONFLICTS, {"overruled": pl.col("kept")}, {"no conflicts that agree"}),
    (tables.TITLES, {"key": pl.lit(" ")}, {"key is not blank"}),
    (tables.ITEM_EMBEDDINGS, {"embedding": vectors(UNIT * 2)}, {"an embedding is of unit length"}),
    (tables.ITEM_EMBEDDINGS, {"embedding": vectors(UNIT * np.nan)}, {"norm has a value"}),
    (
        tables.DIALOGUES,
        {"turn": pl.lit(0, pl.Int64), "split": pl.Series(["train", "test"]), "speaker": pl.lit("Wizard")},
        {"(dialogue_id, turn) is unique", "a dialogue is in one split only", "speaker is one of seeker, recommender"},
    ),
    (
        tables.MENTIONS,
        {"movie_id": NO_TEXT, "score": pl.lit(1.5), "liked": pl.lit(2, pl.Int64)},
        {"movie_id has a value in at least 50 % of rows", "score is at least 0 and at most 1", "liked is one of 0, 1"},
    ),
    (
        tables.CASES,
        {"history": pl.col("targets"), "disliked": pl.lit(["tt9"]), "unlinked_targets": pl.lit(0, pl.Int64)},
        {"no targets seen before", "no disliked that are no targets", "a case asks for at least one movie"},
    ),
    (tables.CASES, {"targets": pl.concat_list("targets", "targets")}, {"no repeats in targets"}),
    (
        tables.JUDGE_CHECK,
        {"targets": pl.lit(["tt3"]), "scores": pl.lit([1.0]), "shown": pl.lit("sorted"), "fused": pl.lit(1.2)},
        {
            "a target is among the candidates",
            "no candidates without a score",
            "shown is one of retriever, shuffled",
            "fused is at least 0 and at most 1",
            "(case_id, shown) is unique",
        },
    ),
    (
        tables.FEEDBACK,
        {"status": pl.lit("failed"), "reward": pl.lit(1.5), "candidates": pl.lit(["tt1", "tt1"])},
        {
            "status is one of answered, skipped in at least 50 % of rows",
            "reward is at least 0 and at most 1",
            "no repeats in candidates",
        },
    ),
    (
        tables.PREFERENCES,
        {"loser_reward": pl.lit(0.9), "loser": pl.col("winner")},
        {
            "the winner's reward is not below the loser's",
            "no pairs of equal sets",
            "(case_id, winner, loser) is unique",
        },
    ),
    (
        tables.RECOMMENDATIONS,
        {"ranking": pl.lit(["tt1", "tt1"]), "split": pl.lit("train")},
        {"no repeats in ranking", "split is one of validation, test"},
    ),
    (tables.METRICS, {"value": pl.lit(1.01)}, {"value is at least 0 and at most 1"}),
    (tables.METRICS, {"value": pl.lit(float("nan"))}, {"value has a value"}),
    (
        tables.LEADERBOARD,
        {"low": pl.lit(0.15), "high": pl.lit(0.05), "cases": pl.lit(0, pl.Int64)},
        {"low is not above value", "value is not above high", "cases is at least 1"},
    ),
]


@pytest.mark.parametrize(
    ("table", "change", "names"), BROKEN, ids=lambda part: part.name if isinstance(part, tables.Table) else ""
)
def test_what_is_wrong_is_found_by_its_name_and_nothing_else_is(table, change, names):
    assert set(broken(table, sound(table).with_columns(**change))) == names


def test_an_odd_year_is_tolerated_and_still_counted():
    rows = [
        {"movie_id": f"m{n}", "title": "x", "kind": "movie", "plot": "p", "plot_source": "s", "year": 2000} for n in range(2000)
    ]
    rows[1234]["year"] = 2115
    (year,) = [result for result in validate(tables.MOVIES, tables.MOVIES.frame(rows)).results if "1870" in result.name]
    assert year.passed
    assert year.unexpected_count == 1
    assert year.unexpected_percent == pytest.approx(0.05)
    assert year.sample == [{"movie_id": "m1234", "year": "2115"}]


def test_at_most_five_offending_rows_are_shown_with_their_key_and_cut_text():
    rows = [{**TALK, "turn": turn, "speaker": "x" * 500, "text": "Hi"} for turn in range(40)]
    (result,) = [
        r for r in validate(tables.DIALOGUES, tables.DIALOGUES.frame(rows)).results if r.name.startswith("speaker is one")
    ]
    assert (result.unexpected_count, result.unexpected_percent) == (40, 100.0)
    assert [row["turn"] for row in result.sample] == ["0", "1", "2", "3", "4"]
    assert all(len(row["speaker"]) <= 60 for row in result.sample)


def test_doubled_keys_are_shown():
    frame = sound(tables.DIALOGUES).with_columns(turn=pl.lit(3, pl.Int64))
    (result,) = [r for r in validate(tables.DIALOGUES, frame).results if r.name == "(dialogue_id, turn) is unique"]
    assert result.unexpected_count == 2
    assert result.sample == [{"dialogue_id": "7", "turn": "3"}] * 2


def test_a_frame_of_another_shape_is_one_line():
    with pytest.raises(RarError, match="column 'title' is missing"):
        validate(tables.MOVIES, sound(tables.MOVIES).drop("title"))


def _chain(frame: pl.DataFrame, table: tables.Table = tables.MOVIES) -> list[dg.AssetsDefinition]:
    @dg.asset(name=table.name, check_specs=[check_spec(table.name, table)])
    def made() -> dg.MaterializeResult:
        return dg.MaterializeResult(check_results=[check_result(validate(table, frame))])

    @dg.asset(deps=[made])
    def downstream() -> None: ...

    return [made, downstream]


def test_a_sound_table_lets_downstream_run():
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(_chain(sound(tables.MOVIES)), instance=instance)
        assert result.success
        (evaluation,) = result.get_asset_check_evaluations()
        assert evaluation.passed
        assert evaluation.check_name == CHECK
        assert evaluation.metadata["rows"].value == 2
        assert evaluation.metadata["expectations_broken"].value == 0
        assert "failing_rows" not in evaluation.metadata
        assert len(result.get_asset_materialization_events()) == 2


def test_a_broken_table_stops_downstream_and_says_why():
    frame = sound(tables.MOVIES).with_columns(
        title=pl.when(pl.int_range(pl.len()) == 0).then(pl.col("title")), rating=pl.lit(99.0)
    )
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(_chain(frame), instance=instance, raise_on_error=False)
        assert not result.success
        assert instance.get_latest_materialization_event(dg.AssetKey("downstream")) is None
        (evaluation,) = result.get_asset_check_evaluations()
        assert not evaluation.passed
        assert evaluation.severity == dg.AssetCheckSeverity.ERROR
        assert evaluation.description == (
            "title has a value: 1 of 2 rows break it; rating is at least 1 and at most 10: 2 of 2 rows break it"
        )
        assert evaluation.metadata["expectations_broken"].value == 2
        assert "| wikidata:x |" in evaluation.metadata["failing_rows"].value
        records = [record.data for record in evaluation.metadata["expectations"].records]
        assert len(records) == len(expectations(tables.MOVIES))
        assert {"holds": False, "expectation": "title has a value", "observed": "1 of 2 rows break it"} | {
            "unexpected": 1,
            "unexpected_percent": 50.0,
        } in records


def test_each_partition_is_judged_by_itself():
    datasets = dg.StaticPartitionsDefinition(list(tables.DATASETS))

    @dg.asset(partitions_def=datasets, check_specs=[check_spec("dialogues", tables.DIALOGUES)])
    def dialogues(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        frame = sound(tables.DIALOGUES)
        verdict = validate(tables.DIALOGUES, frame if context.partition_key == "redial" else frame.clear())
        return dg.MaterializeResult(check_results=[check_result(verdict)])

    with dg.DagsterInstance.ephemeral() as instance:
        results = {
            name: dg.materialize([dialogues], partition_key=name, instance=instance, raise_on_error=False)
            for name in ("redial", "inspired")
        }
        assert results["redial"].success
        assert not results["inspired"].success
        (evaluation,) = results["inspired"].get_asset_check_evaluations()
        assert evaluation.description == "at least 1 row: 0 rows"


def test_great_expectations_is_imported_late_sends_nothing_and_leaves_nothing(tmp_path):
    code = (
        "import sys; from rar_pipeline import quality, tables;"
        "assert not {'great_expectations', 'pandas'} & set(sys.modules);"
        "import socket; socket.socket.connect = socket.getaddrinfo = None;"
        "print(quality.validate(tables.DIALOGUES, tables.DIALOGUES.empty()).passed)"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path), "HOME": str(tmp_path)}
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert (told.returncode, told.stdout) == (0, "False\n"), told.stderr
    assert "Calculating" not in told.stderr  # progress bars
    assert list(tmp_path.iterdir()) == []
