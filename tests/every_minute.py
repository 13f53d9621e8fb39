"""The project's definitions with one more job and schedule: a small job, every minute, so that a test lives to see a tick."""

import dagster as dg

from rar_pipeline.definitions import build_defs

raw_movielens = dg.define_asset_job("raw_movielens", dg.AssetSelection.assets(dg.AssetKey(["raw", "movielens"])))


@dg.schedule(job=raw_movielens, cron_schedule="* * * * *", default_status=dg.DefaultScheduleStatus.STOPPED)
def every_minute(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """One run a tick."""
    return dg.RunRequest(run_key=context.scheduled_execution_time.isoformat())


defs = dg.Definitions.merge(build_defs(), dg.Definitions(jobs=[raw_movielens], schedules=[every_minute]))
