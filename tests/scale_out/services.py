"""Real servers for a test, under the configuration of deploy/celery: the system's Redis and Postgres, Dagster's daemon, Celery's workers."""

from __future__ import annotations

import getpass
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg2
import pytest
import redis

from ..small_world import free_port
from ..test_operations import default_signals

PROJECT = Path(__file__).resolve().parents[2]
DEPLOYED = PROJECT / "deploy" / "celery"
PASSWORD = "planted-word-of-the-database"
BROKER_PASSWORD = "planted-word-of-the-broker"
WAIT_SECONDS = 300.0


def program(name: str) -> str | None:
    """Path of a server's program; None where the system has none."""
    beside = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return shutil.which(name) or (str(beside[-1]) if beside else None)


needs_servers = pytest.mark.skipif(
    not all(program(name) for name in ("redis-server", "postgres", "initdb")),
    reason="no Redis or no Postgres on this machine: apt-get install redis-server postgresql",
)


def eventually(
    what: str, seen: Callable[[], Any], seconds: float = WAIT_SECONDS, alive: Sequence[subprocess.Popen[bytes]] = ()
) -> Any:
    """What `seen` gives as soon as it is true; fails at once where a process that must be alive is not."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        if found := seen():
            return found
        for process in alive:
            assert process.poll() is None, f"{process.args} ended with {process.returncode}"
        time.sleep(0.2)
    raise AssertionError(f"no {what} in {seconds:.0f} s")


@dataclass
class Deployment:
    """The machines of deploy/celery, all on this one: their addresses, environment and processes by name."""

    folder: Path
    environment: dict[str, str]
    module: str
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str, *command: str) -> None:
        """A process with the deployment's environment that says what it says to `<name>.log`."""
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=PROJECT,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=default_signals,
                start_new_session=True,
            )

    def start_worker(self, name: str, queue: str = "dagster") -> None:
        """A worker as docs/several-machines.md starts it; it is there when this returns."""
        said = self.folder / f"{name}.log"
        before = said.read_text().count(" ready.") if said.exists() else 0
        self.start(name, "celery", "-A", "dagster_celery.app", "worker", "-Q", queue, "-n", f"{name}@%h", "-l", "INFO")
        eventually(f"worker {name}", lambda: said.read_text().count(" ready.") > before, alive=[self.processes[name]])

    def dagster(self, *arguments: str) -> str:
        """What a command of Dagster says."""
        done = subprocess.run(
            [sys.executable, "-m", "dagster", *arguments], cwd=PROJECT, env=self.environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def kill(self, name: str) -> None:
        """kill -9 of a process and all that it started, as when its machine loses power."""
        process = self.processes.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def results(self) -> list[dict[str, Any]]:
        """What Celery keeps of each task: status, worker."""
        with redis.Redis.from_url(self.environment["DAGSTER_CELERY_BACKEND_URL"]) as backend:
            return [json.loads(backend.get(key)) for key in backend.scan_iter("celery-task-meta-*")]

    def worker_of(self, run: dg.DagsterRun) -> str | None:
        """Name of the worker that has a run, or had it."""
        task = run.tags.get("dagster-celery/task_id")
        return next((found["worker"].split("@")[0] for found in self.results() if found["task_id"] == task), None)

    def logs(self) -> str:
        return "\n".join(f"--- {path.name}\n{path.read_text()[-3000:]}" for path in sorted(self.folder.glob("*.log")))


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """Address of a Redis of our own."""
    port = free_port()
    command = [str(program("redis-server")), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    process = subprocess.Popen(
        [*command, "--requirepass", BROKER_PASSWORD], stdout=subprocess.DEVNULL, preexec_fn=default_signals
    )
    address = f"redis://:{BROKER_PASSWORD}@127.0.0.1:{port}/0"
    try:
        with redis.Redis.from_url(address) as client:
            eventually("Redis", lambda: answers(client.ping, redis.ConnectionError))
        yield address
    finally:
        process.terminate()
        process.wait()


@contextmanager
def postgres_server(folder: Path) -> Iterator[dict[str, str]]:
    """Environment of a Postgres of our own, with an empty database. It refuses to be root, so that root lends it another name."""
    user = "postgres" if os.geteuid() == 0 else None
    data, port, owner = Path(tempfile.mkdtemp()), free_port(), user or getpass.getuser()
    password = data.with_name(f"{data.name}-password")
    password.write_text(PASSWORD)
    if user:
        shutil.chown(data, user)
        shutil.chown(password, user)
    run = {"user": user, "extra_groups": []} if user else {}
    made = [str(program("initdb")), "-D", str(data), "-U", owner, "--pwfile", str(password), "-A", "scram-sha-256", "--no-sync"]
    subprocess.run(made, check=True, capture_output=True, cwd=data, **run)  # type: ignore[call-overload]
    password.unlink()
    server = [
        str(program("postgres")),
        "-D",
        str(data),
        "-p",
        str(port),
        "-c",
        "listen_addresses=127.0.0.1",
        "-k",
        "",
        "-c",
        "fsync=off",
    ]
    with (folder / "postgres.log").open("wb") as log:
        process = subprocess.Popen(server, stdout=log, stderr=log, cwd=data, preexec_fn=default_signals, **run)  # type: ignore[call-overload]
    environment = {
        "DAGSTER_PG_HOST": "127.0.0.1",
        "DAGSTER_PG_PORT": str(port),
        "DAGSTER_PG_USERNAME": owner,
        "DAGSTER_PG_PASSWORD": PASSWORD,
        "DAGSTER_PG_DB": "postgres",
    }
    connect = {"host": "127.0.0.1", "port": port, "user": owner, "password": PASSWORD, "dbname": "postgres"}
    try:
        eventually("Postgres", lambda: answers(lambda: psycopg2.connect(**connect).close(), psycopg2.OperationalError))
        yield environment
    finally:
        process.send_signal(signal.SIGINT)  # "fast": open connections are closed
        process.wait(timeout=60)
        shutil.rmtree(data)


def answers(ask: Callable[[], object], refused: type[Exception]) -> bool:
    try:
        ask()
    except refused:
        return False
    return True


@contextmanager
def deployed(folder: Path, module: str, *, sources: Path | str, **settings: object) -> Iterator[Deployment]:
    """Redis, Postgres and the daemon, with deploy/celery as it is; workers are started by the test. All processes are gone afterwards."""
    (folder / "home").mkdir()
    (folder / "logs").mkdir()
    shutil.copy(DEPLOYED / "dagster.yaml", folder / "home")
    with redis_server(folder) as broker, postgres_server(folder) as database:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAR_", "DAGSTER_"))}
        environment |= database | {
            "DAGSTER_HOME": str(folder / "home"),
            "DAGSTER_LOGS": str(folder / "logs"),
            "DAGSTER_CELERY_BROKER_URL": broker,
            "DAGSTER_CELERY_BACKEND_URL": broker,
            "PYTHONPATH": os.pathsep.join([str(DEPLOYED), str(PROJECT)]),
            "PYTHONUNBUFFERED": "1",
            "RAR_SOURCES": str(sources),
            "RAR_LAKE": str(folder / "lake"),
        }
        environment |= {f"RAR_{name.upper()}": str(value) for name, value in settings.items()}
        deployment = Deployment(folder, environment, module)
        try:
            yield deployment
        finally:
            for process in deployment.processes.values():
                process.send_signal(signal.SIGINT if process.args[2] != "celery" else signal.SIGTERM)  # type: ignore[index]
            for process in deployment.processes.values():
                try:
                    process.wait(timeout=30)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
