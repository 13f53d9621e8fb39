"""kill -9 of the run worker and of the daemon, with the real webserver and daemon, seen as the UI sees it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path

from rar_pipeline.settings import Settings

from ..test_operations import DEFINITIONS, Instance, daemons, finished, running, wait_for
from .scratch import DATASET, copy_of

SECONDS = 240.0
LAUNCH = """mutation ($params: ExecutionParams!) { launchRun(executionParams: $params) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""


def launch(instance: Instance, *path: str) -> str:
    selector = instance.of(jobName="__ASSET_JOB") | {"assetSelection": [{"path": list(path)}]}
    tags = {"tags": [{"key": "dagster/partition", "value": DATASET}]}
    launched = instance.ask(LAUNCH, params={"selector": selector, "runConfigData": {}, "executionMetadata": tags})
    return str(launched["run"]["runId"])


def worker(instance: Instance, run_id: str) -> int | None:
    """Process of a run, as its events tell it: its command line does not."""
    query = """query ($run: ID!) { logsForRun(runId: $run) { ... on EventConnection { events { ... on MessageEvent { message } } } } }"""
    events = instance.ask(query, run=run_id)["events"]
    found = [re.search(r"pid: (\d+)", event.get("message") or "") for event in events]
    return next((int(one[1]) for one in found if one), None)


def test_a_killed_worker_is_marked_failed_a_killed_daemon_takes_up_its_queue(whole: Settings, tmp_path: Path) -> None:
    settings = copy_of(whole, tmp_path / "lake", epochs=40, patience=40)
    changed = {name: getattr(settings, name) for name in settings.model_fields_set - {"sources", "lake"}}
    attempts = settings.root / "retriever" / "attempts"
    with running(tmp_path, DEFINITIONS, Path(settings.sources), **changed) as instance:
        run_id = launch(instance, "round_0", "retriever")
        wait_for("checkpoint", lambda: list(attempts.rglob("last.ckpt")), SECONDS, instance)
        pid = worker(instance, run_id)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        assert wait_for("verdict", lambda: finished(instance, run_id), SECONDS, instance) == "FAILURE"

        daemon = instance.processes.pop()
        daemon.kill()
        daemon.wait()
        queued = launch(instance, "round_0", "retriever")
        assert finished(instance, queued) is None, "queued: nobody is there to start it"
        arguments, environment = daemon.args, environ_of(instance)
        with (instance.home / "daemon.log").open("ab") as log:
            again = subprocess.Popen(arguments, cwd=instance.home, env=environment, stdout=log, stderr=log)  # type: ignore[call-overload]
        instance.processes.append(again)
        wait_for("daemon", lambda: daemons(instance), SECONDS, instance)
        assert wait_for("end", lambda: finished(instance, queued), SECONDS, instance) == "SUCCESS"
        assert not list(attempts.rglob("last.ckpt")), "it went on where the first was killed, and tidied up"


def environ_of(instance: Instance) -> dict[str, str]:
    """The environment that the webserver was started with, which the daemon had too."""
    content = Path(f"/proc/{instance.processes[0].pid}/environ").read_bytes().decode()
    return dict(line.split("=", 1) for line in content.split("\0") if "=" in line)
