"""Wikipedia: the lead and the plot of every article on a film that Wikidata lists with an IMDb id, films with most votes first."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from urllib.parse import quote

import httpx

from rar_pipeline.errors import RarError
from rar_pipeline.files import json_lines
from rar_pipeline.harvest.client import Api, Record, Upstream, harvest_records, record_of
from rar_pipeline.harvest.votes import most_voted
from rar_pipeline.politeness import Log, Manners
from rar_pipeline.publishers import PUBLISHERS

HEADINGS = ("plot", "plot summary", "plot synopsis", "synopsis")


def harvest(raw: Path, upstream: Upstream, manners: Manners, today: date, log: Log) -> None:
    """Add to `wikipedia/articles.jsonl`: imdb, item, title, year, extract (the lead), plot; one line a film."""
    listed = raw / "wikidata" / "films.jsonl"
    if not listed.is_file():
        log("wikipedia: articles are left out for now, the list of films comes from Wikidata and must be there first; run again")
        return
    films = {film["imdb"]: film for _, film in json_lines(listed) if film and film.get("enwiki")}
    place = {imdb_id: place for place, imdb_id in enumerate(most_voted(raw))}
    keys = sorted(films, key=lambda imdb_id: (place.get(imdb_id, len(place)), imdb_id))
    address = upstream.at(next(file.address for file in PUBLISHERS["wikipedia"].files if file.live and file.address))

    def ask(imdb_id: str) -> Record | None:
        film = films[imdb_id]
        title = quote(film["enwiki"].replace(" ", "_"), safe="")
        summary = api.get(address.format(part="summary", title=title))
        if summary.status_code != 200:
            return None
        said = record_of(summary)
        if said.get("type") == "disambiguation":
            return None
        if "title" not in said or "extract" not in said:
            raise RarError("the answer lacks the field 'title' or 'extract'")
        page = api.get(address.format(part="html", title=title), accept="text/html")
        plot = plot_of(page) if page.status_code == 200 else ""
        return {
            **{"imdb": imdb_id, "item": film["item"], "title": said["title"], "year": film.get("year")},
            **{"extract": said["extract"], "plot": plot},
        }

    with Api("wikipedia", raw, manners, upstream, log) as api:
        harvest_records(raw / "wikipedia" / "articles.jsonl", keys, ask, api, id_of="imdb")


def plot_of(page: httpx.Response) -> str:
    """Plain text of the article's section on the plot, subsections included; empty where it has none."""
    from lxml import html

    tree = html.document_fromstring(page.content or b"<p/>", parser=html.HTMLParser(encoding="utf-8"))
    for heading in tree.iter("h2", "h3"):
        section = next(heading.iterancestors("section"), None)
        if section is None or " ".join(heading.text_content().split()).lower() not in HEADINGS:
            continue
        for aside in section.xpath('.//style | .//table | .//figure | .//sup[contains(@class, "reference")]'):
            aside.drop_tree()
        paragraphs = (" ".join(part.text_content().split()) for part in section.iter("p", "li"))
        return "\n".join(filter(None, paragraphs))
    return ""
