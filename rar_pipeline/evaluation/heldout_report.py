"""The report of an evaluation on held-out files: one self-contained page, and a table for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rar_pipeline.evaluation.grids import format_count, format_figure, format_share
from rar_pipeline.evaluation.report import NAMES

if TYPE_CHECKING:
    from rich.table import Table

SHOWN = ("R@1", "R@5", "R@10", "R@20", "R@50", "N@5", "N@10", "MRR@10")
HEADLINE = "N@10"
SCOPES = {"all": "every case that a system answered", "judged": "the cases that every system answered"}


def boards(results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One table a scope: systems by the headline metric, best first, each with its rows of `results` by metric."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for row in results:
        found.setdefault(row["scope"], {}).setdefault(row["system"], {})[row["metric"]] = row
    return [
        {"scope": scope, "systems": sorted(systems.items(), key=lambda pair: (-pair[1][HEADLINE]["value"], pair[0]))}
        for scope, systems in found.items()
    ]


def render(report: Mapping[str, Any]) -> str:
    """The page of a report (the dictionary that report.json holds); all text in it is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"figure": format_figure, "count": format_count, "share": format_share}
    return environment.get_template("heldout_template.html").render(
        report=report, boards=boards(report["results"]), shown=SHOWN, headline=HEADLINE, scopes=SCOPES, names=NAMES
    )


def tables(report: Mapping[str, Any]) -> Iterator[Table]:
    """The boards for the terminal; each figure with its interval below it."""
    from rich.markup import escape
    from rich.table import Table

    run = report["run"]
    for board in boards(report["results"]):
        title = f"{NAMES[run['dataset']]}, {run['protocol']}: {SCOPES[board['scope']]}"
        table = Table(
            title=title, title_justify="left", padding=(0, 0, 0, 1), caption="95 % bootstrap intervals over conversations below"
        )
        table.add_column("system", min_width=22)
        for metric in (*SHOWN, "cases"):
            table.add_column(metric, justify="right", no_wrap=True)
        for system, row in board["systems"]:
            cells = [format_figure(row[metric]["value"]) + _interval(row[metric]) for metric in SHOWN]
            table.add_row(escape(system), *cells, format_count(row[HEADLINE]["cases"]))
        yield table


def _interval(row: Mapping[str, Any]) -> str:
    return "" if row["low"] is None else f"\n[dim]{format_figure(row['low'])}-{format_figure(row['high'])}[/dim]"
