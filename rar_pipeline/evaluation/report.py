"""The report: one self-contained HTML file for people, and the same figures as a dictionary for machines.

The page asks for nothing: no address, no font, no script from elsewhere, and its content security policy forbids it. All text
of data sets and models is escaped by the template; the one inline script is allowed by its hash alone.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from rar_pipeline.evaluation import (
    breakdown_sections,
    judge_section,
    objective_section,
    origin_sections,
    plots,
    published,
    quality_sections,
)
from rar_pipeline.evaluation import report_sections as sections
from rar_pipeline.evaluation.breakdown_sections import DATASET_NAMES
from rar_pipeline.evaluation.breakdowns import (
    HISTORY_BUCKETS,
    by_history,
    by_popularity,
    by_year,
    comparable,
    costs,
    hit_rates,
    list_quality,
    training_counts,
)
from rar_pipeline.evaluation.calibration import calibration_errors, reliability
from rar_pipeline.evaluation.data_quality import DataQuality, as_json
from rar_pipeline.evaluation.grids import format_count, format_figure, format_share, format_signed
from rar_pipeline.evaluation.order_bias import order_bias
from rar_pipeline.tables import SEQUENCES_CHECK

if TYPE_CHECKING:
    from markupsafe import Markup

    from rar_pipeline.retriever.version import Version

_FOLDER = Path(__file__).parent
BREAKDOWN_METRIC = "R@10"
NAMES = DATASET_NAMES


@dataclass(frozen=True)
class ReportInputs:
    """All that the report tells. Frames are tables of `rar_pipeline.tables`, of all data sets together."""

    # what ran
    world: str  # sample, upstream, or the mirror's name
    preset: str
    seed: int
    versions: Mapping[str, str]  # name -> version, in the order shown: code, packages, model, prompt, weights
    raw_files: pl.DataFrame  # RAW_FILES
    # tables
    movies: pl.DataFrame  # MOVIES
    mentions: pl.DataFrame  # MENTIONS
    cases: pl.DataFrame  # CASES
    recommendations: pl.DataFrame  # RECOMMENDATIONS
    metrics: pl.DataFrame  # METRICS
    leaderboard: pl.DataFrame  # LEADERBOARD
    # words
    systems: Mapping[str, str]  # system -> one line of what it is, in the order of the report
    claims: Mapping[str, str]  # system -> what its difference from its reference shows, e.g. "The LLM", "The preference round"
    shown_systems: Sequence[str]  # at most six, for plots and example conversations
    champions: Mapping[str, str] = field(default_factory=dict)  # data set -> which version serves, and why
    # training
    curves: Mapping[str, pl.DataFrame] = field(default_factory=dict)  # label of the vertical axis -> series, epoch, value
    feedback: Sequence[tuple[str, int, pl.DataFrame]] = ()  # (data set, round, FEEDBACK)
    judge_checks: Mapping[str, judge_section.Checked] = field(default_factory=dict)  # data set -> whether the judge can teach
    objectives: Sequence[objective_section.Row] = ()  # what each objective made of the same feedback
    sequences: pl.DataFrame = field(default_factory=SEQUENCES_CHECK.empty)  # SEQUENCES_CHECK
    dropped: pl.DataFrame = field(  # what was left out, where and why
        default_factory=lambda: pl.DataFrame(schema={"table": pl.String, "reason": pl.String, "rows": pl.Int64})
    )
    data_quality: DataQuality | None = None  # without it the report has no such section
    # the champion, and what all was made from
    champion_records: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # data set -> champion.json
    champion_histories: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)  # data set -> changes
    retrievers: Sequence[Version] = ()
    contents: Mapping[str, str] = field(default_factory=dict)  # table -> hash of its content
    upstream: Mapping[str, Sequence[str]] = field(default_factory=dict)  # asset -> assets that it is made from
    # how the breakdowns are cut
    candidates: int = 20  # that a retriever shows the LLM
    cutoff_year: int = 2023  # last year that the LLM has read of
    split: str = "test"  # part of the data that plots, findings and examples are about


def render_report(inputs: ReportInputs) -> str:
    """The report as one HTML document."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"figure": format_figure, "signed": format_signed, "count": format_count, "share": format_share}
    script = (_FOLDER / "report.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("report_template.html").render(
        inputs=inputs,
        names=NAMES,
        script=Markup(script),  # noqa: S704 - our own file
        script_hash=digest,
        scopes=sections.SCOPES,
        shown_metrics=sections.SHOWN_METRICS,
        headline=sections.HEADLINE,
        breakdown_metric=BREAKDOWN_METRIC,
        boards=sections.boards(inputs.leaderboard),
        findings=sections.findings(inputs.leaderboard, inputs.claims, inputs.split),
        examples=sections.examples(inputs.cases, inputs.recommendations, inputs.movies, inputs.shown_systems, inputs.split),
        corpus=sections.corpus_facts(inputs.movies),
        links=sections.link_facts(inputs.mentions, inputs.cases),
        feedback=sections.feedback_facts(inputs.feedback),
        quality_blocks=quality_sections.blocks(inputs.data_quality) if inputs.data_quality else [],
        verdicts=quality_sections.verdicts(inputs.data_quality) if inputs.data_quality else [],
        quality=_quality(inputs),
        by_history={
            scope: sections.breakdown_rows(by_history(part, inputs.cases), HISTORY_BUCKETS, BREAKDOWN_METRIC, inputs.split)
            for scope, part in comparable(inputs.metrics).items()
        },
        figures=_figures(inputs),
        breakdown_blocks=breakdown_sections.blocks(
            inputs.leaderboard,
            inputs.metrics,
            inputs.recommendations,
            inputs.cases,
            inputs.movies,
            metric=BREAKDOWN_METRIC,
            headline=sections.HEADLINE,
            split=inputs.split,
            candidates=inputs.candidates,
            cutoff=inputs.cutoff_year,
        ),
        judge_blocks=judge_section.judge_check_section(inputs.judge_checks),
        objective_blocks=objective_section.section(
            inputs.objectives, inputs.metrics["dataset"].unique(maintain_order=True).to_list(), inputs.judge_checks
        ),
        champion_blocks=origin_sections.champions(inputs.champion_records, inputs.champion_histories),
        published_blocks=origin_sections.beside_published(inputs.leaderboard, inputs.split, inputs.sequences),
        lineage_blocks=[origin_sections.lineage(inputs.retrievers), *origin_sections.contents(inputs.contents, inputs.upstream)],
    )


def report_json(inputs: ReportInputs) -> dict[str, Any]:
    """The report for machines; everything in it can be written as JSON.

    `results`: one entry a (data set, split, protocol, scope, system, metric) with value, low, high, standard_error, cases and
    the paired difference; `versions`; `corpus`; `run`; `dropped`; `feedback`; `findings`.
    """
    return {
        "run": {"world": inputs.world, "preset": inputs.preset, "seed": inputs.seed},
        "results": inputs.leaderboard.to_dicts(),
        "findings": sections.findings(inputs.leaderboard, inputs.claims, inputs.split),
        "lists": _quality(inputs),
        "breakdowns": _breakdowns(inputs),
        "published": published.tables(),
        "sequences": inputs.sequences.to_dicts(),
        "champions": dict(inputs.champions),
        "champion_trials": {dataset: list(record["trials"]) for dataset, record in inputs.champion_records.items()},
        "champion_history": {dataset: list(changes) for dataset, changes in inputs.champion_histories.items()},
        "corpus": sections.corpus_facts(inputs.movies) | (as_json(inputs.data_quality) if inputs.data_quality else {}),
        "conversations": sections.link_facts(inputs.mentions, inputs.cases),
        "objectives": list(inputs.objectives),
        "judge_check": judge_section.as_json(inputs.judge_checks),
        "feedback": sections.feedback_facts(inputs.feedback),
        "dropped": inputs.dropped.to_dicts(),
        "versions": dict(inputs.versions)
        | {"contents": dict(inputs.contents), "lineage": {key: list(deps) for key, deps in inputs.upstream.items()}}
        | {"files": dict(inputs.raw_files.sort("file").select("file", "sha256").iter_rows())},
    }


def _breakdowns(inputs: ReportInputs) -> dict[str, list[dict[str, Any]]]:
    """All breakdowns of the split, as rows."""
    lists = inputs.recommendations.filter(pl.col("split") == inputs.split)
    scores, counts = inputs.metrics.filter(pl.col("split") == inputs.split), training_counts(inputs.mentions)
    bins = reliability(lists, inputs.cases, inputs.candidates)
    found = {
        "hit_rates": hit_rates(lists, inputs.cases),
        "calibration": calibration_errors(bins),
        "reliability": bins,
        "order_bias": order_bias(lists, inputs.candidates),
        "costs": costs(lists),
    }
    for scope, part in comparable(scores).items():
        found |= {
            f"popularity, {scope} cases": by_popularity(part, counts),
            f"history, {scope} cases": by_history(part, inputs.cases),
            f"year, {scope} cases": by_year(part, inputs.movies, inputs.cutoff_year),
        }
    return {name: frame.to_dicts() for name, frame in found.items()}


def _quality(inputs: ReportInputs) -> list[dict[str, Any]]:
    return list_quality(inputs.recommendations.filter(pl.col("split") == inputs.split), inputs.movies.height).to_dicts()


def _figures(inputs: ReportInputs) -> dict[str, list[tuple[str, Markup]]]:
    """Figures by the section that shows them: results, popularity, corpus, training, rewards."""
    from markupsafe import Markup

    found: dict[str, list[tuple[str, Markup]]] = {"results": [], "popularity": [], "corpus": [], "training": [], "rewards": []}

    def add(section: str, figure: Any, title: str, description: str) -> None:  # noqa: ANN401 - a matplotlib figure
        found[section].append((title, Markup(plots.svg(figure, title, description))))  # noqa: S704 - matplotlib escapes its text

    counts = training_counts(inputs.mentions)
    parts = {scope: by_popularity(part, counts) for scope, part in comparable(inputs.metrics).items()}
    of_split = inputs.leaderboard.filter(pl.col("split") == inputs.split, pl.col("protocol") == "fresh_turns")
    for dataset in (name for name in NAMES if name in of_split["dataset"]):
        board = of_split.filter(pl.col("dataset") == dataset)
        for scope, said in (("all", "systems that answered every case"), ("judged", "the cases that the LLM saw too")):
            part = board.filter(pl.col("scope") == scope)
            part = part.filter(pl.col("cases") == pl.col("cases").max())
            if len(part):
                add(
                    "results",
                    plots.leaderboard_plot(part, sections.HEADLINE),
                    f"{NAMES[dataset]}: {sections.HEADLINE}, {said}",
                    "Dots are means, lines 95 % intervals; the figures are in the table.",
                )
        for scope, popularity in parts.items():
            of_dataset = popularity.filter(pl.col("dataset") == dataset, pl.col("split") == inputs.split)
            systems = [name for name in inputs.shown_systems if name in of_dataset["system"]]
            if systems:
                add(
                    "popularity",
                    plots.recall_by_popularity(of_dataset, BREAKDOWN_METRIC, systems),
                    f"{NAMES[dataset]}: {BREAKDOWN_METRIC} by popularity of the right movie, {scope} cases",
                    "How many training conversations mention it: none, 1 to 4 (rare), more (middle), or one of the 100 most.",
                )
    add(
        "corpus",
        plots.corpus_by_decade(sections.decades(inputs.movies)),
        "Movies of the corpus by decade",
        "Wide bars: all movies; narrow bars: those with a plot.",
    )
    for label, curve in inputs.curves.items():
        add("training", plots.training_curves(curve, label), f"Training: {label}", "One line a data set and round.")
    if inputs.feedback:
        rewards = pl.concat([frame.select(pl.lit(round_).alias("round"), "reward") for _, round_, frame in inputs.feedback])
        add("rewards", plots.rewards_histogram(rewards), "Rewards by round", "How many candidate sets got which NDCG@10.")
    return found
