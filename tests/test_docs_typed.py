"""Every command of the docs is typed, as it stands, into a shell; what cannot run here is listed below with its reason.

The shell stands in a copy of the project whose lake is its own; `../mirror` beside it is a small world of raw files. The long ones begin with
`make run` and go on with what it made. A new command in the docs fails here until it is in one list or the other.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest

from rar_pipeline.generation.cache import AnswerCache, Call
from tests.small_world import free_port, small_encoder, small_settings, small_world
from tests.test_docs import PAGES, PROJECT, commands

MOST_SECONDS = 3600  # of one command; a machine may do much else
TALK = "I loved Heat (1995). Something clever, please\n/like 1\n/quit\n"


@dataclass(frozen=True)
class Typed:
    """`text`: the command, its placeholders filled in. `shows`: what its output holds. `serves`: the page that it serves until it is stopped."""

    text: str = ""
    shows: str = ""
    said: str = ""
    serves: str = ""
    slow: bool = True
    world: str = ""  # of RAR_SOURCES, where an `export` before it on the page says so


def quick(shows: str) -> Typed:
    return Typed(shows=shows, slow=False)


# in the order in which they are typed: later ones need what earlier ones made
TYPED: dict[str, Typed] = {
    "rar --help": quick("chat"),
    "python -m rar_pipeline.run --dry-run": quick("dagster asset materialize"),
    "make prune": quick("nothing is old enough to go"),
    "make prune ARGS=--list": quick("nothing is old enough to go"),
    "make prune ARGS=--yes": quick("nothing is old enough to go"),
    "python -m rar_pipeline.tables > docs/data-dictionary.md": quick(""),
    'sqlite3 lake/answers/answers.sqlite "select asked_at': quick("generate"),
    'sqlite3 lake/answers/answers.sqlite "select model, kind': quick("generate"),
    'sqlite3 lake/answers/answers.sqlite "select error': quick("TimeoutError"),
    "DAGSTER_HOME=$PWD dagster instance migrate": quick(""),
    "make run": Typed(shows="report: "),
    "rar chat": Typed(shows="round_[01] of redial(?s:.*)linked: Heat", said=TALK),
    "rar gather": Typed(shows="[12] conversations"),
    "python -m rar_pipeline.corpus.link FILE": Typed(
        "python -m rar_pipeline.corpus.link titles.txt", shows="Heat.*1995.*title and year"
    ),
    "python -m rar_pipeline.cli chat": Typed(shows="linked: Heat", said=TALK),
    "make chat": Typed(serves="http://127.0.0.1:{port}/"),
    "rar run": Typed(shows="report: "),
    "rar run --dry-run": Typed(shows="dagster asset materialize"),
    "dagster asset materialize -m rar_pipeline.definitions --select 'group:sources or group:corpus'": Typed(world="sample"),
    """dagster asset materialize -m rar_pipeline.definitions --select '+key:"round_1/retriever" and group:preference' --partition redial""": Typed(
        world="sample"
    ),
    "make rollback DATASET=redial TO=previous": Typed(text="make rollback DATASET=redial TO=round_0"),
    'make rollback DATASET=redial TO=previous WHY="too many sequels"': Typed(
        text='make rollback DATASET=redial TO=round_0 WHY="too many sequels"'
    ),
    "make evaluate DATASET=redial TEST=../official/redial": Typed(shows="fresh_turns"),
    "dagster job backfill -m rar_pipeline.definitions -j retrain --partitions redial,inspired --noprompt": Typed(world="sample"),
    "make run SOURCES=../mirror": Typed(shows="report: "),
    "make run SOURCES=../mirror PRESET=full": Typed(shows="report: "),
    "RAR_SOURCES=../mirror dagster asset materialize -m rar_pipeline.definitions --select round_0/retriever --partition redial": Typed(),
    "RAR_SOURCES=../mirror dagster asset materialize -m rar_pipeline.definitions --select judge_check --partition redial": Typed(),
    "python -m rar_pipeline.cli --sources ../mirror serve -d inspired --version round_0": Typed(
        serves="http://127.0.0.1:{port}/api/health"
    ),
    "tensorboard --logdir lake/mirror/retriever/logs": Typed(serves="http://localhost:6006/"),
    "make dev": Typed(serves="http://127.0.0.1:3000/"),
    "python examples/books/books.py": Typed(shows="validation R@10"),
    "python -m rar_pipeline.cli --sources examples/books chat -d books": Typed(shows="round_0 of books", said=TALK),
    "python -m rar_pipeline.cli --sources examples/books serve -d books": Typed(serves="http://127.0.0.1:{port}/openapi.json"),
}

# beginnings of commands that are not typed here, and why
NOT_HERE = {
    r"make (test|check|test-all|chaos)$": "would run these very tests within themselves",
    r"pytest tests/": "a part of these very tests",
    r"make (setup|lock)$": "installs from a package index or asks it",
    r"make audit$": "asks a service of known faults, which not every machine reaches; tests/test_audit.py runs it against one of its own",
    r"make (evaluate|rollback)$": "named in a sentence, without what it needs to run",
    r"make run SOURCES=(\.\.\.|upstream)$": "fetches from the publishers; tests/test_sources.py runs it against servers of its own",
    r"python -m benchmarks\.": "measures for minutes on real files; tests/benchmarks runs each of them small",
    r"OMP_NUM_THREADS=1 python -m benchmarks\.": "measures for minutes on real files; tests/benchmarks runs each of them small",
    r"export ": "sets what a command after it reads; that command is typed with it (RAR_SOURCES) or is listed here (OPENAI_API_KEY)",
    r"RAR_LLM_BASE_URL=": "needs somebody else's server and a key",
    r"vllm serve": "needs vLLM and a GPU",
    r"(redis-server|juicefs) ": "mounts a file system as root; tests/test_object_storage.py types them against an S3 server of its own",
    r"RAR_LAKE=/srv/rar/lake make run": "needs that mount; tests/test_object_storage.py runs the pipeline in one",
    r"RAR_DEVICES=2 ": "needs two GPUs",
    r"make evaluate .*cikm23": "needs the files of He et al.; tests/evaluation reads made-up ones of that layout",
    r"python -m rar_pipeline\.evaluate --dataset redial\|": "a synopsis: all options at once",
    r"(RAR_SOURCES=\.\./mirror )?dagster asset materialize .*--select judge_experiment": "hours; tests/preference runs it small",
    r"(RAR_SOURCES=\.\./mirror )?(RAR_JUDGE_\w+=\S+ )+dagster asset materialize": "trains a language model; tests/preference does so small",
    r"dagster asset materialize .*--select sequences_check": "hours; tests/evaluation runs it small",
    r"duckdb ": "DuckDB's own program; tests/test_database.py gives the page's queries to the library",
    r"dagster (job launch|job backfill|asset materialize)$": "named in a sentence, without what it needs to run",
    r"(PYTHONPATH=deploy/celery celery |cp deploy/celery/|dagster-daemon |dagster-webserver )": "of several machines, with Redis and Postgres; "
    "tests/scale_out runs all of them for real",
    r"dagster (instance concurrency set|job backfill .*(-j conversations|--tags)) ?": "of several machines; tests/scale_out backfills through them",
}


def said(text: str) -> str:
    """A command without its comment and the folder of its program, on one line."""
    return re.sub(r"\s+", " ", re.sub(r"\s+# .*", "", text).replace(".venv/bin/", "")).strip()


def way(text: str) -> str | None:
    """The key of `TYPED` that a command belongs to: the same, or (of queries) its beginning."""
    return next((key for key in TYPED if text == key or (key.count('"') == 1 and text.startswith(key))), None)


ALL = sorted({said(command.text) for page in PAGES for command in commands(page)})


def test_every_command_of_the_docs_is_typed_here_or_listed_with_a_reason() -> None:
    listed = {text: [why for pattern, why in NOT_HERE.items() if re.match(pattern, text)] for text in ALL}
    nowhere = [text for text in ALL if not way(text) and not listed[text]]
    assert not nowhere, f"add to TYPED, or with a reason to NOT_HERE: {nowhere}"
    assert not [text for text in ALL if way(text) and listed[text]], "in both lists"
    assert not set(TYPED) - {way(text) for text in ALL}, "typed here and in no page any more"
    assert not [pattern for pattern in NOT_HERE if not any(re.match(pattern, text) for text in ALL)], (
        "listed and in no page any more"
    )


@dataclass(frozen=True)
class Workplace:
    """Where commands are typed."""

    folder: Path
    environment: dict[str, str]
    port: int

    def type(self, command: Typed) -> subprocess.CompletedProcess[str]:
        environment = self.environment | ({"RAR_SOURCES": command.world} if command.world else {})
        with subprocess.Popen(
            ["bash", "-c", command.text],
            cwd=self.folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                out, error = process.communicate(command.said, timeout=MOST_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                raise
        return subprocess.CompletedProcess(command.text, process.returncode, out, error)

    def serve(self, command: Typed) -> None:
        """Start, read its page, stop as Ctrl-C does."""
        log = self.folder / "served.log"
        with (
            log.open("w") as out,
            subprocess.Popen(
                ["bash", "-c", f"exec {command.text}"],
                cwd=self.folder,
                env=self.environment,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            ) as process,
        ):
            try:
                ends = time.monotonic() + 180
                while not answers(command.serves.format(port=self.port)):
                    assert process.poll() is None and time.monotonic() < ends, log.read_text()
                    time.sleep(0.3)
            finally:
                os.killpg(process.pid, signal.SIGINT)
                try:
                    process.wait(60)
                finally:
                    if process.poll() is None:
                        os.killpg(process.pid, signal.SIGKILL)
        assert "Traceback" not in log.read_text()


def answers(url: str) -> bool:
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=10) as answer:
            return answer.status == 200
    except OSError:
        return False


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Workplace:
    """A copy of the project (by links) with a lake, a Dagster and an environment of its own; set-up is taken as done."""
    above = tmp_path_factory.mktemp("typed")
    folder = above / "rar"
    (folder / "docs").mkdir(parents=True)
    for path in PROJECT.iterdir():
        if not path.name.startswith(".") and path.name not in ("docs", "lake", "build"):
            (folder / path.name).symlink_to(path)
    (folder / ".venv").mkdir()
    for path in Path(sys.prefix).iterdir():
        if path.name != ".ready":
            (folder / ".venv" / path.name).symlink_to(path)
    (folder / ".venv" / ".ready").touch()
    (folder / "titles.txt").write_text("Heat (1995)\nVertgio\n")
    lake = folder / "lake"
    (lake / "answers").mkdir(parents=True)
    (lake / "models").symlink_to(models)
    with AnswerCache(lake / "answers" / "answers.sqlite") as cache:
        cache.record(
            "http://127.0.0.1/v1", "m", Call("generate", attempts=1, status="answered"), {"k": {"raw": "1. Heat (1995)"}}
        )
        cache.record("http://127.0.0.1/v1", "m", Call("generate", attempts=1, error="TimeoutError"), {})
    settings = small_settings(
        Path("sample"), lake, encoder=str(above / "encoder"), pretraining_epochs=1, epochs=1, serve_port=free_port()
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAR_", "MAKE", "DAGSTER", "OPENAI"))}
    given = settings.model_dump(exclude_defaults=True, exclude={"sources", "lake"})
    environment = {f"RAR_{name.upper()}": str(value) for name, value in given.items()}
    path = os.pathsep.join([str(folder / ".venv" / "bin"), os.environ["PATH"]])
    return Workplace(
        folder, kept | environment | {"PATH": path, "DAGSTER_HOME": str(folder), "COLUMNS": "200"}, settings.serve_port
    )


@pytest.fixture(scope="module")
def worlds(workplace: Workplace) -> None:
    """What long commands read: `../mirror`, `../official/redial` and a small text encoder."""
    above = workplace.folder.parent
    small_encoder(above / "encoder")
    sources = small_world(above / "mirror")
    (above / "official" / "redial").mkdir(parents=True)
    for path in (sources / "redial").glob("test_data*"):
        (above / "official" / "redial" / path.name).symlink_to(path)


def texts(slow: bool) -> list[str]:
    found = {way(text): text for text in ALL if way(text)}
    return [found[key] for key, typed in TYPED.items() if typed.slow is slow and key in found]


def run(workplace: Workplace, text: str) -> None:
    given = TYPED[way(text) or ""]
    command = Typed(given.text or text, given.shows, given.said, given.serves, given.slow, given.world)
    if command.serves:
        fixed = re.search(r":(\d+)/", command.serves)
        if fixed:
            with socket.socket() as trying:
                if trying.connect_ex(("127.0.0.1", int(fixed[1]))) == 0:
                    pytest.skip(f"somebody else has port {fixed[1]}")
        workplace.serve(command)
        return
    done = workplace.type(command)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert re.search(command.shows, done.stdout), done.stdout[-3000:] + done.stderr[-1000:]
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize("text", texts(slow=False), ids=lambda text: text[:60])
def test_a_command_of_the_docs_does_what_it_says(workplace: Workplace, text: str) -> None:
    run(workplace, text)


def test_the_data_dictionary_is_what_its_command_writes(workplace: Workplace) -> None:
    """Typed above, into the copy's own folder of docs."""
    assert (workplace.folder / "docs" / "data-dictionary.md").read_bytes() == (
        PROJECT / "docs" / "data-dictionary.md"
    ).read_bytes()


@pytest.mark.slow
@pytest.mark.usefixtures("worlds")
@pytest.mark.parametrize("text", texts(slow=True), ids=lambda text: text[:60])
def test_a_long_command_of_the_docs_does_what_it_says(workplace: Workplace, text: str) -> None:
    run(workplace, text)
