"""Leave-last-out on rating sequences: what may be learned from, how ranks come about, and that the training learns and resumes exactly."""

import gzip
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import lightning
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rar_pipeline.errors import RarError
from rar_pipeline.retriever.sequence_training import (
    SequenceConfig,
    SequenceData,
    SequenceModule,
    SequenceRecommender,
    fit,
    held_out_quality,
)
from rar_pipeline.retriever.sequences import CUTS, Sequences, WindowBatches, left_padded, quality, ranks, read_sequences, windows

ITEMS = 31
CONFIG = SequenceConfig(
    length=6, hidden=16, blocks=1, dropout=0.1, batch=32, learning_rate=0.01, epochs=4, validate_every=2, patience=100, seed=3
)


@pytest.fixture(scope="module")
def circle() -> Sequences:
    """Every user goes round a circle of items, three items at a time: who knows the last one knows the next."""
    generator = np.random.default_rng(0)
    lengths, starts = generator.integers(1, 15, size=150), generator.integers(ITEMS, size=150)
    users = tuple((start + 3 * np.arange(length)) % ITEMS for start, length in zip(starts, lengths, strict=True))
    return Sequences(tuple(range(100, 100 + ITEMS)), users)


def module_for(sequences: Sequences, config: SequenceConfig) -> SequenceModule:
    torch.manual_seed(config.seed)
    return SequenceModule(SequenceRecommender(len(sequences.items), config), config)


def weights(module: SequenceModule) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.recommender.state_dict().items()}


@pytest.mark.parametrize("name", ["a.tsv", "a.tsv.gz"])
def test_reading(tmp_path: Path, name: str) -> None:
    text = "user\titems\n7\t30 10 20 10\n3\t20\n"
    (tmp_path / name).write_bytes(gzip.compress(text.encode()) if name.endswith("gz") else text.encode())
    found = read_sequences(tmp_path / "a.tsv")
    assert found.items == (10, 20, 30)
    assert [user.tolist() for user in found.users] == [[2, 0, 1, 0], [1]]
    assert [sequence.tolist() for sequence in found.training()] == [[2, 0], [1]]
    assert [(history.tolist(), target) for history, target in found.cases("validation")] == [([2, 0], 1)]
    assert [(history.tolist(), target) for history, target in found.cases("test")] == [([2, 0, 1], 0)]


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("1\t2 3\n", "line 1"),
        ("", "line 1"),
        ("user\titems\n1\t2 3\n2 4 5\n", "line 3"),
        ("user\titems\n1\t2 x\n", "line 2"),
        ("user\titems\n1\t\n", "line 2"),
        ("user\titems\n\t1 2\n", "line 2"),
        ("user\titems\n1\t2\n1\t3\n", "line 3"),
        ("user\titems\n", "no user"),
    ],
)
def test_what_is_malformed_is_told_with_file_and_line(tmp_path: Path, text: str, where: str) -> None:
    (tmp_path / "bad.tsv").write_text(text)
    with pytest.raises(RarError, match=rf"bad\.tsv.*{where}"):
        read_sequences(tmp_path / "bad.tsv")


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(RarError, match=r"none\.tsv: no such file"):
        read_sequences(tmp_path / "none.tsv")


@given(lengths=st.lists(st.integers(1, 40), min_size=1, max_size=5), length=st.integers(1, 12))
def test_every_item_but_a_first_is_foretold_once_from_what_came_before(lengths: list[int], length: int) -> None:
    users = [np.arange(1000 * user, 1000 * user + count) for user, count in enumerate(lengths)]
    cut = windows(users, length)
    foretold = [(int(before), int(item)) for piece in cut for before, item in pairwise(piece)]
    assert sorted(item for _, item in foretold) == [int(item) for user in users for item in user[1:]]
    assert all(item == before + 1 for before, item in foretold)
    assert all(2 <= len(piece) <= length + 1 for piece in cut)
    assert all(
        any(piece[-1] == user[-1] and len(piece) == min(len(user), length + 1) for piece in cut)
        for user in users
        if len(user) > 1
    )


@given(count=st.integers(1, 20), size=st.integers(1, 7), epoch=st.integers(0, 3))
def test_an_epoch_has_every_window_once_in_an_order_of_its_own(count: int, size: int, epoch: int) -> None:
    pieces = [np.arange(start, start + 2 + start % 4) for start in range(count)]
    batches = WindowBatches(pieces, size, seed=1)
    seen = [
        (items[row][mask[row]].tolist(), following[row][mask[row]].tolist())
        for items, mask, following in batches.epoch(epoch)
        for row in range(len(items))
    ]
    assert sorted(seen) == sorted((piece[:-1].tolist(), piece[1:].tolist()) for piece in pieces)
    again = [batch[0].tolist() for batch in batches.epoch(epoch)]
    assert again == [batch[0].tolist() for batch in batches.epoch(epoch)]
    assert len(again) == len(batches)


def test_padding_lies_on_the_left() -> None:
    items, mask = left_padded([np.array([5, 6]), np.array([7])], width=3)
    assert items.tolist() == [[0, 5, 6], [0, 0, 7]]
    assert mask.tolist() == [[False, True, True], [False, False, True]]


@settings(max_examples=100)
@given(data=st.data(), items=st.integers(2, 12), users=st.integers(1, 5))
def test_ranks_are_those_of_a_full_sort_without_the_history(data: st.DataObject, items: int, users: int) -> None:
    scores = np.array(
        data.draw(st.lists(st.lists(st.integers(0, 3), min_size=items, max_size=items), min_size=users, max_size=users)), float
    )
    histories = [np.array(data.draw(st.lists(st.integers(0, items - 1), max_size=items)), dtype=np.int64) for _ in range(users)]
    targets = np.array([data.draw(st.integers(0, items - 1)) for _ in range(users)])
    expected = []
    for row, history, target in zip(scores, histories, targets, strict=True):
        listed = [item for item in sorted(range(items), key=lambda item: (-row[item], item)) if item not in history]
        expected.append(listed.index(target) + 1 if target in listed else np.inf)
    assert ranks(scores.copy(), histories, targets).tolist() == expected


def test_quality_of_known_ranks() -> None:
    figures = quality(np.array([1.0, 3.0, 11.0, np.inf]))
    assert figures["recall_10"][0] == 0.5 and figures["recall_20"][0] == 0.75
    assert figures["ndcg_10"][0] == pytest.approx((1 + 1 / 2) / 4)
    assert figures["mrr_10"][0] == pytest.approx((1 + 1 / 3) / 4)
    # the standard error of a share of one half among four
    assert figures["recall_10"][1] == pytest.approx(np.sqrt(0.25 * 4 / 3) / 2)
    assert set(figures) == {f"{name}_{cut}" for name in ("recall", "ndcg", "mrr") for cut in CUTS}


@pytest.mark.parametrize("bfloat16", [False, True])
def test_it_learns_what_comes_next(circle: Sequences, tmp_path: Path, bfloat16: bool) -> None:
    config = replace(CONFIG, epochs=24, bfloat16=bfloat16)
    module = module_for(circle, config)
    before = weights(module)
    fit(module, SequenceData(circle, config), tmp_path / "attempt")
    unchanged = [name for name, value in weights(module).items() if torch.equal(value, before[name])]
    assert not unchanged
    assert not (tmp_path / "attempt").exists()
    figures = held_out_quality(module, SequenceData(circle, config))
    assert figures["recall_1"] > 0.9
    assert figures["recall_1_error"] < 0.1
    assert [point["epoch"] for point in module.curve] == list(range(2, 25, 2))


def test_the_last_two_items_of_a_user_are_never_learned_from(circle: Sequences, tmp_path: Path) -> None:
    generator = np.random.default_rng(9)
    other = Sequences(
        circle.items,
        tuple(np.append(user[:-2], generator.integers(ITEMS, size=2)) if len(user) >= 3 else user for user in circle.users),
    )
    config = replace(CONFIG, validate_every=CONFIG.epochs)  # one validation, so that both end with their last epoch
    learned = [
        weights(fit(module_for(world, config), SequenceData(world, config), tmp_path / str(number)))
        for number, world in enumerate((circle, other))
    ]
    assert all(torch.equal(learned[0][name], learned[1][name]) for name in learned[0])


class Kill(lightning.Callback):
    """A process that ends in the middle of its third epoch."""

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: object) -> None:
        if trainer.current_epoch == 2 and trainer.global_step % 4 == 2:
            raise RuntimeError("killed")


def test_a_killed_training_resumes_as_if_unbroken(circle: Sequences, tmp_path: Path) -> None:
    data = SequenceData(circle, CONFIG)
    assert len(data.batches) >= 3
    unbroken = fit(module_for(circle, CONFIG), data, tmp_path / "unbroken", keep=True)
    with pytest.raises(RuntimeError, match="killed"):
        fit(module_for(circle, CONFIG), SequenceData(circle, CONFIG), tmp_path / "broken", [Kill()])
    resumed = fit(module_for(circle, CONFIG), SequenceData(circle, CONFIG), tmp_path / "broken", keep=True)
    assert resumed.curve == unbroken.curve
    states = [
        torch.load(tmp_path / name / "last.ckpt", weights_only=True, map_location="cpu")["state_dict"]
        for name in ("unbroken", "broken")
    ]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_training_stops_when_validation_no_longer_improves(circle: Sequences, tmp_path: Path) -> None:
    config = replace(CONFIG, epochs=500, validate_every=1, patience=3, learning_rate=0.0)
    module = fit(module_for(circle, config), SequenceData(circle, config), tmp_path / "attempt")
    assert len(module.curve) == 1 + 3


def test_it_hands_a_retriever_its_norm_and_blocks(circle: Sequences) -> None:
    from rar_pipeline.retriever.network import NetworkConfig, Retriever

    recommender = SequenceRecommender(ITEMS, CONFIG)
    retriever = Retriever(
        NetworkConfig(items=50, known=20, text_width=8, hidden=CONFIG.hidden, blocks=CONFIG.blocks, neighbours=3)
    )
    retriever.norm.load_state_dict(recommender.norm.state_dict())
    retriever.blocks.load_state_dict(recommender.blocks.state_dict())
    assert recommender.table.shape == (ITEMS, CONFIG.hidden) and recommender.bias.shape == (ITEMS,)
