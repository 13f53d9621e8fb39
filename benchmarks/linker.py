"""`python -m benchmarks.linker`: linking 50,000 mentions against the movies of the lake, against rapidfuzz over all titles."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.files import add_files, raw_folder
from benchmarks.measure import PROJECT, alternate, python, run
from benchmarks.report import Row, command_line, show
from rar_pipeline.errors import RarError
from rar_pipeline.settings import load_settings


def compare(files: Path, lake: Path, *, mentions: int, sample: int, runs: int) -> list[Row]:
    """Rows of the benchmark. The peer looks up `sample` mentions; its figure is that cost times `mentions` / `sample`, plus its start."""
    with TemporaryDirectory(prefix="rar-bench-") as scratch:
        run(python("benchmarks.linker_inputs", files, lake, mentions, scratch))
        movies = int((Path(scratch) / "movies").read_text(encoding="utf-8"))
        taken = alternate(
            {
                "ours": python("benchmarks.linker_ours", scratch),
                "start": python("benchmarks.linker_rapidfuzz", scratch, 0),
                "sample": python("benchmarks.linker_rapidfuzz", scratch, sample),
            },
            runs,
        )
    ours, start, some = taken["ours"], taken["start"], taken["sample"]
    work = (
        f"both start, read the titles and find, among {movies:,} movies, those of {mentions:,} different mentions (names of the data sets, then the "
        f"same with slips of the pen); the peer does {sample} and is extrapolated: start + {mentions:,} x the cost of one; it compares spelling only"
    )
    return [
        Row.of(
            f"linking {mentions:,} mentions, {kind}",
            mine,
            begun + max(all_in - begun, 0.0) * mentions / sample,
            ours.peak_mb,
            runs,
            unit="s",
            goal=goal,
            against=f"rapidfuzz extractOne over all titles ({sample} mentions, extrapolated)",
            work=work,
        )
        for kind, mine, begun, all_in, goal in (
            ("CPU", ours.cpu, start.cpu, some.cpu, "ours < 30 s"),
            ("wall", ours.wall, start.wall, some.wall, "-"),
        )
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = command_line("Linking mentions against the movies of the lake, against rapidfuzz over all titles.")
    add_files(parser)
    parser.add_argument(
        "--lake",
        type=Path,
        help="folder of a world's tables, for example lake/mirror; else the lake's folder for --files; without tables they are made of IMDb's files",
    )
    parser.add_argument("--mentions", type=int, default=50_000, help="how many different mentions are linked")
    parser.add_argument("--sample", type=int, default=50, help="mentions that the peer looks up")
    options = parser.parse_args(arguments)
    try:
        with raw_folder(options.files) as files:
            lake = options.lake or PROJECT / load_settings().model_copy(update={"sources": str(files)}).root
            rows = compare(files.resolve(), lake.resolve(), mentions=options.mentions, sample=options.sample, runs=options.runs)
    except RarError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    show(rows, as_json=options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
