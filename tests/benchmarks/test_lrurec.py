"""Ours is the published network, computed otherwise: from equal weights the same loss, the same gradients, the same steps."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.lrurec import as_reference, hits, main
from benchmarks.lrurec_reference import reference_loss, reference_optimiser, reference_step
from rar_pipeline.retriever.sequence_training import SequenceConfig, SequenceModule, SequenceRecommender
from rar_pipeline.retriever.sequences import Sequences, left_padded

ITEMS = 23
CONFIG = SequenceConfig(length=11, hidden=8, dropout=0.0, batch=4, learning_rate=0.01)


def batch_of(windows: list[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    items, mask = left_padded([window[:-1] for window in windows], width=CONFIG.length)
    following, _ = left_padded([window[1:] for window in windows], width=CONFIG.length)
    return torch.from_numpy(items), torch.from_numpy(mask), torch.from_numpy(following)


@settings(max_examples=15, deadline=None)
@given(lengths=st.lists(st.integers(1, 11), min_size=1, max_size=5), seed=st.integers(0, 1000))
def test_loss_and_gradients_are_those_of_the_reference(lengths: list[int], seed: int) -> None:
    torch.manual_seed(seed)
    module = SequenceModule(SequenceRecommender(ITEMS, CONFIG), CONFIG)
    ours = module.recommender
    torch.nn.init.normal_(ours.table)  # larger than at the start, so that a difference would show
    reference = as_reference(ours, CONFIG)
    generator = np.random.default_rng(seed)
    items, mask, following = batch_of([generator.integers(ITEMS, size=length + 1) for length in lengths])
    logits = reference((items + 1) * mask)
    states, places = ours(items, mask)
    torch.testing.assert_close(states @ ours.table.T + ours.bias, logits.flatten(0, 1)[places, 1:], rtol=1e-4, atol=1e-4)
    # the reference can also give the padding item; it is no item of ours
    masked = logits.index_fill(-1, torch.tensor([0]), -torch.inf)
    theirs, loss = reference_loss(masked, (following + 1) * mask), module.training_step((items, mask, following), 0)
    torch.testing.assert_close(loss, theirs, rtol=1e-5, atol=1e-5)
    theirs.backward()
    loss.backward()
    table, bias = reference.table.weight.grad, reference.bias.grad
    assert table is not None and bias is not None
    torch.testing.assert_close(ours.table.grad, table[1:], rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(ours.bias.grad, bias[1:], rtol=1e-3, atol=1e-5)
    for block, their_block in zip(ours.blocks, reference.stack, strict=True):
        ring = torch.stack([parameter.grad for parameter in (block.unit.nu, block.unit.theta, block.unit.gamma)])
        torch.testing.assert_close(ring, their_block.unit.ring.grad, rtol=1e-3, atol=1e-5)
        into = torch.complex(*block.unit.into_state.weight.grad.chunk(2))
        torch.testing.assert_close(into, their_block.unit.into_state.weight.grad, rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(block.rise.weight.grad, their_block.rise.weight.grad, rtol=1e-3, atol=1e-5)


def test_steps_lead_to_the_same_lists() -> None:
    torch.manual_seed(0)
    module = SequenceModule(SequenceRecommender(ITEMS, CONFIG), CONFIG)
    ours, reference = module.recommender, as_reference(module.recommender, CONFIG)
    optimiser, their_optimiser = module.configure_optimizers(), reference_optimiser(reference, 0.01)
    losses = []
    for step in range(30):
        items, mask, following = batch_of(
            [(step + row + 3 * np.arange(length)) % ITEMS for row, length in enumerate((12, 6, 2, 9))]
        )
        optimiser.zero_grad()
        loss = module.training_step((items, mask, following), 0)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(ours.parameters(), CONFIG.clip)
        optimiser.step()
        losses.append(
            (float(loss.detach()), reference_step(reference, their_optimiser, (items + 1) * mask, (following + 1) * mask))
        )
    # the reference's loss counts the padding item too, which soon has no chance
    assert losses[-1][0] < losses[0][0] - 0.3
    assert all(abs(mine - theirs) < 0.06 for mine, theirs in losses)
    users = tuple((5 * user + 3 * np.arange(3 + user % 5)) % ITEMS for user in range(40))
    world = Sequences(tuple(range(ITEMS)), users)
    mine, theirs = hits(ours, world, CONFIG.length), hits(reference, world, CONFIG.length)
    assert (mine == theirs).mean() > 0.9 and mine.mean() > 0.9


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "sequences").mkdir()
    users = [f"{user}\t{' '.join(str((user + 3 * k) % 31) for k in range(2 + user % 9))}" for user in range(60)]
    (tmp_path / "sequences" / "video.tsv").write_text("user\titems\n" + "\n".join(users) + "\n")
    return tmp_path


def run(*arguments: object) -> int:
    return main(["--data", "video", "--json", *map(str, arguments)])


def test_training_shows_test_figures_beside_the_published_and_goes_on(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ("--files", files, "--folder", tmp_path / "out")
    printed = []
    for more in (("--epochs", 4), ("--epochs", 8, "--resume")):
        assert run(*common, *more) == 0
        printed.append([json.loads(line) for line in capsys.readouterr().out.splitlines()])
    (*_, before), (*rows, after) = printed
    assert [row["peer"] for row in rows] == [0.1134, 0.0620] * 2
    assert all(0 <= row["ours"] <= 1 and row["error"] >= 0 for row in rows)
    assert [point["epoch"] for point in after["curve"]] == [4, 8]
    assert after["curve"][0] == before["curve"][0]
    assert after["curve"][1]["cpu_seconds"] >= after["curve"][0]["cpu_seconds"] > 0


def test_against_the_reference(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--files", files, "--against-reference", "--steps", 4, "--points", 2) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["name"] for row in rows] == [
        "validation R@10 after 2 steps",
        "validation R@10 after 4 steps",
        "CPU s a step, 4 steps",
    ]
    assert rows[-1]["ours"] > 0 and rows[-1]["peer"] > 0


def test_a_missing_file_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--files", tmp_path) == 2
    told = capsys.readouterr().err
    assert len(told.splitlines()) == 1 and "video.tsv: no such file" in told
