from pathlib import Path

import polars as pl
import pytest

from rar_pipeline.corpus.merge import Merged, merge
from rar_pipeline.corpus.sources import SOURCES, read_source
from rar_pipeline.tables import CONFLICTS, MOVIES, SOURCE_MOVIES

from .publishers import write_all

KINDS = ("movie", "tvMovie", "video")


@pytest.fixture(scope="module")
def merged(tmp_path_factory: pytest.TempPathFactory) -> Merged:
    files = write_all(tmp_path_factory.mktemp("raw"))
    reads = [read_source(source, files, KINDS) for source in SOURCES]
    return merge(pl.concat([read.frame for read in reads]), pl.concat([read.excluded for read in reads]))


def claim(source: str, source_id: str, title: str, year: int | None, **facts: object) -> dict[str, object]:
    empty = {"genres": [], "directors": [], "cast": []}
    return {"source": source, "source_id": source_id, "title": title, "year": year, **empty, **facts}


def imdb(number: int, title: str, year: int, **facts: object) -> dict[str, object]:
    name = f"tt{number:07d}"
    return claim("imdb", name, title, year, imdb_id=name, kind="movie", **facts)


def merge_rows(*rows: dict[str, object], excluded: list[dict[str, object]] | None = None) -> Merged:
    return merge(SOURCE_MOVIES.frame(rows), SOURCE_MOVIES.frame(excluded or []))


def ids(result: Merged) -> list[str]:
    return result.movies["movie_id"].to_list()


def test_the_corpus_is_what_the_sources_agree_on(merged: Merged) -> None:
    assert merged.movies.schema == MOVIES.schema
    assert merged.conflicts.schema == CONFLICTS.schema
    assert ids(merged) == sorted(ids(merged))
    matrix = merged.movies.row(by_predicate=pl.col("movie_id") == "tt0133093", named=True)
    assert (matrix["tmdb_id"], matrix["movielens_id"], matrix["wikidata_id"]) == (603, 1, "Q83495")
    assert matrix["sources"] == ["imdb", "movielens", "tmdb", "wikidata", "wikipedia"]
    assert matrix["plot_source"] == "tmdb"
    assert matrix["plot"].startswith("A hacker & his friends")


def test_every_record_is_accounted_for(merged: Merged) -> None:
    assert sum(sum(ways.values()) for ways in merged.counts.values()) == 7 + 5 + 1 + 1 + 2 + 2 + 2 + 3


def test_a_title_that_is_left_out_does_not_come_back_through_another_source(merged: Merged) -> None:
    assert "tt0000001" not in ids(merged)
    assert "Carmencita" not in merged.movies["title"].to_list()
    assert merged.counts["movielens"]["left out: id of a title that is left out"] == 1


def test_people_tell_namesakes_of_one_year_apart(merged: Merged) -> None:
    # an article on another "Alien" of 1979 would share no cast; here IMDb's file knows no cast, so title and year decide
    assert merged.counts["wikipedia"] == {"matched by people": 1, "matched by title": 1}
    two = merge_rows(
        imdb(1, "Home", 2010, directors=["Ann Lee"]),
        claim("wikipedia", "Home (2010)", "Home", 2010, directors=["Bob Ray"], plot="x" * 90),
    )
    assert ids(two) == ["tt0000001", "wikipedia:Home (2010)"]


def test_titles_match_within_a_year_when_people_agree_and_years_only_when_they_are_the_same_otherwise() -> None:
    same = merge_rows(
        imdb(1, "The Long Road", 2010, directors=["Ann Lee"]),
        claim("wikipedia", "w", "Long Road, The", 2011, directors=["ANN LEE"]),
        claim("streaming", "netflix/s1", "The Long Road", 2016, directors=["Ann Lee"], cast=["X One", "Y Two"]),
    )
    assert ids(same) == ["streaming:netflix/s1", "tt0000001"]


def test_a_remake_by_others_is_another_film() -> None:
    films = merge_rows(
        imdb(1, "Carrie", 1976, directors=["Brian De Palma"]),
        claim("wikipedia", "c", "Carrie", 2013, directors=["Kimberly Peirce"]),
    )
    assert films.movies.height == 2


def test_a_wrong_year_is_overruled_where_director_and_cast_agree_and_told() -> None:
    result = merge_rows(
        imdb(1, "Old Film", 1988, directors=["Ann Lee"], cast=["X One", "Y Two"]),
        claim("streaming", "amazon_prime/s1", "Old Film", 2016, directors=["Ann Lee"], cast=["Y Two", "X One"]),
    )
    assert ids(result) == ["tt0000001"]
    assert result.conflicts.row(0) == ("tt0000001", "streaming", "amazon_prime/s1", "year", "1988", "2016")


def test_nothing_is_taken_from_a_record_that_could_be_either_of_two(merged: Merged) -> None:
    heroes = merged.movies.filter(pl.col("title") == "Hero")
    assert heroes.height == 2
    assert heroes["plot"].null_count() == 2
    assert merged.counts["streaming"]["matched by ambiguous"] == 1
    # the snapshot's running time tells which it is
    assert "ggplot2movies" in heroes.row(by_predicate=pl.col("movie_id") == "tt0033333", named=True)["sources"]


def test_records_without_ids_match_each_other_across_and_inside_sources() -> None:
    people = {"directors": ["Ann Lee"], "cast": ["X One", "Y Two"]}
    result = merge_rows(
        claim("wikipedia", "a", "Lost Reel", 1920, **people),
        claim("wikipedia", "b", "Lost Reel", 1921, **people),
        claim("streaming", "hulu/s3", "Lost Reel", 1920),
        claim("ggplot2movies", "7", "Lost Reel", 1920, runtime=70),
    )
    assert ids(result) == ["wikipedia:a"]


def test_two_ids_that_claim_one_film_are_told() -> None:
    result = merge_rows(
        imdb(1, "One", 2000),
        imdb(2, "Two", 2005),
        claim("tmdb", "55", "One", 2000, tmdb_id=55, imdb_id="tt0000001"),
        claim("movielens", "9", "Two", 2005, movielens_id=9, tmdb_id=55, imdb_id="tt0000002"),
    )
    assert ids(result) == ["tt0000001", "tt0000002"]
    told = result.conflicts.filter(pl.col("field") == "imdb_id").row(0, named=True)
    assert (told["source"], told["kept"], told["overruled"]) == ("movielens", "tt0000001", "tt0000002")
    # one film, one owner of the id
    assert result.movies["tmdb_id"].drop_nulls().to_list() == [55]


def test_a_short_of_the_same_name_catches_its_records() -> None:
    short = claim("imdb", "tt0000009", "Big Race", 1914, imdb_id="tt0000009", kind="short", cast=["X One", "Y Two"])
    result = merge_rows(
        imdb(1, "Other", 1914), claim("wikipedia", "w", "The Big Race", 1914, cast=["X One", "Y Two"]), excluded=[short]
    )
    assert ids(result) == ["tt0000001"]
    assert result.counts["wikipedia"] == {"left out: matches a title that is left out": 1}


def test_fields_follow_the_precedence_and_plots_need_some_length() -> None:
    result = merge_rows(
        imdb(1, "Film", 2000, cast=["Only One"], genres=["Drama"]),
        claim(
            "tmdb",
            "5",
            "Film!",
            2001,
            imdb_id="tt0000001",
            tmdb_id=5,
            cast=["A", "B", "C"],
            genres=["Comedy"],
            plot="Too short to say much.",
        ),
        claim(
            "omdb",
            "tt0000001",
            "Film",
            2000,
            imdb_id="tt0000001",
            plot="A summary that is long enough to tell what the film is about.",
        ),
    )
    film = result.movies.row(0, named=True)
    assert (film["title"], film["year"], film["genres"]) == ("Film", 2000, ["Drama"])
    assert film["cast"] == ["A", "B", "C"]
    assert film["plot_source"] == "omdb"


def test_other_titles_in_use_are_kept() -> None:
    result = merge_rows(
        imdb(1, "Se7en", 1995),
        claim("movielens", "47", "Seven", 1995, movielens_id=47, imdb_id="tt0000001", original_title="Se7en"),
    )
    assert result.aliases.rows() == [("tt0000001", "Seven")]


def test_the_corpus_does_not_depend_on_the_order_of_rows(tmp_path: Path, merged: Merged) -> None:
    files = write_all(tmp_path)
    reads = [read_source(source, files, KINDS) for source in reversed(SOURCES)]
    again = merge(pl.concat([read.frame.reverse() for read in reads]), pl.concat([read.excluded for read in reads]))
    one, other = tmp_path / "one.parquet", tmp_path / "other.parquet"
    merged.movies.write_parquet(one)
    again.movies.write_parquet(other)
    assert one.read_bytes() == other.read_bytes()
    assert again.conflicts.equals(merged.conflicts)


def test_every_field_tells_where_it_came_from_and_what_it_overruled(merged: Merged) -> None:
    told = merge_rows(
        imdb(1, "One", 2000, genres=["Drama"], runtime=100),
        claim("tmdb", "5", "ONE", 2003, imdb_id="tt0000001", tmdb_id=5, genres=["Comedy", "Drama"], plot="p" * 200, cast=["A B"]),
        claim("omdb", "tt0000001", "One", 2000, imdb_id="tt0000001", plot="o" * 200, cast=["A B"]),
    ).provenance
    rows = {row["field"]: row for row in told.iter_rows(named=True)}
    assert (rows["year"]["source"], rows["year"]["source_id"], rows["year"]["overruled"]) == ("imdb", "tt0000001", ["tmdb: 2003"])
    assert rows["genres"]["overruled"] == ["tmdb: Comedy, Drama"]
    assert (rows["tmdb_id"]["source"], rows["tmdb_id"]["overruled"]) == ("tmdb", [])
    assert rows["title"]["overruled"] == []  # letters' case is no contradiction
    assert (rows["plot"]["source"], rows["plot"]["overruled"]) == ("tmdb", ["omdb: " + "o" * 79 + "…"])
    assert rows["cast"]["overruled"] == []
    assert "original_title" not in rows
    # one row for every filled field of every movie (but a kind that no source tells), and plot_source says the same
    filled = merged.movies.select(
        pl.col(column).list.len() > 0 if isinstance(dtype, pl.List) else pl.col(column).is_not_null()
        for column, dtype in MOVIES.schema.items()
        if column not in ("movie_id", "imdb_id", "kind", "plot_source", "sources")
    )
    assert merged.provenance.filter(pl.col("field") != "kind").height == int(filled.sum().sum_horizontal().item())
    plots = merged.provenance.filter(field="plot").join(merged.movies, on="movie_id")
    assert (plots["source"] == plots["plot_source"]).all()


def test_names_are_compared_only_where_titles_agree_and_the_result_does_not_depend_on_the_order_of_rows(tmp_path: Path) -> None:
    files = write_all(tmp_path)
    reads = [read_source(source, files, KINDS) for source in SOURCES]
    claims = pl.concat([read.frame for read in reads])
    excluded = pl.concat([read.excluded for read in reads])
    one, other = merge(claims, excluded), merge(claims.sample(fraction=1, shuffle=True, seed=3), excluded.reverse())
    assert one.movies.equals(other.movies)
    assert one.provenance.equals(other.provenance)
    assert one.conflicts.equals(other.conflicts)


def test_a_title_spelt_nearly_the_same_needs_a_director_or_the_very_running_time() -> None:
    known = [
        imdb(1, "Mikres Afrodites", 1963, runtime=88),
        imdb(2, "Prometheus", 2012, directors=["Ridley Scott"], runtime=124),
        imdb(3, "Back Road Story Part 2", 1989, directors=["Ann Lee"], runtime=108),
    ]
    result = merge_rows(
        *known,
        claim("ggplot2movies", "1", "Mikres Aphrodites", 1963, runtime=88),
        claim("ggplot2movies", "2", "Mikres Aphrodites", 1963, runtime=99),  # another length: another film
        claim("streaming", "netflix/1", "Prometheus (4K UHD)", 2012, directors=["Ridley Scott"], runtime=124),
        claim("streaming", "netflix/2", "Prometheus: Crew Log", 2012, directors=["Ridley Scott"], runtime=7, genres=["Special"]),
        claim("streaming", "netflix/3", "Back Road Story Part 3", 1990, directors=["Ann Lee"]),
    )
    assert result.counts["ggplot2movies"] == {"matched by new": 1, "matched by similar title, running time": 1}
    assert result.counts["streaming"] == {
        "matched by similar title, director": 1,
        "left out: shorter than 40 minutes": 1,
        "matched by new": 1,
    }
    assert "streaming:netflix/3" in ids(result)


def test_a_long_title_of_one_year_is_one_film_although_the_casts_that_are_told_differ() -> None:
    result = merge_rows(
        imdb(1, "The Gas Pump Attendants", 1979, cast=["A One", "B Two"], directors=["Ann Lee"], runtime=86),
        imdb(2, "Home", 1979, cast=["C Three", "D Four"]),
        claim("wikipedia", "g", "The Gas Pump Attendants", 1979, cast=["E Five", "F Six"]),
        claim("wikipedia", "h", "Home", 1979, cast=["E Five", "F Six"]),
    )
    assert ids(result) == ["tt0000001", "tt0000002", "wikipedia:h"]


def test_without_explanations_the_movies_are_the_same(tmp_path: Path, merged: Merged) -> None:
    files = write_all(tmp_path)
    reads = [read_source(source, files, KINDS) for source in SOURCES]
    bare = merge(pl.concat([read.frame for read in reads]), pl.concat([read.excluded for read in reads]), explained=False)
    assert bare.movies.equals(merged.movies)
    assert bare.aliases.equals(merged.aliases)
    assert (bare.provenance.height, bare.placements.height, bare.conflicts.height) == (0, 0, 0)
