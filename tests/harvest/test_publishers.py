"""What each API says becomes what its reader reads: films with their ids, plots and people, and nothing that is not one."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from rar_pipeline.corpus.sources import read_source
from rar_pipeline.errors import RarError
from rar_pipeline.harvest.wikipedia import plot_of
from rar_pipeline.publishers import PUBLISHERS
from rar_pipeline.sources import paths
from tests.harvest.conftest import SECRET, World
from tests.loopback import Answer, Asked, Loopback, told

KINDS = ("movie", "tvMovie", "video")
SPARQL = "/query.wikidata.org/sparql"
TMDB = "/api.themoviedb.org/3/movie/"
EXPORT = "/files.tmdb.org/p/exports/movie_ids_"
PAGE = "/en.wikipedia.org/api/rest_v1/page/"


def rows(*films: dict[str, str]) -> Answer:
    bindings = [{name: {"value": value} for name, value in film.items()} for film in films]
    return told({"results": {"bindings": bindings}}, **{"Content-Type": "application/sparql-results+json;charset=utf-8"})


def item(number: int, imdb: str, **more: str) -> dict[str, str]:
    return {"item": f"http://www.wikidata.org/entity/Q{number}", "imdb": imdb, **more}


def wikidata(asked: Asked) -> Answer | None:
    if asked.path != SPARQL:
        return None
    if "1994-01-01" in asked.query["query"].split("&&")[0]:
        return rows(item(1, "tt0000001", enwiki="Lost (1994 film)", label="Lost"), item(2, "tt0000002"))
    if "1995-01-01" in asked.query["query"].split("&&")[0]:
        return rows(item(1, "tt0000001", enwiki="Lost (1994 film)", label="Lost"), item(3, "tt0000003", label="Third"))
    return rows()


def test_wikidata_is_asked_year_by_year_and_an_item_is_one_film(world: World, server: Loopback) -> None:
    server.answer = wikidata
    frame = world.gather("wikidata")
    assert world.records("wikidata/films.jsonl") == [
        {"item": "Q1", "imdb": "tt0000001", "enwiki": "Lost (1994 film)", "label": "Lost", "year": 1994},
        {"item": "Q2", "imdb": "tt0000002", "enwiki": None, "label": None, "year": 1994},
        {"item": "Q3", "imdb": "tt0000003", "enwiki": None, "label": "Third", "year": 1995},
    ]
    asked = len(server.requests)
    assert asked == datetime.now(UTC).year - 1888 + 2
    assert "wdt:P345" in server.requests[0].query["query"]
    read = read_source("wikidata", paths(frame), KINDS).frame
    assert read.select("wikidata_id", "imdb_id", "title", "year").rows() == [
        ("Q1", "tt0000001", "Lost", 1994),
        ("Q3", "tt0000003", "Third", 1995),
    ]
    assert world.gather("wikidata").equals(frame)
    assert len(server.requests) == asked, "nothing is asked for again"


def test_a_year_that_wikidata_cannot_answer_stays_as_it_was(world: World, server: Loopback, monkeypatch) -> None:
    server.answer = wikidata
    before = world.gather("wikidata")
    (world.raw / "answers" / "wikidata.sqlite").unlink()
    server.answer = lambda asked: Answer(status=500) if "1994-01" in asked.query["query"] else wikidata(asked)
    assert world.gather("wikidata").equals(before)
    assert "2 failed (first: 199" in world.lines[-1], "the year itself, and the year before that ends with it"


@pytest.fixture
def listed(world: World, imdb: list[str]) -> World:
    films = [
        {"item": "Q1", "imdb": "tt0000001", "enwiki": "AC/DC: Lost & Found?", "label": "Lost", "year": 1994},
        {"item": "Q2", "imdb": "tt0000002", "enwiki": "Signs", "label": "Signs", "year": 2002},
        {"item": "Q3", "imdb": "tt0000003", "enwiki": None, "label": "No article", "year": 2002},
        {"item": "Q4", "imdb": "tt0000099", "enwiki": "Deleted", "label": "Deleted", "year": 2002},
    ]
    world.put("wikidata/films.jsonl", "".join(json.dumps(film) + "\n" for film in films))
    return world


ARTICLE = """<!DOCTYPE html><html><head><title>x</title></head><body>
<section data-mw-section-id="0"><p><b>Lost</b> is a 1994 film.</p></section>
<section data-mw-section-id="1"><div class="mw-heading mw-heading2"><h2 id="Plot">Plot</h2></div>
<style>.x{}</style><figure><figcaption>A still</figcaption></figure>
<p>Jörg finds  a map.<sup class="mw-ref reference"><a>[1]</a></sup></p>
<section data-mw-section-id="2"><h3 id="Ending">Ending</h3><p>He loses it.</p></section></section>
<section data-mw-section-id="3"><h2 id="Cast">Cast</h2><p>Nobody</p></section></body></html>"""


def wikipedia(asked: Asked) -> Answer | None:
    if asked.path == f"{PAGE}summary/AC%2FDC%3A_Lost_%26_Found%3F":
        return told({"type": "standard", "title": "Lost (1994 film)", "extract": "Lost is a 1994 film directed by Ann Lee."})
    if asked.path == f"{PAGE}html/AC%2FDC%3A_Lost_%26_Found%3F":
        return Answer(ARTICLE.encode(), 200, {"Content-Type": "text/html; charset=utf-8"})
    if asked.path == f"{PAGE}summary/Signs":
        return Answer(status=302, headers={"Location": "Signs_%28film%29"})
    if asked.path == f"{PAGE}summary/Signs_%28film%29":
        return told({"type": "standard", "title": "Signs", "extract": "Signs is a 2002 film about a family and its field."})
    return None


def test_wikipedia_gives_the_plot_of_films_that_wikidata_lists(listed: World, server: Loopback) -> None:
    server.answer = wikipedia
    frame = listed.gather("wikipedia")
    pages = [path for path in server.paths() if path.startswith(PAGE)]
    assert pages[0] == f"{PAGE}summary/Signs", "the film with most votes comes first"
    assert f"{PAGE}summary/No_article" not in pages
    read = read_source("wikipedia", paths(frame), KINDS).frame
    assert read.select("source_id", "imdb_id", "wikidata_id", "title", "year", "directors", "plot").rows() == [
        ("Q1", "tt0000001", "Q1", "Lost", 1994, ["Ann Lee"], "Jörg finds a map. He loses it."),
        ("Q2", "tt0000002", "Q2", "Signs", 2002, [], "Signs is a 2002 film about a family and its field."),
    ]
    assert listed.gather("wikipedia").equals(frame)
    assert [path for path in server.paths() if path.startswith(PAGE)] == pages


def test_wikipedia_waits_for_wikidata(world: World, server: Loopback) -> None:
    assert world.gather("wikipedia").is_empty()
    assert "must be there first" in world.lines[-2]
    assert not [path for path in server.paths() if path.startswith(PAGE)]


@pytest.mark.parametrize(
    ("page", "plot"),
    [
        ("", ""),
        ("<html><body><section><h2>Cast</h2><p>x</p></section></body></html>", ""),
        ("<html><body><h2>Plot</h2><p>outside of any section</p></body></html>", ""),
        (
            "<html><body><section><h2>Plot <i>summary</i></h2><ul><li>One</li><li>Two</li></ul></section></body></html>",
            "One\nTwo",
        ),
        ("<section><h2>SYNOPSIS</h2><p>A &amp; B &lt;3</p><table><tr><td><p>box</p></td></tr></table></section>", "A & B <3"),
    ],
)
def test_the_plot_is_the_text_of_its_section(page: str, plot: str) -> None:
    assert plot_of(httpx.Response(200, content=page.encode())) == plot


def export(*films: dict[str, object]) -> Answer:
    return Answer(gzip.compress("".join(json.dumps(film) + "\n" for film in films).encode(), mtime=0))


def tmdb(asked: Asked) -> Answer | None:
    if asked.path.startswith(EXPORT):
        days = {f"{EXPORT}{datetime.now(UTC) - timedelta(back):%m_%d_%Y}.json.gz" for back in (2, 3)}
        films = [(10, 1.5, False), (11, 80.0, False), (12, 99.0, True), (13, 7.0, False)]
        listed = [{"id": number, "popularity": popular, "adult": adult} for number, popular, adult in films]
        return export(*listed) if asked.path in days else None
    if asked.path == f"{TMDB}13":
        return None
    number = int(asked.path.removeprefix(TMDB))
    people = [{"name": f"Actor {place}", "order": place, "character": "x"} for place in range(30, -1, -1)]
    crew = [{"name": "Ann Lee", "job": "Director"}, {"name": "Bo", "job": "Editor"}]
    return told(
        {
            **{"id": number, "imdb_id": f"tt00000{number}", "title": f"Film {number}", "original_title": "Ö", "adult": False},
            **{
                "release_date": "1994-05-06",
                "runtime": 0,
                "genres": [{"id": 1, "name": "Drama"}],
                "overview": "A story of some length.",
            },
            **{"budget": 5, "credits": {"cast": people, "crew": crew}},
        }
    )


@pytest.mark.parametrize("key", [SECRET, "0123456789abcdef0123456789abcdef"])
def test_tmdb_is_asked_for_what_its_export_lists_most_popular_first(world: World, server: Loopback, key: str) -> None:
    server.answer, world.keys = tmdb, {"TMDB_API_KEY": key}
    frame = world.gather("tmdb")
    details = [asked for asked in server.requests if asked.path.startswith(TMDB)]
    assert [asked.path for asked in details] == [f"{TMDB}11", f"{TMDB}13", f"{TMDB}10"], "adult films are not asked for"
    assert all(asked.query["append_to_response"] == "credits" for asked in details)
    assert all(
        key in (asked.headers.get("authorization", ""), asked.query.get("api_key"))
        or f"Bearer {key}" in asked.headers["authorization"]
        for asked in details
    )
    assert not any(
        "apikey" in asked.query or "authorization" in asked.headers for asked in server.requests if asked not in details
    )
    [ten, eleven] = world.records("tmdb/movies.jsonl")
    assert (ten["id"], eleven["id"]) == (10, 11)
    assert "budget" not in ten
    read = read_source("tmdb", paths(frame), KINDS).frame
    assert read.select("imdb_id", "tmdb_id", "title", "year", "directors", "genres", "runtime").rows()[0] == (
        *("tt0000010", 10, "Film 10", 1994),
        *(["Ann Lee"], ["Drama"], None),
    )
    assert read["cast"][0].to_list() == [f"Actor {place}" for place in range(10)]
    asked = len(details)
    world.gather("tmdb")
    assert len([1 for request in server.requests if request.path.startswith(TMDB)]) == asked, "not even for the film that is gone"
    assert not [path for path in world.raw.rglob("*") if path.is_file() and key.encode() in path.read_bytes()]


def test_a_film_that_tmdb_deletes_goes_and_one_that_leaves_the_export_stays(world: World, server: Loopback) -> None:
    server.answer = tmdb
    world.gather("tmdb")
    (world.raw / "answers" / "tmdb.sqlite").unlink()
    listed = export({"id": 11, "popularity": 3.0, "adult": False}, {"id": 20, "popularity": 1.0, "adult": False})
    gone = {f"{TMDB}11": told({"status_code": 34}, 404)}
    server.answer = lambda asked: listed if asked.path.startswith(EXPORT) else gone.get(asked.path) or tmdb(asked)
    world.gather("tmdb")
    assert [film["id"] for film in world.records("tmdb/movies.jsonl")] == [10, 20]


def test_tmdb_without_an_export_is_one_line(world: World, server: Loopback) -> None:
    with pytest.raises(RarError, match=r"no export of the last 7 days is there; name a mirror in RAR_SOURCES$"):
        world.gather("tmdb")
    assert len(server.requests) == 8


def test_omdb_stops_for_today_when_its_limit_is_reached(world: World, imdb: list[str], server: Loopback) -> None:
    said = {"Response": "False", "Error": "Request limit reached!"}

    def omdb(asked: Asked) -> Answer:
        if len(server.requests) > 1:
            return told(said, 401)
        return told({"imdbID": asked.query["i"], "Title": "A", "Year": "1994", "Plot": "N/A", "Poster": "x", "Response": "True"})

    server.answer = omdb
    world.gather("omdb")
    assert world.records("omdb/movies.jsonl") == [
        {"imdbID": imdb[0], "Title": "A", "Year": "1994", "Plot": "N/A", "Response": "True"}
    ]
    assert len(server.requests) == 2
    assert "2 left for the next run: OMDb: Request limit reached!" in world.lines[-1]
    server.answer = lambda asked: told({"Response": "False", "Error": "Incorrect IMDb ID."})
    world.gather("omdb")
    asked = len(server.requests)
    assert asked == 4, "the two that were left"
    world.gather("omdb")
    assert len(server.requests) == asked, "that there is no such film is remembered"
    assert len(world.records("omdb/movies.jsonl")) == 1


def test_without_a_key_nothing_is_asked_and_the_variable_is_named(world: World, imdb: list[str], server: Loopback) -> None:
    world.keys = {}
    for publisher in ("tmdb", "omdb"):
        assert world.gather(publisher).is_empty()
        assert f"{publisher}: {publisher.upper()}_API_KEY is not set" in world.lines[-2]
    assert server.requests == []
    world.put("omdb/movies.jsonl", '{"imdbID": "tt1", "Title": "A"}\n')
    assert world.gather("omdb").height == 1, "what came before the key went is not lost"


def test_the_terms_of_an_api_are_told_once(world: World, server: Loopback) -> None:
    server.answer = tmdb
    for _ in range(2):
        world.gather("tmdb")
    assert len([line for line in world.lines if f"Terms: {PUBLISHERS['tmdb'].terms}" in line]) == 1
