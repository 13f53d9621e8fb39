"""A made-up but plausible world for the tests of the report: two data sets, six systems, one round of feedback."""

from __future__ import annotations

import numpy as np
import polars as pl

from rar_pipeline import tables
from rar_pipeline.evaluation.bootstrap import leaderboard
from rar_pipeline.evaluation.metrics import score
from rar_pipeline.evaluation.report import ReportInputs

SKILL = {"popularity": 0.08, "ease": 0.17, "dense": 0.12, "round_0": 0.22, "round_0+llm": 0.21, "round_1+llm": 0.24}
SYSTEMS = {
    "popularity": "Most mentioned in training conversations",
    "ease": "Item-item weights on mentions, closed form",
    "dense": "Cosine of dialogue and movie text",
    "round_0": "Supervised retriever alone",
    "round_0+llm": "Supervised retriever, ranked by the LLM",
    "round_1+llm": "Retriever after one preference round, ranked by the LLM",
}
TRIAL = {
    "challenger": "round_1",
    "champion": "round_0",
    "difference": 0.004,
    "low": -0.01,
    "high": 0.02,
    "cases": 90,
    "wins": False,
}
CHAMPION = {"version": "round_0", "llm_weight": 0.0, "metric": "N@10", "trials": [TRIAL]}
CHANGE = {
    "when": "2026-01-02T03:04:05+00:00",
    "run": "r",
    "by": "gate",
    "id": "round_0-0123456789ab",
    "version": "round_0",
    "llm_weight": 0.0,
}
CHANGE |= {"replaced": None, "why": "no challenger beat round_0 beyond the noise", "lost": ["round_1"]}
GAIN = {"difference": 0.01, "low": -0.004, "high": 0.024}
NO_GAIN = dict.fromkeys(GAIN)
REFERENCES = {"ease": "popularity", "round_0": "ease", "round_0+llm": "round_0", "round_1+llm": "round_0+llm"}


def asked(rng: np.random.Generator, ranking: list[str]) -> dict[str, object]:
    """What is on record of a list that an LLM re-ranked."""
    return {
        "unmatched": int(rng.random() < 0.2),
        "titles": 21,
        "ranked": 20,
        "reversed": ranking[:20] if rng.random() < 0.3 else None,
        "model": "a-model",
        "status": "answered",
        "prompt_tokens": 900,
        "answer_tokens": 120,
        "seconds": 1.3,
        "cost": 0.0004,
    }


def inputs(conversations: int = 120, movies: int = 400, title: str = "The Lighthouse Keeper") -> ReportInputs:
    rng = np.random.default_rng(0)
    ids = [f"tt{i:07}" for i in range(movies)]
    catalogue = tables.MOVIES.frame(
        {
            "movie_id": movie,
            "imdb_id": movie,
            "title": title if i % 7 == 0 else f"A Story of {['Rain', 'Two Rivers', 'the North', 'Paper', 'Dust'][i % 5]} {i}",
            "year": int(2024 - min(90, rng.exponential(18))),
            "genres": ["Drama"],
            "directors": ["A. Director"],
            "cast": [] if i % 9 == 0 else ["B. Player"],
            "plot": None if i % 4 == 0 else "Somebody leaves home.",
            "sources": ["imdb"],
        }
        for i, movie in enumerate(ids)
    )
    likely = 1 / np.arange(1, movies + 1)
    likely /= likely.sum()
    mentions, cases, lists = [], [], []
    for dataset, size in (("redial", conversations), ("inspired", conversations // 3)):
        for number in range(size * 2):
            split = "train" if number < size else "test"
            named = [ids[i] for i in rng.choice(movies, 5, replace=False, p=likely)]
            for position, movie in enumerate(named):
                mentions.append(
                    {
                        "dataset": dataset,
                        "split": split,
                        "dialogue_id": str(number),
                        "turn": position,
                        "position": position,
                        "movie_id": None if rng.random() < 0.03 else movie,
                    }
                )
            if split == "train":
                continue
            for turn in (2, 4):
                targets = named[turn - 1 : turn]
                case = {
                    "dataset": dataset,
                    "split": split,
                    "case_id": f"{number}:{turn}",
                    "dialogue_id": str(number),
                    "turn": turn,
                    "origin": "dialogue",
                    "context": "Seeker: Hi! I would like something slow for a rainy evening, not too long.\n"
                    f"Recommender: Gladly. Have you seen {title}?\nSeeker: Yes, and I liked it a lot. Something like it & calmer?",
                    "history": named[: turn - 2],
                    "disliked": [],
                    "targets": targets,
                    "unlinked_targets": int(rng.random() < 0.02),
                }
                cases.append(case)
                for system, skill in SKILL.items():
                    ranking = [ids[i] for i in rng.choice(movies, 50, replace=False, p=likely)]
                    if rng.random() < skill:
                        ranking.insert(int(rng.integers(0, 8)), targets[0])
                    if "llm" in system and turn == 4 and number % 2:
                        continue
                    lists.append(
                        {
                            "dataset": dataset,
                            "split": split,
                            "system": system,
                            "case_id": case["case_id"],
                            "ranking": ranking[:50],
                            "scores": [float(-place) for place in range(min(50, len(ranking)))] if system == "round_0" else None,
                            **(asked(rng, ranking) if "llm" in system else {}),
                        }
                    )
    case_frame, list_frame = tables.CASES.frame(cases), tables.RECOMMENDATIONS.frame(lists)
    metrics = score(list_frame, case_frame)
    boards = [
        leaderboard(metrics, scope=scope, references=REFERENCES, seed=0, resamples=500, common=common)
        for scope, common in (("all", None), ("judged", list(SKILL)))
    ]
    feedback = tables.FEEDBACK.frame(
        {
            "case_id": str(i // 2),
            "set_id": i % 2,
            "candidates": ids[:3],
            "targets": ids[:1],
            "status": ["answered", "answered", "skipped", "unparsed"][i % 4],
            "ranking": ids[:3],
            "reward": float(rng.beta(1, 3)),
            "prompt_tokens": 900,
            "answer_tokens": 120,
            "seconds": 1.3,
        }
        for i in range(200)
    )
    epochs = list(range(12))
    curves = pl.DataFrame(
        {
            "series": ["redial round 0"] * 12 + ["inspired round 0"] * 12,
            "epoch": epochs * 2,
            "value": [0.13 * (1 - 0.7**e) for e in epochs] + [0.08 * (1 - 0.8**e) for e in epochs],
        }
    )
    return ReportInputs(
        world="sample",
        preset="small",
        seed=0,
        versions={
            "code": "0.1.0 (3fa9c1e)",
            "model": "SmolLM2-135M-Instruct Q4_1",
            "prompt": "likelihood 9b1d4c07",
            "polars": "2.1.0",
        },
        raw_files=tables.RAW_FILES.frame(
            {
                "publisher": "imdb",
                "file": f"imdb/title.{n}.tsv",
                "path": "x",
                "bytes": 123456,
                "sha256": "ab" * 32,
                "origin": "sample",
            }
            for n in ("basics", "crew", "ratings")
        ),
        movies=catalogue,
        mentions=tables.MENTIONS.frame(mentions),
        cases=case_frame,
        recommendations=list_frame,
        metrics=metrics,
        leaderboard=pl.concat(boards),
        systems=SYSTEMS,
        claims={"round_0": "The retriever", "round_0+llm": "The LLM", "round_1+llm": "The preference round"},
        shown_systems=["popularity", "ease", "round_0", "round_0+llm", "round_1+llm"],
        champions={"redial": "round_0 serves; round_1 did not win on validation data."},
        champion_records={"redial": CHAMPION},
        champion_histories={"redial": [CHANGE]},
        contents={"movies": "cd" * 32, "redial cases": "ef" * 32},
        upstream={"movies": ["source_movies/imdb"], "cases": ["dialogues", "mentions"], "source_movies/imdb": []},
        curves={"validation N@10": curves},
        feedback=[("redial", 1, feedback), ("inspired", 1, feedback.head(60))],
        objectives=[
            {"dataset": "redial", "objective": objective, "version": f"round_1_{objective}", "updates": 12.0, "cases": 90}
            | {
                "alone": 0.11,
                "after_llm": 0.12,
                "against_start": GAIN,
                "against_control": GAIN if objective != "sft" else NO_GAIN,
            }
            for objective in ("dpo", "lambda_credit", "sft")
        ],
        dropped=pl.DataFrame({"table": ["source_movies"], "reason": ["no title in imdb/title.basics.tsv"], "rows": [17]}),
    )
