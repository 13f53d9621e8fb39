"""The data-quality section: counts that add up, every figure also in words and in a table, text of the data harmless, old lakes told."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rar_pipeline import tables
from rar_pipeline.errors import RarError
from rar_pipeline.evaluation.corpus_records import CorpusRecords, read_records
from rar_pipeline.evaluation.data_quality import FIELDS, MOST_VOTES, NO_YEAR, as_json, data_quality
from rar_pipeline.evaluation.quality_plots import percent
from rar_pipeline.evaluation.quality_sections import blocks, verdicts
from rar_pipeline.evaluation.report import render_report, report_json

from .made_up import inputs
from .test_report import EVIL, Page

LEE = ["Ann Lee"]
FILMS = [
    {
        "movie_id": "tt1",
        "title": "Alien",
        "year": 1979,
        "votes": 900_000,
        "rating": 8.5,
        "sources": ["imdb", "tmdb"],
        "plot": "In space.",
    }
    | {"genres": ["Horror"], "directors": ["Ridley Scott"], "cast": ["Sigourney Weaver"], "runtime": 117},
    {
        "movie_id": "tt2",
        "title": "Home",
        "year": 2010,
        "votes": 9,
        "sources": ["imdb"],
        "directors": LEE,
        "genres": [],
        "cast": [],
    },
    {
        "movie_id": "tt3",
        "title": "Home",
        "year": 2011,
        "votes": 10,
        "sources": ["tmdb", "imdb"],
        "directors": LEE,
        "genres": [],
        "cast": [],
    },
    {"movie_id": "wikipedia:x", "title": EVIL, "sources": ["wikipedia"], "directors": [], "genres": [], "cast": []},
]
MOVIES = tables.MOVIES.frame(FILMS)
RESULT = {"column": "title", "unexpected_percent": 0.0, "unexpected_count": 0, "sample": []}
RECORDS = CorpusRecords(
    provenance=tables.PROVENANCE.frame(
        [
            {"movie_id": "tt1", "field": "plot", "source": "tmdb", "source_id": "348", "overruled": ["omdb: " + EVIL]},
            *(
                {"movie_id": f"tt{n}", "field": "title", "source": "imdb", "source_id": f"tt{n}", "overruled": []}
                for n in (1, 2, 3)
            ),
            {"movie_id": "wikipedia:x", "field": "title", "source": "wikipedia", "source_id": "x", "overruled": []},
        ]
    ),
    conflicts=tables.CONFLICTS.frame(
        [
            *(
                {
                    "movie_id": f"tt{n}",
                    "source": "movielens",
                    "source_id": str(n),
                    "field": "year",
                    "kept": "1",
                    "overruled": EVIL,
                }
                for n in (3, 2, 1)
            ),
            {"movie_id": None, "source": "tmdb", "source_id": "9", "field": "movie", "kept": None, "overruled": None},
        ]
    ),
    left_out=pl.DataFrame({"step": ["reading"], "source": ["imdb"], "reason": [EVIL], "rows": [17]}),
    verdicts=[
        {
            "table": "movies",
            "name": "movies",
            "part": None,
            "passed": False,
            "rows": 4,
            "results": [
                RESULT | {"name": "title has a value", "passed": True, "observed": "0 of 4 rows break it"},
                RESULT
                | {"name": "title is sane", "passed": False, "observed": "1 of 4 rows break it", "unexpected_count": 1}
                | {"unexpected_percent": 25.0, "sample": [{"movie_id": "wikipedia:x", "title": EVIL}]},
            ],
        },
        {"table": "source_movies", "name": "source_movies", "part": "imdb", "passed": True, "rows": 3, "results": []},
    ],
)


@pytest.fixture(scope="module")
def quality():
    return data_quality(MOVIES, RECORDS)


@pytest.fixture(scope="module")
def text(quality):
    return render_report(replace(inputs(conversations=6, movies=60), data_quality=quality))


def test_fields_are_counted_by_decade_with_those_without_a_year_last(quality):
    found = quality.by_decade
    assert found["bucket"].to_list() == ["1970s", "2010s", NO_YEAR]
    assert found["movies"].to_list() == [1, 2, 1]
    assert found["directors"].to_list() == [1, 1, 0]
    assert found["genres"].to_list() == [1, 0, 0]  # an empty list is no value
    assert found["year"].to_list() == [1, 1, 0]


def test_buckets_of_votes_end_below_a_power_of_ten(quality):
    assert quality.by_votes.select("bucket", "movies").rows() == [("none", 1), ("1 to 9", 1), ("10 to 99", 1), (MOST_VOTES, 1)]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(1870, 2030) | st.none(), st.integers(0, 10**7) | st.none()), min_size=1, max_size=40))
def test_every_movie_is_in_one_bucket_of_each_kind_and_one_combination(rows):
    films = [
        {"movie_id": f"m{i}", "title": "x", "year": y, "votes": v, "sources": ["imdb", "tmdb"][: 1 + i % 2]}
        for i, (y, v) in enumerate(rows)
    ]
    found = data_quality(tables.MOVIES.frame(films), CorpusRecords())
    for frame in (found.by_decade, found.by_votes, found.combinations):
        assert frame["movies"].sum() == len(rows)
        assert frame.height == frame[frame.columns[0]].n_unique()
    known = sum(row["movies"] * row["year"] for row in found.by_decade.to_dicts())
    assert known == pytest.approx(sum(year is not None for year, _ in rows))


def test_sources_overlap_whatever_the_order_they_are_listed_in(quality):
    assert quality.combinations.rows()[0] == (["imdb", "tmdb"], 2)
    assert quality.sources.rows() == [("imdb", 3, 1), ("tmdb", 2, 0), ("wikipedia", 1, 1)]


def test_shares_of_a_field_add_up_over_its_sources(quality):
    shares = quality.origins.group_by("field").agg(pl.sum("share"))
    assert shares["share"].to_list() == pytest.approx([1.0] * shares.height)
    assert quality.origins["field"].to_list() == ["title", "title", "plot"]  # in the order of the table
    assert quality.overruled.rows() == [("title", 4, 0), ("plot", 1, 1)]


def test_conflicts_are_shown_by_the_best_known_movies_and_those_without_a_movie_too(quality):
    assert quality.conflicts.select("field", "source", "rows").rows() == [("year", "movielens", 3), ("movie", "tmdb", 1)]
    years = quality.conflict_examples.filter(pl.col("field") == "year")
    assert years["movie"].to_list() == ["Alien (1979)", "Home (2011)", "Home (2010)"]
    assert quality.conflict_examples.filter(pl.col("field") == "movie").height == 1


def test_likely_duplicates_are_counted(quality):
    assert (quality.duplicates.height, quality.repeated) == (1, 1)
    assert as_json(quality)["likely_duplicates"]["share"] == 0.25


def test_the_same_figures_stand_in_the_json_beside_what_was_there(quality):
    found = json.loads(
        json.dumps(report_json(replace(inputs(conversations=6, movies=60), data_quality=quality)), allow_nan=False)
    )
    assert found["corpus"]["movies"] == 60
    assert {"by_decade", "by_votes", "combinations", "origins", "conflicts", "left_out", "expectations"} <= set(found["corpus"])
    assert found["corpus"]["by_decade"][0]["bucket"] == "1970s"


def test_text_of_the_data_is_shown_and_never_read(text):
    assert EVIL not in text
    assert len(Page(text).of("script")) == 1
    assert text.count("&lt;script&gt;") >= 4  # conflict, reason, failing row, and elsewhere


def test_every_figure_is_told_in_words_and_in_a_table(quality):
    drawn = [block for block in blocks(quality) if block.figure]
    assert len(drawn) == 4
    for block in drawn:
        (label,) = re.findall(r'aria-label="([^"]*)"', str(block.figure))
        assert block.title in label
        assert re.search(r"\d", label.removeprefix(block.title))
        assert block.grid.rows
        assert block.grid.caption
        assert all(len(row) == len(block.grid.columns) for row in block.grid.rows)


def test_the_section_is_accessible(text):
    page = Page(text)
    assert "#quality" in [attrs["href"] for attrs in page.of("a")]
    assert all("scope" in attrs for attrs in page.of("th"))
    assert len(page.of("caption")) == len(page.of("table"))
    assert not re.search(r"<caption><span></span>", text)


def test_failing_rows_are_shown_and_tables_that_were_not_judged_are_not(quality, text):
    (verdict,) = verdicts(quality)
    assert (verdict["title"], verdict["held"], verdict["all"]) == ("movies", 1, 2)
    (sample,) = verdict["samples"]
    assert sample.rows == [["wikipedia:x", EVIL]]
    assert "0 of 1 tables keep" in text


def test_an_older_lake_and_an_empty_corpus_are_still_a_section():
    bare = data_quality(tables.MOVIES.empty(), CorpusRecords())
    assert [block.title for block in blocks(bare) if block.figure]
    assert "Which source each field came from" not in [block.title for block in blocks(bare)]
    text = render_report(replace(inputs(conversations=6, movies=60), data_quality=bare))
    assert "No record contradicts" in text
    json.dumps(as_json(bare), allow_nan=False)


def test_percentages_claim_all_or_nothing_only_where_that_is_so():
    assert [percent(share) for share in (0.0, 0.0004, 0.5, 0.9999, 1.0)] == ["0", "<1", "50", ">99", "100"]


def test_records_are_read_from_beside_the_tables(tmp_path):
    assert read_records(tmp_path).provenance.is_empty()
    for folder, dropped in (
        ("corpus/source_movies/dataset=omdb", {"no id or title": 3}),
        ("corpus/movies", {"tmdb: left out: genre Short": 5}),
        ("preference/round_2_feedback/dataset=redial", {"failed": 7}),
    ):
        table = {"movies": "movies", "dataset=omdb": "source_movies"}.get(folder.split("/")[-1], "feedback")
        path = tmp_path / folder / "expectations.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"table": table, "passed": True, "rows": 1, "results": [], "dropped": dropped}))
    tables.PROVENANCE.frame([]).write_parquet(_made(tmp_path / "corpus" / "provenance") / "data.parquet")
    found = read_records(tmp_path)
    assert found.left_out.rows() == [("reading", "omdb", "no id or title", 3), ("merging", "tmdb", "genre Short", 5)]
    assert [(v["name"], v["part"]) for v in found.verdicts] == [
        ("source_movies", "omdb"),
        ("movies", None),
        ("round_2_feedback", "redial"),
    ]
    (tmp_path / "corpus" / "movies" / "expectations.json").write_text("{")
    with pytest.raises(RarError, match=r"corpus/movies/expectations.json: not a JSON object .*; materialise"):
        read_records(tmp_path)


def _made(folder):
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def test_every_field_of_the_map_is_a_column():
    assert set(FIELDS) <= set(tables.MOVIES.schema)
