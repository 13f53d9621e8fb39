"""What the report says of the judge: whether it ranks the retriever's candidates better than the retriever, and what followed from that."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from math import isnan
from typing import Any, NamedTuple

import polars as pl

from rar_pipeline.evaluation.bootstrap import paired_difference
from rar_pipeline.evaluation.breakdown_sections import named
from rar_pipeline.evaluation.grids import Block, Grid, format_count, format_figure, format_share, format_signed
from rar_pipeline.preference.judge_check import METRIC, Decision, Verdict, decide, verdict
from rar_pipeline.settings import Settings
from rar_pipeline.tables import DATASETS

ORDERS = {  # in the order shown: the figure, and what it is
    "chance": "a random order",
    "retriever": "the retriever's own order",
    "judge": "the judge, shown the retriever's order",
    "judge_shown_shuffled": "the judge, shown a shuffled order (some of the cases)",
    "fused": "the judge fused with the retriever's scores, weight fitted on other conversations",
}
BIASES = {"judge": "retriever", "judge_shown_shuffled": "shuffled"}


class Checked(NamedTuple):
    """A judge on one data set: what the check found, and what was decided on it."""

    found: Verdict
    decision: Decision


def checked(table: pl.DataFrame, settings: Settings) -> dict[str, Checked]:
    """By data set, from the table JUDGE_CHECK."""
    checks = {}
    for dataset in DATASETS:
        part = table.filter(pl.col("dataset") == dataset)
        if len(part):
            found = verdict(part, partial(paired_difference, seed=settings.seed))
            checks[dataset] = Checked(found, decide(found, settings))
    return checks


def judge_check_section(checks: Mapping[str, Checked]) -> list[Block]:
    """One table a data set: N@10 of every order of the same candidates, and how far the judge follows the order that it is shown."""
    return [_block(dataset, check) for dataset, check in checks.items()]


def _block(dataset: str, check: Checked) -> Block:
    figures, differences = check.found.figures, {one.order: one for one in check.found.differences}
    rows = []
    for name, said in ORDERS.items():
        if name not in figures:
            continue
        against, bias = differences.get(name), BIASES.get(name)
        known = against is not None and not isnan(against.low)
        rows.append(
            (
                said,
                format_figure(figures[name]),
                format_signed(against.difference) if against else "–",
                f"{format_signed(against.low)} to {format_signed(against.high)}" if against and known else "–",
                format_signed(figures.get(f"order_correlation_{bias}")),
                format_share(figures.get(f"first_copied_{bias}")),
            )
        )
    columns = ("Order", METRIC, "Against the retriever", "95 % interval", "Follows the prompt", "First copied")
    spent = [
        f"{format_count(figures['cases'])} cases of {format_count(figures['conversations'])} conversations",
        f"{format_count(figures['failed'])} not answered",
        f"{format_count(figures['questions'])} questions",
        f"{format_count(figures['prompt_tokens'] + figures['answer_tokens'])} tokens",
        f"{figures['seconds'] / max(figures['questions'], 1):.2f} s a question",
    ]
    spent += [f"cost {figures['cost']:.2f}"] if figures["cost"] else []
    caption = (
        f"Validation cases with a target among the retriever's candidates: {', '.join(spent)}. Follows the prompt: rank correlation of the "
        "places in the prompt and in the answer, 1 is a copy; in the retriever's order it may be agreement, in a shuffled one it is not."
    )
    text = f"{check.decision.said[0].upper()}{check.decision.said[1:]}."
    return Block(f"{named(dataset)}: can the judge teach?", text, Grid(caption, columns, rows))


def as_json(checks: Mapping[str, Checked]) -> dict[str, dict[str, Any]]:
    """The same for machines: passes, collects, said, figures and differences, by data set; null where there is no interval."""
    return {
        dataset: {
            "passes": check.found.passes,
            **check.decision._asdict(),
            "figures": dict(check.found.figures),
            "differences": {
                one.order: {
                    name: None if isnan(value) else value
                    for name, value in (("difference", one.difference), ("low", one.low), ("high", one.high))
                }
                for one in check.found.differences
            },
        }
        for dataset, check in checks.items()
    }
