"""Wikidata: all films that have an IMDb id, from its query service, one question for the films published in a year."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from string import Template

from rar_pipeline.errors import RarError
from rar_pipeline.files import json_lines
from rar_pipeline.harvest.client import Api, Record, Upstream, answers, record_of, write_lines
from rar_pipeline.politeness import Log, Manners
from rar_pipeline.publishers import PUBLISHERS

FIRST_YEAR = 1888  # of Roundhay Garden Scene, the oldest film that is left
SECONDS = 75.0  # the service gives a question 60
ATTEMPTS = 3  # one that runs into the limit costs the service a minute each time

# film, and those of its subclasses that hold long films by the hundred: walking the whole tree (P279*) takes longer than the service allows
CLASSES = {
    "Q11424": "film",
    "Q24869": "feature film",
    "Q506240": "television film",
    "Q93204": "documentary film",
    "Q202866": "animated film",
    "Q29168811": "animated feature film",
    "Q20650540": "anime film",
    "Q226730": "silent film",
}
QUERY = """SELECT DISTINCT ?item ?imdb ?enwiki ?label WHERE {
  VALUES ?class { $classes }
  ?item wdt:P577 ?date ; wdt:P345 ?imdb ; wdt:P31 ?class .
  FILTER(?date >= "$year-01-01T00:00:00Z"^^xsd:dateTime && ?date < "$next-01-01T00:00:00Z"^^xsd:dateTime)
  FILTER(STRSTARTS(?imdb, "tt"))
  OPTIONAL { ?article schema:about ?item ; schema:isPartOf <https://en.wikipedia.org/> ; schema:name ?enwiki . }
  OPTIONAL { ?item rdfs:label ?label . FILTER(LANG(?label) = "en") }
}"""


def harvest(raw: Path, upstream: Upstream, manners: Manners, today: date, log: Log) -> None:
    """Write `wikidata/films.jsonl`: item, imdb, enwiki, label, year. Films of years that did not answer stay as they were."""
    target = raw / "wikidata" / "films.jsonl"
    address = upstream.at(PUBLISHERS["wikidata"].files[0].address or "")
    films: dict[int, list[Record]] = {}  # by year
    if target.is_file():
        for _, film in json_lines(target):
            if film:
                films.setdefault(film["year"], []).append(film)

    def ask(year: int) -> list[Record]:
        classes = " ".join(f"wd:{item}" for item in CLASSES)
        query = Template(QUERY).substitute(classes=classes, year=year, next=year + 1)
        response = api.get(address, {"query": query, "format": "json"}, accept="application/sparql-results+json")
        said = record_of(response)
        try:
            return [_film(row, year) for row in said["results"]["bindings"]]
        except (KeyError, TypeError) as error:
            raise RarError(f"films of {year}: the answer lacks {error}, expected SPARQL results") from None

    patient = replace(manners, timeout=max(SECONDS, manners.timeout), attempts=min(ATTEMPTS, manners.attempts))
    years = sorted(range(FIRST_YEAR, today.year + 2), key=lambda year: (year in films, -year))
    with Api("wikidata", raw, patient, upstream, log) as api:
        films.update(answers(years, ask, api, bare=not films))
    if films:
        write_lines(target, _once(films))


def _film(row: dict[str, dict[str, str]], year: int) -> Record:
    said = {name: cell["value"] for name, cell in row.items()}
    return {
        "item": said["item"].rsplit("/", 1)[-1],
        "imdb": said["imdb"],
        "enwiki": said.get("enwiki"),
        "label": said.get("label"),
        "year": year,
    }


def _once(films: dict[int, list[Record]]) -> Iterator[str]:
    """A line an item: one that was published in several years or has several ids is taken by its first."""
    kept: dict[str, Record] = {}
    for year in sorted(films):
        for film in sorted(films[year], key=lambda film: film["imdb"]):
            kept.setdefault(film["item"], film)
    for item in sorted(kept):
        yield json.dumps(kept[item], ensure_ascii=False)
