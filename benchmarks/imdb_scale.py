"""`python -m benchmarks.imdb_scale`: building `movies` from files of the size of IMDb's own: seconds and memory.

The files are made (see imdb_like.py), which takes longer than reading them; --keep leaves them for a second run.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.files import IMDB, imdb_files
from benchmarks.measure import alternate, python, run
from benchmarks.report import Row, command_line, show
from rar_pipeline.errors import RarError

LIMIT_MB = 6 * 1024


def compare(folder: Path, *, titles: int, principals: int, runs: int, with_peer: bool) -> list[Row]:
    """Rows of the benchmark over the files of `folder`, which are made where they are not all there."""
    if not _there(folder):
        made = run(python("benchmarks.imdb_like", titles, principals, folder))
        print(f"files made in {made.wall:,.0f} s", file=sys.stderr)
    packed = sum(path.stat().st_size for path in imdb_files(folder).values()) / 2**20
    with TemporaryDirectory(prefix="rar-bench-") as scratch:
        commands: dict[str, Sequence[str]] = {
            "ours": python("benchmarks.corpus_ours", folder, Path(scratch) / "movies.parquet", "explained")
        }
        if with_peer:
            commands["duckdb"] = python("benchmarks.corpus_duckdb", folder, Path(scratch) / "joined.parquet")
        taken = alternate(commands, runs)
    ours, peer = taken["ours"], taken.get("duckdb")
    work = (
        f"five files of {packed:,.0f} MiB (gz), {titles:,} titles, {principals:,} credits; ours makes `movies` of them; the peer scans and "
        "joins them with as much memory as it likes"
    )
    size = f"{titles / 1e6:g} million titles"
    against = "a bare DuckDB scan-and-join"
    return [
        Row.of(f"{size}, {name}", mine, other, ours.peak_mb, runs, unit=unit, goal=goal, against=against, work=work)
        for name, mine, other, unit, goal in (
            ("memory", ours.peak_mb, peer.peak_mb if peer else None, "MiB", f"ours < {LIMIT_MB:,}"),
            ("wall", ours.wall, peer.wall if peer else None, "s", "-"),
            ("CPU", ours.cpu, peer.cpu if peer else None, "s", "-"),
        )
    ]


def _there(folder: Path) -> bool:
    return all((folder / "imdb" / f"{name}.tsv.gz").is_file() for name in IMDB)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = command_line("Building `movies` from files of the size of IMDb's own: seconds and memory.")
    parser.set_defaults(runs=1)
    parser.add_argument("--titles", type=int, default=12_000_000, help="rows of title.basics")
    parser.add_argument("--principals", type=int, default=90_000_000, help="rows of title.principals")
    parser.add_argument("--folder", type=Path, help="where the files are made, or were made before; else a temporary folder")
    parser.add_argument("--keep", action="store_true", help="leave the files that were made in --folder")
    parser.add_argument("--without-peer", action="store_true", help="measure ours only")
    options = parser.parse_args(arguments)
    with TemporaryDirectory(prefix="rar-bench-") as scratch:
        folder = (options.folder or Path(scratch)).resolve()
        found = _there(folder)
        try:
            rows = compare(
                folder,
                titles=options.titles,
                principals=options.principals,
                runs=options.runs,
                with_peer=not options.without_peer,
            )
        except RarError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        finally:
            if not found and not options.keep:
                shutil.rmtree(folder / "imdb", ignore_errors=True)
    show(rows, as_json=options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
