"""kill -9: of a training, of a run that asks the LLM, of the LLM's server, and of two runs that work on the same partition one stays alive."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rar_pipeline.generation.embedded import EmbeddedServer
from rar_pipeline.generation.questions import LanguageModelHandle
from rar_pipeline.generation.rank import rank_all
from rar_pipeline.settings import Settings
from rar_pipeline.tables import FEEDBACK

from ..generation.endpoint import match, question
from ..small_world import materialise
from .scratch import (
    DATASET,
    LlmServer,
    command,
    copy_of,
    ended,
    eventually,
    failure,
    kept_answers,
    kill,
    lake_of,
    statuses,
    unread,
    until,
)

PART = f"dataset={DATASET}"
EPOCHS = 6


@pytest.fixture
def slow_server(tmp_path: Path) -> Iterator[LlmServer]:
    found = LlmServer(tmp_path / "asked", seconds=0.5)
    found.start()
    yield found
    found.kill()


@pytest.fixture
def asking(whole: Settings, tmp_path: Path, slow_server: LlmServer) -> Settings:
    """Settings of a lake without answers and without feedback, and of a server that takes its time. Every set is asked: 40 questions."""
    changes = {"llm_base_url": slow_server.address, "llm_model": "slow", "llm_concurrency": 2, "objective": "pl_rloo"}
    changes |= {"feedback_contexts": 12}
    settings = copy_of(whole, tmp_path / "lake", **changes)
    (settings.lake / "answers" / "answers.sqlite").unlink()
    (settings.root / f"preference/round_1_feedback/{PART}/data.parquet").unlink()
    return settings


@pytest.mark.parametrize("damaged", [False, True], ids=["checkpoint whole", "checkpoint cut off"])
def test_a_killed_training_goes_on_where_it_was_even_behind_a_damaged_checkpoint(
    whole: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damaged: bool
) -> None:
    settings = copy_of(whole, tmp_path / "lake", epochs=EPOCHS, patience=EPOCHS)
    version = settings.root / "retriever" / "round_0" / PART / "retriever.json"
    before = version.read_bytes()
    running = command(settings, tmp_path / "home", "round_0/retriever")
    until(running, f"epoch 3 of {EPOCHS}")
    kill(running)
    assert version.read_bytes() == before, "what was there still serves"
    (last,) = (settings.root / "retriever" / "attempts" / PART).glob("*/last.ckpt")
    if damaged:
        last.write_bytes(last.read_bytes()[:1000])
    status, said = ended(command(settings, tmp_path / "home", "round_0/retriever"))
    assert status == 0, said[-3000:]
    assert ("resuming from" in said) is not damaged
    assert f"epoch {EPOCHS} of {EPOCHS}" in said
    assert (f" epoch 1 of {EPOCHS}: loss" in said) is damaged
    assert version.read_bytes() != before
    assert not last.parent.exists()
    assert statuses(tmp_path / "home", monkeypatch) == ["STARTED", "SUCCESS"], "nobody was there to mark it; the daemon would"


def test_a_killed_run_loses_no_answer_and_asks_none_twice(asking: Settings, slow_server: LlmServer, tmp_path: Path) -> None:
    running = command(asking, tmp_path / "home", "round_1/feedback")
    eventually("answers", lambda: len(slow_server.noted("answered")) >= 4)
    kill(running)
    kept, asked = kept_answers(asking), slow_server.noted("asked")
    status, said = ended(command(asking, tmp_path / "home", "round_1/feedback"))
    assert status == 0, said[-3000:]
    again = [question for question, times in slow_server.noted("asked").items() if times > 1]
    assert len(again) <= asking.llm_concurrency, "only what was in flight"
    assert kept >= len(asked) - asking.llm_concurrency > 0, "all others were on disk"
    assert kept_answers(asking) == len(slow_server.noted("asked"))


def test_a_killed_llm_server_costs_its_questions_and_the_next_run_asks_them_alone(
    asking: Settings, slow_server: LlmServer, tmp_path: Path
) -> None:
    running = command(asking, tmp_path / "home", "round_1/feedback")
    eventually("answers", lambda: len(slow_server.noted("answered")) >= 4)
    slow_server.kill()
    status, said = ended(running)
    kept = kept_answers(asking)
    assert kept >= 4
    assert status == 0, said[-3000:]
    assert "first failure: APIConnectionError" in said
    feedback = lake_of(asking).read(FEEDBACK, DATASET, "round_1_feedback")
    assert feedback.filter(status="failed").height > 0, "what was not answered says so, row by row"
    assert "questions were answered (" in said, said[-3000:]
    assert unread(asking) == []
    answered = slow_server.noted("answered")
    assert kept >= len(answered) - asking.llm_concurrency

    told = failure(materialise(asking, "round_1/feedback"))
    assert "does not answer" in told and slow_server.address in told

    slow_server.start()
    assert materialise(asking, "round_1/feedback", "round_1/preferences").success
    again = [question for question, times in slow_server.noted("asked").items() if times > 1]
    assert len(again) <= asking.llm_concurrency, "only what was in flight"
    assert kept_answers(asking) == len(slow_server.noted("asked"))


def test_two_runs_of_one_partition_at_once_train_and_ask_once(asking: Settings, slow_server: LlmServer, tmp_path: Path) -> None:
    settings = asking.model_copy(update={"epochs": EPOCHS, "patience": EPOCHS})
    keys = ("round_0/retriever", "round_1/feedback")
    first, second = (command(settings, tmp_path / name, *keys) for name in ("one", "two"))
    (status, said), (other_status, other_said) = ended(first), ended(second)
    assert (status, other_status) == (0, 0), (said + other_said)[-4000:]
    both = said + other_said
    assert "another run makes it; waiting" in both
    assert both.count(f"epoch {EPOCHS} of {EPOCHS}") == 1
    assert "unchanged since it was trained" in both
    assert set(slow_server.noted("asked").values()) == {1}
    assert unread(settings) == []
    assert materialise(settings, *keys).success


def test_a_killed_embedded_server_costs_its_questions_and_a_new_one_answers_them(tmp_path: Path, models: Path) -> None:
    store, cache = models, tmp_path / "answers.sqlite"
    questions = [question(f"q{number}", f"Something with shark number {number}") for number in range(6)]

    def ask(server: EmbeddedServer, then: bool) -> list[str]:
        handle = LanguageModelHandle(
            server.base_url, server.model, key_from_environment=False, mode="likelihood", concurrency=1, retries=0, cache=cache
        )
        seen: list[str] = []

        def kill_after_two(answer: object) -> None:
            seen.append("")
            if then and len(seen) == 2:
                assert server.process is not None
                server.process.kill()

        return [answer.status for answer in rank_all(questions, handle, match, on_answer=kill_after_two)]

    with EmbeddedServer(store=store) as server:
        found = ask(server, then=True)
    assert found.count("answered") == 2
    assert found.count("failed") == 4
    with EmbeddedServer(store=store) as server:
        assert ask(server, then=False) == ["answered"] * 6
