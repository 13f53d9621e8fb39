"""IMDb's bulk files as IMDbPY reads them, beside ours: an independent reader of the same format, by people who know it."""

import subprocess
import sys
from pathlib import Path

import polars as pl

from rar_pipeline.corpus.sources import read_source
from tests.small_world import small_world

KINDS = ("movie", "tvMovie", "video")
CALLED = {"movie": "movie", "tv movie": "tvMovie", "video movie": "video"}  # IMDbPY's names of kinds


def test_imdbpys_reader_sees_the_same_movies(tmp_path: Path) -> None:
    import imdb

    folder = small_world(tmp_path / "world") / "imdb"
    database = f"sqlite:///{tmp_path / 'imdb.db'}"
    command = [sys.executable, str(Path(sys.executable).with_name("s32cinemagoer.py")), str(folder), database]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    theirs = imdb.IMDb("s3", database)

    files = {f"imdb/{path.name.removesuffix('.gz')}": path for path in folder.iterdir()}
    ours = read_source("imdb", files, KINDS).frame.filter(pl.col("directors").list.len() > 0).sample(60, seed=5)
    compared = 0
    for row in ours.iter_rows(named=True):
        film = theirs.get_movie(row["source_id"].removeprefix("tt"))
        assert film["title"] == row["title"]
        assert int(film["year"]) == row["year"]
        assert CALLED[film["kind"]] == row["kind"]
        # people without a row in name.basics have no name there
        directors, cast = (list(dict.fromkeys(filter(None, map(str, film.get(role, []))))) for role in ("director", "cast"))
        assert directors == row["directors"]
        assert cast[:10] == row["cast"]
        assert film.get("rating") == row["rating"]
        compared += len(cast) > 0
    assert compared > 30
