"""Runs imdb-sqlite as published, on a fresh database. `python -m benchmarks.run_imdb_sqlite PLACE CACHE DATABASE`."""

import runpy
import sys
from pathlib import Path

if __name__ == "__main__":
    place, cache, database = sys.argv[1:4]
    Path(database).unlink(missing_ok=True)
    sys.path.insert(0, place)
    sys.argv = ["imdb-sqlite", "--db", database, "--cache-dir", cache]
    runpy.run_module("imdb_sqlite", run_name="__main__")
