"""What the report is made of, put together from the lake's tables and the versions on record."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from rar_pipeline.evaluation.champion import told
from rar_pipeline.evaluation.corpus_records import CorpusRecords
from rar_pipeline.evaluation.data_quality import data_quality
from rar_pipeline.evaluation.judge_section import checked
from rar_pipeline.evaluation.objective_section import compared
from rar_pipeline.evaluation.report import ReportInputs
from rar_pipeline.evaluation.systems import after_llm, descriptions, with_champion
from rar_pipeline.files import sha256_of
from rar_pipeline.retriever.version import Version
from rar_pipeline.settings import PROJECT, Settings

PACKAGES = ("dagster", "duckdb", "polars", "torch", "lightning", "openai", "great-expectations", "sentence-transformers")


def report_inputs(
    settings: Settings,
    language_model: str,
    raw_files: pl.DataFrame,
    movies: pl.DataFrame,
    tables: Mapping[str, pl.DataFrame],
    leaderboard: pl.DataFrame,
    versions: Sequence[Version],
    feedback: Sequence[tuple[str, int, pl.DataFrame]],
    records: CorpusRecords | None = None,
    *,
    served: Mapping[str, str],
    champions: Mapping[str, Mapping[str, Any]],
    histories: Mapping[str, Sequence[Mapping[str, Any]]],
    contents: Mapping[str, str],
    upstream: Mapping[str, Sequence[str]],
) -> ReportInputs:
    """Inputs of the report. `tables`: mentions, cases, recommendations, metrics and judge_check of all data sets together, and sequences_check.

    `records`: how the corpus was made, from `corpus_records.read_records`; without them the data-quality section counts `movies` alone. `served`,
    `champions`, `histories`: by data set, the system that serves, its record, every change. `contents`: hashes of tables; `upstream`: what each
    asset is made from.
    """
    last = f"round_{settings.rounds}"
    shown = ["popularity", "ease", "round_0", last, after_llm("round_0"), after_llm(last)]
    claims = {after_llm(f"round_{number}"): f"The LLM after round {number}" for number in range(settings.rounds + 1)}
    claims |= {f"round_{number}": f"Preference round {number}" for number in range(1, settings.rounds + 1)}
    claims["round_0"] = "The supervised retriever"
    made = set(leaderboard["system"].unique())
    said_of = descriptions(settings.rounds, settings.backbones, settings.further_objectives)
    names = {f"round_{number}" for number in range(settings.rounds + 1)}
    rounds = [version for version in versions if version.name in names]
    return ReportInputs(
        world=settings.world,
        preset=settings.preset,
        seed=settings.seed,
        versions=exact_versions(language_model, versions),
        raw_files=raw_files,
        movies=movies,
        mentions=tables["mentions"],
        cases=tables["cases"],
        recommendations=tables["recommendations"],
        metrics=with_champion(tables["metrics"], served),
        leaderboard=leaderboard,
        systems={name: said for name, said in said_of.items() if name in made},
        claims=claims,
        shown_systems=list(dict.fromkeys(shown)),
        champions={dataset: told(champion) for dataset, champion in champions.items()},
        champion_records=champions,
        champion_histories=histories,
        retrievers=versions,
        contents=contents,
        upstream=upstream,
        candidates=settings.candidates,
        cutoff_year=settings.llm_cutoff_year,
        curves={
            name: curves(rounds, figure) for name, figure in (("validation R@20", "recall_20"), ("validation N@10", "ndcg_10"))
        },
        feedback=feedback,
        judge_checks=checked(tables["judge_check"], settings),
        sequences=tables["sequences_check"],
        objectives=compared(tables["metrics"], versions, "test", settings.seed),
        dropped=dropped_mentions(tables["mentions"]),
        data_quality=data_quality(movies, records or CorpusRecords()),
    )


def exact_versions(language_model: str, versions: Sequence[Version]) -> dict[str, str]:
    """Name -> version of code, packages, model, prompts and weights."""
    found = {"code": code_version(), "python": platform.python_version()}
    found |= {name: importlib.metadata.version(name) for name in PACKAGES}
    found["language model"] = language_model
    prompts = sorted((PROJECT / "rar_pipeline" / "generation" / "prompts").glob("*.txt"))
    found |= {f"prompt {path.stem}": sha256_of(path) for path in prompts}
    return found | {f"{version.dataset} {version.name}": version.weights_sha256 for version in versions}


def code_version() -> str:
    """The commit that runs, with a plus sign where files differ from it; the package's version outside a checkout."""
    command = ["git", "-C", str(PROJECT), "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return importlib.metadata.version("rar-pipeline")


def curves(versions: Sequence[Version], figure: str) -> pl.DataFrame:
    """One series a data set and round: series, epoch, value."""
    rows = [
        (f"{version.dataset} {version.name}", record["epoch"], record[figure]) for version in versions for record in version.curve
    ]
    return pl.DataFrame(rows, schema={"series": pl.String, "epoch": pl.Float64, "value": pl.Float64}, orient="row")


def dropped_mentions(mentions: pl.DataFrame) -> pl.DataFrame:
    """Mentions that were left unlinked, by reason: table, reason, rows."""
    unlinked = mentions.filter(pl.col("movie_id").is_null())
    counted = unlinked.group_by("dataset", "reason").len().sort("dataset", "len", descending=[False, True])
    return counted.select(
        table=pl.format("mentions of {}", "dataset"),
        reason=pl.format("unlinked: {}", "reason"),
        rows=pl.col("len").cast(pl.Int64),
    )
