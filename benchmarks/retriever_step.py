"""`python -m benchmarks.retriever_step`: full training steps of the retriever over a large catalogue, against LRURec as the reference computes it."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks.measure import Usage, python, run
from benchmarks.report import Row, command_line, show
from rar_pipeline.errors import RarError

PEER = "reference"
GOALS = {  # how many times less than the peer's
    "exact float32": "8 x less",
    "exact bfloat16": "12 x less",
    "sampled": "40 x less",
    "sampled sparse": "100 x less (stretch)",
}
OURS_ONLY_GOAL = "less than 2 GiB"


@dataclass(frozen=True)
class Shape:
    """One training batch: histories of up to `length` places, of which `filled` are not padding."""

    batch: int
    length: int
    filled: float

    def __str__(self) -> str:
        return f"{self.batch} x {self.length}, {self.filled:.0%} filled"

    def peer_bytes(self, items: int) -> int:
        """What the reference needs: logits, their log-softmax and a gradient of that size."""
        return 3 * 4 * self.batch * self.length * (items + 1)


def compare(
    shapes: Sequence[Shape],
    alone: Sequence[Shape],
    ours: Sequence[str],
    *,
    items: int,
    hidden: int,
    negatives: int,
    steps: int,
    threads: int,
    runs: int,
) -> list[Row]:
    """Rows of the benchmark for our systems `ours`: `shapes` beside the peer, `alone` without it."""
    rows = []
    for shape in [*shapes, *alone]:
        with_peer = shape in shapes and _fits(shape.peer_bytes(items))
        systems = [*ours, *([PEER] if with_peer else [])]
        seen: dict[str, list[Usage]] = {name: [] for name in systems}
        for _ in range(runs):
            for name in systems:
                size = (
                    f"--items {items} --hidden {hidden} --batch {shape.batch} --length {shape.length} --filled {shape.filled} "
                    f"--negatives {negatives} --threads {threads} --steps {1 if name == PEER else steps}"
                )
                seen[name].append(_step(name, size.split()))
        taken = {
            name: Usage(median(u.wall for u in usages), median(u.cpu for u in usages), median(u.peak_mb for u in usages))
            for name, usages in seen.items()
        }
        work = (
            f"forward, backward, clipping and optimiser of LRURec over {items:,} items, hidden {hidden}, {threads} thread(s); start-up left out; "
            f"sampled: {negatives:,} negatives a step"
        )
        rows += [
            Row.of(
                f"step {shape}, {name} {measure}",
                1000 * getattr(taken[name], measure),
                1000 * getattr(taken[PEER], measure) if with_peer else None,
                taken[name].peak_mb,
                runs,
                unit="ms",
                goal=(GOALS[name] if shape in shapes else OURS_ONLY_GOAL) if measure == "cpu" else "-",
                against=f"the reference, {taken[PEER].peak_mb:,.0f} MiB" if with_peer else _absent(shape, items),
                work=work,
            )
            for name in ours
            for measure in ("cpu", "wall")
        ]
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = command_line("Full training steps of the retriever, against LRURec as the reference computes it.")
    parser.add_argument("--items", type=int, default=300_000, help="items of the catalogue")
    parser.add_argument("--hidden", type=int, default=64, help="width of the network")
    parser.add_argument("--batch", type=int, default=64, help="histories a step")
    parser.add_argument("--length", type=int, default=50, help="places of a history")
    parser.add_argument("--filled", type=float, default=0.5, help="part of the places that is not padding")
    parser.add_argument("--negatives", type=int, default=8192, help="sampled items a step")
    parser.add_argument("--steps", type=int, default=3, help="steps of ours a run; the peer takes one")
    parser.add_argument("--threads", type=int, default=1, help="of torch; with one, a busy machine spoils the CPU seconds least")
    parser.add_argument("--ours", nargs="+", choices=list(GOALS), default=list(GOALS), help="which of our losses")
    parser.add_argument("--without-peer", action="store_true", help="ours only: the peer takes 12 GiB at the default size")
    options = parser.parse_args(arguments)
    # what is asked for; conversations, whose histories are short; a batch for which the peer cannot be allocated
    shapes = [
        Shape(options.batch, options.length, options.filled),
        Shape(options.batch, min(20, options.length), min(0.15, options.filled)),
    ]
    alone = [Shape(4 * options.batch, options.length, options.filled)]
    if options.without_peer:
        shapes, alone = [], shapes + alone
    try:
        rows = compare(
            shapes,
            alone,
            options.ours,
            items=options.items,
            hidden=options.hidden,
            negatives=options.negatives,
            steps=options.steps,
            threads=options.threads,
            runs=options.runs,
        )
    except RarError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    show(rows, as_json=options.json)
    return 0


def _step(system: str, size: Sequence[str]) -> Usage:
    """Seconds of one step as the child tells them, peak memory as the operating system does."""
    with TemporaryDirectory(prefix="rar-bench-") as scratch:
        told = Path(scratch) / "told.jsonl"
        usage = run(python("benchmarks.retriever_step_run", system, *size, "--told", told))
        seconds = json.loads(told.read_text(encoding="utf-8"))
    return Usage(seconds["wall"], seconds["cpu"], usage.peak_mb)


def _absent(shape: Shape, items: int) -> str:
    return f"nothing: the reference was left out or had no room for its {shape.peer_bytes(items) / 2**30:.1f} GiB"


def _fits(needed: int) -> bool:
    """Whether so much memory is free, with a tenth to spare; taken to be where the system does not tell."""
    try:
        told = Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:
        return True
    free = next(int(line.split()[1]) << 10 for line in told.splitlines() if line.startswith("MemAvailable"))
    return needed * 1.1 < free


if __name__ == "__main__":
    sys.exit(main())
