"""The search benchmark runs on tiny inputs, finds what its reference finds, and prints rows that hold together."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.search_rounds import _reference, _same
from rar_pipeline.errors import RarError

PROJECT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("clock", ["wall", "cpu"])
def test_rows_hold_together(clock: str) -> None:
    command = [
        sys.executable,
        "-m",
        "benchmarks.search",
        "--json",
        "--runs",
        "1",
        "--items",
        "700",
        "--hidden",
        "8",
        "--threads",
        "1",
    ]
    done = subprocess.run([*command, "--clock", clock], cwd=PROJECT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len({row["name"] for row in rows}) == len(rows) == 8
    for row in rows:
        assert row["unit"] == "ms"
        assert row["peak_mb"] > 10
        assert row["ours"] > 0
        assert "700 vectors of 8 numbers, 1 thread(s)" in row["work"]
        if row["peer"]:
            shown = 0.0005 / min(row["ours"], row["peer"])  # what rounding to a microsecond can hide of so small a time
            assert row["ratio"] == pytest.approx(row["ours"] / row["peer"], rel=0.01 + 2 * shown)
        else:
            assert "faiss" in row["name"]  # the only peer that may not be installed
    assert all("lists are identical" in row["work"] for row in rows if row["name"].startswith("reference"))


def test_the_reference_sorts_the_last_position_without_what_was_seen() -> None:
    history = torch.tensor([[[9.0, 0.0], [1.0, 2.0]]])  # the first position must not count
    vectors, biases = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.0, 0.0]]), torch.tensor([0.0, 0.0, 0.0, 5.0])
    rows, scores = _reference(history, vectors, biases, torch.tensor([[2, 2]]), 2)
    assert rows.tolist() == [[3, 1]]
    assert scores.tolist() == [[5.0, 2.0]]


def test_lists_that_differ_are_not_called_the_same() -> None:
    rows = torch.tensor([[3, 1], [0, 1]])
    swapped = torch.tensor([[3, 1], [1, 0]])
    scores = torch.tensor([[5.0, 2.0], [1.0, 1.0]])
    assert _same((rows, scores), (swapped, scores)).startswith("1 of 2 lists")
    with pytest.raises(RarError, match="do not find the same"):
        _same((rows, scores), (rows, scores - 1))
