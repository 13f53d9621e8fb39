"""Feedback of a round: sets are drawn, the judge ranks those whose winner is not known beforehand, the pairs follow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np
import polars as pl

from rar_pipeline.generation.questions import Answer, Candidate, Question
from rar_pipeline.preference.sampling import draw_sets, ndcg
from rar_pipeline.retriever.catalogue import Catalogue
from rar_pipeline.tables import FEEDBACK, PREFERENCES

Ask = Callable[[Sequence[Question]], Sequence[Answer]]


def choose_contexts(cases: pl.DataFrame, catalogue: Catalogue, count: int, seed: int, round_number: int) -> pl.DataFrame:
    """At most `count` training cases with a text and a target in the corpus, drawn anew for every round."""
    known = pl.Series("known", catalogue.movie_ids, dtype=pl.String)
    usable = cases.filter(
        (pl.col("split") == "train")
        & (pl.col("origin") == "dialogue")
        & pl.col("targets").list.set_intersection(known.implode()).list.len().gt(0)
    ).sort("case_id")
    order = np.random.default_rng([seed, 1, round_number]).permutation(len(usable))[:count]
    return usable[sorted(order.tolist())]


def collect_feedback(
    cases: pl.DataFrame,
    pools: np.ndarray,
    pool_scores: np.ndarray,
    catalogue: Catalogue,
    cards: Callable[[Sequence[str]], dict[str, Candidate]],
    ask: Ask,
    *,
    sets: int,
    size: int,
    temperature: float,
    seed: int,
    round_number: int,
) -> pl.DataFrame:
    """The table FEEDBACK of the given training cases.

    pools, pool_scores: (n, M) best movies of the present retriever and their scores, row by row of `cases`. A set without a target cannot earn a
    reward and is skipped; where only one set of a context holds one, it wins without a question (PRIME). All other sets are asked.
    """
    rows: list[dict[str, object]] = []
    questions: list[Question] = []
    for number, case in enumerate(cases.iter_rows(named=True)):
        generator = np.random.default_rng([seed, 2, round_number, number])
        targets = catalogue.rows(case["targets"])
        drawn = draw_sets(
            pools[number], pool_scores[number], targets, sets=sets, size=size, temperature=temperature, generator=generator
        )
        holds = [bool(np.isin(members, targets).any()) for members in drawn.rows]
        for set_id, members in enumerate(drawn.rows):
            movie_ids = [catalogue.movie_ids[row] for row in members]
            row = {"case_id": case["case_id"], "set_id": set_id, "candidates": movie_ids, "targets": case["targets"]}
            if holds[set_id] and sum(holds) > 1:
                known = cards(movie_ids)
                shown = tuple(known[movie_id] for movie_id in movie_ids)
                questions.append(Question(f"{case['case_id']}#{set_id}", case["context"], shown, tuple(case["history"])))
            else:
                row |= {"status": "skipped", "reward": float(holds[set_id])}
            rows.append(row)
    answers = {answer.question_id: answer for answer in ask(questions)}
    for row in rows:
        answer = answers.get(f"{row['case_id']}#{row['set_id']}")
        if answer is None:
            row.setdefault("status", "failed")
            continue
        row |= {
            "status": answer.status,
            "mode": answer.mode,
            "model": answer.model,
            "prompt_hash": answer.prompt_hash,
            "raw_answer": answer.raw_answer or answer.error,
            "ranking": list(answer.ranking),
            "reward": ndcg(answer.ranking, row["targets"]) if answer.status == "answered" else None,  # type: ignore[arg-type]
            "prompt_tokens": answer.prompt_tokens,
            "answer_tokens": answer.answer_tokens,
            "seconds": answer.seconds,
        }
    return FEEDBACK.frame(rows)


def build_preferences(feedback: pl.DataFrame) -> pl.DataFrame:
    """The table PREFERENCES: every two sets of a context whose rewards differ. Contexts with a set that was not answered give no pair of it."""
    rows = []
    usable = feedback.filter(pl.col("reward").is_not_null()).sort("case_id", "set_id")
    for (case_id,), group in usable.group_by(["case_id"], maintain_order=True):
        for one, other in combinations(group.iter_rows(named=True), 2):
            if one["reward"] == other["reward"]:
                continue
            winner, loser = (one, other) if one["reward"] > other["reward"] else (other, one)
            reason = "target" if "skipped" in (winner["status"], loser["status"]) else "judge"
            rows.append(
                {
                    "case_id": case_id,
                    "winner": winner["candidates"],
                    "loser": loser["candidates"],
                    "winner_reward": winner["reward"],
                    "loser_reward": loser["reward"],
                    "reason": reason,
                }
            )
    return PREFERENCES.frame(rows)
