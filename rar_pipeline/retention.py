"""What may go: `python -m rar_pipeline.retention` says what, how much and why; with `--yes` it goes. `make prune` is the same, and so is the job
`prune`, which says it every night and lets it go where `RAR_PRUNE` is set.

How long things stay are the settings `keep_*`, where 0 means for ever. What serves, what it was trained from, and what the lake's tables refer
to stay whatever their age; where that cannot be read, nothing goes. Ticks of schedules and sensors are cut by Dagster's daemon (dagster.yaml).
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from rar_pipeline.errors import RarError
from rar_pipeline.settings import Settings, load_settings
from rar_pipeline.tables import CASES, FEEDBACK, ITEM_EMBEDDINGS, JUDGE_CHECK, RAW_FILES, Table

if TYPE_CHECKING:
    from dagster import DagsterInstance

    from rar_pipeline.retriever.version import Version

NOTHING = "nothing is old enough to go"
ANSWERS, EMBEDDINGS, MODELS = "answers", "embeddings", "models"  # what all worlds of a lake share
_BESIDE = re.compile(r"\.(?P<name>.+?)(\.\d+)?\.(?P<kind>part|old|part\.json)$|\.sample-[0-9a-f]+\.\d+$")
_ROUND = re.compile(r"round_(\d+)$")


@dataclass(frozen=True)
class Removal:
    """Something that may go. `count`: how many things it is, where they have no name of their own."""

    kind: str
    what: str
    bytes: int
    why: str
    remove: Callable[[], None]
    count: int = 1


def plan(settings: Settings, instance: DagsterInstance | None, now: datetime) -> list[Removal]:
    """All that may go at a time, kind by kind. Raises RarError where a record that says what is needed cannot be read."""
    root, lake = settings.root, settings.lake
    found: list[Iterable[Removal]] = [
        old_runs(instance, settings.keep_runs_days, now) if instance else (),
        leftovers(lake, root, settings.keep_attempts_days, now),
        old_logs(root, settings.keep_logs_days, now),
        old_raw_files(root, settings.keep_raw_days, now),
        old_versions(root, settings.rounds, settings.keep_versions, settings.keep_versions_days, now),
        orphaned_embeddings(lake, settings, now),
        old_answers(lake, settings.keep_answers_days, now),
    ]
    return [removal for part in found for removal in part]


def old_runs(instance: DagsterInstance, days: int, now: datetime) -> Iterator[Removal]:
    """Runs that ended so long ago, with their events and output; not those that last made a table, which hold its lineage."""
    from dagster import DagsterRunStatus, RunsFilter

    if not days:
        return
    ended = [DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED]
    needed = _last_makers(instance)
    for record in instance.get_run_records(RunsFilter(statuses=ended, updated_before=now - timedelta(days=days))):
        run = record.dagster_run
        if run.run_id in needed:
            continue
        shard = getattr(instance.event_log_storage, "path_for_shard", None)  # with SQLite, a file a run
        files = [Path(f"{shard(run.run_id)}{suffix}") for suffix in ("", "-wal", "-shm")] if shard else []

        def remove(run_id: str = run.run_id, files: Sequence[Path] = tuple(files)) -> None:
            instance.compute_log_manager.delete_logs(prefix=[run_id])
            instance.delete_run(run_id)
            for file in files:
                file.unlink(missing_ok=True)

        why = f"ended {record.update_timestamp:%Y-%m-%d}, more than {days} days ago; no table is of it any more"
        yield Removal("runs", f"{run.job_name} {run.run_id}", sum(map(_size, files)), why, remove)


def _last_makers(instance: DagsterInstance) -> set[str]:
    """Runs that made what is there now of every asset and partition."""
    from dagster import AssetRecordsFilter, DagsterEventType

    makers = set()
    for key in instance.all_asset_keys():
        last = instance.get_latest_materialization_event(key)
        makers |= {last.run_id} if last else set()
        by_partition = instance.event_log_storage.get_latest_storage_id_by_partition(key, DagsterEventType.ASSET_MATERIALIZATION)
        if ids := list(by_partition.values()):
            records = instance.fetch_materializations(AssetRecordsFilter(key, storage_ids=ids), limit=len(ids)).records
            makers |= {record.run_id for record in records}
    return makers


def leftovers(lake: Path, root: Path, days: int, now: datetime) -> Iterator[Removal]:
    """Checkpoints of trainings that were not gone on with, and half-written files of processes that were killed."""
    for folder in sorted((root / "retriever" / "attempts").glob("dataset=*/*")):
        if _older(folder, days, now):
            yield _gone("leftovers", lake, folder, f"a training that broke off more than {days} days ago")
    for place in (root, lake / EMBEDDINGS):
        for path in sorted(place.rglob(".*")):
            beside = _BESIDE.match(path.name)
            if not beside or not _older(path, days, now):
                continue
            # killed between two moves, the only copy lies under its old name
            if beside["kind"] == "old" and not path.with_name(beside["name"]).exists():
                continue
            yield _gone("leftovers", lake, path, f"half written more than {days} days ago")


def old_logs(root: Path, days: int, now: datetime) -> Iterator[Removal]:
    """Logs of trainings of which no version is on record, and of `make run`."""
    known = {version.fingerprint for _, version in _versions(root)}
    for folder in sorted((root / "retriever" / "logs").glob("dataset=*/*")):
        if folder.name not in known and _older(folder, days, now):
            yield _gone("logs", root, folder, f"more than {days} days old; of no version that is there")
    for file in sorted((root / "logs").glob("run-*.log")):
        if _older(file, days, now):
            yield _gone("logs", root, file, f"more than {days} days old")


def old_raw_files(root: Path, days: int, now: datetime) -> Iterator[Removal]:
    """Versions of raw files that the table of raw files does not name any more."""
    raw = root / "raw"
    stored = sorted((raw / "objects").glob("*")) + sorted(raw.glob("sample-*"))
    if not stored or not days:
        return
    named = _rows(root.glob("sources/raw_files/dataset=*/data.parquet"), RAW_FILES, "sha256", "path")
    if named.is_empty():
        return  # nothing tells what is in use
    hashes, paths = set(named["sha256"]), [Path(path) for path in named["path"]]
    for path in stored:
        # a file's second link is the one under its own name
        linked = path.name in hashes or path.stat().st_nlink > 1
        used = any(path.absolute() in one.parents for one in paths) if path.is_dir() else linked
        if not used and _older(path, days, now):
            yield _gone("raw files", root, path, f"more than {days} days old; replaced by a newer version")


def old_versions(root: Path, rounds: int, least: int, days: int, now: datetime) -> Iterator[Removal]:
    """Retrievers that serve no more and that nothing that stays was trained from: copies of former champions, rounds beyond the settings'."""
    from rar_pipeline.evaluation.champion import champion_folder, read_champion, read_history

    if not days:
        return
    there = _versions(root)
    stays, since = set[Path](), dict[Path, datetime]()
    for folder in sorted((root / "evaluation" / "champion").glob("dataset=*")):
        champion, history = read_champion(folder), read_history(folder)
        served = list(dict.fromkeys(change["id"] for change in reversed(history)))[:least]
        stays |= {folder / "versions" / name for name in served}
        stays |= {champion_folder(root, champion)} if champion else set()
        since |= {
            folder / "versions" / change["replaced"]: datetime.fromisoformat(change["when"])
            for change in history
            if change["replaced"]
        }
    for path, _ in there:
        number = _ROUND.match(path.parent.name)
        if path.parent.parent == root / "retriever" and (number is None or int(number[1]) <= rounds):
            stays.add(path)
    stays = _with_parents(stays, there)
    for path, version in there:
        if path not in stays and since.get(path, _touched(path)) < now - timedelta(days=days):
            why = f"{version.name} of {version.dataset} has not served for more than {days} days; nothing was trained from it"
            yield _gone("retrievers", root, path, why)


def _versions(root: Path) -> list[tuple[Path, Version]]:
    """Folders and records of all versions of a world: rounds, and copies of champions."""
    from rar_pipeline.retriever.version import RECORD, read_record

    patterns = (f"retriever/*/dataset=*/{RECORD}", f"evaluation/champion/dataset=*/versions/*/{RECORD}")
    return [(path.parent, read_record(path.parent)) for pattern in patterns for path in sorted(root.glob(pattern))]


def _with_parents(stays: set[Path], there: Sequence[tuple[Path, Version]]) -> set[Path]:
    """The versions and all that they were trained from, by weights."""
    kept = set(stays)
    while True:
        needed = {version.training.get("parent_sha256") for path, version in there if path in kept}
        more = {path for path, version in there if version.weights_sha256 in needed} - kept
        if not more:
            return kept
        kept |= more


def orphaned_embeddings(lake: Path, settings: Settings, now: datetime) -> Iterator[Removal]:
    """Parts of the store of embeddings of which no text is a movie's or a conversation's any more, in any world."""
    from rar_pipeline.corpus.encoder import text_hashes
    from rar_pipeline.retriever.examples import query_text, query_turns

    days = settings.keep_embeddings_days
    parts = [path for path in sorted((lake / EMBEDDINGS).glob("*/part-*.parquet")) if _older(path, days, now)]
    if not parts:
        return
    used = set(_rows(_in_worlds(lake, "corpus/item_embeddings/data.parquet"), ITEM_EMBEDDINGS, "text_hash")["text_hash"])
    contexts = _rows(_in_worlds(lake, "conversations/cases/dataset=*/data.parquet"), CASES, "context")["context"].unique()
    for context in contexts:
        asked = [query_text(context, settings.context_turns)]
        asked += [words for _, words in query_turns(context, settings.context_turns)]
        used.update(text_hashes(asked, settings.encoder))
    for path in parts:
        try:
            known = pl.scan_parquet(path).select(pl.col("text_hash").is_in(list(used)).any()).collect().item()
        except pl.exceptions.PolarsError:
            continue  # what cannot be read is thrown away by who reads it next
        if not known:
            yield _gone("embeddings", lake, path, f"more than {days} days old; of no text of a movie or a conversation")


def old_answers(lake: Path, days: int, now: datetime) -> Iterator[Removal]:
    """Answers of the LLM that no feedback and no judge check refers to. What they cost stays on record."""
    file = lake / ANSWERS / "answers.sqlite"
    if not days or not file.is_file():
        return
    places = {"round_*_feedback": FEEDBACK, "judge_check": JUDGE_CHECK}
    used = {
        prompt
        for name, table in places.items()
        for prompt in _rows(_in_worlds(lake, f"preference/{name}/dataset=*/data.parquet"), table, "prompt_hash")["prompt_hash"]
    }
    before = (now - timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")
    query = (
        "select a.key, length(a.answer), r.prompt_hash from answers a join requests r on r.id = a.request where a.asked_at < ?"
    )
    try:
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as kept:
            found = [(key, size) for key, size, prompt in kept.execute(query, (before,)) if prompt not in used]
    except sqlite3.Error as error:
        raise RarError(f"answer cache {file}: {error}; see what holds or has damaged it") from None

    def remove() -> None:
        with closing(sqlite3.connect(file, timeout=60)) as cache:
            cache.executemany("delete from answers where key = ?", [(key,) for key, _ in found])
            cache.commit()
            cache.execute("vacuum")

    if found:
        why = f"asked more than {days} days ago; no feedback refers to them. To ask again costs money"
        yield Removal("answers", str(file), sum(size for _, size in found), why, remove, len(found))


def _in_worlds(lake: Path, pattern: str) -> Iterator[Path]:
    """Files of all worlds of a lake: what worlds share is needed where any of them needs it."""
    worlds = [path for path in sorted(lake.glob("*")) if path.is_dir() and path.name not in (ANSWERS, EMBEDDINGS, MODELS)]
    return (file for world in worlds for file in sorted(world.glob(pattern)))


def _rows(files: Iterable[Path], table: Table, *columns: str) -> pl.DataFrame:
    """Some columns of all files of a table. Raises RarError where one cannot be read: then nobody knows what is needed."""
    found = [table.empty().select(columns)]
    for file in files:
        try:
            found.append(pl.read_parquet(file, columns=list(columns), hive_partitioning=False))
        except (OSError, pl.exceptions.PolarsError) as error:
            raise RarError(f"{file}: damaged ({error}); materialise the asset {table.name} again, nothing goes before") from None
    return pl.concat(found)


def _gone(kind: str, inside: Path, path: Path, why: str) -> Removal:
    """The removal of a file or folder, which lies inside the lake."""
    if not path.parent.resolve().is_relative_to(inside.resolve()):
        raise RarError(f"{path}: leads out of {inside}; nothing goes")

    def remove() -> None:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

    return Removal(kind, str(path), _size(path), why, remove)


def _older(path: Path, days: int, now: datetime) -> bool:
    return days > 0 and _touched(path) < now - timedelta(days=days)


def _touched(path: Path) -> datetime:
    """When a file, or anything in a folder, was written last."""
    within = [path, *path.rglob("*")] if path.is_dir() and not path.is_symlink() else [path]
    return datetime.fromtimestamp(max(one.lstat().st_mtime for one in within), UTC)


def _size(path: Path) -> int:
    within = path.rglob("*") if path.is_dir() and not path.is_symlink() else [path]
    return sum(one.lstat().st_size for one in within if one.is_file() or one.is_symlink())


def told(removals: Sequence[Removal], each: bool) -> list[str]:
    """Lines that say what goes, how much and why; `each` thing by itself, or kind by kind."""
    lines = []
    for (kind, why), group in groupby(removals, key=lambda one: (one.kind, one.why if each else "")):
        part = list(group)
        count, size = sum(one.count for one in part), sum(one.bytes for one in part)
        lines.append(f"{kind:<12} {count:>7,}  {size / 1e6:>10,.1f} MB  {why or part[0].why}")
        lines += [f"             {one.what}" for one in part] if each else []
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Say what may go, or let it go; 0 when that was done."""
    parser = argparse.ArgumentParser(prog="python -m rar_pipeline.retention", description=__doc__)
    parser.add_argument("--dry-run", action="store_true", help="only say what would go; the default")
    parser.add_argument("--yes", action="store_true", help="let it go")
    parser.add_argument("--list", action="store_true", help="name each thing")
    chosen = parser.parse_args(arguments)
    if chosen.yes and chosen.dry_run:
        parser.error("--dry-run and --yes: one of them")
    try:
        settings = load_settings()
        return _prune(settings, yes=chosen.yes, each=chosen.list)
    except RarError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _prune(settings: Settings, *, yes: bool, each: bool) -> int:
    from dagster import DagsterInstance

    if "DAGSTER_HOME" not in os.environ:
        print("DAGSTER_HOME is not set: runs are left out; `make prune` sets it")
        pruned = prune(settings, None, yes=yes)
    else:
        with DagsterInstance.get() as instance:
            pruned = prune(settings, instance, yes=yes)
    print("\n".join(told(pruned.removals, each)) or NOTHING)
    if pruned.removals and not yes:
        print("nothing was removed; with --yes it goes" + ("" if each else ", --list names each"))
    for line in pruned.failed:
        print(f"error: {line}", file=sys.stderr)
    return 1 if pruned.failed else 0


@dataclass(frozen=True)
class Pruned:
    """What may go or went, and what could not be removed, a line each."""

    removals: list[Removal]
    failed: list[str]

    @property
    def bytes(self) -> int:
        """Room that it takes or took."""
        return sum(removal.bytes for removal in self.removals)


def prune(settings: Settings, instance: DagsterInstance | None, *, yes: bool, own_run: str = "") -> Pruned:
    """Find what may go, and with `yes` let it go. `own_run`: the run that does it.

    Raises RarError where a record cannot be read and, with `yes`, where another run is under way.
    """
    if yes and instance and (going := _under_way(instance, own_run)):
        raise RarError(f"{going} is under way; let it end, then run this again")
    removals = plan(settings, instance, datetime.now(UTC))
    failed = []
    for removal in removals if yes else ():
        try:
            removal.remove()
        except OSError as error:
            failed.append(f"{removal.what}: {error.strerror}")
    return Pruned(removals, failed)


def _under_way(instance: DagsterInstance, own_run: str) -> str:
    """Another run that may be using what is there; empty where there is none."""
    from dagster import DagsterRunStatus, RunsFilter

    active = [DagsterRunStatus.STARTING, DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING]
    going = (run for run in instance.get_runs(RunsFilter(statuses=active), limit=2) if run.run_id != own_run)
    return next((f"run {run.run_id} of {run.job_name}" for run in going), "")


if __name__ == "__main__":
    sys.exit(main())
