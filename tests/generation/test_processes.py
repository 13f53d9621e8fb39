"""Real processes, a real socket, real kills: what was answered is never lost and never asked for again."""

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
KEY = "sk-planted-c0ffee"
ASK = """
import sys
from pathlib import Path
from rar_pipeline.corpus.link import Link
from rar_pipeline.generation.questions import Candidate, LanguageModelHandle, Question
from rar_pipeline.generation.rank import rank_all

base_url, cache, count, concurrency, first = sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:])
film = (Candidate("tt1", "Jaws", 1975, "a shark"),)
numbers = [(first + i) % count for i in range(count)]
questions = [Question(str(i), f"Seeker: wish number {i} of them", film) for i in numbers]
model = LanguageModelHandle(base_url, "m", concurrency=concurrency, cache=cache, timeout=60)
answers = rank_all(
    questions, model, lambda title, year: Link(None, 0.0, "unknown"),
    on_answer=lambda answer: print(answer.question_id, answer.status, answer.cached, answer.raw_answer, flush=True),
)
"""


class Counting(ThreadingHTTPServer):
    """Counts how often each wish is asked for; lets `free` answers out and holds the others until `release` is set."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.free = 10**9
        self.release = threading.Event()
        self.held = threading.Semaphore(0)
        self.lock = threading.Lock()
        self.asked: Counter[int] = Counter()
        self.keys: set[str] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Counting

    def do_GET(self) -> None:
        self.reply({"object": "list", "data": []})

    def do_POST(self) -> None:
        text = self.rfile.read(int(self.headers["content-length"])).decode()
        self.server.keys.add(self.headers["authorization"])
        wish = re.search(r"wish number (\d+)", text)
        if wish:
            with self.server.lock:
                self.server.asked[int(wish[1])] += 1
                self.server.free -= 1
                hold = self.server.free < 0
            if hold:
                self.server.held.release()
                self.server.release.wait()
        content = f"1. Film {wish[1] if wish else 0} (1999)"
        usage = {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18}
        self.reply({"choices": [{"index": 0, "message": {"role": "assistant", "content": content}}], "usage": usage})

    def reply(self, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        try:
            self.wfile.write(body)
        except OSError:
            self.close_connection = True  # whoever asked was killed

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def server() -> Iterator[Counting]:
    with Counting() as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield running
        running.release.set()
        running.shutdown()


def start(server: Counting, cache: Path, count: int, concurrency: int, first: int = 0, **more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", ASK, server.url, str(cache), str(count), str(concurrency), str(first)]
    environment = os.environ | {"OPENAI_API_KEY": KEY} | more
    return subprocess.Popen(command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_a_collection_that_was_killed_in_flight_loses_no_answer_and_asks_for_none_twice(server, tmp_path):
    count, free, flying = 14, 6, 4
    server.free = free
    first = start(server, tmp_path / "a.sqlite", count, flying)
    told = [first.stdout.readline() for _ in range(free)]
    for _ in range(flying):
        assert server.held.acquire(timeout=60)  # the next four are under way, and nobody has answered them
    os.kill(first.pid, signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL
    first.stdout.close(), first.stderr.close()

    server.free = 10**9
    server.release.set()
    out, error = start(server, tmp_path / "a.sqlite", count, flying).communicate(timeout=60)
    lines = [line.split(" ", 3) for line in out.splitlines()]
    assert not error and {int(number) for number, *_ in lines} == set(range(count))
    assert all(status == "answered" and raw == f"1. Film {number} (1999)" for number, status, _, raw in lines)
    known = {int(line.split()[0]) for line in told}
    assert {int(number) for number, _, cached, _ in lines if cached == "True"} == known
    assert all(server.asked[number] == 1 for number in known)
    assert sorted(server.asked.values()) == [1] * (count - flying) + [2] * flying  # again only what was never answered


def test_several_processes_fill_one_cache_at_once_and_the_next_one_asks_nothing(server, tmp_path):
    count, path = 30, tmp_path / "a.sqlite"
    together = [start(server, path, count, 8, first=first) for first in (0, 10, 20)]
    for process in together:
        out, error = process.communicate(timeout=120)
        assert process.returncode == 0 and not error
        assert sum(" answered " in line for line in out.splitlines()) == count
    asked = server.asked.total()
    assert count <= asked <= 3 * count
    with sqlite3.connect(path) as people:
        assert people.execute("pragma integrity_check").fetchone() == ("ok",)
        assert people.execute("select count(*) from answers").fetchone() == (count,)
        assert people.execute("select sum(attempts) from calls where kind = 'generate'").fetchone() == (asked,)
    out, error = start(server, path, count, 8).communicate(timeout=60)
    assert out.count(" True ") == count and server.asked.total() == asked


def test_the_key_is_sent_and_left_nowhere(server, tmp_path):
    process = start(server, tmp_path / "a.sqlite", 3, 2, OPENAI_LOG="debug")
    out, error = process.communicate(timeout=60)
    assert server.keys == {f"Bearer {KEY}"}
    assert "HTTP Response" in error and KEY not in out + error  # not even where everything is logged
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert left and not any(KEY.encode() in path.read_bytes() for path in left)
