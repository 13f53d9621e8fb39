"""The systems that are compared, by name, and how each makes its list for a case."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from rar_pipeline.evaluation import baselines
from rar_pipeline.generation.candidates import candidates_of
from rar_pipeline.generation.questions import Answer, Question
from rar_pipeline.retriever.catalogue import Catalogue
from rar_pipeline.retriever.examples import Encode, build_queries
from rar_pipeline.retriever.search import build_index, search
from rar_pipeline.retriever.version import load
from rar_pipeline.settings import Settings
from rar_pipeline.tables import RECOMMENDATIONS

LENGTH = 50
LLM_ALONE = "llm_alone"


def after_llm(version: str) -> str:
    """Name of the system in which the LLM re-ranks a version's candidates."""
    return f"{version}+llm"


def descriptions(rounds: int) -> dict[str, str]:
    """One line on every system, in the order of reports."""
    names = {
        "popularity": "The movies that training conversations name most, for everybody the same",
        "dense": "Cosine between the conversation's text and the movie's text, nothing trained",
        "ease": "Item-item weights in closed form on the movies named together, no text",
        "round_0": "The retriever after supervised training",
    }
    for number in range(1, rounds + 1):
        names[f"round_{number}"] = f"The retriever after preference round {number}"
    names[LLM_ALONE] = "The LLM without candidates"
    for number in range(rounds + 1):
        names[after_llm(f"round_{number}")] = f"round_{number}'s candidates, re-ranked by the LLM"
    return names


def references(rounds: int) -> dict[str, str]:
    """For each system the one that it has to beat."""
    found = {"ease": "popularity", "dense": "popularity", "round_0": "ease", LLM_ALONE: "round_0"}
    found |= {f"round_{number}": "round_0" for number in range(1, rounds + 1)}
    found |= {after_llm(f"round_{number}"): f"round_{number}" for number in range(rounds + 1)}
    return found


def judged_cases(cases: pl.DataFrame, count: int, seed: int) -> pl.DataFrame:
    """At most `count` cases of each split, drawn by seed: those that are put to the LLM."""
    parts = []
    for _, part in cases.sort("case_id").group_by("split", maintain_order=True):
        order = np.random.default_rng([seed, 3]).permutation(len(part))[:count]
        parts.append(part[sorted(order.tolist())])
    return pl.concat(parts) if parts else cases


def recommend(
    cases: pl.DataFrame,
    mentions: pl.DataFrame,
    movies: pl.DataFrame,
    catalogue: Catalogue,
    versions: Mapping[str, Path],
    encode: Encode,
    ask: Callable[[Sequence[Question]], Sequence[Answer]],
    generates: bool,
    settings: Settings,
    log: Callable[[str], None],
) -> pl.DataFrame:
    """The table RECOMMENDATIONS of validation and test: all systems without the LLM on all cases, those with it on the judged cases.

    `versions`: name of each retriever version -> its folder. `generates`: the LLM writes lists, so it is also asked without candidates.
    Where an answer failed, the retriever's order stands.
    """
    asked = cases.filter(pl.col("split") != "train").sort("split", "case_id")
    queries = build_queries(asked, catalogue, encode, turns=settings.context_turns, max_history=settings.max_history)
    frames = [
        baselines.popularity(mentions, asked),
        baselines.dense(queries.text.astype(np.float32), catalogue.embeddings, catalogue.movie_ids, asked),
        baselines.ease(baselines.fit_ease(mentions), asked),
    ]
    judged = judged_cases(asked, settings.cases_to_judge, settings.seed)
    place = {case_id: row for row, case_id in enumerate(asked["case_id"])}
    if generates:
        questions = [
            Question(case["case_id"], case["context"], (), tuple(case["history"])) for case in judged.iter_rows(named=True)
        ]
        empty: dict[str, list[str]] = {case_id: [] for case_id in judged["case_id"]}
        frames.append(_answered(judged, LLM_ALONE, ask(questions), empty))
    for name, folder in versions.items():
        retriever, version = load(folder)
        rows, _ = search(build_index(retriever, catalogue, version.known), queries, LENGTH)
        lists = [[catalogue.movie_ids[row] for row in found if row >= 0] for found in rows]
        frames.append(_frame(asked, name, lists, None))
        log(f"{name}: {len(asked):,} cases searched; {len(judged)} of them go to the LLM")
        shown = {case_id: lists[place[case_id]] for case_id in judged["case_id"]}
        questions = []
        for case in judged.iter_rows(named=True):
            candidates = shown[case["case_id"]][: settings.candidates]
            cards = candidates_of(movies, candidates)
            questions.append(
                Question(case["case_id"], case["context"], tuple(cards[movie] for movie in candidates), tuple(case["history"]))
            )
        frames.append(_answered(judged, after_llm(name), ask(questions), shown))
    return pl.concat(frames)


def _answered(cases: pl.DataFrame, system: str, answers: Sequence[Answer], shown: Mapping[str, list[str]]) -> pl.DataFrame:
    """Lists as the LLM ranked them, followed by the retriever's other movies in its order."""
    lists, unmatched = [], []
    history = dict(cases.select("case_id", "history").iter_rows())
    for answer in answers:
        seen = set(history[answer.question_id])
        ranked = list(dict.fromkeys(movie for movie in (*answer.ranking, *shown[answer.question_id]) if movie not in seen))
        lists.append(ranked[:LENGTH])
        unmatched.append(answer.unmatched if answer.mode == "generate" else None)
    return _frame(cases, system, lists, unmatched)


def _frame(cases: pl.DataFrame, system: str, lists: list[list[str]], unmatched: list[int | None] | None) -> pl.DataFrame:
    columns = {
        "system": pl.Series([system] * len(cases), dtype=pl.String),
        "ranking": pl.Series(lists, dtype=pl.List(pl.String)),
        "unmatched": pl.Series(unmatched or [None] * len(cases), dtype=pl.Int64),
    }
    return RECOMMENDATIONS.conform(cases.select("dataset", "split", "case_id").with_columns(**columns))
