"""Passes that carry themselves on, a training that is asked for when enough has changed, and what is told of a failed run."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rar_pipeline import changes, notify
from rar_pipeline.definitions import build_defs
from rar_pipeline.defs.automation import PASS
from rar_pipeline.errors import RarError
from rar_pipeline.passes import PASSES, first, following
from rar_pipeline.resources import Lake
from rar_pipeline.settings import Settings
from rar_pipeline.tables import DATASETS, DIALOGUES, ITEM_EMBEDDINGS

from .webhook import Hook

NAME = "training/2026-11-23T03:00"
MONDAY = datetime(2026, 11, 23, 3, tzinfo=UTC)
SENSORS = ("next_steps", "sources_changed", "failure_notice")
SCHEDULES = {"nightly_corpus": "renewal", "weekly_retraining": "training"}


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    home = tmp_path / "home"
    home.mkdir()
    with dg.DagsterInstance.local_temp(str(home)) as found:
        yield found


def definitions(tmp_path: Path, **changes: object) -> dg.Definitions:
    return build_defs(settings=Settings(_env_file=None, lake=tmp_path / "lake", **changes))


def put(instance: dg.DagsterInstance, request: dg.RunRequest, status: str) -> None:
    """A run as the daemon makes it of a request."""
    tags = dict(request.tags) | {"dagster/run_key": request.run_key}
    tags |= {"dagster/partition": request.partition_key} if request.partition_key else {}
    instance.add_run(dg.DagsterRun(request.job_name, status=dg.DagsterRunStatus[status], tags=tags))


def look(defs: dg.Definitions, instance: dg.DagsterInstance, sensor: str, cursor: str | None = None) -> dg.SensorResult:
    context = dg.build_sensor_context(instance, cursor=cursor, definitions=defs, resources=dict(defs.resources))
    return defs.resolve_sensor_def(sensor).evaluate_tick(context)


def tick(defs: dg.Definitions, instance: dg.DagsterInstance, schedule: str, when: datetime = MONDAY) -> object:
    context = dg.build_schedule_context(instance, repository_def=defs.get_repository_def(), scheduled_execution_time=when)
    return defs.resolve_schedule_def(schedule).evaluate_tick(context)


# in one place


@pytest.mark.parametrize("on", [False, True])
def test_one_setting_turns_everything_on_and_promises_what_is_then_kept(tmp_path: Path, on: bool) -> None:
    defs = definitions(tmp_path, automation=on)
    assert {defs.resolve_schedule_def(name).default_status.value for name in SCHEDULES} == {"RUNNING" if on else "STOPPED"}
    assert {defs.resolve_sensor_def(name).default_status.value for name in SENSORS} == {"RUNNING" if on else "STOPPED"}
    promised = {spec.key.to_user_string() for spec in defs.resolve_all_asset_specs() if spec.freshness_policy}
    assert promised == ({"movies", "title_index", "item_embeddings", "champion", "leaderboard"} if on else set())


def test_freshness_follows_the_schedules(tmp_path: Path) -> None:
    defs = definitions(tmp_path, automation=True, training_schedule="0 3 1 * *")
    windows = {
        spec.key.to_user_string(): spec.freshness_policy.fail_window.to_timedelta()
        for spec in defs.resolve_all_asset_specs()
        if spec.freshness_policy
    }
    assert windows["movies"] == timedelta(hours=36)
    assert windows["champion"] > timedelta(days=31)


@pytest.mark.parametrize("cron", ["weekly", "61", "0 3 * *", "0 3 * * 1; rm"])
def test_a_schedule_that_is_none_is_refused(cron: str) -> None:
    with pytest.raises(ValueError, match="training_schedule"):
        Settings(_env_file=None, training_schedule=cron)


# passes


def test_a_training_runs_from_the_sources_to_the_report_one_step_after_the_other(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    defs = definitions(tmp_path)
    (begun,) = tick(defs, instance, "weekly_retraining").run_requests
    assert (begun.job_name, begun.run_key, begun.tags[PASS]) == ("corpus", f"{NAME}/corpus", NAME)
    put(instance, begun, "STARTED")
    steps = [["corpus"]]
    for _ in range(6):
        assert not look(defs, instance, "next_steps").run_requests, "nothing begins before all of the step before has ended"
        for run in instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])):
            instance.report_engine_event("done", run)
            instance.handle_run_event(run.run_id, dg.DagsterEvent("PIPELINE_SUCCESS", run.job_name))
        requests = look(defs, instance, "next_steps").run_requests
        steps.append([" ".join(filter(None, (one.job_name, one.partition_key))) for one in requests])
        for one in requests:
            put(instance, one, "STARTED")
    each = {job: [f"{job} {dataset}" for dataset in DATASETS] for job in ("conversations", "retrain")}
    assert steps == [["corpus"], each["conversations"], ["pretrain"], each["retrain"], ["summary"], [], []]


def test_jobs_of_a_pass_together_make_everything_once(tmp_path: Path) -> None:
    defs = definitions(tmp_path)
    made = [key for step in PASSES["training"] for key in defs.resolve_job_def(step.job).asset_layer.executable_asset_keys]
    assert len(made) == len(set(made))
    assert set(made) == {spec.key for spec in defs.resolve_all_asset_specs() if spec.group_name != "experiments"}
    for step in PASSES["training"]:
        partitions = defs.resolve_job_def(step.job).partitions_def
        assert (partitions.get_partition_keys() if partitions else None) == (list(DATASETS) if step.each else None), step.job


def test_a_backfill_by_data_set_finds_the_three_data_sets_and_what_each_of_them_makes(tmp_path: Path) -> None:
    defs = definitions(tmp_path)
    for job in ("conversations", "retrain", "evaluate", "everything"):
        resolved = defs.resolve_job_def(job)
        assert list(resolved.partitions_def.get_partition_keys()) == list(DATASETS)
        graph, keys = resolved.asset_layer.asset_graph, resolved.asset_layer.executable_asset_keys
        made = {key.to_user_string() for key in keys if graph.get(key).partitions_def}
        assert {"conversations": "cases", "evaluate": "metrics"}.get(job, "round_2/retriever") in made


STATES = st.sampled_from(["going", "succeeded", "failed"])


@given(st.data())
def test_whatever_fails_nothing_runs_twice_and_nothing_before_what_it_is_made_of(data: st.DataObject) -> None:
    states, known = {("corpus", None): data.draw(STATES)}, {first(NAME).key}
    for _ in range(12):
        for unit, state in list(states.items()):
            if state == "going":
                states[unit] = data.draw(STATES)
        wanted = following(NAME, states, known, DATASETS)
        assert not {one.key for one in wanted} & known
        order = [step.job for step in PASSES["training"]]
        for one in wanted:
            before = order[order.index(one.job) - 1]
            ended = {unit: state for unit, state in states.items() if unit[0] == before}
            assert "going" not in ended.values()
            assert "succeeded" in ended.values()
            assert one.dataset is None or ended.get((before, one.dataset), "succeeded") == "succeeded"
            states[one.job, one.dataset] = "going"
        known |= {one.key for one in wanted}


def test_a_data_set_that_fails_is_left_behind_and_catches_up() -> None:
    made = {("corpus", None): "succeeded", ("pretrain", None): "succeeded"}
    made |= {("conversations", dataset): "succeeded" for dataset in DATASETS}
    keys = {f"{NAME}/corpus", f"{NAME}/pretrain/{'+'.join(DATASETS)}"}
    keys |= {f"{NAME}/{job}/{dataset}" for job in ("conversations", "retrain") for dataset in DATASETS}
    made |= {("retrain", dataset): "succeeded" for dataset in DATASETS} | {("retrain", "reddit"): "failed"}
    (told,) = following(NAME, made, keys, DATASETS)
    assert told == ("summary", None, f"{NAME}/summary/redial+inspired")
    (again,) = following(NAME, made | {("retrain", "reddit"): "succeeded"}, keys | {told.key}, DATASETS)
    assert again.key == f"{NAME}/summary/redial+inspired+reddit", "the report is written anew with what came later"


def test_a_failed_corpus_ends_the_pass_until_its_run_is_executed_again(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    defs = definitions(tmp_path)
    (begun,) = tick(defs, instance, "nightly_corpus").run_requests
    put(instance, begun, "FAILURE")
    assert not look(defs, instance, "next_steps").run_requests
    put(instance, begun, "SUCCESS")  # executed again, with the tags of the first attempt
    assert [one.job_name for one in look(defs, instance, "next_steps").run_requests] == ["conversations"] * len(DATASETS)


def test_no_pass_begins_while_one_of_its_kind_is_under_way(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    defs = definitions(tmp_path)
    (begun,) = tick(defs, instance, "weekly_retraining").run_requests
    put(instance, begun, "STARTED")
    later = tick(defs, instance, "weekly_retraining", MONDAY + timedelta(days=7))
    assert not later.run_requests
    assert later.skip_message == f"{NAME} is still under way"
    assert tick(defs, instance, "nightly_corpus").run_requests, "the other kind is not held up"
    put(instance, begun, "FAILURE")
    assert tick(defs, instance, "weekly_retraining", MONDAY + timedelta(days=7)).run_requests


# how much has changed


@given(st.sets(st.text(max_size=8), max_size=60), st.sets(st.text(max_size=8), max_size=60))
def test_of_few_things_the_share_is_exact(then: set[str], now: set[str]) -> None:
    share = changes.changed_share(changes.sample(then), changes.sample(now))
    assert share == pytest.approx(len(now - then) / len(now) if now else 0)


@pytest.mark.parametrize("new", [0, 1000, 5000, 25000])
def test_of_many_things_the_share_is_told_from_a_small_sample(new: int) -> None:
    then, now = ([f"movie {number}" for number in range(start, start + 50_000)] for start in (0, new))
    drawn = [changes.sample(things) for things in (then, now)]
    assert {len(one) for one in drawn} == {changes.SIZE}
    assert changes.changed_share(*drawn) == pytest.approx(new / 50_000, abs=0.04)


def test_a_movie_whose_text_changed_and_a_conversation_that_went_on_count_as_changed() -> None:
    films = pl.DataFrame({"movie_id": ["m1", "m2"], "text_hash": ["a", "b"]})
    plots = films.with_columns(text_hash=pl.Series(["a", "c"]))
    assert changes.changed_share(changes.sample(changes.movies(films)), changes.sample(changes.movies(plots))) == 0.5
    said = pl.DataFrame({"dialogue_id": ["d1", "d1", "d2"], "turn": [0, 1, 0], "text": ["hi", "hello", "hi"]})
    more = pl.concat([said, pl.DataFrame({"dialogue_id": ["d2"], "turn": [1], "text": ["bye"]})])
    samples = [changes.sample(changes.conversations(frame)) for frame in (said, said.reverse(), more)]
    assert changes.changed_share(samples[0], samples[1]) == 0
    assert changes.changed_share(samples[0], samples[2]) == 0.5


def test_a_training_is_asked_for_once_when_a_source_has_changed_enough(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    defs = definitions(tmp_path, retrain_share=0.2)
    lake = build_lake(tmp_path)

    def holds(films: int) -> None:
        rows = [{"movie_id": f"m{number}", "text_hash": f"{number}", "embedding": [0.0] * 384} for number in range(films)]
        lake.write(ITEM_EMBEDDINGS, ITEM_EMBEDDINGS.frame(rows))

    def trained() -> None:
        instance.report_runless_asset_event(dg.AssetMaterialization(["pretrained", "retriever"]))

    holds(100)
    turn = [{"dataset": "redial", "dialogue_id": "d1", "turn": 0, "speaker": "seeker", "text": "hi", "split": "train"}]
    lake.write(DIALOGUES, DIALOGUES.frame(turn), "redial")
    assert look(defs, instance, "sources_changed").skip_message == "nothing was trained yet"
    trained()
    cursor = look(defs, instance, "sources_changed").cursor
    assert not look(defs, instance, "sources_changed", cursor).run_requests
    holds(110)
    few = look(defs, instance, "sources_changed", cursor)
    assert not few.run_requests
    assert "9.1% of movies" in few.skip_message
    holds(150)
    many = look(defs, instance, "sources_changed", cursor)
    (asked,) = many.run_requests
    assert asked.job_name == "corpus"
    assert asked.tags[PASS].startswith("training/")
    assert not look(defs, instance, "sources_changed", many.cursor).run_requests, "asked once, also where that training fails"


def build_lake(tmp_path: Path) -> Lake:
    return Lake(root=str(Settings(_env_file=None, lake=tmp_path / "lake").root))


# what is told of a failed run


def failed_run(defs: dg.Definitions, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    chosen = [dg.AssetKey(["source_movies", "imdb"])]
    job = defs.resolve_implicit_global_asset_job_def()
    return job.execute_in_process(instance=instance, asset_selection=chosen, raise_on_error=False)


def tell(defs: dg.Definitions, instance: dg.DagsterInstance, result: dg.ExecuteInProcessResult) -> object:
    context = dg.build_run_status_sensor_context(
        sensor_name="failure_notice",
        dagster_instance=instance,
        dagster_run=result.dagster_run,
        dagster_event=result.get_run_failure_event(),
    ).for_run_failure()
    return defs.resolve_sensor_def("failure_notice")(context)


def test_a_failed_run_is_told_with_job_run_step_and_one_line(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    with Hook() as hook:
        defs = definitions(tmp_path, webhook=hook.address)
        result = failed_run(defs, instance)
        tell(defs, instance, result)
    (told,) = hook.posted
    assert set(told) == {"text", "job", "run", "step", "error"}
    assert (told["run"], told["step"]) == (result.run_id, "source_movies__imdb")
    assert "materialise the asset raw/imdb first" in told["error"]
    assert "\n" not in told["text"]


def test_nobody_is_told_where_no_webhook_is_set(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    defs = definitions(tmp_path)
    assert tell(defs, instance, failed_run(defs, instance)).skip_message == "RAR_WEBHOOK is not set"


def test_a_notice_that_does_not_arrive_is_an_error_that_does_not_show_the_address() -> None:
    with Hook(503) as hook:
        notify.post(hook.address, {"text": "once more"})
    assert len(hook.posted) == 2
    with Hook(404) as hook, pytest.raises(RarError, match=r"HTTPStatusError \(HTTP 404\)") as told:
        notify.post(hook.address, {"text": "no"})
    assert len(hook.posted) == 1
    assert "planted" not in str(told.value)
    with pytest.raises(RarError, match="not an http"):
        notify.post("file:///etc/passwd", {})


@pytest.mark.parametrize(
    "error",
    [
        "boom sk-planted-key-1\nTraceback: sk-planted-key-1",
        "\n  cannot reach https://somebody:planted-word@host:8080/v1?token=planted-key-2#planted",
        "GET http://host/x?api_key=planted-key-3 failed",
        "x" * 5000,
    ],
)
def test_a_notice_is_one_short_line_without_secrets(error: str) -> None:
    told = notify.notice("retrain", "run", "step", error, {"OPENAI_API_KEY": "sk-planted-key-1", "HOME": "/root"})
    assert "planted" not in json.dumps(told)
    assert "\n" not in told["error"]
    assert 0 < len(told["error"]) <= notify.LONGEST


def test_the_webhook_is_not_shown_with_the_settings() -> None:
    settings = Settings(_env_file=None, webhook="https://hooks.example/planted")
    assert "planted" not in repr(settings) + settings.model_dump_json() + str(settings.model_dump())
