"""The real webserver and the real daemon over the project's own instance settings: a run through GraphQL, a schedule and its tick."""

import os
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

from .small_world import free_port, small_world

PROJECT = Path(__file__).resolve().parent.parent
DEFINITIONS = "rar_pipeline.definitions"
START_SECONDS = 120.0
RUN_SECONDS = 120.0
TICK_SECONDS = 100.0  # a minute, and what the daemon takes to look


@dataclass(frozen=True)
class Instance:
    """A running webserver and daemon of one code location."""

    address: str
    module: str
    home: Path
    processes: tuple[subprocess.Popen[bytes], ...]

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
def running(folder: Path, module: str) -> Iterator[Instance]:
    """Webserver and daemon over a small world, with the project's dagster.yaml; all their processes are gone afterwards."""
    home = folder / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text((PROJECT / "dagster.yaml").read_text())
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAR_", "DAGSTER_"))}
    environment |= {
        "DAGSTER_HOME": str(home),
        "RAR_SOURCES": str(small_world(folder / "world")),
        "RAR_LAKE": str(folder / "lake"),
        "PYTHONPATH": os.pathsep.join([str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    commands = {
        "webserver": ["-m", "dagster_webserver", "-m", module, "-h", "127.0.0.1", "-p", str(port)],
        "daemon": ["-m", "dagster._daemon", "run", "-m", module],
    }
    processes = []
    for name, command in commands.items():
        with (home / f"{name}.log").open("wb") as log:
            processes.append(
                subprocess.Popen(
                    [sys.executable, *command],
                    # relative folders of dagster.yaml are below the working folder
                    cwd=home,
                    env=environment,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    preexec_fn=default_signals,
                )
            )
    instance = Instance(f"http://127.0.0.1:{port}", module, home, tuple(processes))
    try:
        wait_for("webserver", lambda: httpx.get(f"{instance.address}/server_info").is_success, START_SECONDS, instance)
        wait_for("code location", lambda: loaded(instance), START_SECONDS, instance)
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
    """Whether the daemons that queue runs and tick schedules are alive."""
    health = instance.ask("{ instance { daemonHealth { allDaemonStatuses { daemonType required healthy } } } }")
    states = {daemon["daemonType"]: daemon["healthy"] for daemon in health["daemonHealth"]["allDaemonStatuses"]}
    return all(states.get(name) for name in ("SCHEDULER", "QUEUED_RUN_COORDINATOR"))


def finished(instance: Instance, run_id: str) -> str | None:
    query = "query ($run: ID!) { runOrError(runId: $run) { ... on Run { status } ... on PythonError { message } } }"
    status = instance.ask(query, run=run_id)["status"]
    return status if status in ("SUCCESS", "FAILURE", "CANCELED") else None


def turn_on(instance: Instance, schedule: str) -> dict[str, Any]:
    query = """mutation ($schedule: ScheduleSelector!) { startSchedule(scheduleSelector: $schedule) {
        ... on ScheduleStateResult { scheduleState { id status } } ... on PythonError { message } } }"""
    return dict(instance.ask(query, schedule=instance.of(scheduleName=schedule))["scheduleState"])


def schedule_state(instance: Instance, schedule: str) -> dict[str, Any]:
    query = """query ($schedule: ScheduleSelector!) { scheduleOrError(scheduleSelector: $schedule) {
        ... on Schedule { scheduleState { id status nextTick { timestamp } ticks(limit: 5) { status runIds error { message } } } }
        ... on PythonError { message } } }"""
    return dict(instance.ask(query, schedule=instance.of(scheduleName=schedule))["scheduleState"])


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    with running(tmp_path_factory.mktemp("operations"), DEFINITIONS) as found:
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
    state = turn_on(instance, "weekly_retraining")
    assert state["status"] == "RUNNING"
    assert schedule_state(instance, "weekly_retraining")["nextTick"]["timestamp"] > time.time()
    query = """mutation ($id: String!) { stopRunningSchedule(id: $id) {
        ... on ScheduleStateResult { scheduleState { status } } ... on PythonError { message } } }"""
    assert instance.ask(query, id=state["id"])["scheduleState"]["status"] == "STOPPED"


def test_the_instance_keeps_its_state_where_its_settings_say(instance: Instance) -> None:
    below = {path.relative_to(instance.home).parts[0] for path in instance.home.rglob("*") if path.is_file()}
    assert below == {".dagster", "dagster.yaml", "webserver.log", "daemon.log"}


def test_a_schedule_that_is_turned_on_ticks_and_its_run_succeeds(tmp_path: Path) -> None:
    with running(tmp_path, "tests.every_minute") as instance:
        assert turn_on(instance, "every_minute")["status"] == "RUNNING"

        def tick() -> dict[str, Any] | None:
            ticks = schedule_state(instance, "every_minute")["ticks"]
            assert not [tick["error"] for tick in ticks if tick["error"]]
            return next((tick for tick in ticks if tick["status"] == "SUCCESS" and tick["runIds"]), None)

        (run_id,) = wait_for("tick", tick, TICK_SECONDS, instance)["runIds"]
        assert wait_for("end of the run", lambda: finished(instance, run_id), RUN_SECONDS, instance) == "SUCCESS"
