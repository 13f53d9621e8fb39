"""`make run`: every asset through `dagster asset materialize`, told in a few lines, then the leaderboard and where the report lies.

Wraps Dagster's own command: the steps below can be typed by hand. What Dagster says in full goes to a log file.
"""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from rar_pipeline.errors import RarError
from rar_pipeline.resources import Lake
from rar_pipeline.settings import Settings, load_settings
from rar_pipeline.tables import DATASETS, LEADERBOARD

LINE = re.compile(r" - dagster - (?P<level>[A-Z]+) - (?P<job>\S+) - (?P<run>\S+) - (?P<rest>.*)$")
EVENT = re.compile(r"^\d+ - (?P<step>\S+) - (?P<event>[A-Z_]+) - (?P<text>.*)$")
REASON = re.compile(r"^(?:[a-z_]\w*\.)*(?P<kind>Failure|[A-Z]\w*(?:Error|Exception)): (?P<text>.+)$")  # lines after STEP_FAILURE


def steps(datasets: Sequence[str]) -> list[list[str]]:
    """Arguments of `dagster asset materialize`, in order: the corpus, all conversations, what learns from them, every data set, evaluation of all."""
    per_dataset = 'key:"round_0/retriever" or group:preference or key:"recommendations" or key:"metrics" or key:"champion"'
    return [
        ["--select", "group:sources or group:corpus"],
        *(["--select", "group:conversations", "--partition", dataset] for dataset in datasets),
        ["--select", 'key:"rating_sequences" or key:"chat_cases" or key:"pretrained/retriever"'],
        *(["--select", per_dataset, "--partition", dataset] for dataset in datasets),
        ["--select", 'key:"leaderboard" or key:"report" or key:"database"'],
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the pipeline; 0 when every asset was made."""
    parser = argparse.ArgumentParser(prog="python -m rar_pipeline.run", description=__doc__)
    parser.add_argument(
        "--dataset", action="append", choices=DATASETS, help="only this data set (may be given several times); default: all"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the Dagster commands and stop")
    chosen = parser.parse_args(arguments)
    try:
        settings = load_settings()
        check_sources(settings)
    except RarError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    commands = [
        [sys.executable, "-m", "dagster", "asset", "materialize", "-m", "rar_pipeline.definitions", *step]
        for step in steps(chosen.dataset or DATASETS)
    ]
    if chosen.dry_run:
        print("\n".join(shlex.join(["dagster", *command[3:]]) for command in commands))
        return 0
    print(
        f"sources {settings.sources}, preset {settings.preset}, {settings.rounds} preference rounds, lake {settings.root}",
        flush=True,
    )
    log = settings.root / "logs" / f"run-{time.strftime('%Y%m%d-%H%M%S')}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    try:
        for command in commands:
            if code := follow(command, log, started):
                print(
                    f"error: stopped; the whole log is {log}. What was made is kept: run the same command again to go on.",
                    file=sys.stderr,
                )
                return code
    except KeyboardInterrupt:
        print("\ninterrupted. What was made is kept: run the same command again to go on.", file=sys.stderr)
        return 130
    print(leaderboard_text(Lake(root=str(settings.root)).read(LEADERBOARD)))
    report = (settings.root / "evaluation" / "report" / "report.html").resolve()
    print(f"\n{(time.monotonic() - started) / 60:.1f} minutes\nreport:  {report}\nUI:      make dev, then http://localhost:3000")
    return 0


def check_sources(settings: Settings) -> None:
    """Refuse sources that cannot be before anything starts. Raises RarError."""
    from rar_pipeline.sources import ALLOWED

    if (
        settings.sources not in ("sample", "upstream")
        and not settings.sources.lower().startswith(("http://", "https://"))
        and not Path(settings.sources).expanduser().is_dir()
    ):
        raise RarError(f"RAR_SOURCES={settings.sources!r}: no such folder; {ALLOWED}")


def follow(command: Sequence[str], log: Path, started: float) -> int:
    """Run a command, write all it says to `log`, and print what a person wants to know. Gives its exit status."""
    failed, ended, last = False, False, ""
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace") as process,  # noqa: S603
        log.open("a", encoding="utf-8") as whole,
    ):
        try:
            assert process.stdout is not None
            for line in process.stdout:
                whole.write(line)
                whole.flush()
                last = line.strip() or last
                failed = failed or " - STEP_FAILURE - " in line
                ended = ended or " - RUN_FAILURE - " in line  # what follows says again what the step said
                if not ended and (said := told(line)):
                    print(f"{time.monotonic() - started:7.0f} s  {said}", flush=True)
        except KeyboardInterrupt:  # the child got the signal too: let it end its step in order
            process.wait(timeout=60)
            raise
    if process.returncode and not failed:
        print(last, file=sys.stderr)
    return process.returncode


def told(line: str) -> str | None:
    """What to print of one line of Dagster's log, or nothing."""
    found = LINE.search(line)
    if not found:
        reason = REASON.match(line.rstrip())
        if reason and reason["kind"] != "DagsterExecutionStepExecutionError":  # that one only says which step
            return f"    {reason['text']}" if reason["kind"] == "Failure" else f"    {reason['kind']}: {reason['text']}"
        return line.rstrip() if line.startswith("Error:") else None
    event = EVENT.match(found["rest"])
    if event is None:
        _, _, text = found["rest"].partition(" - ")
        return f"    {text}" if found["level"] in ("INFO", "WARNING") and text else None
    if event["event"] == "STEP_START":
        return event["step"].replace("__", "/")
    if event["event"] == "ASSET_CHECK_EVALUATION" and "did not pass" in event["text"]:
        return f"    {event['text']}"
    if event["event"] == "STEP_FAILURE":
        return f"FAILED {event['step'].replace('__', '/')}: {event['text']}"
    return None


def leaderboard_text(board: pl.DataFrame) -> str:
    """The test results of all data sets under `fresh_turns` as plain tables; the objectives that are compared stand in the report alone."""
    from rar_pipeline.preference.compared import is_compared

    lines = []
    shown = board.filter((pl.col("split") == "test") & (pl.col("protocol") == "fresh_turns"))
    shown = shown.filter(~pl.col("system").is_in([system for system in shown["system"].unique() if is_compared(system)]))
    for (dataset, scope), part in shown.sort("dataset", "scope").group_by("dataset", "scope", maintain_order=True):
        part = part.filter(pl.col("cases") == pl.col("cases").max())  # what the LLM saw stands in the table of those cases
        cases = part.select(pl.col("cases").max()).item()
        said = "every case" if scope == "all" else "the cases that the LLM saw too"
        lines.append(
            f"\n{dataset}, test, {cases} cases ({said})\n{'system':<20}{'R@1':>8}{'R@10':>8}{'R@50':>8}{'N@10':>8}   95 % of N@10"
        )
        systems = part.filter(pl.col("metric") == "N@10").sort("value", descending=True)
        for row in systems.iter_rows(named=True):
            values = dict(part.filter(pl.col("system") == row["system"]).select("metric", "value").iter_rows())
            interval = "" if row["low"] is None else f"   {row['low']:.3f} to {row['high']:.3f}"
            lines.append(
                f"{row['system']:<20}"
                + "".join(f"{values[metric]:>8.3f}" for metric in ("R@1", "R@10", "R@50", "N@10"))
                + interval
            )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
