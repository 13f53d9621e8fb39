"""Answers on disk, addressed by content, and every call on record: the same question to the same model is never paid for twice.

One SQLite file in WAL mode with two tables: `answers`, one row a content key, and `requests`, one row a call with what it cost. The view `calls`
joins them for people, one row a call with its raw answer. SQLite was chosen over a cache library because it is in the standard library, takes
writers from several processes, keeps a committed row through kill -9, holds JSON and nothing that could be unpickled, and evicts nothing
(answers cost money). Any SQLite browser opens the file (docs/llm.md has queries).
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from rar_pipeline.errors import RarError
from rar_pipeline.generation.budget import Amount

_TABLES = """
create table if not exists answers (
    key text primary key,
    model text not null,
    kind text not null,
    answer text not null,
    asked_at text not null default (strftime('%Y-%m-%dT%H:%M:%SZ', 'now')),
    request integer
) without rowid;
create table if not exists requests (
    id integer primary key,
    asked_at text not null default (strftime('%Y-%m-%dT%H:%M:%SZ', 'now')),
    endpoint text not null,
    model text not null,
    kind text not null,
    prompt_version text not null,
    prompt_hash text not null,
    parameters text not null,
    attempts integer not null,
    tokens integer not null,
    status text not null,
    error text not null,
    prompt_tokens integer not null,
    answer_tokens integer not null,
    seconds real not null,
    cost real not null
);
create index if not exists answers_request on answers (request);
create view if not exists calls as
select
    r.*,
    (select case count(*) when 0 then null when 1 then max(a.answer ->> 'raw') else json_group_array(a.answer ->> 'raw') end
     from answers a where a.request = r.id and json_valid(a.answer)) as raw_answer
from requests r
union all
select
    null, asked_at, '', model, kind, '', '', '', 1, null, 'answered', '',
    answer ->> 'prompt_tokens', answer ->> 'answer_tokens', answer ->> 'seconds', null, answer ->> 'raw'
from answers where request is null and json_valid(answer)
"""


def content_key(model: str, kind: str, body: Mapping[str, Any]) -> str:
    """SHA-256 over model, kind of endpoint, and prompts with parameters (`body`, any JSON), hexadecimal."""
    text = json.dumps([model, kind, body], sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass
class Call:
    """What is put on record of one call. `kind`: the mode, or `probe`. `attempts`: requests sent; `seconds`: of the last of them.
    `tokens`: of all attempts, of prompts and answers; where no answer came, as expected.

    `parameters`: what was sent beside model and prompt. `cost`: in the currency of the prices, with what attempts without an answer may have cost.
    """

    kind: str
    prompt_version: str = ""
    prompt_hash: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    attempts: int = 0
    tokens: int = 0
    status: str = "failed"
    error: str = ""
    prompt_tokens: int = 0
    answer_tokens: int = 0
    seconds: float = 0.0
    cost: float = 0.0


class AnswerCache:
    """Answers by content key; each is on disk before `put` returns. `path` None keeps nothing. To be used from one thread."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._connection: sqlite3.Connection | None = None
        if path is None:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # autocommit: what belongs together says so
            self._connection = sqlite3.connect(path, timeout=60, isolation_level=None)
            self._connection.execute("pragma journal_mode = wal")
            self._connection.execute("pragma synchronous = normal")
            self._prepare()
        except (sqlite3.Error, OSError) as error:
            self.close()
            raise self._broken(error) from None

    def _broken(self, error: Exception) -> RarError:
        """What to tell of a file that cannot be opened or read: SQLite calls a full disk an I/O error."""
        damaged = isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError)
        advice = "move the file away or name another" if damaged else "make room (is the disk full or read-only?) or name another"
        return RarError(f"answer cache {self.path}: {error}; {advice}")

    def _prepare(self) -> None:
        """Make the tables where they are not there yet; a file from before calls were on record keeps its answers."""
        assert self._connection is not None
        columns = {row[1] for row in self._connection.execute("pragma table_info(answers)")}
        if "request" in columns:
            return
        self._connection.execute("begin immediate")
        if columns and "request" not in {row[1] for row in self._connection.execute("pragma table_info(answers)")}:
            self._connection.execute("alter table answers add column request integer")
        for statement in _TABLES.split(";\n"):
            self._connection.execute(statement)
        self._connection.execute("commit")

    def __enter__(self) -> AnswerCache:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        if self._connection is not None:
            self._connection.close()

    def get(self, key: str) -> dict[str, Any] | None:
        """The answer under `key`, or None."""
        return self.get_all([key]).get(key)

    def get_all(self, keys: Iterable[str]) -> dict[str, dict[str, Any]]:
        """The answers that there are, by key. A row that is no JSON counts as absent, so that it is asked for again."""
        found = {}
        wanted = json.dumps(list(keys))
        for key, text in self._read("select key, answer from answers where key in (select value from json_each(?))", wanted):
            try:
                answer = json.loads(text)
            except ValueError:
                continue
            if isinstance(answer, dict):
                found[key] = answer
        return found

    def put(self, key: str, model: str, kind: str, answer: Mapping[str, Any]) -> None:
        """Keep one answer of a call that is not on record."""
        if self._connection is not None:
            self._keep({key: answer}, model, kind, None)

    def record(self, endpoint: str, model: str, call: Call, answers: Mapping[str, Mapping[str, Any]]) -> None:
        """Put a call on record and keep its answers, by key: both or neither. Where two processes asked the same, the later answer stays."""
        if self._connection is None:
            return
        row = (
            endpoint,
            model,
            call.kind,
            call.prompt_version,
            call.prompt_hash,
            json.dumps(call.parameters, ensure_ascii=False),
            call.attempts,
            call.tokens,
            call.status,
            call.error,
            call.prompt_tokens,
            call.answer_tokens,
            round(call.seconds, 4),
            call.cost,
        )
        try:
            self._connection.execute("begin immediate")
            cursor = self._connection.execute(
                "insert into requests (endpoint, model, kind, prompt_version, prompt_hash, parameters, attempts, tokens, status, error, "
                "prompt_tokens, answer_tokens, seconds, cost) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                row,
            )
            self._keep(answers, model, call.kind, cursor.lastrowid)
            self._connection.execute("commit")
        except sqlite3.Error as error:
            # to go on would be to pay for answers that are lost
            raise RarError(f"answer cache {self.path}: {error}; make room or stop what holds it, then run again") from None
        finally:
            if self._connection.in_transaction:
                self._connection.execute("rollback")

    def spent(self, endpoint: str, model: str) -> Amount:
        """What all calls on record to a model of an endpoint came to."""
        sums = "select coalesce(sum(attempts), 0), coalesce(sum(tokens), 0), coalesce(sum(cost), 0.0) from requests"
        found = self._read(f"{sums} where endpoint = ? and model = ?", endpoint, model)
        return Amount(*found[0]) if found else Amount()

    def _read(self, statement: str, *values: str) -> list[tuple[Any, ...]]:
        """Rows of a query; none where nothing is kept. Raises RarError where the file is damaged."""
        if self._connection is None:
            return []
        try:
            return self._connection.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise self._broken(error) from None

    def _keep(self, answers: Mapping[str, Mapping[str, Any]], model: str, kind: str, request: int | None) -> None:
        assert self._connection is not None
        self._connection.executemany(
            "insert or replace into answers (key, model, kind, answer, request) values (?, ?, ?, ?, ?)",
            [(key, model, kind, json.dumps(answer, ensure_ascii=False), request) for key, answer in answers.items()],
        )
