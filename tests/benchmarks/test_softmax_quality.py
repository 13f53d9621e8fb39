"""The benchmark of what sampling costs in quality: systems differ in their loss alone, and lists are the network's. No figure is judged."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.retriever_step_run import SYSTEMS, OurLRURec, our_step
from benchmarks.softmax_quality import PEER, Settings, Trainee, main
from tests.benchmarks.test_benchmarks import check

SETTINGS = Settings(length=6, dropout=0.2, hidden=8, negatives=10)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "sequences").mkdir()
    users = [f"{user}\t{' '.join(str((user + 3 * k) % 31) for k in range(2 + user % 9))}" for user in range(60)]
    (tmp_path / "sequences" / "video.tsv").write_text("user\titems\n" + "\n".join(users) + "\n")
    return tmp_path


def rows_of(capsys: pytest.CaptureFixture[str], *arguments: object) -> list[dict[str, object]]:
    assert main(["--json", "--negatives", "10", *map(str, arguments)]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_every_system_is_judged_at_the_same_epochs(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = rows_of(capsys, "--files", files, "--epochs", 3, "--every", 2)
    check(rows, 3 * 5)
    for system in set(SYSTEMS) - {PEER}:
        mine = [row for row in rows if str(row["name"]).startswith(f"video {system}, ")]
        assert [row["unit"] for row in mine] == ["%", "%", "%", "%", "ms"]
        assert [str(row["name"]).split()[-2] for row in mine[:4]] == ["2", "2", "3", "3"]
    # three steps of bfloat16 change no list of a world this small
    bfloat16 = [row for row in rows if "bfloat16" in str(row["name"]) and row["unit"] == "%"]
    assert all(abs(float(str(row["ours"])) - float(str(row["peer"]))) < 5 for row in bfloat16)


def test_a_run_without_peer_gives_the_figures_of_one_with_it(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ("--files", files, "--epochs", 2, "--every", 2, "--ours", "sampled sparse", "--popularity", 0.5)
    alone, beside = (rows_of(capsys, *common, *more) for more in (("--without-peer",), ()))
    assert [row["peer"] for row in alone] == [None] * 3
    assert [row["ours"] for row in alone[:2]] == [row["ours"] for row in beside[:2]]


def test_the_minutes_end_a_run_after_an_epoch_and_it_is_judged(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = rows_of(capsys, "--files", files, "--minutes", 0, "--ours", "sampled")
    assert [str(row["name"]).split()[-2:] for row in rows[:2]] == [["1", "epochs"]] * 2


@pytest.mark.parametrize("system", list(SYSTEMS))
def test_a_step_is_that_of_the_speed_benchmark(system: str) -> None:
    torch.manual_seed(0)
    first = OurLRURec(31, 8)
    trainee = Trainee(system, copy.deepcopy(first), SETTINGS, torch.ones(31))
    other = copy.deepcopy(first)
    step = our_step(other, system, SETTINGS.negatives)
    for number in range(3):
        history = torch.tensor([[0, 0, 3, 4], [1, 2, 30, 31]])
        following = torch.tensor([[0, 0, 4, 5], [2, 30, 31, 7]])
        torch.manual_seed(number)
        mine = trainee.step(history, (following - 1).clamp(min=0))
        torch.manual_seed(number)
        assert mine == pytest.approx(step(history, following))
    for mine_after, others_after in zip(trainee.model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine_after, others_after)


def test_ranks_are_those_of_each_history_by_itself() -> None:
    torch.manual_seed(0)
    model = OurLRURec(40, 8)
    torch.nn.init.normal_(model.table)
    trainee = Trainee(PEER, model, SETTINGS, torch.ones(40))
    generator = np.random.default_rng(0)
    cases = []
    for length in [1, 5, 3, 9, 6, 2]:
        *history, target = generator.permutation(40)[: length + 1]
        cases.append((np.array(history), int(target)))
    expected = []
    model.eval()
    for history, target in cases:
        queries, _ = model(torch.from_numpy(history[-SETTINGS.length :] + 1)[None])
        scores = queries[-1] @ model.table.T + model.bias
        scores[history] = -torch.inf
        expected.append(1 + int((scores > scores[target]).sum()))
    assert trainee.rank(cases).tolist() == expected
    assert model.training


def test_a_missing_file_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--files", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert len(told.splitlines()) == 1 and "video.tsv: no such file" in told
