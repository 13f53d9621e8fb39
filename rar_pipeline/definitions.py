"""The whole pipeline in the order in which data flows; nothing is discovered by magic."""

from __future__ import annotations

from collections.abc import Mapping

import dagster as dg

from rar_pipeline.defs.automation import JOBS, automation, expected
from rar_pipeline.defs.conversations import conversation_assets
from rar_pipeline.defs.corpus import corpus_assets
from rar_pipeline.defs.evaluation import evaluation_assets
from rar_pipeline.defs.experiment import judge_experiment, sequences_check
from rar_pipeline.defs.judge import judge_check
from rar_pipeline.defs.retriever import supervised_retrievers
from rar_pipeline.defs.rounds import round_assets
from rar_pipeline.defs.tuned_judge import tuned_judge
from rar_pipeline.resources import resources as default_resources
from rar_pipeline.settings import Settings, load_settings


def build_defs(*, settings: Settings | None = None, resources: Mapping[str, object] | None = None) -> dg.Definitions:
    """The definitions for some settings (default: those of the environment); `resources` take the place of those that the settings describe."""
    settings = settings or load_settings()
    assets = [
        *corpus_assets(settings),
        *conversation_assets(settings),
        *supervised_retrievers(settings),
        judge_check(settings),
        *round_assets(settings),
        *evaluation_assets(settings),
        judge_experiment(settings),
        sequences_check(settings),
        tuned_judge(settings),
    ]
    by_itself = automation(settings)
    return dg.Definitions(
        assets=dg.map_asset_specs(expected(settings), assets),
        jobs=JOBS,
        schedules=by_itself.schedules,
        sensors=by_itself.sensors,
        resources={**default_resources(settings), **(resources or {})},
        executor=dg.in_process_executor,
    )


defs = build_defs()
