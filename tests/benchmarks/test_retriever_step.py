"""The benchmark of training steps runs on a tiny catalogue; ours and the peer train the same network. No figure is judged here."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.lrurec_reference import ReferenceConfig, ReferenceLRURec, reference_loss, reference_optimiser, reference_step
from benchmarks.retriever_step_run import SYSTEMS, OurLRURec, batch_of, our_step
from rar_pipeline.retriever.softmax import exact_softmax
from tests.benchmarks.test_benchmarks import check

PROJECT = Path(__file__).resolve().parents[2]


def test_rows_hold_together() -> None:
    size = ["--items", "300", "--hidden", "8", "--batch", "4", "--length", "6", "--negatives", "20", "--steps", "1"]
    chosen = ["--ours", "exact bfloat16", "sampled sparse"]
    command = [sys.executable, "-m", "benchmarks.retriever_step", "--json", "--runs", "1", *size, *chosen]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    check(rows, 3 * 2 * 2)
    assert sum(row["peer"] is None for row in rows) == 2 * 2


def test_a_batch_is_as_full_as_asked_and_padded_at_the_left() -> None:
    history, targets = batch_of(1000, 4000, 20, 0.15, torch.Generator().manual_seed(0))
    assert float((history > 0).float().mean()) == pytest.approx(0.15, abs=0.005)
    assert (history > 0).equal(targets > 0)
    assert ((history[:, 1:] > 0) | (history[:, :-1] == 0)).all()
    assert targets[:, :-1][history[:, :-1] > 0].equal(history[:, 1:][history[:, :-1] > 0])


def test_ours_has_the_loss_of_the_peer_with_the_same_weights() -> None:
    torch.manual_seed(0)
    peer, ours = ReferenceLRURec(ReferenceConfig(50, 8)).eval(), OurLRURec(50, 8).eval()
    # the padding row of the peer's table is an item to its softmax; ours has none
    with torch.no_grad():
        peer.bias[0] = -1e9
        ours.table.copy_(peer.table.weight[1:])
        ours.bias.copy_(peer.bias[1:])
        ours.norm.load_state_dict(peer.norm.state_dict())
        for mine, theirs in zip(ours.stack, peer.stack, strict=True):
            for name in ("rise", "fall", "norm"):
                getattr(mine, name).load_state_dict(getattr(theirs, name).state_dict())
            unit, published = mine.unit, theirs.unit
            unit.norm.load_state_dict(published.norm.state_dict())
            for name, values in zip(("nu", "theta", "gamma"), published.ring, strict=True):
                getattr(unit, name).copy_(values)
            into, out = published.into_state, published.from_state
            unit.into_state.weight.copy_(torch.cat([into.weight.real, into.weight.imag]))
            unit.into_state.bias.copy_(torch.cat([into.bias.real, into.bias.imag]))
            unit.from_state.weight.copy_(torch.cat([out.weight.real, -out.weight.imag], dim=1))
            unit.from_state.bias.copy_(out.bias.real)
    history, targets = batch_of(50, 6, 11, 0.5, torch.Generator().manual_seed(1))
    queries, places = ours(history)
    found = exact_softmax(queries, ours.table, ours.bias, targets.flatten()[places] - 1)
    torch.testing.assert_close(found, reference_loss(peer(history), targets), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("system", ["reference", *SYSTEMS])
def test_every_system_learns_a_batch_by_heart(system: str) -> None:
    torch.manual_seed(0)
    history, targets = batch_of(40, 6, 11, 0.5, torch.Generator().manual_seed(1))
    if system == "reference":
        peer = ReferenceLRURec(ReferenceConfig(40, 16, dropout=0.0))
        optimiser = reference_optimiser(peer, learning_rate=0.01)
        losses = [reference_step(peer, optimiser, history, targets) for _ in range(150)]
    else:
        step = our_step(OurLRURec(40, 16, dropout=0.0), system, negatives=20, learning_rate=0.01)
        losses = [step(history, targets) for _ in range(150)]
    assert losses[0] > 3
    assert losses[-1] < 0.5
