"""Peer: rapidfuzz.process.extractOne over all normalised titles, mention by mention. `python -m benchmarks.linker_rapidfuzz FOLDER MENTIONS`.

MENTIONS 0 loads and normalises only, so that the cost of one look-up can be told from the cost of starting. The year is not looked at and no
namesake is weighed: the peer does less.
"""

import sys
from pathlib import Path

import polars as pl
from rapidfuzz import fuzz, process

from rar_pipeline.corpus.normalise import normalise_title, split_year


def main(folder: Path, count: int) -> None:
    """Look up `count` mentions spread evenly over all."""
    keys = pl.read_parquet(folder / "titles.parquet")["key"].unique().to_list()
    mentions = pl.read_parquet(folder / "mentions.parquet")["text"]
    for text in mentions.gather_every(max(len(mentions) // max(count, 1), 1)).to_list()[:count]:
        process.extractOne(normalise_title(split_year(text)[0]), keys, scorer=fuzz.ratio, score_cutoff=90)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
