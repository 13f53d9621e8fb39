"""Round 1 once more for every further objective: from the same parent, feedback and batches, so that objectives can be told apart.

They are versions like any other (`round_1_odds`, ...), to be evaluated beside the rounds, but no next round begins with one, and none is a candidate
for champion: to let one serve, make its objective that of the rounds (`RAR_OBJECTIVE`). The control is among them: supervision that goes on.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl

from rar_pipeline.preference.feedback import Ask
from rar_pipeline.preference.lessons import rewarded
from rar_pipeline.preference.rounds import preference_round
from rar_pipeline.retriever.catalogue import Catalogue
from rar_pipeline.retriever.examples import Encode
from rar_pipeline.retriever.version import Version, read_record
from rar_pipeline.settings import Objective, Settings

CONTROL: Objective = "sft"
NUMBER = 1  # of the round whose objective is varied


def version_name(objective: Objective) -> str:
    """Name of the version that a further objective makes of round 1."""
    return f"round_{NUMBER}_{objective}"


def objective_versions(
    folder_of: Callable[[str], Path],
    cases: pl.DataFrame,
    feedback: pl.DataFrame,
    preferences: pl.DataFrame,
    movies: pl.DataFrame,
    catalogue: Catalogue,
    encode: Encode,
    ask: Ask,
    settings: Settings,
    log: Callable[[str], None],
) -> list[tuple[Version, bool]]:
    """A version for each of `settings.further_objectives`, and whether it was trained now; `folder_of`: name of a version -> its folder.

    Tables as for `preference_round`, of round 1. Without feedback there is nothing to tell objectives apart by: then no version is made, and those of
    other feedback are taken away, since they would be read as what this one taught.
    """
    taught = not rewarded(feedback).is_empty()
    if not taught:
        log("no feedback that teaches: the objectives are not compared")
    tables = cases, feedback, preferences, movies, catalogue, encode, ask
    made = []
    for objective in settings.further_objectives:
        name = version_name(objective)
        if not taught:
            shutil.rmtree(folder_of(name), ignore_errors=True)
            continue
        own = settings.model_copy(update={"objective": objective})
        parent = folder_of(f"round_{NUMBER - 1}")
        made.append(preference_round(folder_of(name), parent, NUMBER, *tables, own, log, name=name))
    return made


def made_versions(folder_of: Callable[[str], Path], settings: Settings) -> dict[str, Path]:
    """Name -> folder of the versions of further objectives that are there."""
    folders = {name: folder_of(name) for name in map(version_name, settings.further_objectives)}
    return {name: folder for name, folder in folders.items() if folder.is_dir()}


def records(folder_of: Callable[[str], Path], settings: Settings) -> list[Version]:
    """Their records."""
    return [read_record(folder) for folder in made_versions(folder_of, settings).values()]
