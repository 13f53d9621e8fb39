"""What the report says of where things come from: the champion's trials and history, published figures beside ours, lineage of the versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from rar_pipeline.evaluation import published
from rar_pipeline.evaluation.breakdown_sections import named
from rar_pipeline.evaluation.champion import unmet
from rar_pipeline.evaluation.grids import Block, Grid, format_count, format_figure, format_signed
from rar_pipeline.evaluation.sequences_check import COMMAND, DATA
from rar_pipeline.evaluation.systems import CHAMPION, in_words
from rar_pipeline.retriever.version import Version

BESIDE = ("popularity", "ease", "round_0")  # of ours, beside the champion


def champions(records: Mapping[str, Mapping[str, Any]], histories: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Block]:
    """For each data set who met the champion and who lost, and every change of what serves."""
    found = []
    for dataset, record in records.items():
        trials = [
            (
                trial["challenger"],
                trial["champion"],
                format_signed(trial["difference"]),
                "–" if trial["low"] is None else f"{format_signed(trial['low'])} to {format_signed(trial['high'])}",
                format_count(trial["cases"]),
                "won"
                if trial["wins"]
                else f"not admitted: {trial['barred']}"
                if "barred" in trial
                else "lost"
                if trial["cases"]
                else "no cases",
            )
            for trial in record["trials"]
        ]
        columns = ("Challenger", "against", f"{record['metric']} difference", "95 % interval", "Cases", "Outcome")
        title = f"{named(dataset)}: who met the champion"
        missing = f" Not compared for want of cases: {', '.join(unmet(record))}." if unmet(record) else ""
        text = f"Validation data alone, paired bootstrap over conversations; a challenger must win beyond the noise.{missing}"
        found.append(Block(title, text, Grid(f"Trials of {named(dataset)}", columns, trials, (1, 5))))
        changes = [
            (
                change["when"],
                f"{change['id']} {in_words(change['llm_weight'])}",
                change["by"],
                change["why"],
                ", ".join(change["lost"]) or "–",
            )
            for change in reversed(histories.get(dataset, ()))
        ]
        heads = ("When", "Serves since", "Decided by", "Why", "Who lost")
        found.append(
            Block(
                f"{named(dataset)}: champions so far",
                "",
                Grid(f"Changes of what serves {named(dataset)}, the latest first", heads, changes, (1, 2, 3, 4)),
            )
        )
    return found


def beside_published(leaderboard: pl.DataFrame, split: str, sequences: pl.DataFrame) -> list[Block]:
    """One table a (data set, protocol, source) of published figures, ours of the same data set and protocol below them, their cases told apart.

    `sequences`: SEQUENCES_CHECK, empty where it was not made, which is then said.
    """
    found = []
    for table in published.tables():
        dataset, protocol = table["dataset"], table["protocol"]
        theirs = format_count(table["cases"]) + " (theirs)" if table["cases"] else "theirs"
        rows = [
            (system, "published", theirs, *(format_figure(figures.get(metric)) for metric in table["metrics"]))
            for system, figures in table["systems"].items()
        ]
        board = leaderboard.filter(
            pl.col("dataset") == dataset, pl.col("split") == split, pl.col("protocol") == protocol, pl.col("scope") == "all"
        )
        for system in (CHAMPION, *BESIDE):
            own = {row["metric"]: row for row in board.filter(pl.col("system") == system).iter_rows(named=True)}
            if own:
                cases = f"{max(row['cases'] for row in own.values()):,} (this lake's {split} part)"
                values = (format_figure(own[metric]["value"] if metric in own else None) for metric in table["metrics"])
                rows.append((system, "this run", cases, *values))
        text = ""
        if protocol == "sequences":
            own = {row["metric"]: row for row in sequences.filter(pl.col("data") == dataset).iter_rows(named=True)}
            if own:
                one = next(iter(own.values()))
                values = (format_figure(own[metric]["value"] if metric in own else None) for metric in table["metrics"])
                rows.append((f"{one['system']}, epoch {one['epoch']}", "this lake", f"{one['cases']:,} users", *values))
                text = f"Ours trained for at most {one['most_epochs']} epochs, the one with the best validation N@10 was tested."
            elif dataset == DATA:
                text = (
                    f"Not trained in this lake; where the sources hold sequences/{DATA}.tsv, this makes it, in hours: {COMMAND}"
                )
        title = f"{named(dataset)}, protocol {protocol}"
        caption = f"{named(dataset)}, protocol {protocol}. Published: {table['source']}"
        found.append(Block(title, text, Grid(caption, ("System", "Where", "Cases", *table["metrics"]), rows, (1, 2))))
    return found


def lineage(versions: Sequence[Version]) -> Block:
    """Every version with its parent, what it was made from, and its weights."""
    rows = [
        (
            f"{version.dataset} {version.name}",
            version.parent or "none",
            version.fingerprint,
            version.weights_sha256,
            "; ".join(f"{name} {value:.4g}" for name, value in version.figures.items()),
        )
        for version in versions
    ]
    columns = (
        "Version",
        "Trained from",
        "Hash of all that it was made from",
        "SHA-256 of its weights",
        "Validation figures and sizes",
    )
    return Block("Lineage of the retrievers", "", Grid("Each version, its parent and its content", columns, rows, (1, 2, 3, 4)))


def contents(hashes: Mapping[str, str], upstream: Mapping[str, Sequence[str]]) -> list[Block]:
    """The tables that the figures depend on, by content, and what every asset is made from."""
    tables = Grid("Tables of the lake by the hash of their content", ("Table", "SHA-256 of its rows"), list(hashes.items()), (1,))
    graph = Grid(
        "What every asset is made from",
        ("Asset", "Made from"),
        [(key, ", ".join(deps) or "–") for key, deps in upstream.items()],
        (1,),
    )
    return [Block("Exact data", "", tables), Block("Lineage of the assets", "", graph)]
