"""Which films most people care for, by the votes in IMDb's files: those are asked for first."""

from __future__ import annotations

from pathlib import Path

import duckdb

from rar_pipeline.errors import RarError
from rar_pipeline.sql import statement


def most_voted(raw: Path) -> list[str]:
    """IMDb ids of films, most votes first; none where IMDb's files have not been fetched yet. Raises RarError where they are damaged."""
    files = {
        name: next((path for path in sorted((raw / "imdb").glob(f"title.{name}.tsv*")) if path.is_file()), None)
        for name in ("basics", "ratings")
    }
    if not all(files.values()):
        return []
    con = duckdb.connect()
    try:
        parameters = {name: str(path) for name, path in files.items()}
        return [row[0] for row in con.execute(statement("harvest", "most_voted"), parameters).fetchall()]
    except duckdb.Error as error:
        raise RarError(f"{raw / 'imdb'}: {str(error).splitlines()[0]}; fetch IMDb's files again") from None
    finally:
        con.close()
