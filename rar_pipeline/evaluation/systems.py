"""The systems that are compared, by name, and how each makes its list for a case."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from rar_pipeline.evaluation import baselines, lexical
from rar_pipeline.generation.candidates import candidates_of
from rar_pipeline.generation.questions import Answer, Question
from rar_pipeline.preference.compared import CONTROL, version_name
from rar_pipeline.preference.fusion import RankedCase, cross_fitted_weights, fit_weight, fuse
from rar_pipeline.retriever.catalogue import Catalogue
from rar_pipeline.retriever.examples import Encode, build_queries
from rar_pipeline.retriever.search import build_index, search
from rar_pipeline.retriever.version import load
from rar_pipeline.settings import Objective, Settings

LENGTH = 50
LLM_ALONE = "llm_alone"
CHAMPION = "champion"
INCUMBENT = "incumbent"  # what serves, where its weights are no longer those of a round

Ask = Callable[[Sequence[Question]], Sequence[Answer]]


def after_llm(version: str, model: str = "") -> str:
    """Name of the system in which the LLM, or a further one that is named, re-ranks a version's candidates."""
    return f"{version}+llm" + (f" ({model})" if model else "")


def fused(version: str) -> str:
    """Name of the system in which the LLM's order and the version's scores are fused."""
    return f"{after_llm(version)} fused"


def ordered(version: str, llm_weight: float) -> str:
    """Name of the system that lists a version's candidates by its scores and the LLM's order, which counts for `llm_weight` of both (`fusion`)."""
    return version if not llm_weight else after_llm(version) if llm_weight == 1 else fused(version)


def in_words(llm_weight: float) -> str:
    """How such a system orders its candidates."""
    if 0 < llm_weight < 1:
        return f"fused with the LLM's order (weight {llm_weight:g})"
    return "re-ranked by the LLM" if llm_weight else "in its own order"


def before_llm(system: str) -> str | None:
    """The version whose candidates a system re-ranks; None where no LLM re-ranks anything."""
    version, plus, _ = system.partition("+llm")
    return version if plus else None


def descriptions(rounds: int, backbones: Collection[str] = (), objectives: Collection[Objective] = ()) -> dict[str, str]:
    """One line on every system, in the order of reports."""
    names = {
        "popularity": "The movies that training conversations name most, for everybody the same",
        "bm25": "Words of the conversation and of the movies that it names against the words of each movie's text, nothing trained",
        "dense": "Cosine between the conversation's text and the movie's text, nothing trained",
        "ease": "Item-item weights in closed form on the movies named together, no text",
        "round_0": "The retriever after supervised training",
    }
    for number in range(1, rounds + 1):
        names[f"round_{number}"] = f"The retriever after preference round {number}"
    for objective in objectives:
        what = "supervision goes on, the control" if objective == CONTROL else f"objective {objective}"
        names[version_name(objective)] = f"The retriever after round 1 with the same feedback, {what}"
    names[LLM_ALONE] = "The LLM without candidates"
    for number in range(rounds + 1):
        names[after_llm(f"round_{number}")] = f"round_{number}'s candidates, re-ranked by the LLM"
        names[fused(f"round_{number}")] = (
            "The same, the LLM's order fused with the retriever's scores; weight fitted on validation cases"
        )
    for version in map(version_name, objectives):
        names[after_llm(version)] = f"{version}'s candidates, re-ranked by the LLM"
    for model in backbones:
        names[after_llm(f"round_{rounds}", model)] = f"The same candidates, re-ranked by {model}"
    names[INCUMBENT] = "The champion of an earlier run, whose weights are no longer those of a round"
    names[after_llm(INCUMBENT)] = "Its candidates, re-ranked by the LLM"
    names[fused(INCUMBENT)] = "The same, the LLM's order fused with its scores"
    names[CHAMPION] = "What serves: one of the systems above, chosen on validation data"
    return names


def references(rounds: int, backbones: Collection[str] = (), objectives: Collection[Objective] = ()) -> dict[str, str]:
    """For each system the one that it has to beat."""
    found = {"ease": "popularity", "bm25": "popularity", "dense": "popularity", "round_0": "ease", LLM_ALONE: "round_0"}
    found |= {f"round_{number}": "round_0" for number in range(1, rounds + 1)}
    found |= {after_llm(f"round_{number}"): f"round_{number}" for number in range(rounds + 1)}
    found |= {fused(f"round_{number}"): f"round_{number}" for number in range(rounds + 1)}
    found |= {after_llm(f"round_{rounds}", model): after_llm(f"round_{rounds}") for model in backbones}
    for version in map(version_name, objectives):
        found |= {version: "round_0", after_llm(version): version}
    return found | {after_llm(INCUMBENT): INCUMBENT, fused(INCUMBENT): INCUMBENT, INCUMBENT: "ease", CHAMPION: "ease"}


def with_champion(frame: pl.DataFrame, served: Mapping[str, str]) -> pl.DataFrame:
    """RECOMMENDATIONS or METRICS with the rows of what serves once more, as system `champion`. `served`: data set -> system."""
    own = [frame.filter(pl.col("dataset") == dataset, pl.col("system") == system) for dataset, system in served.items()]
    return pl.concat([frame, *(part.with_columns(system=pl.lit(CHAMPION)) for part in own)])


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
    ask: Ask | None,
    generates: bool,
    settings: Settings,
    log: Callable[[str], None],
    *,
    indexes: Path,
    backbones: Mapping[str, Ask] | None = None,
    weights: Mapping[str, float] | None = None,
    compared: Mapping[str, Path] | None = None,
) -> pl.DataFrame:
    """The table RECOMMENDATIONS of validation and test: all systems without the LLM on all cases, those with it on the judged cases.

    `versions`: name of each retriever version -> its folder, the newest round last. `ask` puts questions to the LLM, None: there is none.
    `generates`: it writes lists, so it is also asked without candidates. `indexes`: where the index of BM25 is kept. `backbones`: further
    LLMs by name, that re-rank the last version's candidates. `weights`: of the LLM in the fused list of a version, where there are no validation
    cases to fit one on. `compared`: further versions, listed in their own order and as the LLM re-ranks them. Where an answer failed, the
    retriever's order stands.
    """
    asked = cases.filter(pl.col("split") != "train").sort("split", "case_id")
    queries = build_queries(asked, catalogue, encode, turns=settings.context_turns, max_history=settings.max_history)
    frames = [
        baselines.popularity(mentions, asked),
        lexical.bm25(movies, asked, indexes, turns=settings.context_turns),
        baselines.dense(queries.text.astype(np.float32), catalogue.embeddings, catalogue.movie_ids, asked),
        baselines.ease(baselines.fit_ease(mentions), asked),
    ]
    judged = judged_cases(asked, settings.cases_to_judge, settings.seed)
    place = {case_id: row for row, case_id in enumerate(asked["case_id"])}
    if ask and generates:
        nothing: dict[str, list[str]] = {case_id: [] for case_id in judged["case_id"]}
        frames.append(_answered(judged, LLM_ALONE, ask(_questions(judged, nothing, movies)), nothing))
    for name, folder in {**(compared or {}), **versions}.items():
        retriever, version = load(folder)
        rows, scores = search(build_index(retriever, catalogue, version.known), queries, LENGTH)
        lists = [[catalogue.movie_ids[row] for row in found if row >= 0] for found in rows]
        valued = [values[: len(found)].tolist() for values, found in zip(scores, lists, strict=True)]
        own = baselines.listed(asked, name, lists, scores=valued)
        frames.append(own)
        log(f"{name}: {len(asked):,} cases searched" + (f"; {len(judged)} of them go to the LLM" if ask else ""))
        if not ask:
            continue
        shown = {case_id: lists[place[case_id]] for case_id in judged["case_id"]}
        questions = _questions(judged, {case_id: found[: settings.candidates] for case_id, found in shown.items()}, movies)
        newest = name == list(versions)[-1]
        probed = judged_cases(judged, settings.order_cases, settings.seed)["case_id"].to_list() if newest else []
        turned = [replace(one, candidates=one.candidates[::-1]) for one in questions if one.question_id in probed]
        after = _answered(judged, after_llm(name), ask(questions), shown, ask(turned) if turned else ())
        frames.append(after)
        if name in (weights or {}) or (name in versions and not judged.filter(split="validation").is_empty()):
            frames.append(_fused(judged, name, pl.concat([own, after]), settings, (weights or {}).get(name)))
        for model, ask_other in (backbones or {}).items() if newest else ():
            frames.append(_answered(judged, after_llm(name, model), ask_other(questions), shown))
    return pl.concat(frames)


def both_orders(lists: pl.DataFrame, cases: pl.DataFrame, version: str, candidates: int) -> dict[tuple[str, str], RankedCase]:
    """(split, case_id) -> scores and the LLM's order of a version's candidates, where the LLM answered; `lists`: RECOMMENDATIONS of a data set."""
    keys = ["split", "case_id"]
    own = lists.filter(pl.col("system") == version).select(*keys, "ranking", "scores")
    after = lists.filter(pl.col("system") == after_llm(version), pl.col("status") == "answered")
    joined = (
        cases.select(*keys, "dialogue_id", "targets")
        .join(own, on=keys)
        .join(after.select(*keys, order=pl.col("ranking").list.head("ranked")), on=keys)
    )
    return {
        (row["split"], row["case_id"]): RankedCase(
            row["dialogue_id"],
            dict(list(zip(row["ranking"], row["scores"], strict=True))[:candidates]),
            row["order"],
            row["targets"],
        )
        for row in joined.sort(keys).iter_rows(named=True)
    }


def fitted_weight(lists: pl.DataFrame, cases: pl.DataFrame, version: str, candidates: int) -> float:
    """The weight of the LLM in a version's fused list, fitted on all validation cases: what serves, and what test cases are listed by."""
    both = both_orders(lists.filter(pl.col("split") == "validation"), cases, version, candidates)
    return fit_weight(list(both.values()))


def _fused(cases: pl.DataFrame, version: str, lists: pl.DataFrame, settings: Settings, weight: float | None) -> pl.DataFrame:
    """The LLM's order fused with the retriever's scores of the candidates. A validation case has no part in its own weight, test cases in none.

    `lists`: rows of RECOMMENDATIONS with both orders; `weight`: for all cases, None: it is fitted.
    """
    both = both_orders(lists, cases, version, settings.candidates)
    weights: dict[tuple[str, str], float] = {}
    if weight is None:
        fitted = {key: one for key, one in both.items() if key[0] == "validation"}
        weights = dict(zip(fitted, cross_fitted_weights(list(fitted.values()), settings.seed), strict=True))
        weight = fit_weight(list(fitted.values()))
    own = {
        (split, case_id): ranking
        for split, case_id, ranking in lists.filter(system=version).select("split", "case_id", "ranking").iter_rows()
    }
    rankings = []
    for split, case_id, seen in cases.select("split", "case_id", "history").iter_rows():
        key = (split, case_id)
        first = fuse(both[key].scores, both[key].order, weights.get(key, weight)) if key in both else []
        rankings.append([movie for movie in dict.fromkeys((*first, *own[key])) if movie not in set(seen)][:LENGTH])
    return baselines.listed(cases, fused(version), rankings)


def _questions(cases: pl.DataFrame, candidates: Mapping[str, Sequence[str]], movies: pl.DataFrame) -> list[Question]:
    cards = candidates_of(movies, sorted({movie for listed in candidates.values() for movie in listed}))
    return [
        Question(
            case["case_id"],
            case["context"],
            tuple(cards[movie] for movie in candidates[case["case_id"]]),
            tuple(case["history"]),
        )
        for case in cases.iter_rows(named=True)
    ]


def _answered(
    cases: pl.DataFrame,
    system: str,
    answers: Sequence[Answer],
    shown: Mapping[str, Sequence[str]],
    turned: Sequence[Answer] = (),
) -> pl.DataFrame:
    """Lists as the LLM ranked them, followed by the retriever's other movies in its order. `turned`: answers to candidates in reverse."""
    lists: list[list[str]] = []
    ranked: list[int] = []
    for seen, answer in zip(cases["history"], answers, strict=True):
        own = list(dict.fromkeys(movie for movie in answer.ranking if movie not in set(seen)))
        rest = [movie for movie in shown[answer.question_id] if movie not in set(own) | set(seen)]
        lists.append([*own, *rest][:LENGTH])
        ranked.append(min(len(own), LENGTH))
    written = [answer if answer.mode == "generate" and answer.status == "answered" else None for answer in answers]
    other_way = {answer.question_id: list(answer.ranking) for answer in turned if answer.status == "answered"}
    return baselines.listed(
        cases,
        system,
        lists,
        ranked=ranked,
        unmatched=[one and one.unmatched for one in written],
        titles=[one and len(one.ranking) + one.unmatched + one.repeated + one.already_seen for one in written],
        reversed=[other_way.get(answer.question_id) for answer in answers],
        model=[answer.model for answer in answers],
        status=[answer.status for answer in answers],
        prompt_tokens=[answer.prompt_tokens for answer in answers],
        answer_tokens=[answer.answer_tokens for answer in answers],
        seconds=[answer.seconds for answer in answers],
        cost=[answer.cost for answer in answers],
    )
