"""Two processes that train together do what one does with the doubled batch; through Dagster, on the CPU, with gloo."""

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

from rar_pipeline.corpus.encoder import text_hashes
from rar_pipeline.definitions import build_defs
from rar_pipeline.resources import Lake
from rar_pipeline.retriever.data import ShuffledBatches
from rar_pipeline.retriever.examples import query_text
from rar_pipeline.retriever.rounds import PRETRAINED
from rar_pipeline.retriever.version import WEIGHTS, Version, read_record
from rar_pipeline.settings import Settings
from rar_pipeline.tables import ALL, CASES, EMBEDDING_WIDTH, ITEM_EMBEDDINGS, MENTIONS, MOVIES

from .conftest import World

DATASET = "redial"


@given(
    lengths=st.lists(st.integers(0, 6), min_size=1, max_size=200),
    size=st.integers(1, 7),
    processes=st.integers(1, 4),
    epoch=st.integers(0, 3),
)
def test_the_shares_of_all_processes_are_the_batches_of_one_with_a_larger_batch(
    lengths: list[int], size: int, processes: int, epoch: int
) -> None:
    def epoch_of(size: int, rank: int, processes: int) -> list[tuple[list[int], float]]:
        batches = ShuffledBatches(np.array(lengths), size, seed=1, rank=rank, processes=processes)
        batches.set_epoch(epoch)
        shares = list(batches)
        assert len(shares) == len(batches)
        return [(share.numbers.tolist(), share.weight) for share in shares]

    alone = epoch_of(size * processes, 0, 1)
    assert sorted(number for batch, _ in alone for number in batch) == list(range(len(lengths)))
    together = [epoch_of(size, rank, processes) for rank in range(processes)]
    for (batch, weight), *shares in zip(alone, *together, strict=True):
        taught = [number for numbers, share in shares for number in numbers if share]
        assert sorted(taught) == sorted(batch)
        assert all(numbers for numbers, _ in shares), "a process without an example could not take part in the step"
        # the gradients' mean over the processes gives each example what it has in one process
        assert all(share / processes == pytest.approx(weight) for _, share in shares if share)


@dataclass(frozen=True)
class Place:
    """A lake that holds all that the pre-trained retriever is made of, and settings to train in it."""

    settings: Settings
    lake: Lake

    def trained(self) -> Version:
        return read_record(self.lake.folder("retriever", PRETRAINED, ALL))

    def weights(self) -> dict[str, np.ndarray]:
        return load_file(self.lake.folder("retriever", PRETRAINED, ALL) / WEIGHTS)


def place(world: World, folder: Path, **changes: object) -> Place:
    settings = Settings(
        _env_file=None, sources=str(folder / "tiny"), lake=folder / "lake", device="cpu",
        **({"hidden": 16, "pretraining_epochs": 4, "dropout": 0.0, "learning_rate": 0.01, "warm_up": 5, "negatives": 8, "neighbours": 5} | changes),
    )  # fmt: skip
    lake = Lake(root=str(settings.root))
    lake.write(CASES, world.cases, DATASET)
    lake.write(MENTIONS, world.mentions, DATASET)
    movie_ids = list(world.catalogue.movie_ids)
    lake.write(MOVIES, MOVIES.frame([{"movie_id": movie_id} for movie_id in movie_ids]))

    def wide(vectors: np.ndarray) -> np.ndarray:
        return np.pad(vectors, ((0, 0), (0, EMBEDDING_WIDTH - vectors.shape[1])))

    vectors = {"movie_id": movie_ids, "text_hash": movie_ids, "embedding": wide(world.catalogue.embeddings)}
    lake.write(ITEM_EMBEDDINGS, pl.DataFrame(vectors, schema=ITEM_EMBEDDINGS.schema))
    # the encoder finds every text in its store, so that no model is loaded
    texts = sorted({query_text(context, settings.context_turns) for context in world.cases["context"]})
    store = settings.lake / "embeddings" / settings.encoder
    store.mkdir(parents=True)
    known = {"text_hash": text_hashes(texts, settings.encoder), "embedding": wide(world.encode(texts))}
    pl.DataFrame(known).write_parquet(store / "part-made-up.parquet")
    return Place(settings, lake)


def materialise(at: Place) -> dg.ExecuteInProcessResult:
    with dg.DagsterInstance.ephemeral() as instance:
        return (
            build_defs(settings=at.settings)
            .resolve_implicit_global_asset_job_def()
            .execute_in_process(
                instance=instance,
                raise_on_error=False,
                asset_selection=[dg.AssetKey([PRETRAINED, "retriever"])],
            )
        )


@pytest.fixture(scope="module", autouse=True)
def one_thread_a_process() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@dataclass(frozen=True)
class Made:
    """A place after the retriever was made in it."""

    place: Place
    result: dg.ExecuteInProcessResult
    listening: list[set[str]]  # addresses on which its processes listened, each time that they were looked at


def made(at: Place) -> Made:
    listening: list[set[str]] = []
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(0.1):
            if len(processes := trainers()) == 2:
                listening.append(addresses(processes))

    looker = threading.Thread(target=look, daemon=True)
    looker.start()
    result = materialise(at)
    ended.set()
    looker.join()
    assert result.success
    return Made(at, result, listening)


@pytest.fixture(scope="module")
def alone(world: World, tmp_path_factory: pytest.TempPathFactory) -> Made:
    return made(place(world, tmp_path_factory.mktemp("alone"), devices=1, batch=32))


@pytest.fixture(scope="module")
def together(world: World, tmp_path_factory: pytest.TempPathFactory) -> Made:
    return made(place(world, tmp_path_factory.mktemp("together"), devices=2, batch=16))


def test_two_processes_learn_what_one_learns_with_the_doubled_batch(alone: Made, together: Made) -> None:
    one, two = alone.place.trained(), together.place.trained()
    print("loss:", [(a["loss"], b["loss"]) for a, b in zip(one.curve, two.curve, strict=True)])
    for before, after in zip(one.curve, two.curve, strict=True):
        assert after == pytest.approx(before, abs=1e-5)
    weights = together.place.weights()
    for name, values in alone.place.weights().items():
        if name.startswith(
            "prior."
        ):  # facts are alike here and move all scores alike, so that its gradient is rounding and nothing else
            continue
        np.testing.assert_allclose(weights[name], values, rtol=1e-3, atol=1e-4, err_msg=name)


def test_nothing_listens_to_the_network_while_they_train(together: Made) -> None:
    assert together.listening, "not looked at while both trained"
    assert set.union(*together.listening) <= {"127.0.0.1", "::1"}


@pytest.mark.parametrize(("which", "devices"), [("alone", 1), ("together", 2)])
def test_the_asset_is_described_the_same_way_however_it_was_trained(
    which: str, devices: int, request: pytest.FixtureRequest
) -> None:
    at: Made = request.getfixturevalue(which)
    version = at.place.trained()
    (event,) = at.result.asset_materializations_for_node("pretrained__retriever")
    assert event.metadata["weights_sha256"].value == version.weights_sha256
    assert event.metadata["trained_now"].value is True
    assert [record.data for record in event.metadata["curve"].records] == version.curve
    assert {"loss", "recall_20", "recall_10", "ndcg_10", "learning_rate"} < set(version.curve[0])
    assert all("data:image/png" in event.metadata[plot].value for plot in ("curve_plot", "loss_plot"))
    assert event.metadata["config"].value["training"]["devices"] == devices
    assert not list(at.place.lake.folder("retriever", "attempts", ALL).glob("*"))


@pytest.mark.parametrize("which", ["alone", "together"])
def test_logs_stay_when_the_attempt_is_gone(which: str, request: pytest.FixtureRequest) -> None:
    at: Made = request.getfixturevalue(which)
    version = at.place.trained()
    logs = at.place.lake.folder("retriever", "logs", ALL) / version.fingerprint
    table = pl.read_csv(logs / "metrics.csv")
    assert {"step_loss", "learning_rate"} < set(table.columns)
    rows = table.drop_nulls("recall_20")
    for figure in ("recall_20", "recall_10", "ndcg_10", "loss"):
        assert rows[figure].to_list() == pytest.approx([record[figure] for record in version.curve])
    assert len(list(logs.glob("events.out.tfevents.*"))) == 1, "one process alone logs"


def test_a_mistake_of_the_user_is_told_in_one_line_by_the_asset(world: World, tmp_path: Path) -> None:
    at = place(world, tmp_path, devices=2)
    at.lake.file(ITEM_EMBEDDINGS).unlink()
    said = failure(materialise(at))
    assert "item_embeddings" in said and "not there yet" in said and "\n" not in said


@pytest.mark.slow  # three starts of two processes
def test_a_training_that_was_killed_is_told_in_one_line_and_goes_on_where_it_was(world: World, tmp_path: Path) -> None:
    whole, broken = (
        place(world, tmp_path / name, devices=2, batch=8, dropout=0.3, pretraining_epochs=8, patience=8)
        for name in ("whole", "broken")
    )
    assert materialise(whole).success

    def kill_after_an_epoch() -> None:
        attempts = broken.lake.folder("retriever", "attempts", ALL)
        while not list(attempts.glob("*/last.ckpt")):
            time.sleep(0.01)
        for process in trainers():
            os.kill(process, signal.SIGKILL)
            break

    killer = threading.Thread(target=kill_after_an_epoch, daemon=True)
    killer.start()
    said = failure(materialise(broken))
    killer.join()
    assert "training on 2 devices broke off" in said and "goes on" in said and "\n" not in said
    deadline = time.monotonic() + 30
    while trainers():
        assert time.monotonic() < deadline, "the processes of a dead training live on"
        time.sleep(0.2)

    result = materialise(broken)
    assert result.success
    curve = broken.trained().curve
    assert [record["epoch"] for record in curve] == list(range(8))
    for before, after in zip(whole.trained().curve, curve, strict=True):
        assert after == pytest.approx(before, abs=1e-5)


def trainers() -> list[int]:
    """Ids of the training processes that this one has started, the first one first."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            parents = (folder / "status").read_text().split("PPid:")[1].split()[0]
        except OSError:
            continue
        if b"rar_pipeline.defs.training_process" in words:
            found.append((int(parents) != os.getpid(), int(folder.name)))
    return [number for _, number in sorted(found)]


def failure(result: dg.ExecuteInProcessResult) -> str:
    """What a person is told of the only step, which failed."""
    (event,) = [event for event in result.all_events if event.is_step_failure]
    assert event.step_failure_data.user_failure_data is not None, event.step_failure_data.error
    return str(event.step_failure_data.user_failure_data.description)


def addresses(processes: list[int]) -> set[str]:
    """Addresses on which the processes listen for TCP."""
    own = set()
    for process in processes:
        with contextlib.suppress(OSError):  # it has just ended
            for file in Path(f"/proc/{process}/fd").iterdir():
                with contextlib.suppress(OSError):  # or closed this one
                    own.add(str(file.readlink()))
    found = set()
    for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and f"socket:[{words[9]}]" in own:
                number = bytes.fromhex(words[1].split(":")[0])
                quads = [number[start : start + 4][::-1] for start in range(0, len(number), 4)]
                found.add(socket.inet_ntop(family, b"".join(quads)))
    return found
