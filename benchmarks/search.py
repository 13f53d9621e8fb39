"""`python -m benchmarks.search`: exact top-k over 300,000 vectors, against a bare product and topk, faiss's flat index, and LRURec's way."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks.measure import python, run
from benchmarks.report import Row, command_line, show
from rar_pipeline.errors import RarError

LENGTH = 50  # positions of a padded history
SEEN = 20  # movies of each history that the list leaves out
# batch, k, peer, goal of ours / peer
COMPARISONS = (
    (1, 20, "bare", "ratio <= 1.3"),
    (1, 100, "bare", "ratio <= 1.3"),
    (256, 20, "bare", "ratio < 1"),
    (256, 100, "bare", "ratio < 1"),
    (256, 20, "faiss", "ratio <= 0.333"),
    (256, 100, "faiss", "ratio <= 0.333"),
    (1, 20, "reference", "ratio <= 0.077 (13 x)"),
    (16, 20, "reference", "ratio <= 0.02 (50 x)"),
)
PEERS = {
    "bare": "queries @ vectors.T and topk: no bias, nothing left out, ties in any order",
    "faiss": "faiss IndexFlatIP: no bias, nothing left out",
    "reference": f"LRURec's evaluation: scores of all {LENGTH} positions, the last one's history masked and all of it sorted",
    "approximate": "inverted lists (rar_pipeline.retriever.approximate)",
}


def compare(*, items: int, hidden: int, runs: int, threads: int, clock: str, approximate: bool = False) -> list[Row]:
    """Rows of the benchmark: milliseconds a call, medians over the rounds, by the wall's clock or in CPU time of all threads."""
    cases = [*COMPARISONS, *((batch, 20, "approximate", "-") for batch in (1, 256) if approximate)]
    with TemporaryDirectory(prefix="rar-bench-") as scratch:
        plan, told = Path(scratch) / "plan.json", Path(scratch) / "told.json"
        work = {
            "items": items,
            "hidden": hidden,
            "length": LENGTH,
            "seen": SEEN,
            "rounds": runs,
            "threads": threads,
            "clock": clock,
        }
        plan.write_text(json.dumps(work | {"cases": [case[:3] for case in cases]}), encoding="utf-8")
        run(python("benchmarks.search_rounds", plan, told))
        taken = json.loads(told.read_text(encoding="utf-8"))
        plan.write_text(json.dumps(work | {"cases": [[256, 100, "ours"]], "rounds": 1}), encoding="utf-8")
        peak = run(python("benchmarks.search_rounds", plan, told)).peak_mb
    rows = []
    shape = (
        f"{items:,} vectors of {hidden} numbers, {threads} thread(s), one process, by turns; "
        f"ours adds a bias and leaves out {SEEN} seen movies a query"
    )
    for (batch, k, peer, goal), seconds in zip(cases, taken, strict=True):
        rows.append(
            Row.of(
                f"{peer}: batch {batch} top {k}, {clock}",
                median(seconds["ours"]) * 1000,
                median(seconds[peer]) * 1000 if seconds.get(peer) else None,
                peak,
                runs,
                unit="ms",
                goal=goal,
                against=PEERS[peer],
                work="; ".join([shape, *filter(None, [seconds["told"]])]),
            )
        )
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = command_line("Exact top-k search, against a bare product and topk, faiss's flat index, and LRURec's evaluation.")
    parser.add_argument("--items", type=int, default=300_000, help="vectors that are searched")
    parser.add_argument("--hidden", type=int, default=64, help="numbers in a vector")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="threads of every system")
    parser.add_argument(
        "--clock", choices=("wall", "cpu"), default="wall", help="cpu: time of all threads, for a machine that is not idle"
    )
    parser.add_argument("--approximate", action="store_true", help="also the approximate index, with its recall")
    options = parser.parse_args(arguments)
    if min(options.items, options.hidden, options.threads) < 1:
        parser.error("--items, --hidden and --threads: expected 1 or more")
    try:
        rows = compare(
            items=options.items,
            hidden=options.hidden,
            runs=options.runs,
            threads=options.threads,
            clock=options.clock,
            approximate=options.approximate,
        )
    except RarError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    show(rows, as_json=options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
