"""Jobs and the schedule: everything, corpus only, re-train only, evaluate only."""

import dagster as dg

from rar_pipeline.defs.shell import DATASET

GROUPS = dg.AssetSelection.groups

everything = dg.define_asset_job("everything", dg.AssetSelection.all(), description="All assets, for one data set")
corpus = dg.define_asset_job("corpus", GROUPS("sources", "corpus"), description="Raw files, movies, title index, embeddings")
retrain = dg.define_asset_job(
    "retrain",
    GROUPS("conversations", "retriever", "preference"),
    description="Conversations, round 0 and all preference rounds of one data set",
)
evaluate = dg.define_asset_job("evaluate", GROUPS("evaluation"), description="Recommendations to report, of one data set")

JOBS = [everything, corpus, retrain, evaluate]


@dg.schedule(
    job=everything,
    cron_schedule="0 3 * * 1",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Re-training of every data set, Mondays at 03:00 UTC; off until it is turned on in the UI.",
)
def weekly_retraining(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest]:
    """One run a data set; what has not changed is looked up, not computed again."""
    when = context.scheduled_execution_time.strftime("%Y-%m-%d")
    return [dg.RunRequest(run_key=f"{when}/{dataset}", partition_key=dataset) for dataset in DATASET.get_partition_keys()]


SCHEDULES = [weekly_retraining]
