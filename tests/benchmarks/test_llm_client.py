"""The benchmark of the client runs small, both sides do the work that they name, and its rows hold together."""

import json
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]


def test_rows_hold_together() -> None:
    command = [sys.executable, "-m", "benchmarks.llm_client", "--json", "--runs", "1", "--seconds", "0.05"]
    command += ["--slots", "4", "--calls", "16", "--answers", "40"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    saturated, tight, processor, replay, replayed = (json.loads(line) for line in done.stdout.splitlines())
    at_best = 16 / 4 * 0.05
    for row in (saturated, tight):
        assert row["unit"] == "s" and row["ours"] >= at_best - 0.002 and row["peer"] >= at_best - 0.002
    for row in (saturated, tight, processor, replay, replayed):
        assert row["runs"] == 1 and row["ours"] > 0 and row["peer"] > 0 and row["peak_mb"] > 10
    assert processor["unit"] == "ms"
    assert (replay["name"], replayed["name"]) == ("replay of 40 answers", "replay of 40 answers, processor time")
