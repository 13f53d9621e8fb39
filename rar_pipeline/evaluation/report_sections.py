"""What the report says, as plain rows for the template: no HTML, no figures, no files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from rar_pipeline import tables
from rar_pipeline.evaluation.bootstrap import FEWEST

Row = dict[str, Any]
SHOWN_METRICS = ("R@1", "R@10", "R@50", "N@10", "MRR@10")
HEADLINE = "N@10"
EXAMPLES = 6
SHOWN_TITLES = 5
DATASET_ORDER = pl.col("dataset").replace_strict({name: i for i, name in enumerate(tables.DATASETS)})
SCOPES = {
    "judged": "cases that every system answered, so that systems are paired",
    "all": "every case that a system answered",
}


def verdict(row: Row) -> str:
    """better, worse, within the noise, or unknown (no reference, or too few conversations for an interval that can be believed)."""
    low, high = row["difference_low"], row["difference_high"]
    if low is None or high is None or row["cases"] < FEWEST:
        return "unknown"
    return "better" if low > 0 else "worse" if high < 0 else "within the noise"


def boards(leaderboard: pl.DataFrame) -> list[Row]:
    """One table a (data set, split, protocol, scope), test before validation; systems by the headline metric, best first."""
    places = ("dataset", "split", "protocol", "scope")
    found_boards: list[Row] = []
    for key, part in leaderboard.group_by(places, maintain_order=True):
        by_system: dict[str, Row] = {}
        for row in part.iter_rows(named=True):
            by_system.setdefault(row["system"], {})[row["metric"]] = row
        systems: list[Row] = [
            {"system": name, "metrics": found, "headline": found.get(HEADLINE), "verdict": verdict(found[HEADLINE])}
            for name, found in by_system.items()
            if HEADLINE in found
        ]
        systems.sort(key=lambda row: (-row["headline"]["value"], row["system"]))
        found_boards.append(dict(zip(places, key, strict=True)) | {"systems": systems, "frame": part})
    order = {name: i for i, name in enumerate((*tables.DATASETS, "test", "validation", "fresh_turns", "cikm23", "judged", "all"))}
    return sorted(found_boards, key=lambda board: [order[board[name]] for name in places])


def findings(leaderboard: pl.DataFrame, claims: Mapping[str, str], split: str) -> list[Row]:
    """What the paired intervals allow to say of each system that has a reference: dataset, verdict, claim, and the figures.

    Read under `fresh_turns`, in the scope that gives a pair more cases. `claims` names what a system stands for ("The LLM"),
    so that a plain sentence can be made; systems that are not in it are left to the tables.
    """
    rows = leaderboard.filter(
        pl.col("split") == split,
        pl.col("protocol") == "fresh_turns",
        pl.col("metric") == HEADLINE,
        pl.col("reference").is_not_null(),
        pl.col("system").is_in(list(claims)),
    )
    preferred = rows.sort(-pl.col("cases"), pl.col("scope") != "judged", maintain_order=True).unique(
        ["dataset", "system"], maintain_order=True, keep="first"
    )
    order = {name: place for place, name in enumerate(claims)}
    found = [row | {"verdict": verdict(row), "claim": claims[row["system"]]} for row in preferred.iter_rows(named=True)]
    return sorted(found, key=lambda row: (tables.DATASETS.index(row["dataset"]), order[row["system"]]))


def examples(
    cases: pl.DataFrame, recommendations: pl.DataFrame, movies: pl.DataFrame, systems: Sequence[str], split: str
) -> dict[str, list[Row]]:
    """For each data set up to six conversations, what each system recommended and what was right.

    Drawn by a hash of the case's id, so neither the best nor the worst are picked; cases that most of `systems` answered come
    first.
    """
    shown = recommendations.filter(pl.col("split") == split, pl.col("system").is_in(list(systems)))
    answered = shown.group_by("dataset", "case_id").agg(systems=pl.len())
    candidates = cases.filter(pl.col("split") == split, pl.col("context") != "").join(answered, on=["dataset", "case_id"])
    chosen: dict[str, list[Row]] = {}
    names: dict[str, str] | None = None
    for (dataset,), part in candidates.sort(DATASET_ORDER).group_by("dataset", maintain_order=True):
        rows = sorted(part.iter_rows(named=True), key=lambda row: (-row["systems"], _hash(row["case_id"])))[:EXAMPLES]
        lists = shown.filter(pl.col("dataset") == dataset, pl.col("case_id").is_in([row["case_id"] for row in rows]))
        rankings = {(row["case_id"], row["system"]): row["ranking"] for row in lists.iter_rows(named=True)}
        names = names or _names(movies)
        chosen[str(dataset)] = [_example(row, rankings, systems, names) for row in rows]
    return chosen


def _example(case: Row, rankings: Mapping[tuple[str, str], list[str]], systems: Sequence[str], names: Mapping[str, str]) -> Row:
    seen, targets = set(case["history"]), set(case["targets"])
    answers: list[Row] = []
    for system in systems:
        ranking = rankings.get((case["case_id"], system))
        if ranking is None:
            continue
        kept = [movie for movie in dict.fromkeys(ranking) if movie not in seen]
        ranks = [place for place, movie in enumerate(kept, 1) if movie in targets]
        top = [{"title": names.get(movie, movie), "right": movie in targets} for movie in kept[:SHOWN_TITLES]]
        answers.append({"system": system, "top": top, "rank": ranks[0] if ranks else None, "length": len(kept)})
    return {
        "case_id": case["case_id"],
        "turns": _turns(case["context"]),
        "targets": [names.get(movie, movie) for movie in case["targets"]],
        "unlinked": case["unlinked_targets"],
        "answers": answers,
    }


def _turns(context: str) -> list[Row]:
    turns: list[Row] = []
    for line in context.splitlines():
        speaker, colon, text = line.partition(":")
        if colon and speaker in ("Seeker", "Recommender"):
            turns.append({"speaker": speaker, "text": text.strip()})
        elif turns:
            turns[-1]["text"] += f" {line.strip()}"
    return turns


def _names(movies: pl.DataFrame) -> dict[str, str]:
    year = pl.when(pl.col("year").is_null()).then(pl.lit("")).otherwise(pl.format(" ({})", "year"))
    return dict(movies.select("movie_id", pl.col("title") + year).iter_rows())


def _hash(case_id: str) -> str:
    return hashlib.sha256(case_id.encode()).hexdigest()


def corpus_facts(movies: pl.DataFrame) -> Row:
    """Counts of the corpus: movies, and those with each kind of fact; a frame of `tables.MOVIES`."""
    filled = {name: movies[name].is_not_null().sum() for name in ("imdb_id", "year", "plot")}
    filled |= {name: int((movies[name].list.len() > 0).sum()) for name in ("genres", "directors", "cast")}
    return {"movies": movies.height} | {f"with_{name}": int(count) for name, count in filled.items()}


def decades(movies: pl.DataFrame) -> pl.DataFrame:
    """Movies and movies with a plot by decade of release: decade, movies, with_plot."""
    return (
        movies.drop_nulls("year")
        .group_by(decade=pl.col("year") // 10 * 10)
        .agg(movies=pl.len(), with_plot=pl.col("plot").is_not_null().sum())
        .sort("decade")
    )


def link_facts(mentions: pl.DataFrame, cases: pl.DataFrame) -> list[Row]:
    """Per data set and split: conversations, mentions, share of mentions linked to the corpus, cases, targets."""
    keys = ("dataset", "split")
    of_mentions = mentions.group_by(keys).agg(
        conversations=pl.col("dialogue_id").n_unique(), mentions=pl.len(), linked=pl.col("movie_id").is_not_null().mean()
    )
    of_cases = cases.group_by(keys).agg(
        cases=pl.len(), targets=pl.col("targets").list.len().sum() + pl.col("unlinked_targets").sum()
    )
    order = pl.col("split").replace_strict({"train": 0, "validation": 1, "test": 2}, default=3)
    return of_mentions.join(of_cases, on=keys, how="full", coalesce=True).sort(DATASET_ORDER, order).to_dicts()


def feedback_facts(feedback: Sequence[tuple[str, int, pl.DataFrame]]) -> list[Row]:
    """One row a (data set, round): contexts, sets by status, mean reward, tokens, seconds an answered set."""
    return [
        {
            "dataset": dataset,
            "round": round_,
            "contexts": frame["case_id"].n_unique(),
            "sets": frame.height,
            **{
                status: frame.filter(pl.col("status") == status).height
                for status in ("answered", "skipped", "failed", "unparsed")
            },
            "reward": frame["reward"].mean(),
            "tokens": frame.select(pl.sum("prompt_tokens") + pl.sum("answer_tokens")).item(),
            "seconds": frame.filter(pl.col("status") == "answered")["seconds"].mean(),
        }
        for dataset, round_, frame in feedback
    ]


def breakdown_rows(breakdown: pl.DataFrame, buckets: Sequence[str], metric: str, split: str) -> dict[str, Row]:
    """For each data set a table: its buckets with their sizes, and for each system the metric in each bucket."""
    rows = breakdown.filter(pl.col("metric") == metric, pl.col("split") == split)
    found: dict[str, Row] = {}
    for (dataset,), part in rows.sort(DATASET_ORDER, "system").group_by("dataset", maintain_order=True):
        sizes = dict(part.group_by("bucket").agg(pl.col("cases").max()).iter_rows())
        columns = [bucket for bucket in buckets if bucket in sizes]
        systems = {
            str(system): dict(of.select("bucket", "value").iter_rows())
            for (system,), of in part.group_by("system", maintain_order=True)
        }
        found[str(dataset)] = {"buckets": [(bucket, sizes[bucket]) for bucket in columns], "systems": systems}
    return found
