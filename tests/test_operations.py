"""The real webserver and the real daemon over the project's own instance settings: a run through GraphQL, schedules and their ticks, what is told
of failures, and, slowly, a whole training that carries itself on."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from .generation.endpoint import Endpoint
from .judge_endpoint import served
from .small_world import free_port, small_encoder, small_settings, small_world
from .webhook import Hook

PROJECT = Path(__file__).resolve().parent.parent
DEFINITIONS = "rar_pipeline.definitions"
START_SECONDS = 120.0
RUN_SECONDS = 120.0
TICK_SECONDS = 100.0  # a minute, and what the daemon takes to look
TRAINING_SECONDS = 1500.0
EVERY_MINUTE, NEVER = "* * * * *", "0 0 29 2 *"


@dataclass(frozen=True)
class Instance:
    """A running webserver and daemon of one code location."""

    address: str
    module: str
    home: Path
    processes: list[subprocess.Popen[bytes]]

    def ask(self, query: str, **variables: object) -> dict[str, Any]:
        """The one field that a GraphQL query asks for."""
        answer = httpx.post(f"{self.address}/graphql", json={"query": query, "variables": variables}, timeout=60).json()
        assert "errors" not in answer, answer
        (value,) = answer["data"].values()
        return dict(value)

    def of(self, **name: str) -> dict[str, str]:
        """Selector of something in the repository."""
        return {"repositoryLocationName": self.module, "repositoryName": "__repository__", **name}

    def logs(self) -> str:
        return "\n".join(f"--- {path.name}\n{path.read_text()[-3000:]}" for path in self.home.glob("*.log"))


def wait_for(what: str, seen: Callable[[], Any], seconds: float, instance: Instance) -> Any:
    """What `seen` gives as soon as it is true; errors of a server that is not up yet count as not seen."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        for process in instance.processes:
            assert process.poll() is None, f"{process.args} ended with {process.returncode}\n{instance.logs()}"
        try:
            if found := seen():
                return found
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    raise AssertionError(f"no {what} in {seconds:.0f} s\n{instance.logs()}")


def processes_of(home: Path) -> list[str]:
    """Command lines of all processes that were started with this DAGSTER_HOME: servers, code servers, runs."""
    mark, found = f"DAGSTER_HOME={home}".encode(), []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:  # ended meanwhile, or somebody else's
            continue
    return [command for command in found if command]


def default_signals() -> None:
    """A shell's background job ignores Ctrl-C, and its children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def running(folder: Path, module: str, sources: Path, **settings: object) -> Iterator[Instance]:
    """Webserver and daemon with the project's dagster.yaml and some settings; all their processes are gone afterwards."""
    home = folder / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text((PROJECT / "dagster.yaml").read_text())
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAR_", "DAGSTER_"))}
    environment |= {
        "DAGSTER_HOME": str(home),
        "RAR_SOURCES": str(sources),
        "RAR_LAKE": str(folder / "lake"),
        "PYTHONPATH": os.pathsep.join([str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    environment |= {f"RAR_{name.upper()}": str(value) for name, value in settings.items()}
    commands = {
        "webserver": ["-m", "dagster_webserver", "-m", module, "-h", "127.0.0.1", "-p", str(port)],
        "daemon": ["-m", "dagster._daemon", "run", "-m", module],
    }
    processes: list[subprocess.Popen[bytes]] = []
    instance = Instance(f"http://127.0.0.1:{port}", module, home, processes)

    def start(name: str) -> None:
        with (home / f"{name}.log").open("wb") as log:
            processes.append(
                subprocess.Popen(
                    [sys.executable, *commands[name]],
                    # relative folders of dagster.yaml are below the working folder
                    cwd=home,
                    env=environment,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    preexec_fn=default_signals,
                )
            )

    try:
        # one after the other, as `dagster dev` does: two that make the same database at once end with "more than one head"
        start("webserver")
        wait_for("webserver", lambda: httpx.get(f"{instance.address}/server_info").is_success, START_SECONDS, instance)
        wait_for("code location", lambda: loaded(instance), START_SECONDS, instance)
        start("daemon")
        wait_for("daemon", lambda: daemons(instance), START_SECONDS, instance)
        yield instance
    finally:
        for process in processes:
            process.send_signal(signal.SIGINT)
        for process in processes:
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    ends = time.monotonic() + 60
    while (left := processes_of(home)) and time.monotonic() < ends:
        time.sleep(0.5)
    assert left == []


def loaded(instance: Instance) -> bool:
    """Whether the webserver, which answers before it has loaded anything, knows the definitions."""
    query = """{ workspaceOrError { ... on Workspace { locationEntries { loadStatus locationOrLoadError {
        __typename ... on PythonError { message } } } } ... on PythonError { message } } }"""
    (entry,) = instance.ask(query)["locationEntries"]
    found = entry["locationOrLoadError"] or {}
    assert found.get("__typename") != "PythonError", found
    return bool(found) and entry["loadStatus"] == "LOADED"


def daemons(instance: Instance) -> bool:
    """Whether the daemons that queue runs and tick schedules and sensors are alive."""
    health = instance.ask("{ instance { daemonHealth { allDaemonStatuses { daemonType required healthy } } } }")
    states = {daemon["daemonType"]: daemon["healthy"] for daemon in health["daemonHealth"]["allDaemonStatuses"]}
    return all(states.get(name) for name in ("SCHEDULER", "SENSOR", "QUEUED_RUN_COORDINATOR"))


def finished(instance: Instance, run_id: str) -> str | None:
    query = "query ($run: ID!) { runOrError(runId: $run) { ... on Run { status } ... on PythonError { message } } }"
    status = instance.ask(query, run=run_id)["status"]
    return status if status in ("SUCCESS", "FAILURE", "CANCELED") else None


def turn_on(instance: Instance, schedule: str) -> dict[str, Any]:
    query = """mutation ($schedule: ScheduleSelector!) { startSchedule(scheduleSelector: $schedule) {
        ... on ScheduleStateResult { scheduleState { id status } } ... on PythonError { message } } }"""
    return dict(instance.ask(query, schedule=instance.of(scheduleName=schedule))["scheduleState"])


def turn_off(instance: Instance, schedule: str) -> dict[str, Any]:
    query = """mutation ($id: String!) { stopRunningSchedule(id: $id) {
        ... on ScheduleStateResult { scheduleState { id status } } ... on PythonError { message } } }"""
    return dict(instance.ask(query, id=schedule_state(instance, schedule)["id"])["scheduleState"])


def schedule_state(instance: Instance, schedule: str) -> dict[str, Any]:
    query = """query ($schedule: ScheduleSelector!) { scheduleOrError(scheduleSelector: $schedule) {
        ... on Schedule { scheduleState { id status nextTick { timestamp } ticks(limit: 5) { status runIds error { message } } } }
        ... on PythonError { message } } }"""
    return dict(instance.ask(query, schedule=instance.of(scheduleName=schedule))["scheduleState"])


def run_of_a_tick(instance: Instance, schedule: str) -> str | None:
    """The run that the first tick of a schedule asked for."""
    ticks = schedule_state(instance, schedule)["ticks"]
    assert not [tick["error"] for tick in ticks if tick["error"]]
    return next((run_id for tick in reversed(ticks) if tick["status"] == "SUCCESS" for run_id in tick["runIds"]), None)


def runs(instance: Instance) -> list[dict[str, Any]]:
    """Job, data set, pass and status of all runs, the oldest first."""
    query = """{ runsOrError { ... on Runs { results { runId jobName status tags { key value } } } ... on PythonError { message } } }"""
    return [run | {"tags": {tag["key"]: tag["value"] for tag in run["tags"]}} for run in reversed(instance.ask(query)["results"])]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_world(tmp_path_factory.mktemp("sources") / "world")


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory, world: Path) -> Iterator[Instance]:
    with running(tmp_path_factory.mktemp("operations"), DEFINITIONS, world) as found:
        yield found


def test_a_run_that_is_launched_through_graphql_succeeds_and_leaves_its_table_and_its_lineage(instance: Instance) -> None:
    query = """mutation ($params: ExecutionParams!) { launchRun(executionParams: $params) {
        __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
        ... on RunConfigValidationInvalid { errors { message } } ... on PipelineNotFoundError { message } } }"""
    chosen = [{"path": ["raw", "imdb"]}, {"path": ["source_movies", "imdb"]}]
    selector = instance.of(jobName="__ASSET_JOB") | {"assetSelection": chosen}
    launched = instance.ask(query, params={"selector": selector, "runConfigData": {}})
    assert launched["__typename"] == "LaunchRunSuccess", launched
    run_id = launched["run"]["runId"]
    assert wait_for("end of the run", lambda: finished(instance, run_id), RUN_SECONDS, instance) == "SUCCESS"
    query = """query ($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode {
        dependencyKeys { path } assetMaterializations(limit: 1) { runId metadataEntries { label ... on IntMetadataEntry { intValue } } } } } }"""
    node = instance.ask(query, key=chosen[1])
    assert node["dependencyKeys"] == [{"path": ["raw", "imdb"]}]
    (made,) = node["assetMaterializations"]
    assert made["runId"] == run_id
    rows = {entry["label"]: entry.get("intValue") for entry in made["metadataEntries"]}
    assert rows["dagster/partition_row_count"] > 400
    assert (instance.home.parent / "lake" / "world" / "corpus" / "source_movies" / "dataset=imdb" / "data.parquet").exists()


def test_the_weekly_schedule_is_off_and_can_be_turned_on_and_off(instance: Instance) -> None:
    assert schedule_state(instance, "weekly_retraining")["status"] == "STOPPED"
    assert turn_on(instance, "weekly_retraining")["status"] == "RUNNING"
    assert schedule_state(instance, "weekly_retraining")["nextTick"]["timestamp"] > time.time()
    assert turn_off(instance, "weekly_retraining")["status"] == "STOPPED"


def test_the_instance_keeps_its_state_where_its_settings_say(instance: Instance) -> None:
    below = {path.relative_to(instance.home).parts[0] for path in instance.home.rglob("*") if path.is_file()}
    assert below == {".dagster", "dagster.yaml", "webserver.log", "daemon.log"}


def test_what_is_left_on_ticks_and_a_run_that_fails_is_told(tmp_path: Path, world: Path) -> None:
    """All publishers but one are gone, so that the nightly and the weekly run fail at once, while a job of what is there succeeds."""
    shutil.copytree(world / "movielens", tmp_path / "world" / "movielens")
    on = {"automation": True, "corpus_schedule": EVERY_MINUTE, "training_schedule": EVERY_MINUTE}
    with Hook() as hook, running(tmp_path, "tests.every_minute", tmp_path / "world", webhook=hook.address, **on) as instance:
        assert turn_on(instance, "every_minute")["status"] == "RUNNING"
        expected = {"every_minute": "SUCCESS", "nightly_corpus": "FAILURE", "weekly_retraining": "FAILURE"}
        asked = {
            name: wait_for(f"tick of {name}", lambda name=name: run_of_a_tick(instance, name), TICK_SECONDS, instance)
            for name in expected
        }
        for name in expected:
            turn_off(instance, name)  # once is enough
        for name, status in expected.items():
            ended = wait_for(f"end of {name}", lambda name=name: finished(instance, asked[name]), RUN_SECONDS, instance)
            assert ended == status, name
        failed = {asked[name] for name, status in expected.items() if status == "FAILURE"}
        wait_for("notices", lambda: failed <= {notice["run"] for notice in hook.posted}, TICK_SECONDS, instance)
        tags = {run["runId"]: run["tags"].get("rar/pass", "").partition("/")[0] for run in runs(instance)}
        assert {name: tags[run_id] for name, run_id in asked.items()} == {
            "every_minute": "",
            "nightly_corpus": "renewal",
            "weekly_retraining": "training",
        }
    for notice in hook.posted:
        assert notice["job"] == "corpus"
        assert notice["step"].startswith("raw__")
        assert "missing" in notice["error"]
        assert set(notice) == {"text", "job", "run", "step", "error"}
    left = [path for path in (tmp_path / "home").rglob("*") if path.is_file() and b"planted-hook" in path.read_bytes()]
    assert left == [], "the webhook's address is a secret"


def backfill(instance: Instance, asset: str, datasets: list[str]) -> None:
    """Make an asset again for some data sets, as the UI's page of the asset does, and wait for it."""
    query = """mutation ($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) {
        __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
    begun = instance.ask(query, params={"assetSelection": [{"path": [asset]}], "partitionNames": datasets})
    assert begun["__typename"] == "LaunchBackfillSuccess", begun
    query = """query ($id: String!) { partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill { status }
        ... on PythonError { message } } }"""
    ended = ("COMPLETED_SUCCESS", "COMPLETED_FAILED", "FAILED", "CANCELED", "COMPLETED")

    def status() -> str | None:
        found = str(instance.ask(query, id=begun["backfillId"])["status"])
        return found if found in ended else None

    assert wait_for("end of the backfill", status, RUN_SECONDS, instance) == "COMPLETED_SUCCESS"
    made = [
        run["tags"]["dagster/partition"] for run in runs(instance) if run["tags"].get("dagster/backfill") == begun["backfillId"]
    ]
    assert sorted(made) == sorted(datasets)


@pytest.mark.slow
def test_a_training_carries_itself_on_from_the_sources_to_the_champion_and_the_report(tmp_path: Path, world: Path) -> None:
    with served(Endpoint()) as address:
        few = small_settings(world, tmp_path / "lake", encoder=str(small_encoder(tmp_path / "encoder")), pretraining_epochs=2)
        changed = {name: getattr(few, name) for name in few.model_fields_set - {"sources", "lake"}}
        changed |= {"llm_base_url": address, "llm_model": "parrot", "llm_mode": "generate", "automation": True}
        schedules = {"corpus_schedule": NEVER, "training_schedule": EVERY_MINUTE}
        with running(tmp_path, DEFINITIONS, world, **changed, **schedules) as instance:
            first = wait_for("tick", lambda: run_of_a_tick(instance, "weekly_retraining"), TICK_SECONDS, instance)
            (name,) = [run["tags"]["rar/pass"] for run in runs(instance) if run["runId"] == first]

            def of_the_pass() -> list[dict[str, Any]]:
                return [run for run in runs(instance) if run["tags"].get("rar/pass") == name]

            def reported() -> bool:
                assert not [run for run in of_the_pass() if run["status"] == "FAILURE"], instance.logs()
                return any(run["jobName"] == "summary" and run["status"] == "SUCCESS" for run in of_the_pass())

            wait_for("report", reported, TRAINING_SECONDS, instance)
            each = [(job, dataset) for job in ("conversations", "retrain") for dataset in ("inspired", "reddit", "redial")]
            found = [(run["jobName"], run["tags"].get("dagster/partition")) for run in of_the_pass()]
            assert found[0] == ("corpus", None)
            assert sorted(found[1:4]) == each[:3]
            assert found[4] == ("pretrain", None)
            assert sorted(found[5:8]) == each[3:]
            assert found[8:] == [("summary", None)]
            backfill(instance, "cases", ["redial", "inspired"])
    lake = tmp_path / "lake" / "world"
    for dataset in ("inspired", "reddit", "redial"):
        champion = lake / "evaluation" / "champion" / f"dataset={dataset}" / "champion.json"
        assert json.loads(champion.read_text())["dataset"] == dataset
    assert (lake / "evaluation" / "report" / "report.html").is_file()
