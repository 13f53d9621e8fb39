"""`make evaluate`: the lake's champion of a data set on test files that never were in the lake, with a report of its own. Nothing is trained.

Reads the lake; writes `report.json`, `report.html` and the embeddings of the test dialogues into a folder of their own. Only the LLM's answers,
with --llm, are kept where all answers are.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from rar_pipeline.conversations import cikm23, heldout
from rar_pipeline.errors import RarError
from rar_pipeline.files import replacing, sha256_of, write_json
from rar_pipeline.resources import Lake, LanguageModel, resources
from rar_pipeline.settings import Settings, load_settings
from rar_pipeline.tables import DATASETS, DIALOGUES, ITEM_EMBEDDINGS, MENTIONS, MOVIES, RAW_FILES, TITLES

if TYPE_CHECKING:
    from rar_pipeline.evaluation.answers import NamedLists
    from rar_pipeline.evaluation.heldout import Trial
    from rar_pipeline.retriever.version import Version

Log = Callable[[str], None]

CHAMPION = "champion"
THEIR_ITEMS = "champion (their items)"


def main(arguments: Sequence[str] | None = None) -> int:
    """Evaluate and report; 0 when the report was written, 2 for a mistake that one line tells."""
    parser = argparse.ArgumentParser(prog="python -m rar_pipeline.evaluate", description=__doc__)
    parser.add_argument("--dataset", required=True, choices=DATASETS, help="data set whose champion is evaluated")
    parser.add_argument("--test", required=True, type=Path, help="folder of the publisher's test files, or of those of CIKM'23")
    parser.add_argument("--protocol", choices=heldout.PROTOCOLS, help="default: what goes with the files")
    parser.add_argument("--answers", type=Path, help="raw LLM answers to the rows of test.jsonl, scored as a system of their own")
    parser.add_argument("--llm", action="store_true", help="let the LLM re-rank the champion's candidates too")
    parser.add_argument("--cases", type=int, metavar="N", help="most cases that are put to the LLM; default: as in make run")
    parser.add_argument("--out", type=Path, help="folder of the report; default: evaluation/heldout in the lake")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.cases is not None and chosen.cases < 1:
            raise RarError(f"--cases {chosen.cases}: expected a number from 1 on")
        report, folder = evaluate(
            load_settings(),
            chosen.dataset,
            chosen.test,
            protocol=chosen.protocol,
            answers=chosen.answers,
            llm=chosen.llm,
            judged=chosen.cases,
            out=chosen.out,
            log=lambda line: print(line, file=sys.stderr, flush=True),
        )
    except RarError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted; nothing was written but what the LLM answered so far", file=sys.stderr)
        return 130
    show(report)
    print(f"\nreport: {(folder / 'report.html').resolve()}")
    return 0


def show(report: Mapping[str, Any]) -> None:
    """The report's figures on the terminal."""
    from rich.console import Console
    from rich.text import Text

    from rar_pipeline.evaluation.heldout_report import tables

    console = Console(highlight=False)
    console.width = max(console.width, 122)  # a table in a log or a pipe is not cut
    for table in tables(report):
        console.print(table)
    cases, corpus = report["cases"], report["corpus"]
    console.print(
        f"champion: {report['run']['champion']}. {cases['scored']:,} cases of {cases['conversations']:,} conversations; "
        f"{cases['unlinked_targets']:,} of {cases['targets']:,} targets are not among the corpus' {corpus['movies']:,} movies and count as missed.",
        markup=False,
    )
    if report["answers"]:
        counts = (f"{value:,} {name}" for name, value in report["answers"].items() if isinstance(value, int))
        console.print(f"answers: {', '.join(counts)}", markup=False)
    for warning in report["warnings"]:
        console.print(Text(f"WARNING: {warning}", style="bold red"))


def evaluate(
    settings: Settings,
    dataset: str,
    test: Path,
    *,
    protocol: str | None = None,
    answers: Path | None = None,
    llm: bool = False,
    judged: int | None = None,
    out: Path | None = None,
    log: Log = print,
) -> tuple[dict[str, Any], Path]:
    """The report, as written to report.json, and its folder. Raises RarError for files or a lake that will not do."""
    from rar_pipeline.evaluation import heldout_report as page
    from rar_pipeline.evaluation import published
    from rar_pipeline.evaluation.heldout import answer_metrics, board, results, scored, target_by_target
    from rar_pipeline.evaluation.systems import in_words

    layout, files = heldout.test_files(test, dataset, protocol)
    protocol = protocol or ("cikm23" if layout == "cikm23" else "fresh_turns")
    if answers and layout != "cikm23":
        raise RarError(f"{answers}: answers belong to rows of {cikm23.TEST}; {test} is read as the publisher's files")
    lake = Lake(root=str(settings.root))
    version, folder, choice = champion_of(lake, dataset)
    settings = as_trained(settings, version).model_copy(update={"judged_cases": judged} if judged else {})
    out = out or lake.folder("evaluation", "heldout") / f"{dataset}-{protocol}"

    trial, warnings = read_trial(lake, layout, files, dataset, protocol)
    log(f"{test}: {len(trial.asked):,} turns to answer, protocol {protocol}; {version.name} of {settings.root}")
    named, counts = read_lists(answers, trial, log) if answers else (None, {})
    weight = choice["llm_weight"]
    lists = recommend(settings, lake, trial, version, folder, out, weight if llm else None, log)
    each = trial.test is not None and protocol == "cikm23"
    metrics = scored(target_by_target(lists, trial.cases) if each else lists, trial.cases, protocol)
    if named is not None and trial.named is not None:
        metrics = pl.concat([metrics, answer_metrics(named, trial.named, dataset, protocol)])
    if weight and not llm:
        warnings.append(
            f"The lake serves {version.name} {in_words(weight)}; this is the retriever's own order. Give --llm for both."
        )
    log("means, and 10,000 bootstrap samples of conversations")
    rows = results(board(metrics, settings.seed))
    movies, unlinked = lake.read(MOVIES).height, int(trial.cases["unlinked_targets"].sum())
    report: dict[str, Any] = {
        "run": {"world": settings.world, "dataset": dataset, "split": "test", "protocol": protocol, "files": layout}
        | {"champion": version.name, "why": choice["why"], "llm": llm, "llm_weight": weight, "seed": settings.seed},
        "results": rows,
        "systems": described(version, {row["system"] for row in rows}),
        "warnings": warnings,
        "cases": {"scored": max(row["cases"] for row in rows), "conversations": trial.cases["dialogue_id"].n_unique()}
        | {"targets": trial.targets, "unlinked_targets": unlinked, **trial.facts},
        "corpus": {"movies": movies, "targets_linked_share": 1 - unlinked / trial.targets},
        "answers": counts,
        "versions": versions(settings, lake, version, llm)
        | {path.name: sha256_of(path) for path in [*sorted(files.values()), *([answers] if answers else [])]},
        "published": published.tables(dataset),
    }
    write_json(out / "report.json", report)
    with replacing(out / "report.html") as temporary:
        temporary.write_text(page.render(report), encoding="utf-8")
    return report, out


def champion_of(lake: Lake, dataset: str) -> tuple[Version, Path, dict[str, Any]]:
    """The version that serves, its folder, and the record of its choice. Raises RarError where there is none, or its weights were changed since."""
    from rar_pipeline.evaluation.champion import champion_folder, read_champion
    from rar_pipeline.retriever.version import WEIGHTS, read_record

    place = lake.folder("evaluation", "champion", dataset)
    choice = read_champion(place)
    if choice is None:
        raise RarError(f"{place}: no champion of {dataset} yet; run `make run` first, with the same SOURCES")
    folder = champion_folder(lake.path, choice)
    version = read_record(folder)
    if not (folder / WEIGHTS).is_file() or sha256_of(folder / WEIGHTS) != choice["weights_sha256"]:
        raise RarError(f"{folder / WEIGHTS}: not the weights that were chosen as champion; materialise the asset champion again")
    return version, folder, choice


def as_trained(settings: Settings, version: Version) -> Settings:
    """Settings with what a query is made of as the version was trained with."""
    made_of = ("encoder", "context_turns", "max_history")
    return settings.model_copy(update={name: version.training[name] for name in made_of if name in version.training})


def read_trial(lake: Lake, layout: str, files: Mapping[str, Path], dataset: str, protocol: str) -> tuple[Trial, list[str]]:
    """Cases of the test files without those that the lake learnt from, and what has to be said of them. Raises RarError where none is left."""
    from rar_pipeline.corpus.link import Linker
    from rar_pipeline.evaluation.heldout import cikm23_trial, known_dialogues, own_trial
    from rar_pipeline.sources import paths

    if layout == "cikm23":
        test = cikm23.read(*(files[name] for name in heldout.CIKM23))
        trial = cikm23_trial(test, dataset, protocol, Linker(lake.read(TITLES)))
    else:
        names = paths(lake.read(RAW_FILES, dataset)).get(f"{dataset}/{heldout.NAMES}")
        reading = heldout.read_publisher(dataset, files, names if names and names.is_file() else None)
        trial = own_trial(reading, dataset, Linker(lake.read(TITLES)))
    taught = pl.col("split") != "test"
    # He et al. number the dialogues anew, so that an id says nothing there: words do
    ids = [] if layout == "cikm23" else lake.read(MENTIONS, dataset).filter(taught)["dialogue_id"].unique().to_list()
    known = known_dialogues(trial.spoken, lake.read(DIALOGUES, dataset).filter(taught), ids)
    kept = trial.without(known)
    if not len(kept.cases):
        raise RarError(
            f"{next(iter(files.values())).parent}: of {len(trial.cases)} cases all are in the lake's training data; nothing is held out"
        )
    if not known:
        return kept, []
    left = len(trial.cases) - len(kept.cases)
    return kept, [f"The lake was trained on, or chose by, {len(known):,} of these dialogues: their {left:,} cases are left out."]


def read_lists(path: Path, trial: Trial, log: Log) -> tuple[NamedLists, dict[str, float]]:
    """The lists of a file of answers, and what was met with on the way. Raises RarError where the file does not belong to the test files."""
    from rar_pipeline.evaluation.answers import align, borne_out, named_lists, read_answers

    assert trial.test is not None
    replies = align(read_answers(path), trial.test.rows)
    if not replies:
        raise RarError(f"{path}: no `index` is a row of {cikm23.TEST}; the files do not belong together")
    log(f"{path}: matching the titles of {len(replies):,} answers to {len(trial.test.entities):,} names")
    named = named_lists(replies, trial.test)
    return named, {**named.counts, "prompts_with_the_last_turn_share": borne_out(replies, trial.test.rows)}


def recommend(
    settings: Settings, lake: Lake, trial: Trial, version: Version, folder: Path, out: Path, llm_weight: float | None, log: Log
) -> pl.DataFrame:
    """Lists of every system for the cases that are asked, a frame of RECOMMENDATIONS; `folder` holds the champion.

    `llm_weight`: how much the LLM's order counts in what serves; None: the LLM is not asked.
    """
    from rar_pipeline.defs.retriever import encoder, read_catalogue
    from rar_pipeline.defs.rounds import judge
    from rar_pipeline.evaluation.heldout import restricted
    from rar_pipeline.evaluation.systems import recommend as all_systems

    catalogue, mentions, movies = read_catalogue(lake), lake.read(MENTIONS, version.dataset), lake.read(MOVIES)
    # the lake is only read: what is embedded of the test files, and the index of words, lie beside the report
    encode = encoder(settings.model_copy(update={"lake": out}), log)
    model = _language_model(settings)
    with judge(lake, model, log) as ask:
        frame = all_systems(
            trial.asked,
            mentions,
            movies,
            catalogue,
            {CHAMPION: folder},
            encode,
            None if llm_weight is None else ask,
            model.generates,
            settings.model_copy(update={"order_cases": 0}),
            log,
            indexes=out / "bm25",
            weights={CHAMPION: llm_weight} if llm_weight and llm_weight < 1 else {},
        )
    if trial.items:
        frame = pl.concat([frame, restricted(folder, catalogue, trial.items, trial.asked, encode, settings, THEIR_ITEMS)])
    return frame


def _language_model(settings: Settings) -> LanguageModel:
    model = resources(settings)["language_model"]
    assert isinstance(model, LanguageModel)
    return model


def described(version: Version, systems: set[str]) -> dict[str, str]:
    """What each system that took part is, in one line."""
    from rar_pipeline.evaluation.heldout import ANSWERS, CLOSE_ANSWERS
    from rar_pipeline.evaluation.systems import LLM_ALONE, after_llm, descriptions, fused

    said = {
        CHAMPION: f"{version.name}, the retriever that the lake serves, over the whole corpus",
        THEIR_ITEMS: "The same, out of the movies of item_ids.json alone, as the authors of the files rank",
        after_llm(CHAMPION): "The champion's candidates, re-ranked by the LLM",
        fused(CHAMPION): "The same, the LLM's order fused with the champion's scores, by the weight with which the lake serves",
        ANSWERS: "Titles of --answers, each as the nearest name of entity2id.json, as the authors score them",
        CLOSE_ANSWERS: "The same without titles that are more than two edits from every name",
    }
    said |= {name: text for name, text in descriptions(0).items() if name in ("popularity", "bm25", "dense", "ease", LLM_ALONE)}
    return {name: text for name, text in said.items() if name in systems}


def versions(settings: Settings, lake: Lake, version: Version, llm: bool) -> dict[str, str]:
    """What the figures depend on: code, the champion's weights, content of the corpus and of the training mentions, encoder, language model."""
    from rar_pipeline.evaluation.inputs import code_version

    # a table of an older lake has no stamp: then its file is named by its bytes
    made = [(MOVIES, None), (TITLES, None), (ITEM_EMBEDDINGS, None), (MENTIONS, version.dataset)]
    contents = {table.name: lake.stamp(table, part).content or sha256_of(lake.file(table, part)) for table, part in made}
    found = {"code": code_version(), "champion": version.name, "champion_fingerprint": version.fingerprint}
    found |= {"weights_sha256": version.weights_sha256, "encoder": settings.encoder}
    found |= {f"content of {name}": content for name, content in contents.items()}
    return found | ({"language model": _language_model(settings).name} if llm else {})


if __name__ == "__main__":
    sys.exit(main())
