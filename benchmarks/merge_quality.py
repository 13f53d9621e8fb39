"""`python -m benchmarks.merge_quality`: how often entity resolution is right, told by records whose ids are taken away.

Records of TMDB and MovieLens carry IMDb ids. Some thousands of each are put back into the merge without any id, in the shapes that sources without
ids have (with people, with the running time alone, with three of the cast alone, with title and year alone); where the merge then puts them is
compared with the id. The catalogues whose shape they take are left out meanwhile, since a catalogue gives a movie to one of its records only.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from benchmarks.report import command_line
from rar_pipeline.corpus.merge import merge
from rar_pipeline.corpus.sources import SOURCES
from rar_pipeline.settings import load_settings
from rar_pipeline.tables import SOURCE_MOVIES

NOBODY = pl.lit([], dtype=pl.List(pl.String))
NO_MINUTES = pl.lit(None, dtype=pl.Int64)
# shape: the source whose records are taken, the source that they pose as, what they lose
SHAPES: dict[str, tuple[str, str, dict[str, pl.Expr]]] = {
    "people and running time": ("tmdb", "streaming", {}),
    "running time": ("tmdb", "ggplot2movies", {"directors": NOBODY, "cast": NOBODY}),
    "three of the cast": ("tmdb", "wikipedia", {"directors": NOBODY, "cast": pl.col("cast").list.head(3), "runtime": NO_MINUTES}),
    "title and year": ("movielens", "movielens", {"directors": NOBODY, "cast": NOBODY, "runtime": NO_MINUTES}),
}


def measure(corpus: Path, records: int, seed: int) -> pl.DataFrame:
    """One row a shape: records, and how many were right, wrong, ambiguous (named as such, nothing taken from them) or left alone."""
    claims = pl.concat(
        [
            pl.read_parquet(corpus / "source_movies" / f"dataset={source}" / "data.parquet", hive_partitioning=False)
            for source in SOURCES
        ]
    )
    excluded = pl.read_parquet(corpus / "excluded_movies" / "dataset=imdb" / "data.parquet", hive_partitioning=False)
    listed = claims.filter(source="imdb")["source_id"]
    known = claims.filter(pl.col("imdb_id").is_in(listed.implode())).sort("source", "source_id")
    taken = {
        source: known.filter(source=source).sample(fraction=1.0, shuffle=True, seed=seed) for source in ("tmdb", "movielens")
    }
    begun = dict.fromkeys(taken, 0)
    masked = []
    for shape, (source, posing, lost) in SHAPES.items():
        part = taken[source].slice(begun[source], records)
        begun[source] += records
        masked.append(
            part.with_columns(
                **lost,
                shape=pl.lit(shape),
                true_id="imdb_id",
                original=pl.col("source_id"),
                source=pl.lit(posing),
                source_id=pl.format("masked/{}", "source_id"),
                **{name: pl.lit(None, dtype=SOURCE_MOVIES.schema[name]) for name in ("imdb_id", "tmdb_id", "movielens_id")},
            )
        )
    asked = pl.concat(masked)
    away = pl.concat([rows.slice(0, begun[source]).select("source", "source_id") for source, rows in taken.items()])
    rest = claims.filter(~pl.col("source").is_in(["streaming", "ggplot2movies", "wikipedia"])).join(
        away, on=["source", "source_id"], how="anti"
    )
    found = merge(pl.concat([rest, asked.select(rest.columns)]), excluded).placements
    judged = asked.select("shape", "source", "source_id", "true_id").join(found, on=["source", "source_id"])
    outcome = (
        pl.when(pl.col("found_by") == "ambiguous")
        .then(pl.lit("ambiguous"))
        .when(pl.col("movie_id") == pl.col("true_id"))
        .then(pl.lit("right"))
        .when(pl.col("left_out").is_not_null() | (pl.col("found_by") == "new"))
        .then(pl.lit("alone"))
        .otherwise(pl.lit("wrong"))
    )
    counts = judged.with_columns(outcome=outcome).group_by("shape", maintain_order=True)
    return counts.agg(
        pl.len().alias("records"),
        *((pl.col("outcome") == name).sum().alias(name) for name in ("right", "wrong", "ambiguous", "alone")),
    ).with_columns(
        precision=pl.col("right") / (pl.col("right") + pl.col("wrong")),
        recall=pl.col("right") / pl.col("records"),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = command_line(__doc__.splitlines()[0].split(": ", 1)[1] if __doc__ else "")
    parser.add_argument(
        "--lake", type=Path, help="folder of a world's tables, for example lake/mirror; else that of the settings"
    )
    parser.add_argument("--records", type=int, default=4000, help="records of each shape")
    options = parser.parse_args(arguments)
    corpus = (options.lake or load_settings().root) / "corpus"
    if not (corpus / "source_movies").is_dir():
        print(f"error: {corpus}: no corpus there; materialise it first", file=sys.stderr)
        return 2
    rows = measure(corpus, options.records, load_settings().seed).to_dicts()
    if options.json:
        for row in rows:
            print(json.dumps(row))
        return 0
    print(f"{'what a record without ids tells':<28}" + "".join(f"{name:>11}" for name in list(rows[0])[1:]))
    for row in rows:
        print(
            f"{row['shape']:<28}"
            + "".join(f"{v:>11.4f}" if isinstance(v, float) else f"{v:>11,}" for v in list(row.values())[1:])
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
