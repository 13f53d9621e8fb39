"""Whether a judge can teach: on validation cases it meets the retriever's own candidates, before any feedback is collected.

A judge whose order, alone or fused with the retriever's scores, does not rank the candidates better than the retriever already does has nothing
to teach it, however well it does on easy cases. A few questions show that; collecting feedback takes thousands.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import polars as pl

from rar_pipeline.generation.candidates import candidates_of
from rar_pipeline.generation.questions import Answer, Question
from rar_pipeline.preference.feedback import Ask
from rar_pipeline.preference.fusion import RankedCase, cross_fitted_weights, fuse
from rar_pipeline.preference.sampling import ndcg
from rar_pipeline.retriever.catalogue import Catalogue
from rar_pipeline.retriever.examples import Encode, build_queries
from rar_pipeline.retriever.search import build_index, search
from rar_pipeline.retriever.version import load
from rar_pipeline.settings import Settings
from rar_pipeline.tables import JUDGE_CHECK, METRICS

METRIC = "N@10"
CUTOFF = 10
SHUFFLED = 100  # cases that are shown in a shuffled order too: enough for a mean of rank correlations
UNKNOWN = float("nan")

# (frame of METRICS, another, metric) -> difference of their means, the ends of its 95 % interval, number of cases


class Compared(Protocol):
    """A paired difference with its interval; `beats`: it is shown to be above zero."""

    @property
    def difference(self) -> float: ...  # noqa: D102
    @property
    def low(self) -> float: ...  # noqa: D102
    @property
    def high(self) -> float: ...  # noqa: D102
    @property
    def beats(self) -> bool: ...  # noqa: D102


Paired = Callable[[pl.DataFrame, pl.DataFrame, str], Compared]


class Proposed(NamedTuple):
    """A case with a target among the retriever's candidates, and these with their scores, best first."""

    case: Mapping[str, Any]
    scores: Mapping[str, float]


def proposed(cases: pl.DataFrame, catalogue: Catalogue, folder: Path, encode: Encode, settings: Settings) -> list[Proposed]:
    """The validation cases that are checked, drawn by seed among those for which the retriever in `folder` proposes a target."""
    retriever, version = load(folder)
    judged = cases.filter(pl.col("split") == "validation").sort("case_id")
    queries = build_queries(judged, catalogue, encode, turns=settings.context_turns, max_history=settings.max_history)
    found, values = search(build_index(retriever, catalogue, version.known), queries, settings.candidates)
    hits = []
    for number, case in enumerate(judged.iter_rows(named=True)):
        pairs = zip(found[number].tolist(), values[number].tolist(), strict=True)
        scores = {catalogue.movie_ids[row]: value for row, value in pairs if row >= 0}
        if not scores.keys().isdisjoint(case["targets"]):
            hits.append(Proposed(case, scores))
    order = np.random.default_rng([settings.seed, 6]).permutation(len(hits))[: settings.cases_to_check]
    return [hits[number] for number in order]


def check_judge(drawn: Sequence[Proposed], movies: pl.DataFrame, ask: Ask, seed: int) -> pl.DataFrame:
    """The table JUDGE_CHECK: what the judge makes of every case in the retriever's order, and of some in a shuffled one.

    The weight of a case's fusion is fitted on the answered cases of other conversations. A case whose call failed keeps its row, without the
    judge's figures.
    """
    cards = candidates_of(movies, [movie for _, scores in drawn for movie in scores])
    rows: list[dict[str, Any]] = []
    questions = []
    for number, (case, scores) in enumerate(drawn):
        orders = {"retriever": list(scores)}
        if number < SHUFFLED:
            orders["shuffled"] = np.random.default_rng([seed, 6, number]).permutation(list(scores)).tolist()
        for shown, order in orders.items():
            named = tuple(cards[movie] for movie in order)
            questions.append(Question(f"{case['case_id']}#{shown}", case["context"], named, tuple(case["history"])))
            rows.append(
                {
                    **{name: case[name] for name in ("dataset", "case_id", "dialogue_id", "targets")},
                    "shown": shown,
                    "candidates": order,
                    "scores": [scores[movie] for movie in order],
                    "retriever": ndcg(list(scores), case["targets"], CUTOFF),
                    "chance": chance(list(scores), case["targets"]),
                }
            )
    for row, answer in zip(rows, ask(questions), strict=True):
        row |= _answered(answer)
        if answer.status == "answered":
            row["judge"] = ndcg(fuse(_scores(row), answer.ranking, 1.0), row["targets"], CUTOFF)
    both = [row for row in rows if row["shown"] == "retriever" and row["status"] == "answered"]
    ranked = [RankedCase(row["dialogue_id"], _scores(row), row["ranking"], row["targets"]) for row in both]
    for row, one, weight in zip(both, ranked, cross_fitted_weights(ranked, seed), strict=True):
        row |= {"weight": weight, "fused": ndcg(fuse(one.scores, one.order, weight), one.targets, CUTOFF)}
    return JUDGE_CHECK.frame(rows).sort("case_id", "shown")


def chance(candidates: Sequence[str], targets: Sequence[str]) -> float:
    """N@10 to be expected of a random order of the candidates, which is exact and needs no draw."""
    held = len(set(candidates) & set(targets))
    gain = sum(1 / np.log2(place + 2) for place in range(min(CUTOFF, len(candidates))))
    ideal = sum(1 / np.log2(place + 2) for place in range(min(CUTOFF, len(set(targets)))))
    return float(held / len(candidates) * gain / ideal)


def _scores(row: Mapping[str, Any]) -> dict[str, float]:
    """The retriever's scores of a row's candidates, best first."""
    return dict(sorted(zip(row["candidates"], row["scores"], strict=True), key=lambda pair: -pair[1]))


def _answered(answer: Answer) -> dict[str, Any]:
    return {
        "status": answer.status,
        "mode": answer.mode,
        "model": answer.model,
        "prompt_hash": answer.prompt_hash,
        "raw_answer": answer.raw_answer or answer.error,
        "ranking": list(answer.ranking),
        "prompt_tokens": answer.prompt_tokens,
        "answer_tokens": answer.answer_tokens,
        "seconds": answer.seconds,
        "cost": answer.cost,
    }


@dataclass(frozen=True)
class Difference:
    """Mean N@10 of an order minus the retriever's on the same cases, with its paired 95 % interval over conversations; NaN where unknown."""

    order: str  # judge or fused
    value: float
    difference: float = UNKNOWN
    low: float = UNKNOWN
    high: float = UNKNOWN
    beats: bool = False  # shown to be better, on enough conversations


@dataclass(frozen=True)
class Verdict:
    """What the check found. `passes`: the judge's order beats the retriever's, alone or fused; `sentence` says it with the figures.

    `figures`: means of N@10, order bias, tokens, seconds and cost, by name.
    """

    passes: bool
    sentence: str
    differences: tuple[Difference, ...]
    figures: Mapping[str, float | int]


def verdict(table: pl.DataFrame, paired: Paired) -> Verdict:
    """The verdict on a judge from JUDGE_CHECK of one data set; `paired` is the bootstrap over conversations.

    It has two chances to pass, each with 2.5 % for a judge that is no better, and so passes by luck in at most one of twenty checks.
    """
    shown = table.filter(pl.col("shown") == "retriever")
    compared = shown.filter(pl.col("status") == "answered")
    figures = _figures(table)
    if not len(shown):
        said = "no validation case has its target among the retriever's candidates, so that the judge cannot be compared with it"
        return Verdict(False, said, (), figures)
    if not len(compared):
        return Verdict(False, f"the judge answered none of {len(shown)} questions: {shown['raw_answer'][0]}", (), figures)
    differences = tuple(_difference(compared, order, paired) for order in ("judge", "fused"))
    alone, fused = differences
    winners = [name for name, found in (("alone", alone), ("fused with its scores", fused)) if found.beats]
    how = f", {' and '.join(winners)}, beats" if winners else " does not beat"
    said = f"the judge's order{how} the retriever's"
    if not winners and any(found.low > 0 for found in differences):
        said += " in enough conversations to be believed"
    return Verdict(bool(winners), f"{said} ({_told(figures, alone, fused)})", differences, figures)


def _difference(compared: pl.DataFrame, order: str, paired: Paired) -> Difference:
    found = paired(_metrics(compared, order), _metrics(compared, "retriever"), METRIC)
    return Difference(order, _mean(compared, order), found.difference, found.low, found.high, found.beats)


def _told(figures: Mapping[str, float | int], alone: Difference, fused: Difference) -> str:
    """The figures in half a sentence."""
    each = [
        f"{name} {found.value:.3f} ({found.difference:+.3f}, {interval(found)})"
        for name, found in (("alone", alone), ("fused", fused))
    ]
    return (
        f"{METRIC} {', '.join(each)}, retriever {figures['retriever']:.3f}, chance {figures['chance']:.3f}; "
        f"{figures['answered']} validation cases of {figures['conversations']} conversations, {figures['failed']} not answered"
    )


def interval(found: Difference) -> str:
    """The interval of a difference in words."""
    return "no interval: too few conversations" if isnan(found.low) else f"95 % from {found.low:+.3f} to {found.high:+.3f}"


def _metrics(compared: pl.DataFrame, order: str) -> pl.DataFrame:
    """One order's N@10 of every case as METRICS."""
    return METRICS.conform(
        compared.select(
            "dataset",
            pl.lit("validation").alias("split"),
            pl.lit("fresh_turns").alias("protocol"),
            pl.lit(order).alias("system"),
            "case_id",
            "dialogue_id",
            pl.lit(METRIC).alias("metric"),
            pl.col(order).alias("value"),
            pl.lit(1.0).alias("weight"),
        )
    )


def _figures(table: pl.DataFrame) -> dict[str, float | int]:
    """Counts, means of N@10 on the answered cases, order bias, tokens, seconds and cost; what cannot be told is left out."""
    shown = table.filter(pl.col("shown") == "retriever")
    compared = shown.filter(pl.col("status") == "answered")
    # by likelihood each candidate has its own prompt, so that another order asks nothing new
    asked = table.filter(~((pl.col("mode") == "likelihood") & (pl.col("shown") == "shuffled")))
    figures: dict[str, float | int] = {
        "cases": len(shown),
        "answered": len(compared),
        "failed": len(shown) - len(compared),
        "conversations": compared["dialogue_id"].n_unique(),
        **{name: _mean(compared, name) for name in ("retriever", "chance", "judge", "fused", "weight")},
        "questions": len(asked),
        **{name: int(asked[name].sum()) for name in ("prompt_tokens", "answer_tokens")},
        **{name: float(asked[name].sum()) for name in ("seconds", "cost")},
    }
    for order in ("retriever", "shuffled"):
        part = table.filter((pl.col("shown") == order) & (pl.col("status") == "answered"))
        pairs = list(part.select("candidates", "ranking").iter_rows())
        figures[f"judge_shown_{order}"] = _mean(part, "judge")
        figures[f"order_correlation_{order}"] = _average([rho for pair in pairs if (rho := place_correlation(*pair)) is not None])
        figures[f"first_copied_{order}"] = _average([float(ranking[:1] == candidates[:1]) for candidates, ranking in pairs])
    return {name: value for name, value in figures.items() if not isnan(value)}


def _mean(frame: pl.DataFrame, column: str) -> float:
    return _average(frame[column].drop_nulls().to_list())


def _average(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else UNKNOWN


def place_correlation(shown: Sequence[str], ranking: Sequence[str]) -> float | None:
    """Spearman's rank correlation of the place in the prompt and the place in the answer, over movies that are in both.

    1: copied in the order shown; 0: no trace of it; None with fewer than two movies.
    """
    order = [movie for movie in ranking if movie in shown]
    count = len(order)
    if count < 2:
        return None
    place = {movie: number for number, movie in enumerate(movie for movie in shown if movie in order)}
    squares = sum((place[movie] - number) ** 2 for number, movie in enumerate(order))
    return 1 - 6 * squares / (count * (count**2 - 1))


class Decision(NamedTuple):
    """Whether feedback is collected, and the reason in a sentence."""

    collects: bool
    said: str


def decide(found: Verdict, settings: Settings) -> Decision:
    """Collect where the judge has something to teach, or where that is forced."""
    if found.passes:
        return Decision(True, f"feedback is collected: {found.sentence}")
    if not settings.feedback_is_forced:
        return Decision(False, f"collection stopped: {found.sentence}; RAR_FORCE_FEEDBACK=true collects anyway")
    why = "RAR_FORCE_FEEDBACK is set" if settings.force_feedback else "the sample world is there to show the machinery"
    return Decision(True, f"feedback is collected only because {why}: {found.sentence}")
