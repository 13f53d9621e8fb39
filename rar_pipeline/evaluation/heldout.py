"""Evaluation on test files that never were in the lake: their cases, which of them the lake was trained on, lists and scores."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from rar_pipeline.conversations.cases import build_cases
from rar_pipeline.conversations.cikm23 import CikmTest, Entity
from rar_pipeline.conversations.reading import Reading, tables_of
from rar_pipeline.corpus.link import Linker
from rar_pipeline.evaluation.answers import NamedLists
from rar_pipeline.evaluation.baselines import listed
from rar_pipeline.evaluation.bootstrap import leaderboard
from rar_pipeline.evaluation.metrics import score
from rar_pipeline.evaluation.systems import LENGTH
from rar_pipeline.retriever.catalogue import Catalogue
from rar_pipeline.retriever.examples import Encode, build_queries
from rar_pipeline.retriever.search import build_index, search
from rar_pipeline.retriever.version import load
from rar_pipeline.settings import Settings
from rar_pipeline.tables import CASES, LEADERBOARD, METRICS, RECOMMENDATIONS

ANSWERS, CLOSE_ANSWERS = "answers", "answers (close titles)"
SENTENCE = 25  # characters from which on a sentence tells conversations apart
_ENDS = re.compile(r"[.?!]+")
_NOT_WORD = re.compile(r"[\W_]+")


@dataclass(frozen=True)
class Trial:
    """What is evaluated: `asked`, the cases that lists are made for, and `cases`, those that are scored: the same, or one for each target of them.

    `spoken`: what was said, by dialogue. `facts`: what was read and what does not count. Of CIKM'23 files also what they hold, the movies that
    their authors rank, and the scored cases with names in place of movies.
    """

    asked: pl.DataFrame
    cases: pl.DataFrame
    spoken: Mapping[str, Sequence[str]]
    facts: Mapping[str, float]
    test: CikmTest | None = None
    items: frozenset[str] = frozenset()
    named: pl.DataFrame | None = None

    @property
    def targets(self) -> int:
        """New targets, linked or not."""
        return int(self.cases.select(pl.col("targets").list.len().sum() + pl.col("unlinked_targets").sum()).item())

    def without(self, dialogues: Collection[str]) -> Trial:
        """The trial without some dialogues."""
        kept = ~pl.col("dialogue_id").is_in(list(dialogues))
        named = None if self.named is None else self.named.filter(kept)
        return replace(self, asked=self.asked.filter(kept), cases=self.cases.filter(kept), named=named)


def own_trial(reading: Reading, dataset: str, linker: Linker) -> Trial:
    """Cases of a publisher's test files, made as those of the lake are."""
    dialogues, unlinked = tables_of(dataset, reading.conversations)
    mentions = linker.link_mentions(unlinked)
    cases = build_cases(dialogues, mentions)
    spoken = {conversation.dialogue_id: [turn.text for turn in conversation.turns] for conversation in reading.conversations}
    facts = {"dialogues": len(spoken), "mentions": len(mentions), "mentions_linked_share": _share(mentions["movie_id"])}
    return Trial(cases, cases, spoken, facts | {f"left out: {reason}": count for reason, count in reading.dropped.items()})


def cikm23_trial(test: CikmTest, dataset: str, protocol: str, linker: Linker) -> Trial:
    """Cases of CIKM'23 files: the rows with new targets and, under `cikm23`, each target of them apart."""
    meaning = linked(test.entities, test.items | {target for row in test.rows for target in row.targets}, linker)
    names: dict[str, str | None] = {number: entity.name for number, entity in test.entities.items()}
    asked = cases_of(test, dataset, meaning, one_by_one=False)
    spoken: dict[str, list[str]] = {}
    for row in test.rows:
        spoken.setdefault(row.dialogue_id, []).extend(turn.text for turn in row.turns)
    items = frozenset(movie for number in test.items if (movie := meaning[number]) is not None)
    facts: dict[str, float] = {
        "dialogues": len(spoken),
        "turns": len(test.rows),
        "targets_new_or_not": sum(len(row.targets) for row in test.rows),
    }
    facts |= {"items": len(test.items), "items_linked_share": sum(meaning[i] is not None for i in test.items) / len(test.items)}
    return Trial(
        asked,
        cases_of(test, dataset, meaning, one_by_one=True) if protocol == "cikm23" else asked,
        spoken,
        facts | {f"left out: {reason}": count for reason, count in test.dropped.items()},
        test,
        items,
        cases_of(test, dataset, names, one_by_one=protocol == "cikm23"),
    )


def _share(column: pl.Series) -> float:
    return column.count() / max(len(column), 1)


def linked(entities: Mapping[str, Entity], wanted: Collection[str], linker: Linker) -> dict[str, str | None]:
    """Movies of the corpus for the wanted ids of `entity2id.json`; None where no link is safe."""
    found: dict[str, str | None] = {}
    for number in sorted(wanted):
        item = entities[number]
        link = linker.link(item.title, item.year, item.imdb_id)
        found[number] = link.movie_id
    return found


def cases_of(test: CikmTest, dataset: str, meaning: Mapping[str, str | None], *, one_by_one: bool) -> pl.DataFrame:
    """The table CASES of the rows with new targets; `meaning` gives ids the movies (or names) in which lists are written.

    `one_by_one`: a case for each target (`<row>.<place>`), in the order of the row, equal ones apart, as `cikm23` counts them; else one for each
    row. Targets without a meaning, or that mean what was named before, cannot be had and count as unlinked.
    """
    rows: list[dict[str, object]] = []
    for number, row in enumerate(test.rows):
        fresh = test.fresh(row)
        history = list(dict.fromkeys(meaning[seen] for seen in row.seen if meaning.get(seen) is not None))
        case = {
            "dataset": dataset,
            "split": "test",
            "dialogue_id": row.dialogue_id,
            "turn": len(row.turns),
            "origin": "dialogue",
            "context": "\n".join(f"{turn.speaker.capitalize()}: {turn.text}" for turn in row.turns),
            "history": history,
            "disliked": [],
        }
        groups = [(f"{number}.{place}", [target]) for place, target in enumerate(fresh)] if one_by_one else [(f"{number}", fresh)]
        for case_id, targets in groups:
            had = [movie for target in targets if (movie := meaning.get(target)) is not None and movie not in history]
            distinct = list(dict.fromkeys(had))
            if targets:
                rows.append({**case, "case_id": case_id, "targets": distinct, "unlinked_targets": len(targets) - len(distinct)})
    return CASES.frame(rows)


def target_by_target(recommendations: pl.DataFrame, pairs: pl.DataFrame) -> pl.DataFrame:
    """The lists of rows, repeated for each of their targets (`cases_of(one_by_one=True)`)."""
    wanted = pairs.select(pair="case_id", case_id=pl.col("case_id").str.split(".").list.first())
    joined = recommendations.join(wanted, on="case_id", how="inner", maintain_order="left_right")
    return RECOMMENDATIONS.conform(joined.with_columns(case_id="pair").drop("pair"))


def scored(recommendations: pl.DataFrame, cases: pl.DataFrame, protocol: str) -> pl.DataFrame:
    """Metrics of all lists under one protocol, a frame of METRICS.

    Of cases with one target each the id is kept as it is, so that systems whose lists are written in other ids are paired with the rest.
    """
    frame = score(recommendations, cases).filter(pl.col("protocol") == protocol)
    if protocol == "cikm23" and cases.select((pl.col("targets").list.len() + pl.col("unlinked_targets") == 1).all()).item():
        frame = frame.with_columns(case_id=pl.col("case_id").str.split("#").list.first())
    return METRICS.conform(frame)


def answer_metrics(lists: NamedLists, cases: pl.DataFrame, dataset: str, protocol: str) -> pl.DataFrame:
    """Metrics of an LLM's answers, a frame of METRICS; `cases`: `Trial.named`."""
    both = {ANSWERS: lists.nearest, CLOSE_ANSWERS: lists.close}
    frame = pl.concat([named_recommendations(found, dataset, system) for system, found in both.items()])
    return scored(target_by_target(frame, cases) if protocol == "cikm23" else frame, cases, protocol)


def named_recommendations(lists: Mapping[int, list[str]], dataset: str, system: str) -> pl.DataFrame:
    """Lists of names by row, as a frame of RECOMMENDATIONS whose movie_ids are names."""
    rows: list[dict[str, object]] = [
        {"dataset": dataset, "split": "test", "system": system, "case_id": f"{number}", "ranking": ranking[:LENGTH]}
        for number, ranking in lists.items()
    ]
    return RECOMMENDATIONS.frame(rows)


def restricted(
    folder: Path,
    catalogue: Catalogue,
    allowed: Iterable[str],
    cases: pl.DataFrame,
    encode: Encode,
    settings: Settings,
    system: str,
) -> pl.DataFrame:
    """A version's lists out of some movies of the corpus alone, a frame of RECOMMENDATIONS; histories are read whole."""
    retriever, version = load(folder)
    index = build_index(retriever, catalogue, version.known, catalogue.rows(sorted(set(allowed))))
    queries = build_queries(cases, catalogue, encode, turns=settings.context_turns, max_history=settings.max_history)
    found, _ = search(index, queries, LENGTH)
    lists = [[catalogue.movie_ids[row] for row in rows if row >= 0] for rows in found.tolist()]
    return listed(cases, system, lists)


def known_dialogues(spoken: Mapping[str, Sequence[str]], taught: pl.DataFrame, taught_ids: Collection[str]) -> set[str]:
    """Ids of test dialogues that training or validation had: by the id, or by their words under whatever id.

    `spoken`: texts by test dialogue; `taught`: rows of DIALOGUES. By words: at least three of the dialogue's longer sentences, and three
    quarters of them, stand in one and the same taught dialogue (some workers use the same phrases in all of theirs).
    """
    owners: defaultdict[str, set[str]] = defaultdict(set)
    for dialogue_id, text in taught.select("dialogue_id", "text").iter_rows():
        for sentence in _sentences([text]):
            owners[sentence].add(dialogue_id)
    known = set(taught_ids)
    found = set()
    for dialogue_id, texts in spoken.items():
        sentences = _sentences(texts)
        shared = Counter(owner for sentence in sentences for owner in owners.get(sentence, ()))
        if dialogue_id in known or max(shared.values(), default=0) >= max(3, 0.75 * len(sentences)):
            found.add(dialogue_id)
    return found


def _sentences(texts: Iterable[str]) -> set[str]:
    parts = (_NOT_WORD.sub(" ", part).strip().lower() for text in texts for part in _ENDS.split(text))
    return {part for part in parts if len(part) >= SENTENCE}


def board(metrics: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Means with intervals, a frame of LEADERBOARD: every system on its cases and, where some saw fewer, all on the cases of all."""
    whole = leaderboard(metrics, scope="all", references={}, seed=seed)
    if whole["cases"].n_unique() < 2:
        return whole
    return LEADERBOARD.conform(pl.concat([whole, leaderboard(metrics, scope="judged", references={}, seed=seed)]))


def results(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """Rows of LEADERBOARD as the report's `results`."""
    names = ("dataset", "split", "protocol", "scope", "system", "metric", "value", "low", "high", "standard_error", "cases")
    return frame.select(names).to_dicts()
