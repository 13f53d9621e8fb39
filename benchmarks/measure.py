"""Measuring commands: each run is a fresh child process, whose wall clock, CPU seconds and peak memory the operating system tells.

Only the standard library at module level: a child's peak memory starts at its parent's, so the parent has to stay small.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryFile

from rar_pipeline.errors import RarError

PROJECT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Usage:
    """What one run took."""

    wall: float  # seconds
    cpu: float  # seconds, user and system, all threads
    peak_mb: float  # largest resident memory, MiB


def python(module: str, *arguments: object) -> list[str]:
    """The command `python -m module arguments` with this interpreter."""
    return [sys.executable, "-m", module, *map(str, arguments)]


def run(command: Sequence[str], folder: Path = PROJECT) -> Usage:
    """Run a command to its end and say what it took. Raises RarError with the line that tells why where it fails."""
    with TemporaryFile() as printed:
        start = time.perf_counter()
        process = subprocess.Popen(  # noqa: S603 - commands of this package
            command, cwd=folder, stdout=printed, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            printed.seek(0)
            lines = printed.read().decode(errors="replace").strip().splitlines() or ["it printed nothing"]
            told = [line for line in lines if "Error" in line] or lines
            raise RarError(f"{' '.join(command[1:])} ended with status {process.returncode}: {told[-1]}")
    per_mb = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return Usage(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / per_mb)


def alternate(commands: Mapping[str, Sequence[str]], runs: int) -> dict[str, Usage]:
    """Median usage of each command over `runs` rounds in which all of them have their turn, so that a busy minute strikes all alike."""
    seen: dict[str, list[Usage]] = {name: [] for name in commands}
    for _ in range(runs):
        for name, command in commands.items():
            seen[name].append(run(command))
    return {
        name: Usage(median(u.wall for u in taken), median(u.cpu for u in taken), median(u.peak_mb for u in taken))
        for name, taken in seen.items()
    }
