"""Recommendations of every system -> metrics -> leaderboard, champion, report, and the database for people who browse."""

from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import dagster as dg
import polars as pl
from pydantic import Field

from rar_pipeline.defs.conversations import cases, mentions
from rar_pipeline.defs.corpus import CONVERSATION_PUBLISHERS, MOVIE_PUBLISHERS
from rar_pipeline.defs.retriever import encoder, read_catalogue
from rar_pipeline.defs.rounds import judge
from rar_pipeline.defs.shell import DATASET, checks, publish, told
from rar_pipeline.files import write_json
from rar_pipeline.metadata import table_value
from rar_pipeline.resources import Lake, LanguageModel
from rar_pipeline.settings import Settings
from rar_pipeline.tables import (
    CASES,
    DATASETS,
    FEEDBACK,
    ITEM_EMBEDDINGS,
    JUDGE_CHECK,
    LEADERBOARD,
    MENTIONS,
    METRICS,
    MOVIES,
    RAW_FILES,
    RECOMMENDATIONS,
    SEQUENCES_CHECK,
    TABLES,
    TITLES,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from rar_pipeline.retriever.version import Version
    from rar_pipeline.tables import Table


def made(lake: Lake, table: "Table", name: str | None = None) -> list[str]:
    """Data sets of which the lake holds a table."""
    return [dataset for dataset in DATASETS if lake.file(table, dataset, name).exists()]


def all_of(lake: Lake, table: "Table") -> pl.DataFrame:
    """A partitioned table with all its data sets."""
    return pl.concat([table.empty(), *(lake.read(table, dataset) for dataset in made(lake, table))])


def rounds_of(lake: Lake, dataset: str, settings: Settings) -> "dict[str, Path]":
    """Folders of a data set's rounds, oldest first, by name."""
    names = (f"round_{number}" for number in range(settings.rounds + 1))
    return {name: lake.folder("retriever", name, dataset) for name in names}


def contenders(lake: Lake, dataset: str, settings: Settings) -> "dict[str, Path]":
    """Folders of the versions that are evaluated, oldest first: what serves, where that is no round any more, and the rounds."""
    from rar_pipeline.evaluation.champion import incumbent

    rounds = rounds_of(lake, dataset, settings)
    return incumbent(lake.path, lake.folder("evaluation", "champion", dataset), rounds, settings.model_dump()) | rounds


def compared_with(settings: Settings) -> list[dg.AssetKey]:
    """The asset that holds the versions of further objectives, where there are any."""
    return [dg.AssetKey(["round_1", "objectives"])] if settings.further_objectives else []


def recommendations(settings: Settings) -> dg.AssetsDefinition:
    """The asset `recommendations`."""
    names = [f"round_{number}" for number in range(settings.rounds + 1)]

    @dg.asset(
        name="recommendations",
        deps=[cases, mentions, *(dg.AssetKey([name, "retriever"]) for name in names), *compared_with(settings)],
        partitions_def=DATASET,
        group_name="evaluation",
        kinds={"openai"},
        pool="llm",
        check_specs=checks("recommendations", RECOMMENDATIONS),
        description="Lists of every system on validation and test: without the LLM for all cases, with it for as many as the preset pays for.",
    )
    @told
    def recommended(context: dg.AssetExecutionContext, lake: Lake, language_model: LanguageModel) -> dg.MaterializeResult:
        from rar_pipeline.evaluation.systems import recommend
        from rar_pipeline.preference.compared import made_versions

        dataset = context.partition_key
        others = {name: LanguageModel(**(language_model.model_dump() | {"model": name})) for name in settings.backbones}
        with judge(lake, language_model, context.log.info) as ask, ExitStack() as running:
            frame = recommend(
                lake.read(CASES, dataset),
                lake.read(MENTIONS, dataset),
                lake.read(MOVIES),
                read_catalogue(lake),
                contenders(lake, dataset, settings),
                encoder(settings, context.log.info),
                ask,
                language_model.generates,
                settings,
                context.log.info,
                indexes=lake.folder("evaluation", "bm25"),
                compared=made_versions(partial(lake.folder, "retriever", part=dataset), settings),
                backbones={name: running.enter_context(judge(lake, model, context.log.info)) for name, model in others.items()},
            )
        sizes = frame.group_by("split", "system").len().sort("split", "system")
        figures = {f"{split} {system} cases": count for split, system, count in sizes.iter_rows()}
        return publish(lake, RECOMMENDATIONS, frame, part=dataset, figures=figures)

    return recommended


@dg.asset(
    deps=["recommendations", cases],
    partitions_def=DATASET,
    group_name="evaluation",
    kinds={"polars"},
    check_specs=checks("metrics", METRICS),
)
@told
def metrics(context: dg.AssetExecutionContext, lake: Lake) -> dg.MaterializeResult:
    """Every metric of every case and system, under both protocols, before any averaging."""
    from rar_pipeline.evaluation.metrics import score

    dataset = context.partition_key
    frame = score(lake.read(RECOMMENDATIONS, dataset), lake.read(CASES, dataset))
    shown = frame.filter((pl.col("split") == "validation") & (pl.col("protocol") == "fresh_turns") & (pl.col("metric") == "N@10"))
    means = shown.group_by("system").agg(pl.col("value").mean()).sort("system")
    return publish(
        lake, METRICS, frame, part=dataset, figures={f"validation N@10 {system}": value for system, value in means.iter_rows()}
    )


class Rollback(dg.Config):
    """Materialise `champion` with `rollback_to` to make an earlier version serve again; without it the gate decides."""

    rollback_to: str = Field(
        "", description="previous, an id of the champion's history or its beginning, or a round that is at hand, as round_0"
    )
    reason: str = Field("", description="why; kept in the history")


def champion(settings: Settings) -> dg.AssetsDefinition:
    """The asset `champion`."""
    names = [f"round_{number}" for number in range(settings.rounds + 1)]
    gate = dg.AssetCheckSpec(
        "gate",
        asset="champion",
        description="Every version, and the LLM's order, alone and fused, met the champion on validation cases.",
    )

    @dg.asset(
        name="champion",
        deps=[metrics, "recommendations", cases, *(dg.AssetKey([name, "retriever"]) for name in names)],
        partitions_def=DATASET,
        group_name="evaluation",
        check_specs=[gate],
        description="The version that serves: a challenger takes its place only by a paired-bootstrap win on validation data.",
    )
    @told
    def chosen(context: dg.AssetExecutionContext, config: Rollback, lake: Lake) -> dg.MaterializeResult:
        from rar_pipeline.evaluation.champion import decide, read_history, roll_back, unmet
        from rar_pipeline.evaluation.champion import told as sentence
        from rar_pipeline.evaluation.systems import fitted_weight

        dataset = context.partition_key
        folder = lake.folder("evaluation", "champion", dataset)
        now = {"when": datetime.now(UTC).isoformat(timespec="seconds"), "run": context.run_id}
        if config.rollback_to:
            rounds = {name: path for name, path in rounds_of(lake, dataset, settings).items() if path.is_dir()}
            choice = roll_back(lake.path, folder, config.rollback_to, rounds, config.reason, **now)
        else:
            versions = contenders(lake, dataset, settings)
            lists, asked = lake.read(RECOMMENDATIONS, dataset), lake.read(CASES, dataset)

            def fit(version: str) -> float:
                return fitted_weight(lists, asked, version, settings.candidates)

            choice = decide(lake.path, folder, versions, lake.read(METRICS, dataset), fit, settings.seed, **now)
        context.log.info(f"{dataset}: {sentence(choice)}")
        trials = table_value(choice["trials"]) if choice["trials"] else dg.MetadataValue.text("none: a person decided")
        return dg.MaterializeResult(
            metadata={
                "champion": choice["version"],
                "id": choice["id"],
                "llm_weight": choice["llm_weight"],
                "why": sentence(choice),
                "trials": trials,
                "history": table_value(read_history(folder)),
                "path": dg.MetadataValue.path(folder / "champion.json"),
            },
            check_results=[
                dg.AssetCheckResult(
                    passed=not unmet(choice), check_name="gate", metadata={"trials": trials, "without_cases": unmet(choice)}
                )
            ],
        )

    return chosen


def champions(lake: Lake, datasets: "Iterable[str]") -> "dict[str, dict[str, Any]]":
    """What serves, by data set."""
    from rar_pipeline.evaluation.champion import read_champion

    found = {dataset: read_champion(lake.folder("evaluation", "champion", dataset)) for dataset in datasets}
    return {dataset: champion for dataset, champion in found.items() if champion is not None}


def served(lake: Lake, scores: pl.DataFrame, settings: Settings) -> dict[str, str]:
    """The system that serves, by data set; not where it was not evaluated, as after a rollback to weights of long ago."""
    from rar_pipeline.evaluation.champion import served_as
    from rar_pipeline.retriever.version import read_record

    found = {}
    for dataset, champion in champions(lake, made(lake, METRICS)).items():
        systems = set(scores.filter(pl.col("dataset") == dataset)["system"].unique())
        rounds = {name: read_record(path).weights_sha256 for name, path in rounds_of(lake, dataset, settings).items()}
        if system := served_as(champion, systems, rounds):
            found[dataset] = system
    return found


def leaderboard(settings: Settings) -> dg.AssetsDefinition:
    """The asset `leaderboard`."""

    @dg.asset(
        name="leaderboard",
        deps=[metrics, "champion"],
        group_name="evaluation",
        kinds={"polars"},
        check_specs=checks("leaderboard", LEADERBOARD),
        description="Means with bootstrap intervals over conversations, and paired differences to the system that each has to beat.",
    )
    @told
    def averaged(context: dg.AssetExecutionContext, lake: Lake) -> dg.MaterializeResult:
        from rar_pipeline.evaluation.bootstrap import leaderboard as board
        from rar_pipeline.evaluation.systems import references, with_champion

        scores = all_of(lake, METRICS)
        scores = with_champion(scores, served(lake, scores, settings))
        against = references(settings.rounds, settings.backbones, settings.further_objectives)
        frame = pl.concat([board(scores, scope=scope, references=against, seed=settings.seed) for scope in ("all", "judged")])
        shown = frame.filter(
            (pl.col("split") == "test")
            & (pl.col("protocol") == "fresh_turns")
            & (pl.col("scope") == "all")
            & (pl.col("metric") == "R@10")
        )
        figures = {
            f"{dataset} {system} R@10": value for dataset, system, value in shown.select("dataset", "system", "value").iter_rows()
        }
        return publish(lake, LEADERBOARD, frame.sort(LEADERBOARD.key), figures=figures)

    return averaged


def report(settings: Settings) -> dg.AssetsDefinition:
    """The asset `report`."""

    @dg.asset(
        name="report",
        deps=["leaderboard", "champion", "judge_check", "movies"],
        group_name="evaluation",
        kinds={"html"},
        description="One HTML file that opens offline, and the same figures as report.json.",
    )
    @told
    def written(context: dg.AssetExecutionContext, lake: Lake, language_model: LanguageModel) -> dg.MaterializeResult:
        from rar_pipeline.evaluation.champion import read_history
        from rar_pipeline.evaluation.corpus_records import read_records
        from rar_pipeline.evaluation.inputs import report_inputs
        from rar_pipeline.evaluation.report import render_report, report_json
        from rar_pipeline.files import replacing

        raw = pl.concat([lake.read(RAW_FILES, publisher) for publisher in (*MOVIE_PUBLISHERS, *CONVERSATION_PUBLISHERS)])
        datasets = made(lake, METRICS)
        tables = {table.name: all_of(lake, table) for table in (MENTIONS, CASES, RECOMMENDATIONS, METRICS, JUDGE_CHECK)}
        made_once = lake.file(SEQUENCES_CHECK).exists()
        tables[SEQUENCES_CHECK.name] = lake.read(SEQUENCES_CHECK) if made_once else SEQUENCES_CHECK.empty()
        inputs = report_inputs(
            settings,
            language_model.name,
            raw,
            lake.read(MOVIES),
            tables,
            lake.read(LEADERBOARD),
            _versions(lake, datasets, settings),
            _feedback(lake, settings.rounds),
            read_records(lake.path),
            served=served(lake, tables["metrics"], settings),
            champions=champions(lake, datasets),
            histories={dataset: read_history(lake.folder("evaluation", "champion", dataset)) for dataset in datasets},
            contents=_contents(lake, datasets),
            upstream=upstream(context),
        )
        folder = lake.folder("evaluation", "report")
        write_json(folder / "report.json", report_json(inputs))
        with replacing(folder / "report.html") as temporary:
            temporary.write_text(render_report(inputs), encoding="utf-8")
        page = (folder / "report.html").resolve()
        context.log.info(f"report: {page}")
        return dg.MaterializeResult(
            metadata={
                "report": dg.MetadataValue.url(page.as_uri()),
                "path": dg.MetadataValue.path(page),
                "bytes": page.stat().st_size,
            }
        )

    return written


def upstream(context: dg.AssetExecutionContext) -> dict[str, list[str]]:
    """For every asset the assets that it is made from, in the order of their names."""
    graph = context.job_def.asset_layer.asset_graph
    keys = sorted(graph.get_all_asset_keys(), key=lambda key: key.to_user_string())
    return {key.to_user_string(): sorted(parent.to_user_string() for parent in graph.get(key).parent_keys) for key in keys}


def _contents(lake: Lake, datasets: "Iterable[str]") -> dict[str, str]:
    """Hashes of the content of the tables that figures depend on; of tables of an older lake there are none."""
    parts: list[tuple[Table, str | None]] = [(MOVIES, None), (TITLES, None), (ITEM_EMBEDDINGS, None)]
    parts += [(table, dataset) for dataset in datasets for table in (MENTIONS, CASES, JUDGE_CHECK, RECOMMENDATIONS, METRICS)]
    found = {" ".join(filter(None, (part, table.name))): lake.stamp(table, part).content for table, part in parts}
    return {name: content for name, content in found.items() if content}


def _versions(lake: Lake, datasets: "Iterable[str]", settings: Settings) -> "list[Version]":
    from rar_pipeline.preference.compared import records
    from rar_pipeline.retriever.version import read_record

    found = []
    for dataset in datasets:
        found += [read_record(path) for path in rounds_of(lake, dataset, settings).values()]
        found += records(partial(lake.folder, "retriever", part=dataset), settings)
    return found


def _feedback(lake: Lake, rounds: int) -> list[tuple[str, int, pl.DataFrame]]:
    names = {number: f"round_{number}_feedback" for number in range(1, rounds + 1)}
    return [
        (dataset, number, lake.read(FEEDBACK, dataset, name))
        for number, name in names.items()
        for dataset in made(lake, FEEDBACK, name)
    ]


@dg.asset(
    deps=["leaderboard", "movies", "title_index", "mentions", "cases", "metrics"], group_name="evaluation", kinds={"duckdb"}
)
@told
def database(context: dg.AssetExecutionContext, lake: Lake) -> dg.MaterializeResult:
    """`rar.duckdb`: views over the lake's tables, every column with its meaning, for people who browse."""
    from rar_pipeline.database import publish_database

    views = publish_database(lake.path, TABLES)
    context.log.info(f"{lake.path / 'rar.duckdb'}: {', '.join(views)}")
    return dg.MaterializeResult(metadata={"path": dg.MetadataValue.path(lake.path / "rar.duckdb"), "views": len(views)})


def evaluation_assets(settings: Settings) -> list[dg.AssetsDefinition]:
    """All assets of the evaluation."""
    return [recommendations(settings), metrics, champion(settings), leaderboard(settings), report(settings), database]
