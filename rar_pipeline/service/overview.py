"""What the lake holds, as tables on the terminal: nothing is loaded but records and the heads of files."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from rar_pipeline.errors import RarError
from rar_pipeline.evaluation.systems import in_words
from rar_pipeline.places import place
from rar_pipeline.service.lake import lake_of, versions
from rar_pipeline.settings import Settings
from rar_pipeline.tables import ALL, METRICS, TABLES

if TYPE_CHECKING:
    from rich.console import Console

    from rar_pipeline.resources import Lake
    from rar_pipeline.retriever.version import Version

WIDTH = 110  # in a pipe or a log


def show_status(settings: Settings) -> None:
    """Tables, versions and champions of the settings' world."""
    from rich.table import Table

    lake, console = lake_of(settings), _console()
    console.print(f"sources {settings.sources}, lake {settings.root}", markup=False)
    if not lake.path.is_dir():
        raise RarError(f"{lake.path}: nothing there yet; run `rar run`, or name another world with --sources or --lake")
    table = Table("table", "parts", "rows", "made", title="Tables", title_justify="left", box=None, pad_edge=False)
    for column in (1, 2):
        table.columns[column].justify = "right"
    for one in TABLES:
        files = sorted(lake.path.glob(place(one).pattern))
        if files:
            newest = max(path.stat().st_mtime for path in files)
            table.add_row(f"{one.stage}/{one.name}", str(len(files)), f"{sum(map(_rows, files)):,}", age(time.time() - newest))
    console.print(table)
    _versions(console, lake, None)
    for dataset, choice in champions(lake).items():
        order = in_words(choice["llm_weight"])
        console.print(f"champion of {dataset}: {choice['version']} {order}: {choice.get('why', '')}", markup=False)
    kept = len(list((lake.path / "conversations" / "chat_dialogues").glob("*.parquet")))
    if kept:
        console.print(f"{kept:,} rated conversations of the chat (rar gather makes tables of them)", markup=False)


def show_versions(settings: Settings, dataset: str | None) -> None:
    """All versions, or those of a data set."""
    lake = lake_of(settings)
    if not any(dataset in (None, version.dataset) for version in versions(lake)):
        raise RarError(f"{lake.path}: no version{f' of {dataset!r}' if dataset else ''} yet; run `rar run`")
    _versions(_console(), lake, dataset)


def show_comparison(settings: Settings, dataset: str, challenger: str, other: str) -> None:
    """Two systems on validation. Raises RarError for a system that was not evaluated, naming those that were."""
    from rar_pipeline.evaluation.champion import METRIC, compare

    metrics = lake_of(settings).read(METRICS, dataset)
    systems = metrics.filter(pl.col("split") == "validation")["system"].unique().sort().to_list()
    for system in (challenger, other):
        if system not in systems:
            raise RarError(f"{system!r}: not among the systems of {dataset}: {', '.join(systems)}")
    trial = compare(metrics, challenger, other, settings.seed)
    if not trial["cases"]:
        raise RarError(f"{dataset}: {challenger} and {other} were not evaluated on the same validation cases")
    verdict = "better" if trial["low"] > 0 else "worse" if trial["high"] < 0 else "within the noise"
    _console().print(
        f"{dataset}, validation {METRIC}, {trial['cases']:,} cases: {challenger} minus {other} is {trial['difference']:+.4f} "
        f"(95 % {trial['low']:+.4f} to {trial['high']:+.4f}): {verdict}",
        markup=False,
    )


def champions(lake: Lake) -> dict[str, dict[str, Any]]:
    """Data set -> record of the champion's choice, of those that can be read."""
    from rar_pipeline.evaluation.champion import read_champion

    found = {}
    for folder in sorted((lake.path / "evaluation" / "champion").glob("dataset=*")):
        with suppress(OSError, RarError):
            if record := read_champion(folder):
                found[folder.name.removeprefix("dataset=")] = record
    return found


def age(seconds: float) -> str:
    """Seconds as a person says them."""
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"


def _versions(console: Console, lake: Lake, dataset: str | None) -> None:
    from rich.table import Table

    serving = {name: choice["version"] for name, choice in champions(lake).items()}
    table = Table(
        "data set",
        "version",
        "parent",
        "R@10",
        "R@20",
        "N@10",
        "",
        title="Versions",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    for column in (3, 4, 5):
        table.columns[column].justify = "right"
    for version in versions(lake):
        if dataset in (None, version.dataset):
            figures = [_figure(version, name) for name in ("recall_10", "recall_20", "ndcg_10")]
            mark = "champion" if serving.get(version.dataset) == version.name else ""
            shown = "all of them" if version.dataset == ALL else version.dataset
            table.add_row(shown, version.name, version.parent or "", *figures, mark)
    if table.row_count:
        console.print(table)
        console.print("figures: validation, the retriever alone", style="dim")


def _figure(version: Version, name: str) -> str:
    value = version.figures.get(name)
    return "" if value is None else f"{value:.3f}"


def _rows(path: Path) -> int:
    try:
        return int(pl.scan_parquet(path, hive_partitioning=False).select(pl.len()).collect().item())
    except (OSError, pl.exceptions.PolarsError):
        return 0


def _console() -> Console:
    from rich.console import Console

    console = Console(highlight=False)
    console.width = max(console.width, WIDTH) if not console.is_terminal else console.width
    return console
