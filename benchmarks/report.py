"""Rows of a benchmark: a table for people, or JSON, one object a row."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Row:
    """One comparison. `ours` and `peer` are medians in `unit`; `ratio` is ours / peer; None where the peer cannot be had here."""

    name: str
    ours: float
    peer: float | None
    ratio: float | None
    peak_mb: float  # ours, MiB
    runs: int
    unit: str
    goal: str
    against: str  # the peer
    work: str  # what both did

    @classmethod
    def of(
        cls,
        name: str,
        ours: float,
        peer: float | None,
        peak_mb: float,
        runs: int,
        *,
        unit: str,
        goal: str,
        against: str,
        work: str,
    ) -> Row:
        """A row with its ratio."""
        ratio = ours / peer if peer else None
        return cls(
            name,
            round(ours, 3),
            None if peer is None else round(peer, 3),
            None if ratio is None else round(ratio, 4),
            round(peak_mb, 1),
            runs,
            unit,
            goal,
            against,
            work,
        )


def command_line(description: str) -> argparse.ArgumentParser:
    """The options that all benchmarks have."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object a row instead of a table")
    parser.add_argument("--runs", type=_at_least_one, default=3, help="rounds; every figure is the median over them")
    return parser


def show(rows: Sequence[Row], *, as_json: bool) -> None:
    """Print the rows."""
    if as_json:
        for row in rows:
            print(json.dumps(asdict(row)))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title="medians; ratio = ours / peer", title_justify="left")
    for heading in ("what", "ours", "peer", "ratio", "goal", "peak MiB", "runs"):
        words = heading in ("what", "goal")
        table.add_column(heading, justify="left" if words else "right", overflow="fold", no_wrap=not words)
    for row in rows:
        peer = "-" if row.peer is None else f"{row.peer:,.2f} {row.unit}"
        ratio = "-" if row.ratio is None else f"{row.ratio:.3g}"
        what = f"{row.name}\n[dim]against {row.against}[/dim]"
        table.add_row(what, f"{row.ours:,.2f} {row.unit}", peer, ratio, row.goal, f"{row.peak_mb:,.0f}", str(row.runs))
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(table)
    for name, work in dict.fromkeys((row.name.rsplit(",", 1)[0], row.work) for row in rows):
        console.print(f"{name}: {work}", highlight=False)


def _at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("expected 1 or more")
    return number
