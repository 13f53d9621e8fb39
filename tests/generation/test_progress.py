"""What is told while an LLM is asked."""

from rar_pipeline.generation.progress import Progress, asking
from rar_pipeline.generation.questions import Answer, LanguageModelHandle
from rar_pipeline.generation.rank import rank_all
from tests.generation.endpoint import Endpoint, match, question


def answer(status, cached=False):
    return Answer("q", status, "generate", "m", "", cached=cached)


def test_the_line_tells_rate_hits_failures_cost_and_the_time_left():
    progress = Progress(total=100, started=50.0)
    for one in [answer("answered", cached=True)] * 20 + [answer("answered")] * 28 + [answer("failed")] * 2:
        progress.heard(one)
    # 30 were asked in a minute, and 50 are left
    assert progress.line(110.0, 1.25) == (
        "[##########..........] 50 of 100, 0.5/s, 20 known before, 2 failed, cost 1.2500, 1.7 min left"
    )


def test_a_replay_costs_nothing_and_has_no_end_to_wait_for():
    progress = Progress(total=2, started=0.0)
    progress.heard(answer("answered", cached=True))
    assert "left" not in progress.line(1.0, 0.0) and "cost" not in progress.line(1.0, 0.0)


def test_asking_tells_what_was_spent_and_the_first_failure(monkeypatch, tmp_path):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    endpoint, said = Endpoint(statuses=[200, 400]), []
    model = LanguageModelHandle(
        "https://llm.example/v1", "m", concurrency=1, cache=tmp_path / "a.sqlite", prompt_price=1e5, answer_price=1e5
    )
    rank_all([question()], model, match, transport=Endpoint().transport)
    monkeypatch.setattr(
        "rar_pipeline.generation.progress.rank_all", lambda *a, **more: rank_all(*a, transport=endpoint.transport, **more)
    )
    asking([question(), question("q2", "another"), question("q3", "a third")], model, match, said.append)
    assert said[0] == "3 questions for m, mode generate"
    assert "3 of 3" in said[-2] and "1 known before, 1 failed, cost 1.0000" in said[-2]
    assert said[-2].endswith("2 calls and 10 tokens were spent")
    assert said[-1] == "first failure: BadRequestError (HTTP 400)" and "secret" not in " ".join(said)
