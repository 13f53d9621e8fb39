"""Feedback of a round: sets are drawn, the judge ranks those whose worth is not known beforehand, the pairs follow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from rar_pipeline.conversations.cases import reserved_dialogues
from rar_pipeline.generation.questions import Answer, Candidate, Question
from rar_pipeline.preference.sampling import draw_sets, ndcg
from rar_pipeline.retriever.catalogue import Catalogue
from rar_pipeline.tables import FEEDBACK, PREFERENCES

Ask = Callable[[Sequence[Question]], Sequence[Answer]]


def choose_contexts(
    cases: pl.DataFrame, catalogue: Catalogue, count: int, seed: int, round_number: int, reserved_share: float = 0.0
) -> pl.DataFrame:
    """At most `count` training cases of dialogues with a target in the corpus that the seeker did not dislike, drawn anew for every round.

    Where supervision left a share of the dialogues unseen (`reserved_share`), only of these.
    """
    if reserved_share:
        cases = cases.join(reserved_dialogues(cases, reserved_share), on=["dataset", "dialogue_id"], how="semi")
    known = pl.Series("known", catalogue.movie_ids, dtype=pl.String)
    taught = pl.col("targets").list.set_difference("disliked").list.set_intersection(known.implode())
    usable = cases.filter((pl.col("split") == "train") & (pl.col("origin") == "dialogue") & taught.list.len().gt(0)).sort(
        "case_id"
    )
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
    skip_known: bool,
    seed: int,
    round_number: int,
) -> pl.DataFrame:
    """The table FEEDBACK of the given training cases.

    pools, pool_scores: (n, M) best movies of the present retriever and their scores, row by row of `cases`. A set without a target cannot earn a
    reward and is skipped. Where only one set of a context holds one, it wins in any case: with `skip_known` without a question (PRIME); objectives
    that learn from rewards or from places, not from who won, need the answer nevertheless. All other sets are asked.
    """
    rows: list[dict[str, Any]] = []
    asked: list[tuple[int, dict[str, Any]]] = []
    wanted = [
        [target for target in targets if target not in set(disliked)]
        for targets, disliked in cases.select("targets", "disliked").iter_rows()
    ]
    for number, case_id in enumerate(cases["case_id"]):
        generator = np.random.default_rng([seed, 2, round_number, number])
        targets = catalogue.rows(wanted[number])
        drawn = draw_sets(
            pools[number], pool_scores[number], targets, sets=sets, size=size, temperature=temperature, generator=generator
        )
        holds = [bool(np.isin(members, targets).any()) for members in drawn.rows]
        for set_id, members in enumerate(drawn.rows):
            row: dict[str, Any] = {
                "case_id": case_id,
                "set_id": set_id,
                "candidates": [catalogue.movie_ids[member] for member in members],
                "targets": wanted[number],
                "target_places": np.flatnonzero(np.isin(members, targets)).tolist(),
                "forced": drawn.forced and set_id == 0,
            }
            if holds[set_id] and (sum(holds) > 1 or not skip_known):
                asked.append((number, row))
            else:
                row |= {"status": "skipped", "reward": float(holds[set_id])}
            rows.append(row)
    known = cards(sorted({movie for _, row in asked for movie in row["candidates"]}))
    contexts, histories = cases["context"].to_list(), cases["history"].to_list()
    questions = [
        Question(
            f"{row['case_id']}#{row['set_id']}",
            contexts[number],
            tuple(known[movie] for movie in row["candidates"]),
            tuple(histories[number]),
        )
        for number, row in asked
    ]
    answers = {answer.question_id: answer for answer in ask(questions)}
    for _, row in asked:
        row |= _answered(answers.get(f"{row['case_id']}#{row['set_id']}"), row["targets"])
    return FEEDBACK.frame(rows)


def _answered(answer: Answer | None, targets: Sequence[str]) -> dict[str, object]:
    """What a row of FEEDBACK says of an answer; without one the call failed."""
    if answer is None:
        return {"status": "failed"}
    return {
        "status": answer.status,
        "mode": answer.mode,
        "model": answer.model,
        "prompt_hash": answer.prompt_hash,
        "raw_answer": answer.raw_answer or answer.error,
        "ranking": list(answer.ranking),
        "reward": ndcg(answer.ranking, targets) if answer.status == "answered" else None,
        "prompt_tokens": answer.prompt_tokens,
        "answer_tokens": answer.answer_tokens,
        "seconds": answer.seconds,
    }


class Asked(NamedTuple):
    """What came of a round's questions: how many were answered, how many calls failed, how many answers could not be read."""

    answered: int
    failed: int
    unparsed: int

    @property
    def share(self) -> float:
        """Answered questions of all that were asked; 1 where none was."""
        return self.answered / sum(self) if sum(self) else 1.0

    @property
    def said(self) -> str:
        """The same in a sentence."""
        counts = (
            f"{self.answered:,} of {sum(self):,} questions were answered ({self.failed:,} failed, {self.unparsed:,} unparsed)"
        )
        return f"{counts}; made again, only the failed ones are asked again" if self.failed else counts


def asked_of(feedback: pl.DataFrame) -> Asked:
    """What came of the questions of a table FEEDBACK; sets that were skipped put none."""
    counts = dict(feedback["status"].value_counts().iter_rows())
    return Asked(*(int(counts.get(status, 0)) for status in Asked._fields))


def build_preferences(feedback: pl.DataFrame) -> pl.DataFrame:
    """The table PREFERENCES: every two sets of a context whose rewards differ. Contexts with a set that was not answered give no pair of it."""
    rows = []
    usable = feedback.filter(pl.col("reward").is_not_null()).sort("case_id", "set_id")
    for (case_id,), group in usable.group_by(["case_id"], maintain_order=True):
        for one, other in combinations(group.iter_rows(named=True), 2):
            if one["reward"] == other["reward"]:
                continue
            winner, loser = (one, other) if one["reward"] > other["reward"] else (other, one)
            # a set without a target loses to one with, whatever the judge says
            reason = "judge" if loser["status"] == winner["status"] == "answered" else "target"
            rows.append(
                {
                    "case_id": case_id,
                    "winner": winner["candidates"],
                    "loser": loser["candidates"],
                    "winner_set": winner["set_id"],
                    "loser_set": loser["set_id"],
                    "winner_reward": winner["reward"],
                    "loser_reward": loser["reward"],
                    "reason": reason,
                }
            )
    return PREFERENCES.frame(rows)
