"""`make run`: what it runs, what it prints, and what a user's mistake gets."""

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from dagster import AssetSelection
from dagster._cli.asset import asset_cli  # the command itself: its options are its contract

from rar_pipeline.definitions import build_defs
from rar_pipeline.run import follow, leaderboard_text, main, steps, told
from rar_pipeline.settings import Settings, load_settings
from rar_pipeline.tables import DATASETS, LEADERBOARD

from .small_world import small_encoder, small_settings, small_world

PROJECT = Path(__file__).resolve().parent.parent
HEAD = "2026-11-23 17:19:41 +0000 - dagster -"


@pytest.fixture(autouse=True)
def settings_are_read_anew():
    load_settings.cache_clear()
    yield
    load_settings.cache_clear()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (f"{HEAD} DEBUG - __ASSET_JOB - 982acda7 - 31291 - raw__imdb - STEP_START - Started execution of step.", "raw/imdb"),
        (f"{HEAD} DEBUG - __ASSET_JOB - 982acda7 - 31291 - raw__imdb - STEP_SUCCESS - Finished in 42ms.", None),
        (f"{HEAD} DEBUG - __ASSET_JOB - 982acda7 - 31291 - RUN_START - Started execution of run.", None),
        (
            f"{HEAD} INFO - __ASSET_JOB - 982acda7 - movies - 803 movies, 360 with a plot - all",
            "    803 movies, 360 with a plot - all",
        ),
        (f"{HEAD} WARNING - __ASSET_JOB - 982acda7 - movies - 3 conflicts", "    3 conflicts"),
        (f"{HEAD} DEBUG - __ASSET_JOB - 982acda7 - movies - Writing asset", None),
        (
            f"{HEAD} ERROR - __ASSET_JOB - 982acda7 - 7 - round_1__feedback - STEP_FAILURE - Execution of step failed.",
            "FAILED round_1/feedback: Execution of step failed.",
        ),
        (
            "dagster._core.definitions.events.Failure: imdb/title.basics.tsv: missing (/mirror); put it there",
            "    imdb/title.basics.tsv: missing (/mirror); put it there",
        ),
        (
            f"{HEAD} DEBUG - __ASSET_JOB - 982acda7 - 7 - mentions - ASSET_CHECK_EVALUATION - "
            "Asset check 'expectations' on 'mentions' did not pass. Description: 'no link'",
            "    Asset check 'expectations' on 'mentions' did not pass. Description: 'no link'",
        ),
        (
            f"{HEAD} DEBUG - __ASSET_JOB - 982acda7 - 7 - mentions - ASSET_CHECK_EVALUATION - "
            "Asset check 'expectations' on 'mentions' passed. Description: 'all hold'",
            None,
        ),
        ("polars.exceptions.ColumnNotFoundError: no column x", "    ColumnNotFoundError: no column x"),
        ("dagster._core.errors.DagsterExecutionStepExecutionError: Error occurred while executing op", None),
        ("Error: Materialization failed.", "Error: Materialization failed."),
        ('  File "definitions.py", line 243, in something', None),
        ("", None),
    ],
)
def test_of_dagsters_log_a_person_is_told_steps_messages_and_failures_with_their_reason(line: str, said: str | None) -> None:
    assert told(line + "\n") == said


def test_steps_make_every_asset_once_for_every_data_set_in_the_order_of_the_flow() -> None:
    defs = build_defs(settings=Settings(_env_file=None))
    graph = defs.resolve_asset_graph()
    partitioned = {spec.key for spec in defs.resolve_all_asset_specs() if spec.partitions_def}
    made: list[tuple[object, str | None]] = []
    for step in steps(DATASETS):
        partition = step[step.index("--partition") + 1] if "--partition" in step else None
        keys = AssetSelection.from_string(step[step.index("--select") + 1]).resolve(graph)
        assert keys <= partitioned if partition else not keys & partitioned
        done = {key for key, _ in made} | keys
        assert all(graph.get(key).parent_keys <= done for key in keys)
        made += [(key, partition) for key in keys]
    by_hand = {spec.key for spec in defs.resolve_all_asset_specs() if spec.group_name == "experiments"}
    everything = {(key, dataset) for key in partitioned - by_hand for dataset in DATASETS}
    everything |= {(key, None) for key in graph.get_all_asset_keys() - partitioned - by_hand}
    assert set(made) == everything
    assert len(made) == len(everything)


def test_one_data_set_alone_leaves_the_others_out() -> None:
    assert [step[-1] for step in steps(["inspired"]) if "--partition" in step] == ["inspired", "inspired"]


def test_dry_run_prints_commands_that_dagster_understands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 + 2 * len(DATASETS)
    for line in lines:
        program, group, command, *arguments = shlex.split(line)
        assert (program, group, command) == ("dagster", "asset", "materialize")
        context = asset_cli.commands["materialize"].make_context("materialize", arguments)
        assert context.params["module_name"] == "rar_pipeline.definitions"
        assert context.params["select"]


def row(system: str, metric: str, value: float, **more: object) -> dict[str, object]:
    base = {"dataset": "redial", "split": "test", "protocol": "fresh_turns", "scope": "all", "cases": 1200}
    return base | {"system": system, "metric": metric, "value": value} | more


def test_leaderboard_shows_test_results_best_first_with_intervals() -> None:
    rows = [
        row(system, metric, value) for system, value in (("ease", 0.1), ("round_0", 0.3)) for metric in ("R@1", "R@10", "R@50")
    ]
    rows += [row("ease", "N@10", 0.12, low=0.1, high=0.14), row("round_0", "N@10", 0.25)]
    rows += [row("ease", "N@10", 0.9, split="validation"), row("ease", "N@10", 0.8, protocol="cikm23")]
    rows += [
        row(system, "N@10", 0.7) for system in ("round_1_odds", "round_1_sft+llm")
    ]  # objectives that are compared: the report's
    text = leaderboard_text(LEADERBOARD.frame(rows))
    assert text.splitlines()[1:] == [
        "redial, test, 1200 cases (every case)",
        "system                   R@1    R@10    R@50    N@10   95 % of N@10",
        "round_0                0.300   0.300   0.300   0.250",
        "ease                   0.100   0.100   0.100   0.120   0.100 to 0.140",
    ]


def test_leaderboard_keeps_the_cases_of_the_llm_apart() -> None:
    rows = [row("ease", metric, 0.5, scope=scope) for scope in ("all", "judged") for metric in ("R@1", "R@10", "R@50", "N@10")]
    text = leaderboard_text(LEADERBOARD.frame(rows))
    assert text.index("(every case)") < text.index("(the cases that the LLM saw too)")
    assert leaderboard_text(pl.DataFrame(schema=LEADERBOARD.schema)) == ""


@pytest.mark.parametrize(
    ("variable", "value", "allowed"),
    [
        ("RAR_PRESET", "huge", "'small' or 'full'"),
        ("RAR_SOURCES", "no-such-folder", "use sample, upstream, a folder, or an http(s) address"),
        ("RAR_SOURCES", "ftp://mirror.example", "use sample, upstream, a folder, or an http(s) address"),
        ("RAR_ROUNDS", "-1", "greater than or equal to 0"),
        ("RAR_LLM_MODE", "guess", "'likelihood'"),
    ],
)
def test_an_unknown_setting_gets_one_line_that_names_it_and_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variable: str, value: str, allowed: str
) -> None:
    monkeypatch.setenv(variable, value)
    assert main([]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert said.err.startswith(f"error: {variable}='{value}': ")
    assert allowed in said.err


def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rar_pipeline.run", *arguments],
        cwd=PROJECT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_command_itself_ends_with_that_line_and_a_status() -> None:
    done = command(RAR_SOURCES="no-such-folder")
    assert done.returncode == 2
    assert done.stderr.startswith("error: RAR_SOURCES='no-such-folder': no such folder; use sample")
    assert done.stderr.count("\n") == 1
    done = command("--dataset", "netflix")
    assert done.returncode == 2
    assert "invalid choice: 'netflix' (choose from 'redial', 'inspired', 'reddit')" in done.stderr


def test_a_file_that_is_missing_from_the_mirror_is_named_by_the_command(tmp_path: Path) -> None:
    (tmp_path / "mirror").mkdir()
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text((PROJECT / "dagster.yaml").read_text())
    done = command(
        "--dataset", "redial", RAR_SOURCES=str(tmp_path / "mirror"), RAR_LAKE=str(tmp_path / "lake"), DAGSTER_HOME=str(home)
    )
    assert done.returncode == 1
    assert f"imdb/title.basics.tsv: missing ({tmp_path / 'mirror'}); put it there" in done.stdout
    assert done.stdout.count("imdb/title.basics.tsv: missing") == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert "run the same command again to go on" in done.stderr
    assert not (tmp_path / "lake" / "mirror" / "corpus" / "movies").exists()


def test_what_a_command_says_is_logged_whole_and_told_in_short(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program = f"print('{HEAD} DEBUG - job - 1 - 2 - raw__imdb - STEP_START - Started'); print('more'); raise SystemExit(3)"
    assert follow([sys.executable, "-c", program], tmp_path / "log", started=0.0) == 3
    said = capsys.readouterr()
    assert said.out.split(" s  ")[1] == "raw/imdb\n"
    assert said.err == "more\n"  # no step failed: the last line is all there is to explain the status
    assert (tmp_path / "log").read_text().splitlines()[1] == "more"


@pytest.mark.slow
def test_the_command_goes_on_after_ctrl_c_and_ends_with_the_leaderboard(tmp_path: Path, models: Path) -> None:
    home, lake = tmp_path / "home", tmp_path / "lake"
    home.mkdir()
    lake.mkdir()
    (lake / "models").symlink_to(models)
    (home / "dagster.yaml").write_text((PROJECT / "dagster.yaml").read_text())
    settings = small_settings(small_world(tmp_path / "world"), lake, encoder=str(small_encoder(tmp_path / "encoder")))
    given = settings.model_dump(exclude_defaults=True) | {"sources": settings.sources, "lake": lake}
    environment = os.environ | {"DAGSTER_HOME": str(home)} | {f"RAR_{name.upper()}": str(value) for name, value in given.items()}
    command = [sys.executable, "-m", "rar_pipeline.run", "--dataset", "redial"]
    with subprocess.Popen(
        command,
        cwd=PROJECT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        assert process.stdout is not None
        said = ""
        for line in process.stdout:
            said += line
            if line.endswith("  item_embeddings\n"):
                os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of the group
        assert process.wait(timeout=60) == 130, said
    assert "interrupted. What was made is kept: run the same command again to go on." in said
    assert "Traceback" not in said
    assert not list(lake.rglob("*.part"))
    again = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=580)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "redial, test, " in again.stdout
    assert "round_1+llm" in again.stdout
    (report,) = [line.removeprefix("report:").strip() for line in again.stdout.splitlines() if line.startswith("report:")]
    assert Path(report).is_file()


@pytest.mark.parametrize("target", ["run", "dev"])
def test_make_hands_its_variables_on_as_settings(target: str) -> None:
    """The real recipe with another program in place of the environment's Python, and the set-up taken as done."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    show = ["make", "-s", "--no-print-directory", "-o", ".venv/.ready", "-o", "setup", "SOURCES=../mirror", "PRESET=full"]
    shown = subprocess.run(
        [*show, "-n", target], cwd=PROJECT, env=environment, capture_output=True, text=True, check=True, timeout=30
    ).stdout
    commands = {
        "run": [".venv/bin/python -m rar_pipeline.run"],
        "dev": [
            ".venv/bin/python -m rar_pipeline.run --dry-run > /dev/null",
            ".venv/bin/dagster dev -m rar_pipeline.definitions -h 127.0.0.1 -p 3000",
        ],
    }
    assert [line.split(" # ")[0].strip() for line in shown.splitlines()] == commands[target]
    probe = ["--eval", "probe: ; @env"]
    printed = subprocess.run(
        [*show, *probe, "probe"], cwd=PROJECT, env=environment, capture_output=True, text=True, check=True, timeout=30
    ).stdout.splitlines()
    assert {"RAR_SOURCES=../mirror", "RAR_PRESET=full", f"DAGSTER_HOME={PROJECT}"} <= set(printed)
