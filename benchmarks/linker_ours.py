"""Ours: builds the Linker from a title index and links all mentions. `python -m benchmarks.linker_ours FOLDER`."""

import sys
from pathlib import Path

import polars as pl

from rar_pipeline.corpus.link import Linker


def main(folder: Path) -> None:
    """Read, build, link, write."""
    linker = Linker(pl.read_parquet(folder / "titles.parquet"))
    linker.link_many(pl.read_parquet(folder / "mentions.parquet")).write_parquet(folder / "links.parquet")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
