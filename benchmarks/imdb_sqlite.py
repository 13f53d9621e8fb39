"""Peer: imdb-sqlite from PyPI, which imports IMDb's files into SQLite.

It is GPL-2.0, so it is neither imported nor shipped: it runs as its own process. It is fetched on first use
into a folder of its own, apart from the project's environment.
"""

from __future__ import annotations

import gzip
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.files import imdb_files
from benchmarks.measure import PROJECT, python
from rar_pipeline.errors import RarError

VERSION = "2.1.0"
PLACE = PROJECT / "benchmarks" / ".peers" / f"imdb-sqlite-{VERSION}"
# files that it wants and the corpus does not need: it would download those that are absent
UNUSED = {
    "title.akas": "titleId\tordering\ttitle\tregion\tlanguage\ttypes\tattributes\tisOriginalTitle\n",
    "title.episode": "tconst\tparentTconst\tseasonNumber\tepisodeNumber\n",
}


def command(folder: Path, scratch: Path) -> list[str]:
    """The command that imports the files of `folder` into a new database below `scratch`.

    Raises RarError where the package cannot be had.
    """
    if not (PLACE / "imdb_sqlite").is_dir():
        _fetch()
    cache = scratch / "imdb-sqlite"
    cache.mkdir()
    for name, path in imdb_files(folder).items():
        target = cache / f"{name}.tsv.gz"
        if path.suffix == ".gz":
            target.symlink_to(path.resolve())
        else:
            with path.open("rb") as plain, gzip.open(target, "wb") as packed:
                shutil.copyfileobj(plain, packed)
    for name, header in UNUSED.items():
        with gzip.open(cache / f"{name}.tsv.gz", "wt", encoding="utf-8") as packed:
            packed.write(header)
    return python("benchmarks.run_imdb_sqlite", PLACE, cache, cache / "imdb.db")


def _fetch() -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", str(PLACE)]
    done = subprocess.run(  # noqa: S603 - our own interpreter
        [*pip, f"imdb-sqlite=={VERSION}"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        shutil.rmtree(PLACE, ignore_errors=True)
        reason = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        raise RarError(f"imdb-sqlite {VERSION} cannot be fetched ({reason}); the rows against it have no peer")
