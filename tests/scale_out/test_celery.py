"""Runs through Celery, Redis and Postgres as deploy/celery configures them, with real servers: who runs what, what is left behind, what is lost."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest
import redis

from rar_pipeline.resources import Lake
from rar_pipeline.settings import Settings
from rar_pipeline.tables import DATASETS, DIALOGUES

from ..small_world import materialise, small_settings, small_world
from .services import BROKER_PASSWORD, PASSWORD, Deployment, deployed, eventually, needs_servers

MODULE = "tests.scale_out.turns"
pytestmark = needs_servers


@pytest.fixture
def with_instance(monkeypatch: pytest.MonkeyPatch) -> Callable[[Deployment], dg.DagsterInstance]:
    """The deployment's instance as this process sees it: Postgres, and the launcher over Redis."""

    def seen(deployment: Deployment) -> dg.DagsterInstance:
        for name, value in deployment.environment.items():
            if name.startswith("DAGSTER_"):
                monkeypatch.setenv(name, value)
        return dg.DagsterInstance.get()

    return seen


def ended(instance: dg.DagsterInstance, count: int) -> list[dg.DagsterRun]:
    """The runs, once there are so many and all have ended."""
    runs = list(instance.get_runs())
    return runs if len(runs) == count and all(run.is_finished for run in runs) else []


def process_of(instance: dg.DagsterInstance, run_id: str) -> int | None:
    """Process of a run, as its events tell it."""
    found = (re.search(r"\(pid: (\d+)\)", entry.user_message) for entry in instance.all_logs(run_id))
    return next((int(one[1]) for one in found if one), None)


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A lake with raw files of the small world, of which dialogues are made."""
    folder = tmp_path_factory.mktemp("raw")
    settings = small_settings(small_world(folder / "world"), folder / "lake")
    assert materialise(settings, *(f"raw/{dataset}" for dataset in DATASETS)).success
    return settings


@pytest.fixture
def small(raw: Settings, tmp_path: Path) -> Iterator[Deployment]:
    """Redis, Postgres and the daemon; runs wait while `wait` is there."""
    (tmp_path / "lake").symlink_to(raw.lake)
    (tmp_path / "wait").touch()
    with deployed(tmp_path, MODULE, sources=raw.sources) as deployment:
        deployment.environment["SCALE_OUT_WAIT"] = str(tmp_path / "wait")
        deployment.start("daemon", "dagster._daemon", "run", "-m", MODULE)
        said = tmp_path / "daemon.log"  # it makes the tables, before several processes would at once
        eventually("daemon", lambda: "configured with" in said.read_text(), alive=[*deployment.processes.values()])
        yield deployment


def backfill(deployment: Deployment, *datasets: str, **tags: str) -> None:
    command = ["job", "backfill", "-m", MODULE, "-j", "turns", "--partitions", ",".join(datasets), "--noprompt"]
    deployment.dagster(*command, "--tags", json.dumps({name.replace("__", "/"): value for name, value in tags.items()}))


def waiting(deployment: Deployment) -> list[str]:
    """Data sets whose run has come to where it waits."""
    return sorted(path.name.removesuffix("-waits") for path in deployment.folder.glob("*-waits"))


def held(address: str) -> list[bytes]:
    """All that a Redis holds; bodies of messages as they were before they were packed."""
    found: list[bytes] = []
    with redis.Redis.from_url(address) as server:
        for key in server.scan_iter():
            kind = server.type(key)
            if kind == b"string":
                found.append(server.get(key))
            elif kind == b"list":
                found += server.lrange(key, 0, -1)
            elif kind == b"set":
                found += server.smembers(key)
            elif kind == b"hash":
                found += server.hvals(key)
    bodies = [json.loads(value)["body"] for value in found if value.startswith(b'{"body"')]
    return found + [base64.b64decode(body) for body in bodies]


@pytest.mark.slow
def test_a_backfill_over_two_workers_overlaps_makes_every_data_set_and_leaves_no_password_behind(
    small: Deployment, raw: Settings, with_instance: Callable[[Deployment], dg.DagsterInstance]
) -> None:
    backfill(small, *DATASETS)
    broker = small.environment["DAGSTER_CELERY_BROKER_URL"]
    alive = list(small.processes.values())
    messages = eventually(
        "message", lambda: [value for value in held(broker) if b"execute_job_args_packed" in value], alive=alive
    )
    assert any(b"rar_pipeline" in value or MODULE.encode() in value for value in messages), "the run itself can be read there"
    small.start_worker("one")
    small.start_worker("two")
    with with_instance(small) as instance:
        eventually("two runs at once", lambda: len(waiting(small)) == 2, alive=alive)
        states = Counter(run.status.value for run in instance.get_runs())
        assert states == {"STARTED": 2, "QUEUED": 1}, "as many at once as there are workers"
        started = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
        assert {small.worker_of(run) for run in started} == {"one", "two"}
        (small.folder / "wait").unlink()
        runs = eventually("end of the backfill", lambda: ended(instance, len(DATASETS)), alive=alive)
        assert {run.tags["dagster/partition"]: run.status.value for run in runs} == dict.fromkeys(DATASETS, "SUCCESS"), (
            small.logs()
        )
        assert instance.get_materialized_partitions(dg.AssetKey("dialogues")) == set(DATASETS)
        processes = {process_of(instance, run.run_id) for run in runs}
        assert len(processes - {None}) == len(DATASETS), "each run has a process of its own"
    for dataset in DATASETS:
        assert Lake(root=str(raw.root)).read(DIALOGUES, dataset).height > 0
    left = [*messages, *held(broker), *(path.read_bytes() for path in small.folder.rglob("*") if path.is_file())]
    for planted in (PASSWORD.encode(), BROKER_PASSWORD.encode()):
        assert not [value[:200] for value in left if planted in value]


@pytest.mark.slow
def test_a_run_whose_process_is_killed_fails_and_the_next_one_succeeds_on_the_same_worker(
    small: Deployment, with_instance: Callable[[Deployment], dg.DagsterInstance]
) -> None:
    small.start_worker("one")
    alive = list(small.processes.values())
    backfill(small, "redial")
    with with_instance(small) as instance:
        eventually("step", lambda: waiting(small) == ["redial"], alive=alive)
        (run,) = instance.get_runs()
        process = process_of(instance, run.run_id)
        assert process is not None
        os.kill(process, signal.SIGKILL)
        (lost,) = eventually("verdict", lambda: ended(instance, 1), alive=alive)
        assert lost.status is dg.DagsterRunStatus.FAILURE
        (small.folder / "wait").unlink()
        backfill(small, "redial")
        again, _ = eventually("end of the next run", lambda: ended(instance, 2), alive=alive)
        assert again.status is dg.DagsterRunStatus.SUCCESS, small.logs()
        assert small.worker_of(again) == "one"


@pytest.mark.slow
def test_a_run_whose_machine_goes_away_ends_with_its_time_and_the_next_one_succeeds_on_another(
    small: Deployment, with_instance: Callable[[Deployment], dg.DagsterInstance]
) -> None:
    small.start_worker("one")
    small.start_worker("two", queue="elsewhere")
    backfill(small, "redial", dagster__max_runtime="20")
    with with_instance(small) as instance:
        started = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])
        eventually("run", lambda: instance.get_runs(started))
        small.kill("one")
        (small.folder / "wait").unlink()
        (lost,) = eventually("verdict", lambda: ended(instance, 1))
        assert lost.status is dg.DagsterRunStatus.FAILURE
        assert [result["status"] for result in small.results()] == ["STARTED"], "which is all that Celery knows of it"
        backfill(small, "redial", **{"dagster-celery__queue": "elsewhere"})
        again, _ = eventually("end of the next run", lambda: ended(instance, 2), alive=list(small.processes.values()))
        assert again.status is dg.DagsterRunStatus.SUCCESS, small.logs()
        assert small.worker_of(again) == "two", "a run goes to the workers of the queue that it names"
