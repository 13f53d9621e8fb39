"""Ours: IMDb's five files to the table `movies` in parquet. `python -m benchmarks.corpus_ours FOLDER OUT.parquet [explained]`."""

import sys
from pathlib import Path

from benchmarks.files import imdb_files
from rar_pipeline.corpus.excluded import met
from rar_pipeline.corpus.merge import merge
from rar_pipeline.corpus.sources import read_source


def main(folder: Path, out: Path, explained: bool = False) -> None:
    """Read, tidy, merge, write: the code that the assets source_movies/imdb and movies call."""
    files = {f"imdb/{name}.tsv": path for name, path in imdb_files(folder).items()}
    read = read_source("imdb", files, ("movie", "tvMovie", "video"))
    excluded, claims = met(read.excluded.lazy(), read.frame), [read.frame]
    del read  # as between two assets, the merge alone holds the records, and lets go of them before its results are made
    found = merge(claims.pop(), excluded, explained=explained)
    found.movies.write_parquet(out)
    if explained:
        for name in ("provenance", "placements", "conflicts"):
            getattr(found, name).write_parquet(out.with_stem(name))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), "explained" in sys.argv)
