"""`python -m benchmarks.service`: how long the chat service takes over a corpus of 300,000 movies while several people talk to it at once.

The server is a process of its own on loopback; the load comes from this one: each client takes a dialogue of the lake's validation split and says its
turns one after another, as a chat does, waiting for each answer. Milliseconds are wall clock but where CPU is named. The retriever's part (query,
search, reasons), the embedding of the new words and the linking of titles are told by the server with each answer; the client measures the whole.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.files import MIRROR
from benchmarks.measure import PROJECT
from benchmarks.report import Row, command_line, show
from rar_pipeline.errors import RarError

PARTS = ("retrieve", "retrieve (CPU)", "encode", "retrieve and encode", "link", "whole request")
START_SECONDS = 300
GOAL = "p95 < 50 ms"


@dataclass(frozen=True)
class Server:
    """A running service."""

    address: str
    process: subprocess.Popen[str]

    @property
    def peak_mb(self) -> float:
        """Largest resident memory so far, MiB; 0 where the system does not tell."""
        try:
            found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{self.process.pid}/status").read_text())
        except OSError:
            return 0.0
        return int(found[1]) / 1024 if found else 0.0


@contextmanager
def service(world: Path, dataset: str, version: str | None) -> Iterator[Server]:
    """The service over a world's folder of a lake. Raises RarError with the line that tells why it does not start."""
    sources = "sample" if world.name == "sample" else str(world)
    environment = {**os.environ, "RAR_LAKE": str(world.parent), "RAR_SOURCES": sources, "OMP_WAIT_POLICY": "PASSIVE"}
    command = [sys.executable, "-m", "rar_pipeline.cli", "serve", "--no-keep", "--no-llm", "--port", "0", "--dataset", dataset]
    command += ["--version", version] if version else []
    with subprocess.Popen(command, cwd=PROJECT, env=environment, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603
        killer = threading.Timer(START_SECONDS, process.kill)
        killer.start()
        assert process.stderr is not None
        last = ""
        try:
            for line in process.stderr:
                last = line.strip() or last
                if line.startswith("http://"):
                    break
            else:
                raise RarError(last.removeprefix("error: ") or "the service did not start")
            killer.cancel()
            yield Server(line.split()[0], process)
        finally:
            killer.cancel()
            process.terminate()
            process.wait(timeout=30)


def talks(world: Path, dataset: str, seed: int) -> list[list[dict[str, Any]]]:
    """Bodies of requests, a list a dialogue: the conversation up to each turn of the seeker."""
    import polars as pl

    path = world / "conversations" / "dialogues" / f"dataset={dataset}" / "data.parquet"
    try:
        dialogues = pl.read_parquet(path, hive_partitioning=False).filter(pl.col("split") == "validation")
    except (OSError, pl.exceptions.PolarsError):
        raise RarError(f"{path}: cannot be read; name a world with --lake") from None
    found = []
    for _, turns in dialogues.sort("dialogue_id", "turn").group_by("dialogue_id", maintain_order=True):
        said = [{"speaker": row["speaker"], "text": row["text"][:2000]} for row in turns.iter_rows(named=True)]
        found.append([{"turns": said[: end + 1]} for end in range(len(said)) if said[end]["speaker"] == "seeker" and end < 59])
    order = pl.Series(range(len(found))).shuffle(seed).to_list()
    return [found[place] for place in order]


def measure(server: Server, dialogues: Sequence[Sequence[dict[str, Any]]], clients: int, requests: int) -> dict[str, list[float]]:
    """Milliseconds of each part, `requests` in all, by so many clients at once; dialogues are dealt out to them."""
    import httpx

    taken: dict[str, list[float]] = {part: [] for part in PARTS}
    lock = threading.Lock()
    failed: list[str] = []

    def talk(number: int) -> None:
        bodies = (body for dialogue in dialogues[number::clients] for body in dialogue)
        with httpx.Client(base_url=server.address, trust_env=False, timeout=60) as client:
            for body in islice(bodies, requests // clients):
                start = time.perf_counter()
                answer = client.post("/api/recommend", json=body)
                whole = 1000 * (time.perf_counter() - start)
                if answer.status_code != 200:
                    failed.append(f"{answer.status_code}: {answer.text[:200]}")
                    return
                told = answer.json()["milliseconds"]
                values = (
                    told["retrieve"],
                    told["retrieve_cpu"],
                    told["encode"],
                    told["retrieve"] + told["encode"],
                    told["link"],
                    whole,
                )
                with lock:
                    for part, value in zip(PARTS, values, strict=True):
                        taken[part].append(value)

    threads = [threading.Thread(target=talk, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise RarError(f"the service answered {failed[0]}")
    return taken


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which a share of the values lies: no interpolation."""
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def compare(world: Path, dataset: str, version: str | None, clients: Sequence[int], requests: int, runs: int) -> list[Row]:
    """Rows: p95 of every part for each number of clients, the median over the rounds."""
    dialogues = talks(world, dataset, seed=0)
    with service(world, dataset, version) as server:
        measure(server, dialogues[-20:], 2, 20)  # warm
        taken: dict[int, list[dict[str, list[float]]]] = {count: [] for count in clients}
        seconds: dict[int, float] = dict.fromkeys(clients, 0.0)
        for place in range(runs):
            for number, count in enumerate(clients):
                # each says something new, for what was embedded before is remembered
                dealt = dialogues[(place * len(clients) + number) * len(dialogues) // (runs * len(clients)) :]
                start = time.perf_counter()
                taken[count].append(measure(server, dealt, count, requests))
                seconds[count] += time.perf_counter() - start
        return [row for count in clients for row in _rows(count, taken[count], seconds[count], server.peak_mb, runs)]


def _rows(count: int, rounds: Sequence[dict[str, list[float]]], seconds: float, peak_mb: float, runs: int) -> Iterator[Row]:
    rate = sum(len(one["retrieve"]) for one in rounds) / seconds
    for part in PARTS:
        values = [value for one in rounds for value in one[part]]
        work = (
            f"{len(values)} requests, {rate:.0f} a second, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; "
            f"median {percentile(values, 0.5):.1f} ms, longest {max(values):.0f} ms"
        )
        ours = median(percentile(one[part], 0.95) for one in rounds)
        goal = GOAL if part == "retrieve" else "-"
        yield Row.of(f"{count} client(s): {part}, p95", ours, None, peak_mb, runs, unit="ms", goal=goal, against="-", work=work)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = command_line("The chat service under load, on loopback.")
    parser.add_argument("--lake", type=Path, default=PROJECT / "lake" / MIRROR.name, help="a world's folder of a lake")
    parser.add_argument("--dataset", default="redial", help="data set whose retriever serves")
    parser.add_argument("--version", help="version that serves; default: the champion")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 2, 4], help="people who talk at once")
    parser.add_argument("--requests", type=int, default=150, help="requests of a round for each number of clients")
    options = parser.parse_args(arguments)
    if min(*options.clients, options.requests) < 1:
        parser.error("--clients and --requests: expected 1 or more")
    try:
        rows = compare(options.lake.resolve(), options.dataset, options.version, options.clients, options.requests, options.runs)
    except RarError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    show(rows, as_json=options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
