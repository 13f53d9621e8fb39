"""TMDB: the ids of all films from its daily export, then one answer a film with its credits, most popular first."""

from __future__ import annotations

import re
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from rar_pipeline.errors import RarError
from rar_pipeline.fetch import download
from rar_pipeline.files import json_lines
from rar_pipeline.harvest.client import Api, Credentials, KeyRefusedError, Record, Upstream, harvest_records, record_of
from rar_pipeline.politeness import Log, Manners, RefusedError, shown
from rar_pipeline.publishers import PUBLISHERS, TMDB_EXPORT

DAYS_BACK = 7  # for which an export is looked for
CAST = 10
_FIELDS = ("id", "imdb_id", "title", "original_title", "release_date", "runtime", "adult", "overview")


def harvest(raw: Path, upstream: Upstream, manners: Manners, today: date, log: Log) -> None:
    """Add to `tmdb/movies.jsonl`. Raises KeyRefusedError for a key that TMDB does not take, RarError where no export is there."""
    publisher = PUBLISHERS["tmdb"]
    address = upstream.at(publisher.files[0].address or "")
    keys = _most_popular(_export(raw, upstream, manners, today, log))

    def ask(tmdb_id: str) -> Record | None:
        response = api.get(address.format(id=tmdb_id), also=frozenset({401}))
        if response.status_code == 401:
            raise KeyRefusedError(f"{publisher.key}: TMDB does not take this key; check it")
        return _trimmed(record_of(response)) if response.status_code == 200 else None

    with Api("tmdb", raw, manners, upstream, log, credentials=credentials(upstream.keys[publisher.key])) as api:
        harvest_records(raw / "tmdb" / "movies.jsonl", keys, ask, api, id_of="id")


def credentials(key: str) -> Credentials:
    """TMDB gives out two: a token, which goes into a header, and an older key of 32 hexadecimal digits, which goes into the address."""
    if re.fullmatch(r"[0-9a-f]{32}", key):
        return Credentials(params={"api_key": key})
    return Credentials(headers={"Authorization": f"Bearer {key}"})


def _export(raw: Path, upstream: Upstream, manners: Manners, today: date, log: Log) -> Path:
    """The most recent daily export of ids; TMDB writes it in the morning (UTC)."""
    for back in range(DAYS_BACK + 1):
        url = upstream.at(TMDB_EXPORT).format(date=f"{today - timedelta(back):%m_%d_%Y}")
        try:
            return download(url, raw / "tmdb" / "movie_ids.json.gz", manners=manners, log=log).path
        except RefusedError as error:
            if error.status not in (403, 404):
                raise
    raise RarError(f"{shown(url)}: no export of the last {DAYS_BACK} days is there; name a mirror in RAR_SOURCES")


def _most_popular(export: Path) -> list[str]:
    films = [film for _, film in json_lines(export) if film and not film.get("adult") and "id" in film]
    films.sort(key=lambda film: (-float(film.get("popularity") or 0), film["id"]))
    return [str(film["id"]) for film in films]


def _trimmed(said: Record) -> Record | None:
    """The part of an answer that the mirrors' layout has: all of it would be a hundred times as much. None for adult films."""
    missing = [name for name in ("id", "title", "credits") if name not in said]
    if missing:
        raise RarError(f"the answer lacks the field {missing[0]!r}")
    if said.get("adult"):
        return None
    shown_cast: list[dict[str, Any]] = sorted(said["credits"].get("cast", []), key=lambda part: part.get("order", 0))[:CAST]
    directors = [member for member in said["credits"].get("crew", []) if member.get("job") == "Director"]
    return {name: said.get(name) for name in _FIELDS} | {
        "genres": [{"name": genre["name"]} for genre in said.get("genres", [])],
        "credits": {
            "cast": [{"name": part["name"], "order": part.get("order", 0)} for part in shown_cast],
            "crew": [{"name": member["name"], "job": "Director"} for member in directors],
        },
    }
