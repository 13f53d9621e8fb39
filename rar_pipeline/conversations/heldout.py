"""Test files that never were in the lake: which of the known layouts a folder holds, and its conversations, all of them as the split `test`."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rar_pipeline.conversations import READERS, cikm23, inspired, redial
from rar_pipeline.conversations.reading import Reading
from rar_pipeline.errors import RarError
from rar_pipeline.files import json_lines, text_lines

PROTOCOLS = ("fresh_turns", "cikm23")
PUBLISHERS = {"redial": ("test_data.jsonl",), "inspired": ("test.tsv",), "reddit": ("reddit_v2*.jsonl",)}
NAMES = "movies_with_mentions.csv"  # of ReDial; need not be there
FIELDS = {"redial": redial.FIELDS, "reddit": ("sample_id", "conversation", "seen_titles", "groundtruth")}
CIKM23 = (cikm23.TEST, cikm23.ENTITIES, cikm23.ITEMS)


def test_files(folder: Path, dataset: str, protocol: str | None) -> tuple[str, dict[str, Path]]:
    """Layout (`publisher` or `cikm23`) and files by name, each plain or with .gz. With both in a folder, the protocol decides.

    Raises RarError where the folder or one of the files is missing.
    """
    if not folder.is_dir():
        raise RarError(f"{folder}: no such folder; name the one that holds the test files")
    own = _found(folder, (*PUBLISHERS[dataset], NAMES))
    theirs = _found(folder, CIKM23)
    if own.keys() - {NAMES} and not (protocol == "cikm23" and cikm23.TEST in theirs):
        return "publisher", own
    missing = [name for name in CIKM23 if name not in theirs]
    if cikm23.TEST in missing:
        raise RarError(
            f"{folder}: neither {PUBLISHERS[dataset][0]} nor {', '.join(CIKM23)} there (plain or .gz); check DATASET and TEST"
        )
    if missing:
        raise RarError(f"{folder / missing[0]}: missing; the CIKM'23 files are {', '.join(CIKM23)}, each plain or .gz")
    return "cikm23", theirs


def _found(folder: Path, patterns: Sequence[str]) -> dict[str, Path]:
    """Files by name without .gz; the plain one where both are there."""
    paths = sorted(path for pattern in patterns for end in (".gz", "") for path in folder.glob(pattern + end))
    return {path.name.removesuffix(".gz"): path for path in sorted(paths, key=lambda path: path.suffix != ".gz")}


def read_publisher(dataset: str, files: Mapping[str, Path], names: Path | None = None) -> Reading:
    """Conversations of a publisher's test files. `names`: ReDial's list of movies where the folder has none.

    Raises RarError naming file and line where one is malformed.
    """
    tests = {name: path for name, path in files.items() if name != NAMES}
    for path in tests.values():
        _checked(dataset, path)
    listed = files.get(NAMES, names)
    with tempfile.TemporaryDirectory() as empty:
        # readers want the publisher's other splits too: files that hold nothing stand in for them
        stand_ins = {name: _empty(Path(empty), name, tests) for name in _others(dataset)}
        given = {f"{dataset}/{name}": path for name, path in tests.items()} | stand_ins
        if dataset == "reddit":
            given = {f"reddit/reddit_v2_sample_{number}.jsonl": path for number, path in enumerate(tests.values())}
        if listed is not None:
            given[f"{dataset}/{NAMES}"] = listed
        reading = READERS[dataset](given, 0.5)
    return Reading([replace(conversation, split="test") for conversation in reading.conversations], reading.dropped)


def _others(dataset: str) -> list[str]:
    if dataset == "inspired":
        return [file for split, file in inspired.FILES.items() if split != "test"]
    return ["redial/train_data.jsonl"] if dataset == "redial" else []


def _empty(folder: Path, name: str, tests: Mapping[str, Path]) -> Path:
    """A file without rows; a table's keeps the header of the test file."""
    path = folder / Path(name).name
    header = next(text_lines(tests["test.tsv"]), "") if path.suffix == ".tsv" else ""
    path.write_text(f"{header}\n" if header else "", encoding="utf-8")
    return path


def _checked(dataset: str, path: Path) -> None:
    """Raises RarError at the first line that is not what the publisher writes."""
    number = 0
    if dataset == "inspired":
        columns = None
        for number, line in enumerate(text_lines(path), 1):
            columns = columns or line.count("\t")
            if line and line.count("\t") != columns:
                raise RarError(f"{path}, line {number}: {line.count(chr(9)) + 1} columns; the header has {columns + 1}")
        number -= 1
    else:
        for number, record in json_lines(path):
            missing = [name for name in FIELDS[dataset] if not isinstance(record, dict) or name not in record]
            if missing:
                raise RarError(
                    f"{path}, line {number}: expected a JSON object with {', '.join(FIELDS[dataset])}; {missing[0]} is missing"
                )
    if number < 1:
        raise RarError(f"{path}, line 1: no conversation there")
