"""OMDb: one answer a film, by IMDb id, films with most votes first. A free key answers 1,000 questions a day."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from rar_pipeline.errors import RarError
from rar_pipeline.harvest.client import (
    Api,
    Credentials,
    EnoughError,
    KeyRefusedError,
    Record,
    Upstream,
    harvest_records,
    record_of,
)
from rar_pipeline.harvest.votes import most_voted
from rar_pipeline.politeness import Log, Manners
from rar_pipeline.publishers import PUBLISHERS

_FIELDS = (
    *("imdbID", "Title", "Year", "Genre", "Director", "Actors", "Plot"),
    *("Runtime", "imdbRating", "imdbVotes", "Type", "Response"),
)


def harvest(raw: Path, upstream: Upstream, manners: Manners, today: date, log: Log) -> None:
    """Add to `omdb/movies.jsonl`. Raises KeyRefusedError for a key that OMDb does not take."""
    publisher = PUBLISHERS["omdb"]
    address = upstream.at(publisher.files[0].address or "")
    # OMDb takes its key in the address only
    credentials = Credentials(params={"apikey": upstream.keys[publisher.key]})
    keys = most_voted(raw)
    if not keys:
        log("omdb: left out for now, title.basics and title.ratings of IMDb must be there first; run again")
        return

    def ask(imdb_id: str) -> Record | None:
        response = api.get(address.format(id=imdb_id), also=frozenset({401}))
        if response.status_code in (404, 410):
            return None
        said = record_of(response)
        if response.status_code == 401:
            if "limit" in str(said.get("Error", "")).lower():
                raise EnoughError(f"OMDb: {said['Error']} The rest comes on another day")
            raise KeyRefusedError(f"{publisher.key}: OMDb does not take this key; check it")
        if said.get("Response") != "True":
            return None
        missing = [name for name in ("imdbID", "Title") if name not in said]
        if missing:
            raise RarError(f"the answer lacks the field {missing[0]!r}")
        return {name: said[name] for name in _FIELDS if name in said}

    with Api("omdb", raw, manners, upstream, log, credentials=credentials) as api:
        harvest_records(raw / "omdb" / "movies.jsonl", keys, ask, api, id_of="imdbID")
