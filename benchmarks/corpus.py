"""`python -m benchmarks.corpus`: building `movies` from IMDb's five files, against a bare DuckDB scan-and-join and against imdb-sqlite."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import imdb_sqlite
from benchmarks.files import add_files, imdb_files, raw_folder
from benchmarks.measure import alternate, python
from benchmarks.report import Row, command_line, show
from rar_pipeline.errors import RarError

SCAN = (
    "ours reads, checks, tidies and merges the five files into `movies` (parquet) and the titles left out; `with provenance` also tells where each "
    "field came from and each record went; the peer scans and joins them into title, year, rating, votes, directors and cast (parquet)"
)
IMPORT = (
    "ours as above; the peer imports the same files (title.crew, which it does not read, left out) into SQLite with its indices"
)
EXPLAINED = "with provenance"


def compare(folder: Path, runs: int, *, with_sqlite: bool) -> list[Row]:
    """Rows of the benchmark over the files of `folder`."""
    imdb_files(folder)
    with TemporaryDirectory(prefix="rar-bench-") as scratch:
        commands: dict[str, Sequence[str]] = {
            "movies": python("benchmarks.corpus_ours", folder, Path(scratch) / "movies.parquet"),
            EXPLAINED: python("benchmarks.corpus_ours", folder, Path(scratch) / "movies.parquet", "explained"),
            "duckdb": python("benchmarks.corpus_duckdb", folder, Path(scratch) / "joined.parquet"),
        }
        if with_sqlite:
            try:
                commands["imdb-sqlite"] = imdb_sqlite.command(folder, Path(scratch))
            except RarError as error:
                print(f"left out: {error}", file=sys.stderr)
        taken = alternate(commands, runs)
    scan, importer = taken["duckdb"], taken.get("imdb-sqlite")
    bare, sqlite = "a bare DuckDB scan-and-join", f"imdb-sqlite {imdb_sqlite.VERSION}"
    rows = []
    for what in ("movies", EXPLAINED):
        ours, name = taken[what], "movies" if what == "movies" else f"movies {EXPLAINED}"
        for measured, mine, other, goal, against, work in (
            ("wall", ours.wall, scan.wall, "ratio <= 2.5", bare, SCAN),
            ("CPU", ours.cpu, scan.cpu, "ratio <= 2.5", bare, SCAN),
            ("CPU", ours.cpu, importer.cpu if importer else None, "ratio <= 0.125", sqlite, IMPORT),
        ):
            label = f"{name} {'from IMDb' if against == bare else 'against an import'}, {measured}"
            rows.append(Row.of(label, mine, other, ours.peak_mb, runs, unit="s", goal=goal, against=against, work=work))
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = command_line(
        "Building `movies` from IMDb's five files, against a bare DuckDB scan-and-join and against imdb-sqlite."
    )
    add_files(parser)
    parser.add_argument(
        "--without-imdb-sqlite", action="store_true", help="leave that peer out (it is fetched with pip on first use)"
    )
    options = parser.parse_args(arguments)
    try:
        with raw_folder(options.files) as folder:
            rows = compare(folder.resolve(), options.runs, with_sqlite=not options.without_imdb_sqlite)
    except RarError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    show(rows, as_json=options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
