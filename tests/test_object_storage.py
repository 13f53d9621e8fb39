"""The lake on S3: two machines as two mounts of JuiceFS, with a real S3 server, Redis and the kernel's FUSE beneath."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from rar_pipeline.definitions import build_defs
from rar_pipeline.files import alone
from rar_pipeline.resources import Lake
from rar_pipeline.tables import CASES, MENTIONS, TITLES

from .small_world import free_port, small_settings, small_world

BUCKET, KEY, SECRET = "rar", "planted-key-id", "planted-secret-key"
BIN = Path(sys.executable).parent
ROWS = 20_000

READER = """
import collections, json, sys, time
import polars as pl
from pathlib import Path
path, stop, seen = Path(sys.argv[1]), Path(sys.argv[2]), collections.Counter()
while not stop.exists():
    try:
        frame = pl.read_parquet(path, hive_partitioning=False)
        seen["whole" if frame.height == int(sys.argv[3]) and frame["year"].n_unique() == 1 else "mixed"] += 1
    except Exception as error:
        seen[f"{type(error).__name__}: {error}"[:120]] += 1
print(json.dumps(seen))
"""

HOLDER = """
import sys, time
from pathlib import Path
from rar_pipeline.files import alone
with alone(Path(sys.argv[1]), lambda: print("waits", flush=True)):
    print("has it", flush=True)
    time.sleep(600)
"""

# numbered files, each named on the output once its writing has returned
ONE_BY_ONE = """
import itertools, sys
from pathlib import Path
from rar_pipeline.files import write_json
for number in itertools.count():
    write_json(Path(sys.argv[1]) / f"{number}.json", {"number": number, "filling": "x" * 5000})
    print(number, flush=True)
"""

# writes a table under its temporary name, says so, and never moves it into place
HALF_WAY = """
import sys, time
from pathlib import Path
from rar_pipeline.files import replacing
with replacing(Path(sys.argv[1])) as temporary:
    with temporary.open("wb") as file:
        file.write(b"half of it" * 300_000)
        file.flush()
        print("half way", flush=True)
        time.sleep(600)
"""


@dataclass
class Machine:
    """One mount, in processes of its own that can be killed as one."""

    folder: Path
    start: Callable[[Path], subprocess.Popen[bytes]]
    process: subprocess.Popen[bytes] | None = None

    def up(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.process = self.start(self.folder)
        wait_for(lambda: os.path.ismount(self.folder), f"mount at {self.folder}")

    def killed(self) -> None:
        """As if the power had gone: the processes of the mount die and nobody says goodbye."""
        assert self.process is not None
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        subprocess.run(["umount", "-l", str(self.folder)], check=False, capture_output=True)

    @property
    def lake(self) -> Lake:
        return Lake(root=str(self.folder / "lake" / "world"))


@dataclass
class Storage:
    """A bucket, and two machines that have it mounted."""

    place: Path
    start_redis: Callable[[], subprocess.Popen[bytes]]
    redis: subprocess.Popen[bytes]
    machines: list[Machine] = field(default_factory=list)


def wait_for(true: Callable[[], bool], what: str, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.05)


def documented(begin: str, here: dict[str, str]) -> list[str]:
    """Arguments of the page's command that begins so, with the addresses and folders of this test; without the program."""
    page = (Path(__file__).parent.parent / "docs" / "several-machines.md").read_text(encoding="utf-8")
    (line,) = (line for line in page.splitlines() if line.startswith(begin))
    for there, own in here.items():
        line = line.replace(there, own)
    return shlex.split(line)[1:]


def program(name: str) -> str:
    found = shutil.which(name, path=os.pathsep.join([str(BIN), os.environ["PATH"]]))
    if not found:
        pytest.skip(f"no {name} on this machine; docs/several-machines.md says where it comes from")
    return found


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    """A real S3 server, Redis that writes every change to disk, a volume, two mounts."""
    if not os.access("/dev/fuse", os.W_OK) or os.geteuid() != 0:
        pytest.skip("file systems cannot be mounted here: needs /dev/fuse and root")
    juicefs, redis, moto = program("juicefs"), program("redis-server"), program("moto_server")
    boto3 = pytest.importorskip("boto3")
    place = tmp_path_factory.mktemp("object_storage")
    (place / "redis").mkdir()
    redis_port, s3_port = free_port(), free_port()
    endpoint = f"http://127.0.0.1:{s3_port}"
    here = {
        "--bind 10.0.0.5 --port 6379": f"--bind 127.0.0.1 --port {redis_port}",
        "/var/lib/redis": str(place / "redis"),
        "10.0.0.5:6379": f"127.0.0.1:{redis_port}",
        "https://s3.example/rar": f"{endpoint}/{BUCKET}",
    }
    environment = {**os.environ, "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": "us-east-1"}

    def start(command: list[str], log: str) -> subprocess.Popen[bytes]:
        with (place / log).open("ab") as said:
            return subprocess.Popen(command, stdout=said, stderr=said, env=environment, start_new_session=True)

    def mount(folder: Path) -> subprocess.Popen[bytes]:
        its_own = {"/srv/rar": str(folder), "/var/cache/juicefs": str(place / f"cache-{folder.name}")}
        # two mounts on one machine must not ask for the same port of figures
        return start(
            [juicefs, *documented("juicefs mount", here | its_own), "--metrics", f"127.0.0.1:{free_port()}"], "mount.log"
        )

    def start_redis() -> subprocess.Popen[bytes]:
        return start([redis, *documented("redis-server", here)], "redis.log")

    s3 = start([moto, "-H", "127.0.0.1", "-p", str(s3_port)], "s3.log")
    found = Storage(place, start_redis, start_redis())
    try:
        client = boto3.client(
            "s3", endpoint_url=endpoint, aws_access_key_id=KEY, aws_secret_access_key=SECRET, region_name="us-east-1"
        )
        wait_for(lambda: _answers(client), "the S3 server")
        client.create_bucket(Bucket=BUCKET)
        volume = [juicefs, *documented("juicefs format", here)]
        made = subprocess.run(volume, env=environment, capture_output=True, text=True, timeout=120)
        assert made.returncode == 0, made.stderr
        found.machines = [Machine(place / name, mount) for name in ("one", "two")]
        for machine in found.machines:
            machine.up()
        yield found
    finally:
        for machine in found.machines:
            if machine.process is not None:
                machine.killed()
        for server in (found.redis, s3):
            server.kill()
            server.wait()


def _answers(client: object) -> bool:
    try:
        client.list_buckets()  # type: ignore[attr-defined]
    except Exception:
        return False
    return True


def titles(year: int) -> pl.DataFrame:
    rows = [dict.fromkeys(TITLES.schema) | {"movie_id": f"tt{row:07}", "title": f"Film {row}"} for row in range(ROWS)]
    return TITLES.conform(pl.DataFrame(rows, schema=TITLES.schema).with_columns(year=pl.lit(year, TITLES.schema["year"])))


def year_of(lake: Lake) -> int:
    return int(lake.read(TITLES)["year"].unique().item())


def test_another_machine_reads_a_table_that_is_being_replaced_whole_and_never_misses_it(storage: Storage, tmp_path: Path) -> None:
    one, two = (machine.lake for machine in storage.machines)
    one.write(TITLES, titles(1900))
    stop = tmp_path / "stop"
    arguments = [str(two.file(TITLES)), str(stop), str(ROWS)]
    with subprocess.Popen([sys.executable, "-c", READER, *arguments], stdout=subprocess.PIPE, text=True) as reader:
        for year in range(1901, 1916):
            one.write(TITLES, titles(year))
            assert year_of(two) == year  # at once, not when some cache has grown old
        stop.touch()
        seen = json.loads(reader.communicate(timeout=60)[0])
    assert set(seen) == {"whole"}
    assert seen["whole"] > 0


def test_an_asset_is_made_by_one_machine_at_a_time(storage: Storage) -> None:
    first, second = (machine.lake.path / ".locks" / "movies" for machine in storage.machines)
    holder = [sys.executable, "-c", HOLDER, str(first)]
    with subprocess.Popen(holder, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "has it\n"
        waited: list[bool] = []

        def waiting() -> None:
            waited.append(True)
            running.kill()  # what dies lets go

        with alone(second, waiting):
            assert waited == [True]


def test_a_machine_that_dies_half_way_leaves_the_table_as_it_was_and_loses_nothing_that_was_written(storage: Storage) -> None:
    one, two = storage.machines
    one.lake.write(TITLES, titles(1950))
    half = [sys.executable, "-c", HALF_WAY, str(one.lake.file(TITLES))]
    with subprocess.Popen(half, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "half way\n"
        one.lake.write(TITLES, titles(1951), name="beside")
        one.killed()  # right after the write of the other table has returned
        writer.kill()
    assert year_of(two.lake) == 1950
    assert set(two.lake.read(TITLES, name="beside")["year"]) == {1951}
    shutil.rmtree(one.folder.parent / "cache-one", ignore_errors=True)  # nothing of it may have lain there alone
    one.up()
    assert year_of(one.lake) == 1950
    assert set(one.lake.read(TITLES, name="beside")["year"]) == {1951}
    one.lake.write(TITLES, titles(1952))
    assert year_of(two.lake) == 1952


def test_what_was_written_outlives_a_redis_that_dies(storage: Storage) -> None:
    folder = storage.machines[0].folder / "lake" / "numbered"
    with subprocess.Popen([sys.executable, "-c", ONE_BY_ONE, str(folder)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        while int(writer.stdout.readline()) < 20:
            pass
        storage.redis.kill()
        storage.redis.wait()
        storage.redis = storage.start_redis()
        time.sleep(1)
        writer.kill()
        last = int((writer.stdout.read().split() or [20])[-1])
    for machine in storage.machines:
        for number in range(last + 1):
            assert json.loads((machine.folder / "lake" / "numbered" / f"{number}.json").read_text())["number"] == number


@pytest.mark.slow
def test_a_second_machine_goes_on_with_the_next_data_set_of_what_the_first_has_made(storage: Storage, tmp_path: Path) -> None:
    sources = small_world(tmp_path / "world")
    corpus = dg.AssetSelection.groups("sources", "corpus") - dg.AssetSelection.assets("item_embeddings")
    conversations = dg.AssetSelection.groups("conversations")
    one, two = storage.machines
    made(one, sources, corpus | conversations, "redial")
    made(two, sources, conversations, "inspired")
    for machine, dataset in ((one, "inspired"), (two, "redial")):
        cases = machine.lake.read(CASES, dataset)
        assert len(cases) > 0
        assert cases["dataset"].unique().to_list() == [dataset]
    linked = two.lake.read(MENTIONS, "inspired")["movie_id"].drop_nulls()  # by the index that the other machine made
    assert len(linked) > 0
    assert linked.is_in(one.lake.read(TITLES)["movie_id"].implode()).all()


def made(machine: Machine, sources: Path, selection: dg.AssetSelection, dataset: str) -> None:
    definitions = build_defs(settings=small_settings(sources, machine.folder / "lake"))
    job = definitions.resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.ephemeral() as instance:
        keys = sorted(selection.resolve(definitions.resolve_asset_graph()))
        result = job.execute_in_process(instance=instance, partition_key=dataset, asset_selection=keys)
    assert result.success


def test_keys_of_the_storage_lie_neither_in_the_lake_nor_in_what_is_known_of_it(storage: Storage) -> None:
    lake = storage.machines[0].folder / "lake"
    known = [*storage.place.rglob("*.aof"), storage.place / "mount.log"]
    files = [path for path in (*lake.rglob("*"), *known) if path.is_file()]
    assert {".parquet", ".aof", ".log"} <= {path.suffix for path in files}
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]
