"""Answers on disk, addressed by content: the same question to the same model is never paid for twice.

One SQLite table in WAL mode. SQLite was chosen over a cache library because it is in the standard library, takes writers from several
processes, keeps a committed row through kill -9, holds JSON and nothing that could be unpickled, and evicts nothing (answers cost money).
One file a cache; people may open it with any SQLite browser.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from rar_pipeline.errors import RarError

_TABLE = """
create table if not exists answers (
    key text primary key,
    model text not null,
    kind text not null,
    answer text not null,
    asked_at text not null default (strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))
) without rowid
"""


def content_key(model: str, kind: str, body: Mapping[str, Any]) -> str:
    """SHA-256 over model, kind of endpoint, and prompts with parameters (`body`, any JSON), hexadecimal."""
    text = json.dumps([model, kind, body], sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


class AnswerCache:
    """Answers by content key; each is on disk before `put` returns. `path` None keeps nothing. To be used from one thread."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._connection: sqlite3.Connection | None = None
        if path is None:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # autocommit: each answer is its own transaction
            self._connection = sqlite3.connect(path, timeout=60, isolation_level=None)
            self._connection.execute("pragma journal_mode = wal")
            self._connection.execute("pragma synchronous = normal")
            self._connection.execute(_TABLE)
        except (sqlite3.Error, OSError) as error:
            raise RarError(f"answer cache {path}: {error}; move the file away or name another") from None

    def __enter__(self) -> AnswerCache:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._connection is not None:
            self._connection.close()

    def get(self, key: str) -> dict[str, Any] | None:
        """The answer under `key`, or None. A row that is no JSON counts as absent, so that it is asked for again."""
        if self._connection is None:
            return None
        row = self._connection.execute("select answer from answers where key = ?", (key,)).fetchone()
        if row is None:
            return None
        try:
            answer = json.loads(row[0])
        except ValueError:
            return None
        return answer if isinstance(answer, dict) else None

    def put(self, key: str, model: str, kind: str, answer: Mapping[str, Any]) -> None:
        """Keep `answer`. Where two processes asked the same, the later one's answer stays."""
        if self._connection is None:
            return
        self._connection.execute(
            "insert or replace into answers (key, model, kind, answer) values (?, ?, ?, ?)",
            (key, model, kind, json.dumps(answer, ensure_ascii=False)),
        )
