"""Keys and passwords are used and left nowhere: not in the lake, not in Dagster's storage, not in what is printed. Names stay inside the lake.

A real `dagster asset materialize` asks a live source and the LLM; both repeat all that they were sent, as proxies in trouble do.
"""

import base64
import gzip
import json
import os
import sqlite3
import subprocess
import sys
import zlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rar_pipeline.conversations.reading import Conversation, Named, Turn
from rar_pipeline.corpus.encoder import embed
from rar_pipeline.errors import RarError
from rar_pipeline.own_data import items_table, learn
from rar_pipeline.resources import Lake
from rar_pipeline.settings import Settings
from rar_pipeline.tables import JUDGE_CHECK, MOVIES

from .small_world import small_encoder, small_settings

PROJECT = Path(__file__).resolve().parent.parent
KEYS = {"OPENAI_API_KEY": "sk-planted-llm", "TMDB_API_KEY": "planted.tmdb.token", "OMDB_API_KEY": "planted-omdb"}
USER, PASSWORD = "planted-user", "planted-password"
BASIC = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
HOOK = "planted-hook"
SECRETS = [*KEYS.values(), PASSWORD, BASIC, HOOK]
TITLES = [f"{word} Harbour" for word in ("Amber", "Birch", "Coral", "Delta", "Ember", "Flint", "Grove", "Hazel")]


@dataclass
class Parrot:
    """Stands in for an LLM endpoint and for TMDB; whatever it says repeats all that it was sent."""

    fails: bool
    asked: list[str] = field(default_factory=list)
    address: str = ""

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        said = f"you sent {method} {path} {headers}"
        self.asked.append(said)
        if path.endswith("robots.txt"):
            return 404, b""
        if path.startswith("/export"):
            return 200, gzip.compress(json.dumps({"id": 1, "popularity": 2.0}).encode())
        if path.endswith("/models"):
            return 200, b'{"object": "list", "data": []}'
        if self.fails or path.startswith("/tmdb"):
            return 500 if path.startswith("/tmdb") else 400, json.dumps({"error": {"message": said}}).encode()
        text = "\n".join(f"{place}. {title} ({said})" for place, title in enumerate(TITLES, 1))
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        return 200, json.dumps({"id": said, "object": "chat.completion", "choices": [choice], "usage": usage}).encode()


@pytest.fixture(params=[True, False], ids=["failing", "echoing"])
def parrot(request: pytest.FixtureRequest) -> Iterator[Parrot]:
    found = Parrot(request.param)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, body = found.answer(self.command, self.path, dict(self.headers), content)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        found.address = f"127.0.0.1:{server.server_address[1]}"
        yield found
        server.shutdown()


def conversations() -> Iterator[Conversation]:
    for number in range(len(TITLES)):
        named = [TITLES[(number + step) % len(TITLES)] for step in range(2)]
        turns = [
            Turn("seeker", f"I liked {named[0]}, what else?", [Named(named[0])]),
            Turn("recommender", f"Try {named[1]}!", [Named(named[1])]),
        ]
        yield Conversation(f"d{number}", "validation" if number % 3 == 2 else "train", turns)
        yield Conversation(f"again{number}", "train", turns)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a lake of few films and a version of them; to be copied."""
    folder = tmp_path_factory.mktemp("trained")
    encoder = small_encoder(folder / "encoder")
    settings = small_settings(Path("upstream"), folder / "lake", encoder=str(encoder), pretraining_epochs=1, epochs=1)
    films = [{"movie_id": f"m{number}", "title": title, "year": 1990, "votes": 5000} for number, title in enumerate(TITLES)]
    learn(settings, "redial", items_table(films), conversations(), log=lambda line: None)
    return folder


def test_a_run_leaves_no_key_and_no_password_anywhere(trained: Path, parrot: Parrot, tmp_path: Path) -> None:
    home, lake = tmp_path / "home", tmp_path / "lake"
    home.mkdir()
    (home / "dagster.yaml").write_text((PROJECT / "dagster.yaml").read_text())
    subprocess.run(["cp", "-r", trained / "lake", lake], check=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAR_", "DAGSTER_"))}
    hosts = {"api.themoviedb.org": f"http://{parrot.address}/tmdb", "files.tmdb.org": f"http://{parrot.address}/export"}
    environment |= KEYS | {
        "DAGSTER_HOME": str(home),
        "RAR_SOURCES": "upstream",
        "RAR_LAKE": str(lake),
        "RAR_ENCODER": str(trained / "encoder"),
        "RAR_LLM_BASE_URL": f"http://{USER}:{PASSWORD}@{parrot.address}/v1",
        "RAR_LLM_MODEL": "parrot",
        "RAR_LLM_RETRIES": "0",
        "RAR_UPSTREAM_HOSTS": json.dumps(hosts),
        "RAR_JUDGE_CHECK_CASES": "2",
        "RAR_CANDIDATES": "4",
        "RAR_POOL": "8",
        "RAR_WEBHOOK": f"http://{parrot.address}/{HOOK}",
        "PYTHONPATH": str(PROJECT),
    }
    command = [sys.executable, "-m", "dagster", "asset", "materialize", "-m", "rar_pipeline.definitions"]
    command += ["--select", 'key:"raw/tmdb" or key:"judge_check"', "--partition", "redial"]
    done = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True)
    said = done.stdout + done.stderr
    assert done.returncode == 1, f"TMDB is down\n{said}"
    sent = "\n".join(parrot.asked)
    assert KEYS["TMDB_API_KEY"] in sent, "the source did get its key"
    assert KEYS["OPENAI_API_KEY"] in sent or BASIC in sent, "the LLM did get its key"
    if not parrot.fails:
        checked = Lake(root=str(lake / "upstream")).read(JUDGE_CHECK, "redial")
        assert set(checked["status"]) == {"answered"}
        assert "***" in checked["raw_answer"][0], "the endpoint did repeat them"
    assert (lake / "answers" / "answers.sqlite").is_file()

    written = [path for folder in (home, lake) for path in folder.rglob("*") if path.is_file()]
    assert any(b"judge_check" in part for path in written if path.name == "runs.db" for part in unpacked(path)[1:])
    leaked = {(str(path.relative_to(tmp_path)), secret) for path in written for secret in SECRETS if holds(path, secret)}
    assert leaked == set()
    assert [secret for secret in SECRETS if secret in said] == []


def holds(path: Path, secret: str) -> bool:
    """Whether a file holds a word, also in what it holds compressed."""
    return any(secret.encode() in part for part in unpacked(path))


@cache
def unpacked(path: Path) -> list[bytes]:
    found = [path.read_bytes()]
    if path.suffix == ".parquet":
        found.append(pl.read_parquet(path, hive_partitioning=False).write_json().encode())
    if path.suffix == ".gz":
        found.append(gzip.decompress(found[0]))
    if found[0].startswith(b"SQLite format 3"):  # Dagster compresses the definitions that it keeps with each run
        with closing(sqlite3.connect(path)) as database:
            for (table,) in database.execute("select name from sqlite_master where type = 'table'").fetchall():
                for row in database.execute(f"select * from {table}"):
                    found += [zlib.decompress(value) for value in row if isinstance(value, bytes) and value[:1] == b"x"]
    return found


# names


@pytest.mark.parametrize("name", ["../../outside", "..", "a/../../../../outside", "/etc", "a\\b", "a\0b", ".hidden"])
def test_no_name_of_a_data_set_or_a_version_leads_out_of_the_lake(tmp_path: Path, name: str) -> None:
    lake = Lake(root=str(tmp_path / "lake"))
    for part, version in ((name, "round_0"), ("redial", name)):
        with pytest.raises(RarError, match="no name"):
            lake.folder("retriever", version, part)
        with pytest.raises(RarError, match="no name"):
            lake.write(MOVIES, MOVIES.empty(), part, version)
    assert not tmp_path.joinpath("lake").exists()


@given(
    st.one_of(st.text(), st.sampled_from(["..", ".", "/", "http://..", "http://../..", "http://a/../../b", "../..", "models"]))
)
def test_whatever_the_sources_are_called_their_world_lies_in_the_lake(sources: str) -> None:
    try:
        root = Settings(_env_file=None, sources=sources, lake=Path("lake")).root
    except ValueError:
        return
    assert root.resolve().parent == Path("lake").resolve()


def test_an_encoders_name_leads_nowhere(tmp_path: Path) -> None:
    for name in ("../../outside", "/outside", ".."):
        with pytest.raises(RarError, match="RAR_ENCODER"):
            embed(["text"], str(tmp_path / name), tmp_path / "store", batch=1, device="cpu", log=lambda line: None)
    assert [path for path in tmp_path.rglob("*") if path.name != "store"] == []
