"""Raw files that benchmarks read: a folder of the publishers' layout, or the bundled sample world."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.measure import PROJECT, python, run
from rar_pipeline.errors import RarError

MIRROR = PROJECT.parent / "shared" / "data" / "mirror"
IMDB = ("title.basics", "title.ratings", "title.crew", "title.principals", "name.basics")


def add_files(parser: argparse.ArgumentParser) -> None:
    """The option --files."""
    parser.add_argument(
        "--files",
        type=Path,
        metavar="FOLDER",
        help="publishers' layout (imdb/title.basics.tsv.gz ...); else ../shared/data/mirror where it is there, else the sample world",
    )


@contextmanager
def raw_folder(chosen: Path | None) -> Iterator[Path]:
    """The folder that was chosen, the mirror, or the sample world written for as long as the block lasts."""
    if chosen is not None or MIRROR.is_dir():
        yield chosen or MIRROR
        return
    with TemporaryDirectory(prefix="rar-bench-") as folder:
        run(python("benchmarks.sample_world", folder))
        yield Path(folder) / "raw"


def imdb_files(folder: Path) -> dict[str, Path]:
    """Paths of IMDb's five files by their names without .tsv. Raises RarError naming the one that is missing."""
    found = {}
    for name in IMDB:
        paths = [path for path in (folder / "imdb" / f"{name}.tsv.gz", folder / "imdb" / f"{name}.tsv") if path.is_file()]
        if not paths:
            raise RarError(f"{folder / 'imdb' / name}.tsv.gz: no such file; expected IMDb's five files in the publisher's layout")
        found[name] = paths[0]
    return found
