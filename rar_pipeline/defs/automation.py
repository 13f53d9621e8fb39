"""What starts runs and what watches over them: jobs, schedules, sensors, and the freshness that they promise.

All of it is off unless `RAR_AUTOMATION` is set, which is the one place to turn it on; each can be turned on and off by itself in the UI. A pass over
the pipeline (passes.py) is a chain of runs that carry its name as a tag; the sensor `next_steps` starts what comes next.
"""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple

import dagster as dg
from dagster._utils.schedules import get_smallest_cron_interval  # which has no public name

from rar_pipeline.defs.shell import DATASET
from rar_pipeline.errors import RarError
from rar_pipeline.passes import PASSES, State, Wanted, first, following
from rar_pipeline.resources import Lake
from rar_pipeline.settings import Settings
from rar_pipeline.tables import DATASETS, DIALOGUES, ITEM_EMBEDDINGS

GROUPS = dg.AssetSelection.groups
ASSETS = dg.AssetSelection.assets
PRETRAINED = dg.AssetKey(["pretrained", "retriever"])

PASS = "rar/pass"  # tag of all runs of a pass: its kind and when it was asked for  # noqa: S105
RUN_KEY = "dagster/run_key"

everything = dg.define_asset_job(
    "everything", dg.AssetSelection.all() - GROUPS("experiments"), description="All assets but experiments, for one data set"
)
corpus = dg.define_asset_job("corpus", GROUPS("sources", "corpus"), description="Raw files, movies, title index, embeddings")
conversations = dg.define_asset_job(
    "conversations", GROUPS("conversations"), description="Turns, mentions and cases of one data set"
)
ROUND_0 = ASSETS(dg.AssetKey(["round_0", "retriever"]))
pretrain = dg.define_asset_job(
    "pretrain", GROUPS("retriever") - ROUND_0, description="The retriever that all data sets begin with"
)
retrain = dg.define_asset_job(
    "retrain",
    ROUND_0 | GROUPS("preference") | ASSETS("recommendations", "metrics", "champion"),
    description="Of one data set: round 0, judge check, feedback and rounds, evaluation, gate, champion",
)
summary = dg.define_asset_job("summary", ASSETS("leaderboard", "report", "database"), description="What is told of all data sets")
evaluate = dg.define_asset_job("evaluate", GROUPS("evaluation"), description="Recommendations to report, of one data set")

JOBS = [everything, corpus, conversations, pretrain, retrain, summary, evaluate]

ENDED: dict[dg.DagsterRunStatus, State] = {
    dg.DagsterRunStatus.SUCCESS: "succeeded",
    dg.DagsterRunStatus.FAILURE: "failed",
    dg.DagsterRunStatus.CANCELED: "failed",
}
CHANGES_SECONDS = 3600  # between two looks at how much has changed


class Automation(NamedTuple):
    """Schedules and sensors as the settings describe them."""

    schedules: list[dg.ScheduleDefinition]
    sensors: list[dg.SensorDefinition]


def automation(settings: Settings) -> Automation:
    """All schedules and sensors, turned on where the settings say so."""
    return Automation(
        [
            scheduled("nightly_corpus", "renewal", settings.corpus_schedule, settings.automation),
            scheduled("weekly_retraining", "training", settings.training_schedule, settings.automation),
            dg.ScheduleDefinition(
                name="nightly_pruning",
                job=pruning(settings),
                cron_schedule=settings.prune_schedule,
                default_status=schedules_are(settings.automation),
            ),
        ],
        [next_steps(settings), sources_changed(settings), failure_notice(settings)],
    )


def expected(settings: Settings) -> Callable[[dg.AssetSpec], dg.AssetSpec]:
    """Puts on what serves how old it may become: half as long again as its schedule takes. Without a schedule nothing is promised."""
    nightly, weekly = (
        dg.FreshnessPolicy.time_window(fail_window=interval * 1.5, warn_window=interval * 1.2)
        for interval in map(get_smallest_cron_interval, (settings.corpus_schedule, settings.training_schedule))
    )
    promised = dict.fromkeys(("movies", "title_index", "item_embeddings"), nightly)
    promised |= dict.fromkeys(("champion", "leaderboard"), weekly)

    def with_policy(spec: dg.AssetSpec) -> dg.AssetSpec:
        policy = promised.get(spec.key.to_user_string()) if settings.automation else None
        return dg.apply_freshness_policy(spec, policy) if policy else spec

    return with_policy


def scheduled(name: str, kind: str, cron: str, on: bool) -> dg.ScheduleDefinition:
    """The schedule that begins a kind of pass, unless one of that kind is under way."""
    steps = ", ".join(step.job for step in PASSES[kind])

    @dg.schedule(
        name=name,
        job=corpus,
        cron_schedule=cron,
        default_status=schedules_are(on),
        description=f"A {kind} of all data sets: {steps}. What has not changed is looked up, not computed again.",
    )
    def begin(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        if (going := newest(context.instance, kind)) and under_way(context.instance, going):
            return dg.SkipReason(f"{going} is still under way")
        name = f"{kind}/{context.scheduled_execution_time.astimezone(UTC):%Y-%m-%dT%H:%M}"
        return request(first(name), name)

    return begin


def pruning(settings: Settings) -> dg.JobDefinition:
    """The job that says what is old enough to go, and lets it go where the settings want that."""
    what = "Lets go what is old enough" if settings.prune else "Says what is old enough to go (RAR_PRUNE=true lets it go)"

    @dg.op(name="old_things", description=what)
    def look(context: dg.OpExecutionContext) -> None:
        from rar_pipeline.retention import NOTHING, prune, told

        try:
            pruned = prune(settings, context.instance, yes=settings.prune, own_run=context.run_id)
        except RarError as error:
            raise dg.Failure(str(error), allow_retries=False) from None
        kinds = "\n".join(told(pruned.removals, each=False)) or NOTHING
        context.log.info(
            f"{'removed' if settings.prune else 'may go'}:\n" + ("\n".join(told(pruned.removals, each=True)) or NOTHING)
        )
        context.add_output_metadata(
            {"what": dg.MetadataValue.md(f"```\n{kinds}\n```"), "bytes": pruned.bytes, "removed": settings.prune}
        )
        if pruned.failed:
            raise dg.Failure(f"could not be removed: {'; '.join(pruned.failed)}", allow_retries=False)

    @dg.job(name="prune", description=what)
    def old_things() -> None:
        look()

    return old_things


def next_steps(settings: Settings) -> dg.SensorDefinition:
    """The sensor that carries passes on."""

    @dg.sensor(
        name="next_steps",
        jobs=[conversations, pretrain, retrain, summary],
        minimum_interval_seconds=30,
        default_status=sensors_are(settings.automation),
        description="Starts the next runs of a pass when those before have ended. After a failed run is executed again, its pass goes on.",
    )
    def carry_on(context: dg.SensorEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
        passes = [name for kind in PASSES if (name := newest(context.instance, kind))]
        wanted = [request(one, name) for name in passes for one in coming(context.instance, name)]
        return wanted or dg.SkipReason(f"nothing to start for {' and '.join(passes)}" if passes else "no pass has begun yet")

    return carry_on


def sources_changed(settings: Settings) -> dg.SensorDefinition:
    """The sensor that asks for a training when enough has changed."""

    @dg.sensor(
        name="sources_changed",
        job=corpus,
        minimum_interval_seconds=CHANGES_SECONDS,
        default_status=sensors_are(settings.automation),
        description=f"Begins a training when {settings.retrain_share:.0%} of the movies, or of a data set's conversations, are new or changed "
        "since the last one. The cursor holds a sample of what that one saw.",
    )
    def look(context: dg.SensorEvaluationContext, lake: Lake) -> dg.SensorResult:
        from rar_pipeline.changes import changed_share

        trained = context.instance.get_latest_materialization_event(PRETRAINED)
        if trained is None:
            return dg.SensorResult(skip_reason="nothing was trained yet")
        before: dict[str, Any] = json.loads(context.cursor or "{}")
        now = held(lake, before.get("held", {}))
        if before.get("trained_by") != trained.run_id:
            cursor = json.dumps({"trained_by": trained.run_id, "asked": False, "held": now})
            return dg.SensorResult(skip_reason="a training has seen what there is", cursor=cursor)
        shares = {name: changed_share(before["held"].get(name, {"sample": []})["sample"], now[name]["sample"]) for name in now}
        said = ", ".join(f"{share:.1%} of {name}" for name, share in shares.items() if share) or "nothing"
        if max(shares.values(), default=0.0) < settings.retrain_share:
            return dg.SensorResult(skip_reason=f"new or changed since the last training: {said}")
        if before["asked"]:
            return dg.SensorResult(skip_reason=f"new or changed since the last training: {said}; one was asked for already")
        if (going := newest(context.instance, "training")) and under_way(context.instance, going):
            return dg.SensorResult(skip_reason=f"{going} is still under way")
        name = f"training/{datetime.now(UTC):%Y-%m-%dT%H:%M}"
        context.log.info(f"{name}: new or changed since the last training: {said}")
        return dg.SensorResult(run_requests=[request(first(name), name)], cursor=json.dumps(before | {"asked": True}))

    return look


def failure_notice(settings: Settings) -> dg.SensorDefinition:
    """The sensor that tells the webhook of failed runs."""

    @dg.run_failure_sensor(
        name="failure_notice",
        minimum_interval_seconds=30,
        default_status=sensors_are(settings.automation),
        description="Posts job, run, step and one line of every failed run to RAR_WEBHOOK.",
    )
    def tell(context: dg.RunFailureSensorContext) -> dg.SkipReason | None:
        from rar_pipeline.notify import notice, post

        address = settings.webhook.get_secret_value()
        if not address:
            return dg.SkipReason("RAR_WEBHOOK is not set")
        step, error = broken(context)
        partition = context.dagster_run.tags.get("dagster/partition")
        job = f"{context.dagster_run.job_name} [{partition}]" if partition else context.dagster_run.job_name
        post(address, notice(job, context.dagster_run.run_id, step, error))
        return None

    return tell


def schedules_are(on: bool) -> dg.DefaultScheduleStatus:
    """Default status of the schedules."""
    return dg.DefaultScheduleStatus.RUNNING if on else dg.DefaultScheduleStatus.STOPPED


def sensors_are(on: bool) -> dg.DefaultSensorStatus:
    """Default status of the sensors."""
    return dg.DefaultSensorStatus.RUNNING if on else dg.DefaultSensorStatus.STOPPED


def request(wanted: Wanted, name: str) -> dg.RunRequest:
    """The run of a pass as Dagster is asked for it: the same one is started once."""
    return dg.RunRequest(run_key=wanted.key, job_name=wanted.job, partition_key=wanted.dataset, tags={PASS: name})


def newest(instance: dg.DagsterInstance, kind: str) -> str | None:
    """Name of the pass of a kind that began last; names end with when that was."""
    found = instance.get_run_tags([PASS], value_prefix=f"{kind}/")
    return max((name for _, names in found for name in names), default=None)


def runs_of(instance: dg.DagsterInstance, name: str) -> tuple[dict[tuple[str, str | None], State], set[str]]:
    """States of a pass's runs by job and data set, of several attempts the last, and the keys under which runs were asked for."""
    runs = instance.get_runs(dg.RunsFilter(tags={PASS: name}))  # the newest first
    states = {(run.job_name, run.tags.get("dagster/partition")): ENDED.get(run.status, "going") for run in reversed(runs)}
    return states, {run.tags[RUN_KEY] for run in runs if RUN_KEY in run.tags}


def coming(instance: dg.DagsterInstance, name: str) -> list[Wanted]:
    """Runs that come next in a pass."""
    return following(name, *runs_of(instance, name), DATASET.get_partition_keys())


def under_way(instance: dg.DagsterInstance, name: str) -> bool:
    """Whether a run of a pass is going on or about to be started."""
    states, _ = runs_of(instance, name)
    return "going" in states.values() or bool(coming(instance, name))


def held(lake: Lake, before: dict[str, Any]) -> dict[str, Any]:
    """What the lake holds of movies and of each data set's conversations: hash and sample; what has the hash of `before` is not read again."""
    from rar_pipeline.changes import conversations as of_dialogues
    from rar_pipeline.changes import movies, sample

    found = {}
    tables = [("movies", ITEM_EMBEDDINGS, None), *((f"{dataset} conversations", DIALOGUES, dataset) for dataset in DATASETS)]
    for name, table, part in tables:
        content = lake.stamp(table, part).content
        if content and before.get(name, {}).get("content") == content:
            found[name] = before[name]
        elif content:
            columns = ("movie_id", "text_hash") if table is ITEM_EMBEDDINGS else ("dialogue_id", "turn", "text")
            things = (movies if table is ITEM_EMBEDDINGS else of_dialogues)(lake.scan(table, part).select(columns).collect())
            found[name] = {"content": content, "sample": sample(things)}
    return found


def broken(context: dg.RunFailureSensorContext) -> tuple[str, str]:
    """Step and error of a failed run; where no step failed, as when its process was killed, what Dagster says of the run."""
    for event in context.get_step_failure_events():
        failure = event.step_failure_data
        said = failure.user_failure_data.description if failure.user_failure_data else None
        cause = failure.error.cause or failure.error if failure.error else None
        return event.step_key or "", said or (cause.message if cause else event.message) or ""
    return "no step", context.failure_event.message or ""
