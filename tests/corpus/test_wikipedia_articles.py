"""A plot that an article tells beats its lead, and the article brings the ids that Wikidata knows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rar_pipeline.corpus.sources import read_source
from rar_pipeline.errors import RarError

KINDS = ("movie",)


def article(**more: object) -> str:
    record = {
        "imdb": "tt0000001",
        "item": "Q1",
        "title": "Lost (1994 film)",
        "year": 1994,
        "extract": "A lead.",
        "plot": "A story.",
    }
    return json.dumps(record | more) + "\n"


def test_articles_stand_beside_the_lists_of_films(tmp_path: Path) -> None:
    lists, articles = tmp_path / "movies-1990s.json", tmp_path / "articles.jsonl"
    lists.write_text(
        json.dumps([{"title": "Lost", "year": 1994, "cast": [], "genres": ["Drama"], "href": "Lost", "extract": "L."}])
    )
    directed = "Found is a 1995 film directed by Ann Lee and Bo Ray."
    articles.write_text(article() + article(imdb="tt0000002", item="Q2", title="Found", year=1995, plot="", extract=directed))
    files = {"wikipedia/movies-1990s.json": lists, "wikipedia/articles.jsonl": articles}
    read = read_source("wikipedia", files, KINDS)
    assert read.dropped == {}
    assert read.frame.select("source_id", "imdb_id", "wikidata_id", "title", "year", "directors", "plot").rows() == [
        ("Lost (1994)", None, None, "Lost", 1994, [], "L."),
        ("Q1", "tt0000001", "Q1", "Lost", 1994, [], "A story."),
        ("Q2", "tt0000002", "Q2", "Found", 1995, ["Ann Lee", "Bo Ray"], directed),
    ]


def test_articles_of_another_schema_are_named(tmp_path: Path) -> None:
    path = tmp_path / "articles.jsonl"
    path.write_text('{"qid": "Q1", "title": "Lost"}\n')
    with pytest.raises(RarError, match=r"articles\.jsonl: expected wikipedia/articles\.jsonl with column 'imdb'"):
        read_source("wikipedia", {"wikipedia/articles.jsonl": path}, KINDS)
