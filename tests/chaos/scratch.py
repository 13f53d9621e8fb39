"""What every fault needs: a lake to break, runs in this process and as commands, what is said of them, and what must hold afterwards."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import polars as pl
import pytest

from rar_pipeline.resources import Lake
from rar_pipeline.settings import Settings

from ..small_world import free_port

PROJECT = Path(__file__).resolve().parents[2]
DATASET = "redial"
WAIT_SECONDS = 240.0


@dataclass
class LlmServer:
    """The server of `llm_server` on a port that it keeps when it is started again."""

    log: Path
    seconds: float = 0.0
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def start(self) -> None:
        command = [sys.executable, "-m", "tests.chaos.llm_server", str(self.port), str(self.seconds), str(self.log)]
        self.process = subprocess.Popen(command, cwd=PROJECT)
        eventually("LLM server", lambda: answers(self.address))

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def noted(self, word: str) -> Counter[str]:
        """How often each question was `asked` or `answered`."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return Counter(line.split()[1] for line in lines if line.startswith(f"{word} "))


def answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/models").is_success
    except httpx.TransportError:
        return False


def eventually(what: str, seen: Callable[[], Any], seconds: float = WAIT_SECONDS) -> Any:
    """What `seen` gives as soon as it is true."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        if found := seen():
            return found
        time.sleep(0.05)
    raise AssertionError(f"no {what} in {seconds:.0f} s")


def failure(result: dg.ExecuteInProcessResult) -> str:
    """The one line that a person is told of the only step that failed."""
    assert not result.success
    (event,) = [event for event in result.all_events if event.is_step_failure]
    data = event.step_failure_data
    assert data.user_failure_data is not None, data.error
    said = str(data.user_failure_data.description)
    assert "\n" not in said
    return said


def command(settings: Settings, home: Path, *keys: str) -> subprocess.Popen[str]:
    """`dagster asset materialize` of some assets of the data set, with an instance of the project's settings below `home`."""
    home.mkdir(exist_ok=True)
    (home / "dagster.yaml").write_text((PROJECT / "dagster.yaml").read_text())
    select = " or ".join(f'key:"{key}"' for key in keys)
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "dagster",
            "asset",
            "materialize",
            "-m",
            "rar_pipeline.definitions",
            "--select",
            select,
            "--partition",
            DATASET,
        ],
        cwd=home,
        env=environment(settings) | {"DAGSTER_HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def environment(settings: Settings) -> dict[str, str]:
    given = {name: getattr(settings, name) for name in settings.model_fields_set}
    found = {name: value for name, value in os.environ.items() if not name.startswith(("RAR_", "DAGSTER_"))}
    found |= {"PYTHONPATH": str(PROJECT), "PYTHONUNBUFFERED": "1"}
    return found | {f"RAR_{name.upper()}": str(value) for name, value in given.items()}


def until(running: subprocess.Popen[str], word: str) -> str:
    """What a command says up to the line that holds `word`."""
    assert running.stdout is not None
    said = ""
    for line in running.stdout:
        said += line
        if word in line:
            return said
    raise AssertionError(f"ended without {word!r}:\n{said[-4000:]}")


def kill(running: subprocess.Popen[str]) -> None:
    """kill -9, of this process alone."""
    os.kill(running.pid, signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    assert running.stdout is not None
    running.stdout.close()


def ended(running: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit status and all that a command still says."""
    said, _ = running.communicate(timeout=WAIT_SECONDS)
    return running.returncode, said


def statuses(home: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Statuses of the runs of an instance, the oldest first."""
    monkeypatch.chdir(home)  # what dagster.yaml names is below the working folder
    with dg.DagsterInstance.from_config(str(home)) as instance:
        return [run.status.value for run in reversed(instance.get_runs())]


def unread(settings: Settings) -> list[str]:
    """Tables of the lake that cannot be read, which there must be none of."""
    bad = []
    for path in settings.root.rglob("data.parquet"):
        try:
            pl.read_parquet(path, hive_partitioning=False)
        except pl.exceptions.PolarsError as error:
            bad.append(f"{path}: {error}")
    return bad


def kept_answers(settings: Settings) -> int:
    """Number of answers in the cache."""
    with closing(sqlite3.connect(settings.lake / "answers" / "answers.sqlite")) as kept:
        return int(kept.execute("select count(*) from answers").fetchone()[0])


def lake_of(settings: Settings) -> Lake:
    return Lake(root=str(settings.root))


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """A file system of its own in memory. Skips where mounting is not allowed."""
    folder.mkdir(parents=True, exist_ok=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"a file system of its own needs root and the right to mount: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path, leave: int = 0) -> Path:
    """Fill a disk but for so many bytes; gives the file to remove when there is to be room again."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as stream:
        try:
            while True:
                stream.write(b"\0" * 65536)
        except OSError:
            pass
    if leave:
        os.truncate(ballast, max(0, ballast.stat().st_size - leave))
    return ballast


def remount(disk: Path, how: str) -> None:
    """`ro`: nothing can be written, by root neither; `rw`: as before."""
    subprocess.run(["mount", "-o", f"remount,{how}", str(disk)], check=True)


def copy_of(settings: Settings, lake: Path, **changes: object) -> Settings:
    """The settings with a copy of their lake, to be broken."""
    shutil.copytree(settings.lake, lake, dirs_exist_ok=True, symlinks=True)
    given = {name: getattr(settings, name) for name in settings.model_fields_set}
    return Settings(_env_file=None, **(given | {"lake": lake} | changes))
