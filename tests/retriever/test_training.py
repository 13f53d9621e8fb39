"""The supervised round learns, resumes where it was killed, and keeps what has not changed."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rar_pipeline.errors import RarError
from rar_pipeline.retriever.data import Examples, SupervisedData, Taught
from rar_pipeline.retriever.examples import build_queries, positives
from rar_pipeline.retriever.ranking_quality import ranking_quality
from rar_pipeline.retriever.rounds import pretrain, supervised_round
from rar_pipeline.retriever.search import build_index, search
from rar_pipeline.retriever.training import SupervisedModule, TrainingConfig, learning_rate_factor, train
from rar_pipeline.retriever.version import load
from rar_pipeline.settings import Settings

from .conftest import EACH, GENRES, World, genre_of

SETTINGS = Settings(
    hidden=16, epochs=6, pretraining_epochs=8, batch=32, dropout=0.1, learning_rate=0.01, negatives=8, patience=12, neighbours=5
)


def run(world: World, folder: Path, settings: Settings = SETTINGS) -> tuple[object, bool]:
    made_of = world.catalogue, world.encode, settings, print
    pretrain(folder / "pretrained", folder / "attempts", world.cases, world.mentions, *made_of)
    return supervised_round(folder / "retriever", folder / "attempts", "redial", world.cases, folder / "pretrained", *made_of)


@pytest.fixture(scope="module")
def trained(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    assert run(world, folder)[1]
    return folder


def test_it_learns_the_genre_from_history_and_from_words(world: World, trained: Path) -> None:
    retriever, version = load(trained / "retriever")
    test = world.cases.filter(pl.col("split") == "test")
    queries = build_queries(test, world.catalogue, world.encode, turns=6, max_history=50)
    found, _ = search(build_index(retriever, world.catalogue, version.known), queries, EACH - 3)
    right = [
        genre_of(world.catalogue.movie_ids[row]) == genre_of(target[0])
        for rows, target in zip(found, test["targets"], strict=True)
        for row in rows
    ]
    assert np.mean(right) > 0.9, "chance is one in six"
    assert version.figures["recall_20"] > 0.8


def test_a_movie_that_no_conversation_names_is_found_by_its_text(world: World, trained: Path) -> None:
    retriever, version = load(trained / "retriever")
    never = {f"tt{genre * EACH + EACH - 1:03d}" for genre in range(GENRES)}
    assert not never & set(version.known)
    test = world.cases.filter(pl.col("split") == "test")
    queries = build_queries(test, world.catalogue, world.encode, turns=6, max_history=50)
    found, _ = search(build_index(retriever, world.catalogue, version.known), queries, EACH)
    hits = [bool(never & {world.catalogue.movie_ids[row] for row in rows}) for rows in found]
    assert np.mean(hits) > 0.5


def test_the_same_inputs_are_not_trained_twice_and_other_settings_are(world: World, trained: Path) -> None:
    version, now = run(world, trained)
    assert not now
    other, now = run(world, trained, SETTINGS.model_copy(update={"epochs": 1}))
    assert now and other.fingerprint != version.fingerprint
    run(world, trained)  # as the other tests expect it


def test_the_same_seed_gives_the_same_weights(world: World, tmp_path: Path) -> None:
    quick = SETTINGS.model_copy(update={"epochs": 2})
    first, _ = run(world, tmp_path / "a", quick)
    second, _ = run(world, tmp_path / "b", quick)
    assert first.weights_sha256 == second.weights_sha256


@pytest.mark.parametrize("average", [0.0, 2.0])
def test_a_killed_training_resumes_and_ends_as_an_unbroken_one(world: World, tmp_path: Path, average: float) -> None:
    class KilledError(Exception):
        pass

    taught, judged = (world.cases.filter(pl.col("split") == split) for split in ("train", "validation"))
    window = {"turns": 6, "max_history": 50}
    examples = Examples(
        world.catalogue,
        list(world.catalogue.movie_ids[::2]),
        build_queries(taught, world.catalogue, world.encode, **window),
        positives(taught, world.catalogue),
        [],
        build_queries(judged, world.catalogue, world.encode, **window),
        judged,
    )
    config = TrainingConfig(seed=0, batch=32, epochs=4, patience=9, learning_rate=0.01, negatives=8, average=average)

    def fit(attempt: Path, die_after: int | None = None) -> dict[str, torch.Tensor]:
        from rar_pipeline.retriever.network import NetworkConfig, Retriever

        torch.manual_seed(0)
        module = SupervisedModule(Retriever(NetworkConfig(72, 36, 16, hidden=16, dropout=0.2)), examples, config)
        said: list[str] = []

        def log(line: str) -> None:
            said.append(line)
            if die_after is not None and sum(line.startswith("epoch") for line in said) > die_after:
                raise KilledError

        kept = train(module, SupervisedData(examples, config.batch, config.seed), attempt, tmp_path / "logs" / attempt.name, log)
        assert die_after is not None or attempt.name == "whole" or any(line.startswith("resuming") for line in said)
        assert len(module.curve) == config.epochs
        return kept.state_dict()

    whole = fit(tmp_path / "whole")
    with pytest.raises(KilledError):
        fit(tmp_path / "broken", die_after=2)
    assert (tmp_path / "broken" / "last.ckpt").exists()
    resumed = fit(tmp_path / "broken")
    for name, value in whole.items():
        torch.testing.assert_close(resumed[name], value, rtol=1e-4, atol=1e-5)
    assert not (tmp_path / "broken").exists(), "a finished attempt leaves nothing to resume"
    logged = [pl.read_csv(tmp_path / "logs" / name / "metrics.csv").drop_nulls("recall_20") for name in ("whole", "broken")]
    assert logged[0].select("epoch", "recall_20").equals(logged[1].select("epoch", "recall_20")), "logs go on, too"


def test_the_mean_of_the_weights_forgets_as_its_name_says_and_starts_young() -> None:
    """Against the recurrence by hand: kept share min(1 - 1 / steps, (1 + t) / (10 + t)), the first weights as they are."""
    from rar_pipeline.retriever.network import NetworkConfig, Retriever
    from rar_pipeline.retriever.training import Averaged

    retriever = Retriever(NetworkConfig(8, 4, 16, hidden=8))
    average = Averaged(retriever)
    average.steps = 4.0
    values = torch.linspace(-1, 1, 40, dtype=torch.float64)
    expected = float(values[0])
    for step, value in enumerate(values):
        with torch.no_grad():
            retriever.bias.fill_(value)
        average.update_parameters(retriever)
        kept = min(1 - 1 / 4, (1 + step) / (10 + step)) if step else 0.0
        expected = kept * expected + (1 - kept) * float(value)
    torch.testing.assert_close(average.module.bias, torch.full((4,), expected), rtol=1e-5, atol=1e-6)
    assert not any(parameter.requires_grad for parameter in average.parameters())
    assert retriever.bias.requires_grad, "the trained weights still are"


def test_the_step_is_the_full_softmax_where_every_movie_is_known(world: World) -> None:
    """Against the plain cross-entropy over the whole catalogue, written out in float64."""
    from rar_pipeline.retriever.network import NetworkConfig, Retriever

    taught = world.cases.filter(pl.col("split") == "train")
    queries = build_queries(taught, world.catalogue, world.encode, turns=6, max_history=50)
    pairs = positives(taught, world.catalogue)
    examples = Examples(world.catalogue, list(world.catalogue.movie_ids), queries, pairs, [], queries, taught)
    torch.manual_seed(0)
    retriever = Retriever(NetworkConfig(72, 72, 16, hidden=16, dropout=0.0)).eval()
    module = SupervisedModule(retriever, examples, TrainingConfig(0, 8, 1, 1, 0.01, 8))
    batch = queries.batch([row for row, _ in pairs[:8]])
    targets = torch.tensor([target for _, target in pairs[:8]])
    loss = module.training_step(Taught(batch, targets, torch.ones(8, dtype=torch.bool), torch.full((8,), 1 / 8)), 0)

    index = build_index(retriever, world.catalogue, examples.known)
    with torch.no_grad():
        query = retriever.query(index.vectors[batch[0]], *batch[1:]).double()
    logits = query @ index.vectors.double().T + index.flat.biases
    expected = -(logits[torch.arange(8), targets] - logits.logsumexp(dim=1)).mean()
    assert float(loss.detach()) == pytest.approx(float(expected), abs=1e-5)


def test_sampled_negatives_stand_for_all_others(world: World) -> None:
    """logQ correction: the expected sum of exp over the sampled movies is the sum over all unknown ones."""
    taught = world.cases.filter(pl.col("split") == "train")
    queries = build_queries(taught, world.catalogue, world.encode, turns=6, max_history=50)
    known = list(world.catalogue.movie_ids[:12])
    examples = Examples(world.catalogue, known, queries, positives(taught, world.catalogue), [], queries, taught)
    from rar_pipeline.retriever.network import NetworkConfig, Retriever

    module = SupervisedModule(Retriever(NetworkConfig(72, 12, 16, hidden=16)), examples, TrainingConfig(0, 8, 1, 1, 0.01, 10))
    logits = torch.randn(72, generator=torch.Generator().manual_seed(1))
    target = torch.tensor([3])  # known, so every unknown movie is a negative
    generator = torch.Generator().manual_seed(0)
    sums = []
    for _ in range(3000):
        rows, _, added = module.candidates(target, generator)
        sums.append(float((logits[rows] + added[0])[12:].exp().sum()))
    assert np.mean(sums) == pytest.approx(float(logits[12:].exp().sum()), rel=0.03)


def test_damaged_weights_are_refused_with_the_file_named(world: World, tmp_path: Path) -> None:
    run(world, tmp_path, SETTINGS.model_copy(update={"epochs": 1}))
    weights = tmp_path / "retriever" / "retriever.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(RarError, match=r"retriever\.safetensors"):
        load(tmp_path / "retriever")
    record = tmp_path / "retriever" / "retriever.json"
    record.write_text(json.dumps({"name": "round_0"}))
    with pytest.raises(RarError, match=r"retriever\.json: damaged"):
        load(tmp_path / "retriever")


@given(
    steps=st.integers(1, 2000),
    warm_up=st.integers(0, 300),
    schedule=st.sampled_from(("constant", "cosine", "linear")),
)
def test_the_learning_rate_rises_then_stays_or_falls_to_zero(steps: int, warm_up: int, schedule: str) -> None:
    factors = np.array([learning_rate_factor(step, steps, warm_up, schedule) for step in range(steps + 1)])
    assert (factors >= 0).all() and (factors <= 1).all()
    rising, after = factors[:warm_up], factors[warm_up:]
    assert (np.diff(rising) > 0).all()
    if len(after):
        assert after[0] == 1.0
        assert (np.diff(after) <= 0).all()
        assert after[-1] == (1.0 if schedule == "constant" or warm_up == steps else pytest.approx(0.0, abs=1e-12))


def test_bfloat16_learns_too_and_is_judged_in_full_precision(world: World, tmp_path: Path) -> None:
    # without the co-occurrence feature, whose weight is fitted once more after the best epoch
    alone = SETTINGS.model_copy(update={"neighbours": 0})
    half, _ = run(world, tmp_path / "half", alone.model_copy(update={"precision": "bf16"}))
    full, _ = run(world, tmp_path / "full", alone)
    assert half.training["precision"] == "bf16-mixed"
    assert half.weights_sha256 != full.weights_sha256
    assert half.curve[-1]["loss"] == pytest.approx(full.curve[-1]["loss"], rel=0.05)
    retriever, version = load(tmp_path / "half" / "retriever")
    assert {value.dtype for value in retriever.parameters()} == {torch.float32}
    # the figures of the best epoch come again from the stored weights
    validation = world.cases.filter(pl.col("split") == "validation")
    queries = build_queries(validation, world.catalogue, world.encode, turns=6, max_history=50)
    found, _ = search(build_index(retriever, world.catalogue, version.known), queries, 20)
    best = max(version.curve, key=lambda record: record["recall_20"])
    assert ranking_quality(found, validation, world.catalogue) == pytest.approx(
        {name: best[name] for name in ("recall_10", "recall_20", "ndcg_10")}
    )


def test_a_loss_that_is_no_number_ends_the_training_with_one_line(world: World, tmp_path: Path) -> None:
    with pytest.raises(RarError, match=r"diverged.*RAR_LEARNING_RATE"):
        run(world, tmp_path, SETTINGS.model_copy(update={"learning_rate": 1e30, "warm_up": 0}))


def test_a_version_that_is_trained_anew_begins_its_logs_anew(world: World, tmp_path: Path) -> None:
    version, _ = run(world, tmp_path, SETTINGS.model_copy(update={"epochs": 2}))
    logs = tmp_path / "logs" / version.fingerprint
    first = (logs / "metrics.csv").read_text()
    for path in (tmp_path / "retriever").iterdir():
        path.unlink()
    run(world, tmp_path, SETTINGS.model_copy(update={"epochs": 2}))
    assert (logs / "metrics.csv").read_text() == first
    assert len(list(logs.glob("events.out.tfevents.*"))) == 1


def test_without_validation_cases_it_trains_and_keeps_the_first_epoch(world: World, tmp_path: Path) -> None:
    untold = replace(world, cases=world.cases.filter(pl.col("split") != "validation"))
    version, _ = run(untold, tmp_path, SETTINGS.model_copy(update={"epochs": 3, "patience": 2}))
    assert [record["recall_20"] for record in version.curve] == [0.0] * 3
