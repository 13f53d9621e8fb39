"""`rar`: what a newcomer reads, that it is a command of the package, and that a mistake is one line."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from rar_pipeline import cli

PROJECT = Path(__file__).resolve().parent.parent
COMMANDS = ("run", "dev", "evaluate", "status", "versions", "compare", "chat", "serve", "gather")


def rar(*arguments: str, said: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    import os

    command = [sys.executable, "-m", "rar_pipeline.cli", *arguments]
    return subprocess.run(
        command, cwd=PROJECT, input=said, capture_output=True, text=True, env={**os.environ, "COLUMNS": "120", **environment}
    )


def test_help_names_every_command_with_a_sentence_and_loads_nothing_heavy() -> None:
    heavy = "import sys; from rar_pipeline.cli import app; print({'torch', 'dagster', 'polars', 'fastapi'} & set(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", heavy], cwd=PROJECT, capture_output=True, text=True)
    assert loaded.stdout.strip() == "set()"
    told = rar("--help").stdout
    assert all(f"│ {name} " in told for name in COMMANDS)
    assert {command.name or command.callback.__name__ for command in cli.app.registered_commands} == set(COMMANDS)
    assert "rar run" in told and "rar chat" in told


def test_the_script_and_the_module_are_the_same_entry() -> None:
    scripts = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {"rar": "rar_pipeline.cli:main"}


def test_run_types_dagsters_own_commands() -> None:
    done = rar("--sources", "sample", "run", "--dry-run", "--dataset", "redial")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert len(lines) == 5
    assert all(line.startswith("dagster asset materialize -m rar_pipeline.definitions --select ") for line in lines)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["status"], "nothing there yet; run `rar run`"),
        (["versions"], "no version yet; run `rar run`"),
        (["chat"], "no retriever of 'redial' yet; run `rar run` first"),
        (["serve", "--port", "0"], "no retriever of 'redial' yet; run `rar run` first"),
        (["compare", "round_1", "round_0"], "not there yet; materialise the asset metrics (partition redial) first"),
        (["--sources", "no/such/folder", "run"], "RAR_SOURCES='no/such/folder': no such folder"),
    ],
)
def test_an_empty_lake_or_a_wrong_setting_is_told_in_one_line(arguments: list[str], told: str, tmp_path: Path) -> None:
    done = rar("--lake", str(tmp_path / "none"), *arguments)
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith("loading")]
    assert line.startswith("error: ")
    assert told in line
    assert not (tmp_path / "none").exists()
