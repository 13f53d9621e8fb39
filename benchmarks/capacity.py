"""`python -m benchmarks.capacity`: what a lake holds and what it took to make it, by the unit: bytes on disk, seconds on the wall's clock.

It reads the files of a world's folder, Dagster's record of the runs that made them and the record of calls to the LLM. Of each asset the last time
counts when it was really made (`made_now`, `trained_now`), so a figure is as good as the machine was idle then. With --grow it measures instead what
search and EASE take as they grow. docs/capacity.md extrapolates from these.
"""

from __future__ import annotations

import json
import os
import resource
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg

from benchmarks.measure import PROJECT, python
from benchmarks.report import command_line

ROWS = ("dagster/row_count", "dagster/partition_row_count")
WIDTH = 256  # of the retriever's vectors: 128 learned, 128 for the cosine
QUERIES = 20
ITEMS = (100_000, 300_000, 1_000_000)
KNOWN = (3_000, 6_000, 9_000)
LOOKED_THROUGH = 200  # materialisations of an asset, the newest first


@dataclass(frozen=True)
class Cost:
    """Of one asset or stage: how many units, seconds and bytes in all. None: not on record."""

    name: str
    unit: str
    units: int
    seconds: float | None
    size: int | None  # bytes
    made: str = ""  # day and time, UTC

    @property
    def each(self) -> float | None:
        """Milliseconds a unit."""
        return 1000 * self.seconds / self.units if self.seconds is not None and self.units else None

    @property
    def bytes_each(self) -> float | None:
        """Bytes a unit."""
        return self.size / self.units if self.size is not None and self.units else None


def made(instance: dg.DagsterInstance, world: Path) -> Iterator[Cost]:
    """Costs of every asset and data set of a world, as its last making is on record."""
    for key in sorted(instance.all_asset_keys(), key=lambda key: key.path):
        seen: set[str | None] = set()
        for record in instance.fetch_materializations(key, limit=LOOKED_THROUGH).records:
            event = record.asset_materialization
            assert event is not None
            facts = {name: value.value for name, value in event.metadata.items()}
            place = str(facts.get("path", ""))
            if record.partition_key in seen or not Path(place).resolve().is_relative_to(world) or not made_then(facts):
                continue
            unit, units = unit_of(facts)
            if not units:
                continue
            seen.add(record.partition_key)
            name = "/".join([*key.path, *([record.partition_key] if record.partition_key else [])])
            yield Cost(
                name, unit, units, seconds_of(instance, record), int(facts["bytes"]) if "bytes" in facts else None, day(record)
            )


def made_then(facts: dict[str, Any]) -> bool:
    """Whether an asset's materialisation made anything, and did not only find it made."""
    return bool(facts.get("made_now", facts.get("trained_now", False)))


def unit_of(facts: dict[str, Any]) -> tuple[str, int]:
    """What an asset's cost is counted by, and how many: texts embedded, examples trained on, contexts, rows."""
    if "embedded_when_made" in facts:
        return "text embedded", int(facts["embedded_when_made"])
    if "metric/contexts" in facts:
        return "context", int(facts["metric/contexts"])
    if "metric/examples" in facts:
        return "example and epoch", int(facts["metric/examples"] * facts["metric/epochs"])
    return "row", int(next((facts[name] for name in ROWS if name in facts), 0))


def seconds_of(instance: dg.DagsterInstance, record: dg.EventLogRecord) -> float | None:
    """Seconds that the step took which made something."""
    step = record.event_log_entry.step_key
    (found,) = instance.get_run_step_stats(record.run_id, [step] if step else None)[:1] or (None,)
    return found.end_time - found.start_time if found and found.end_time and found.start_time else None


def day(record: dg.EventLogRecord) -> str:
    """When that was."""
    return f"{datetime.fromtimestamp(record.timestamp, UTC):%Y-%m-%d %H:%M}"


def stages(world: Path, movies: int) -> Iterator[Cost]:
    """Bytes on disk of each folder of a world, by the movie."""
    for folder in sorted(path for path in world.iterdir() if path.is_dir()):
        yield Cost(f"{folder.name}/", "movie", movies, None, sum(size(path) for path in folder.rglob("*")))


def size(path: Path) -> int:
    """Bytes of a file; 0 for folders and links."""
    return path.stat().st_size if path.is_file() and not path.is_symlink() else 0


def calls(file: Path) -> Iterator[tuple[str, int, float, float, float, float]]:
    """Of each model and mode: name, answered calls, mean tokens of prompt and answer, mean seconds, bytes kept a call."""
    if not file.is_file():
        return
    query = """select model || ', ' || kind, count(*), avg(prompt_tokens), avg(answer_tokens), avg(seconds) from requests
               where status = 'answered' and kind <> 'probe' group by 1"""
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as kept:
        found = kept.execute(query).fetchall()
    count = sum(row[1] for row in found)
    for row in found:
        yield (*row, file.stat().st_size / count)


def search(items: int) -> dict[str, float]:
    """CPU milliseconds of a query (k = 500, one thread) among so many vectors of the retriever's width, and memory. Gaussian: no clusters."""
    import torch

    from rar_pipeline.retriever.topk import FlatIndex

    torch.set_num_threads(1)
    drawn = torch.Generator().manual_seed(0)
    index = FlatIndex(torch.randn(items, WIDTH, generator=drawn), torch.randn(items, generator=drawn))
    queries = torch.randn(QUERIES, 1, WIDTH, generator=drawn)
    index.top(queries[0], 500)
    started = time.process_time()
    for query in queries:
        index.top(query, 500)
    return {"items": items, "ms a query (CPU)": 1000 * (time.process_time() - started) / QUERIES, "peak_mb": peak_mb()}


def together(movies: int) -> dict[str, float]:
    """CPU seconds and memory of EASE's matrix over so many known movies, cut to 100 each. Ten dialogues a movie name five."""
    import numpy as np

    from rar_pipeline.retriever.cooccurrence import ease, strongest

    drawn = np.random.default_rng(0)
    dialogues = [list(set(members)) for members in drawn.integers(movies, size=(10 * movies, 5)).tolist()]
    started = time.process_time()
    strongest(ease(dialogues, movies), 100)
    return {"known movies": movies, "seconds (CPU)": time.process_time() - started, "peak_mb": peak_mb()}


def peak_mb() -> float:
    """Largest resident memory of this process so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def grown() -> Iterator[dict[str, float]]:
    """What search and EASE take as they grow, each size in a process of its own."""
    for option, sizes in (("--search", ITEMS), ("--ease", KNOWN)):
        for size in sizes:
            command = python("benchmarks.capacity", option, size)
            done = subprocess.run(command, cwd=PROJECT, check=True, capture_output=True, text=True)  # noqa: S603
            yield json.loads(done.stdout)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables."""
    parser = command_line(__doc__ or "")
    parser.add_argument("--lake", type=Path, default=PROJECT / "lake" / "mirror", help="a world's folder of a lake")
    parser.add_argument("--home", type=Path, default=PROJECT, help="the DAGSTER_HOME of the runs that made it")
    parser.add_argument(
        "--grow", action="store_true", help="measure instead what search and EASE take as they grow (a minute, 4 GB)"
    )
    parser.add_argument("--search", type=int, metavar="N", help="measure search among so many movies only")
    parser.add_argument("--ease", type=int, metavar="N", help="measure EASE over so many known movies only")
    chosen = parser.parse_args(arguments)
    if chosen.grow or chosen.search or chosen.ease:
        found = grown() if chosen.grow else [search(chosen.search) if chosen.search else together(chosen.ease)]
        for row in found:
            print(json.dumps({name: round(value, 2) for name, value in row.items()}), flush=True)
        return 0
    world = chosen.lake.resolve()
    if not (world / "corpus").is_dir():
        print(f"error: {chosen.lake}: no tables there; name a world's folder, such as lake/mirror", file=sys.stderr)
        return 2
    os.chdir(chosen.home)  # folders in dagster.yaml are below it
    with dg.DagsterInstance.from_config(str(chosen.home)) as instance:
        costs = list(made(instance, world))
    movies = next((cost.units for cost in costs if cost.name == "movies"), 0)
    costs += stages(world, movies)
    asked = list(calls(world.parent / "answers" / "answers.sqlite"))
    if chosen.json:
        for cost in costs:
            print(json.dumps(asdict(cost) | {"ms_each": cost.each, "bytes_each": cost.bytes_each}))
        for row in asked:
            print(
                json.dumps(
                    dict(zip(("name", "calls", "prompt_tokens", "answer_tokens", "seconds", "bytes_each"), row, strict=True))
                )
            )
        return 0
    print(f"{'made':<34}{'units':>11} {'unit':<18}{'seconds':>9}{'ms each':>10}{'MB':>9}{'bytes each':>12}  made at (UTC)")
    for cost in costs:
        figures = f"{told(cost.seconds, 1):>9}{told(cost.each, 4):>10}{told(cost.size and cost.size / 1e6, 2):>9}{told(cost.bytes_each, 1):>12}"
        print(f"{cost.name:<34}{cost.units:>11,} {cost.unit:<18}{figures}  {cost.made}")
    print(f"\n{'LLM':<44}{'calls':>8}{'prompt tokens':>15}{'answer tokens':>15}{'seconds':>9}{'bytes kept':>12}")
    for name, count, prompt, answer, seconds, kept in asked:
        print(f"{name:<44}{count:>8,}{prompt:>15,.0f}{answer:>15,.0f}{seconds:>9.2f}{kept:>12,.0f}")
    return 0


def told(value: float | None, digits: int) -> str:
    """A figure, or a dash where it is not on record."""
    return "-" if value is None else f"{value:,.{digits}f}"


if __name__ == "__main__":
    sys.exit(main())
