"""LRURec on sequences that follow a rule: its figures are on record, stand beside the published ones, and are asked for where they are missing."""

from pathlib import Path

import pytest

from rar_pipeline.evaluation.origin_sections import beside_published
from rar_pipeline.evaluation.sequences_check import COMMAND, check, told
from rar_pipeline.retriever.sequence_training import SequenceConfig
from rar_pipeline.tables import LEADERBOARD, SEQUENCES_CHECK

USERS, ITEMS = 40, 30


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everybody goes on to the next item."""
    path = tmp_path_factory.mktemp("sequences") / "ml-1m.tsv"
    rows = (f"{user}\t{' '.join(str((user + step) % ITEMS + 1) for step in range(12))}" for user in range(USERS))
    path.write_text("\n".join(["user\titems", *rows]) + "\n")
    return path


def test_a_short_training_gives_figures_that_stand_beside_the_published_ones(file: Path, tmp_path: Path) -> None:
    config = SequenceConfig(length=12, hidden=16, blocks=1, batch=16, epochs=6, validate_every=2, learning_rate=0.02)
    lines: list[str] = []
    table = check(file, config, tmp_path / "attempt", lines.append)
    assert SEQUENCES_CHECK.conform(table).equals(table)
    rows = {row["metric"]: row for row in table.iter_rows(named=True)}
    assert {"R@10", "N@10", "MRR@10"} <= set(rows)
    assert rows["R@10"]["cases"] == USERS and rows["R@10"]["most_epochs"] == 6 and rows["R@10"]["epoch"] in (2, 4, 6)
    assert rows["R@10"]["value"] > 3 * 10 / ITEMS / 2, "the rule was learnt, far better than chance"
    assert sum("N@10" not in line for line in lines) == 1 and "40 users, 30 items" in lines[0]
    assert "published 0.1930" in told(table)
    blocks = {block.title: block for block in beside_published(LEADERBOARD.empty(), "test", table)}
    block = blocks["ml-1m, protocol sequences"]
    assert [row[1] for row in block.grid.rows] == ["published", "published", "this lake"]
    assert "at most 6 epochs" in block.text
    assert all(row[1] == "published" for row in blocks["video, protocol sequences"].grid.rows)


def test_where_it_was_not_made_the_report_says_how() -> None:
    blocks = {block.title: block for block in beside_published(LEADERBOARD.empty(), "test", SEQUENCES_CHECK.empty())}
    assert COMMAND in blocks["ml-1m, protocol sequences"].text
    assert blocks["beauty, protocol sequences"].text == ""
