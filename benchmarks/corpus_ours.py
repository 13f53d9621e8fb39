"""Ours: IMDb's five files to the table `movies` in parquet. `python -m benchmarks.corpus_ours FOLDER OUT.parquet`."""

import sys
from pathlib import Path

from benchmarks.files import imdb_files
from rar_pipeline.corpus.excluded import met
from rar_pipeline.corpus.merge import merge
from rar_pipeline.corpus.sources import read_source
from rar_pipeline.settings import Settings


def main(folder: Path, out: Path) -> None:
    """Read, tidy, merge, write: the code that the assets source_movies/imdb and movies call."""
    files = {f"imdb/{name}.tsv": path for name, path in imdb_files(folder).items()}
    read = read_source("imdb", files, Settings(_env_file=None).kinds)
    merge(read.frame, met(read.excluded.lazy(), read.frame)).movies.write_parquet(out)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
