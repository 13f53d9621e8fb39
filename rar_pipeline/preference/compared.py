"""Round 1 once more for every further objective: from the same parent, feedback and batches, so that objectives can be told apart.

They are versions like any other (`round_1_odds`, ...), to be evaluated beside the rounds, but no next round begins with one, and none is a candidate
for champion: to let one serve, make its objective that of the rounds (`RAR_OBJECTIVE`). The control is among them: supervision that goes on.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import polars as pl

from rar_pipeline.preference.lessons import rewarded
from rar_pipeline.retriever.version import Version, read_record
from rar_pipeline.settings import Objective, Settings

Train = Callable[
    [Path, Settings, str], tuple[Version, bool]
]  # folder, settings, name of a version -> its record, and whether it was trained now

CONTROL: Objective = "sft"
NUMBER = 1  # of the round whose objective is varied


def version_name(objective: Objective) -> str:
    """Name of the version that a further objective makes of round 1."""
    return f"round_{NUMBER}_{objective}"


def is_compared(system: str) -> bool:
    """Whether a system is such a version, alone or with the LLM."""
    return any(system.partition("+")[0] == version_name(objective) for objective in get_args(Objective))


def objective_versions(
    folder_of: Callable[[str], Path], feedback: pl.DataFrame, train: Train, settings: Settings, log: Callable[[str], None]
) -> list[tuple[Version, bool]]:
    """A version for each of `settings.further_objectives`, and whether it was trained now.

    `folder_of`: name of a version -> its folder; `feedback`: of round 1; `train`: trains round 1. Without feedback there is nothing to tell
    objectives apart by: then no version is made, and those of other feedback are taken away, since they would be read as what this one taught.
    """
    taught = not rewarded(feedback).is_empty()
    if not taught:
        log("no feedback that teaches: the objectives are not compared")
    made = []
    for objective in settings.further_objectives:
        name = version_name(objective)
        if not taught:
            shutil.rmtree(folder_of(name), ignore_errors=True)
            continue
        made.append(train(folder_of(name), settings.model_copy(update={"objective": objective}), name))
    return made


def made_versions(folder_of: Callable[[str], Path], settings: Settings) -> dict[str, Path]:
    """Name -> folder of the versions of further objectives that are there."""
    folders = {name: folder_of(name) for name in map(version_name, settings.further_objectives)}
    return {name: folder for name, folder in folders.items() if folder.is_dir()}


def records(folder_of: Callable[[str], Path], settings: Settings) -> list[Version]:
    """Their records."""
    return [read_record(folder) for folder in made_versions(folder_of, settings).values()]
