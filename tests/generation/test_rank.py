"""Many questions, one interface: what a failure costs, what is paid for, what is kept."""

import asyncio
import sqlite3
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from rar_pipeline.errors import RarError
from rar_pipeline.generation.budget import Budget
from rar_pipeline.generation.cache import AnswerCache, content_key
from rar_pipeline.generation.questions import LanguageModelHandle, Question
from rar_pipeline.generation.rank import rank_all
from tests.generation.endpoint import Endpoint, match, question


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")


def handle(**more):
    return LanguageModelHandle("https://llm.example/v1", "m", **more)


def test_likelihood_puts_the_film_first_that_explains_the_words():
    answer = rank_all([question()], handle(mode="likelihood"), match, transport=Endpoint().transport)[0]
    assert answer.status == "answered" and answer.ranking[0] == "tt1" and set(answer.ranking) == {"tt1", "tt2", "tt3"}
    assert answer.scores[0] == pytest.approx((-1.0 * 2 - 2.0 * 4) / 6)  # a, shark; Something, with, comma, please


def test_a_likelihood_question_is_one_call_and_shared_films_are_paid_for_once(tmp_path):
    endpoint = Endpoint()
    pair = [question("q1", ids=("tt1", "tt2")), question("q2", ids=("tt2", "tt3"))]
    answers = rank_all(pair, handle(mode="likelihood", cache=tmp_path / "a.sqlite"), match, transport=endpoint.transport)
    assert [a.status for a in answers] == ["answered"] * 2
    assert sorted(len(call["prompt"]) for call in endpoint.asked) == [1, 2]


def test_label_orders_by_letter_and_adds_variants_of_a_letter():
    answer = rank_all([question()], handle(mode="label"), match, transport=Endpoint().transport)[0]
    assert answer.ranking == ("tt2", "tt1", "tt3")
    assert answer.scores[0] > -0.5 and answer.scores[2] == -4.0


def test_generate_counts_unmatched_repeated_and_seen_titles():
    text = "1. Up (2009)\n2. Jaws (1975)\n3. No Such Film (1999)\n4. Up (2009)\n5. Heat (1995)"
    answer = rank_all([question(seen=("tt2",))], handle(), match, transport=Endpoint(lambda body: text).transport)[0]
    assert answer.ranking == ("tt3", "tt1")
    assert (answer.unmatched, answer.repeated, answer.already_seen) == (1, 1, 1)
    assert (answer.prompt_tokens, answer.answer_tokens, answer.raw_answer) == (7, 3, text)


def test_generate_works_without_candidates_and_likelihood_says_that_it_does_not():
    alone = Question("q", "Seeker: hello", ())
    assert rank_all([alone], handle(), match, transport=Endpoint().transport)[0].ranking == ("tt1",)
    with pytest.raises(RarError, match="'q' has no candidates"):
        rank_all([alone], handle(mode="likelihood"), match, transport=Endpoint().transport)


def test_an_answer_that_is_no_list_is_unparsed():
    answer = rank_all([question()], handle(), match, transport=Endpoint(lambda body: "I am sorry.").transport)[0]
    assert answer.status == "unparsed" and answer.raw_answer == "I am sorry."


def test_transient_failures_are_retried_and_others_are_not():
    busy, wrong = Endpoint(statuses=[429, 503]), Endpoint(statuses=[400, 200])
    assert rank_all([question()], handle(retries=2), match, transport=busy.transport)[0].status == "answered"
    assert len(busy.asked) == 3
    answer = rank_all([question()], handle(retries=2), match, transport=wrong.transport)[0]
    assert (answer.status, answer.error) == ("failed", "BadRequestError (HTTP 400)") and len(wrong.asked) == 1


def test_a_failing_call_costs_its_question_and_not_the_run_and_is_not_kept(tmp_path):
    questions = [question(f"q{i}", f"wish {i}") for i in range(4)]
    once = handle(retries=0, concurrency=1, cache=tmp_path / "a.sqlite")
    answers = rank_all(questions, once, match, transport=Endpoint(statuses=[200, 500, 200, 200]).transport)
    assert [a.status for a in answers] == ["answered", "failed", "answered", "answered"]
    again = Endpoint()
    assert all(a.status == "answered" for a in rank_all(questions, once, match, transport=again.transport))
    assert len(again.asked) == 1


def test_the_budget_stops_cleanly_and_cached_answers_cost_nothing(tmp_path):
    questions = [question(f"q{i}", f"wish {i}") for i in range(5)]
    budget = Budget(calls=3)  # one asks what the endpoint can do
    model = handle(cache=tmp_path / "a.sqlite", budget=budget)
    answers = rank_all(questions, model, match, transport=Endpoint().transport)
    assert sum(a.status == "answered" for a in answers) == 2 and budget.spent.calls == 3
    assert {a.error for a in answers if a.status == "failed"} == {"the budget does not cover another call: 3 of 3 calls"}
    kept = rank_all(
        [q for q, a in zip(questions, answers, strict=True) if a.status == "answered"],
        model,
        match,
        transport=Endpoint().transport,
    )
    assert all(a.cached for a in kept) and budget.spent.calls == 3


@pytest.mark.parametrize("mode", ["likelihood", "label", "generate"])
def test_a_second_ask_makes_no_call_and_gives_the_same(tmp_path, mode):
    model = handle(mode=mode, cache=tmp_path / "a.sqlite")
    first = rank_all([question()], model, match, transport=Endpoint().transport)[0]

    def nobody(request):
        raise AssertionError("called")

    second = rank_all([question()], model, match, transport=httpx2.MockTransport(nobody))[0]
    assert second.cached and not first.cached
    assert (second.ranking, second.scores, second.seconds, second.prompt_hash) == (
        first.ranking,
        first.scores,
        first.seconds,
        first.prompt_hash,
    )


def test_an_endpoint_that_nobody_serves_is_told_once_without_credentials():
    model = LanguageModelHandle("http://user:word@127.0.0.1:9/v1", "m", retries=0)
    with pytest.raises(RarError, match=r"LLM endpoint http://127\.0\.0\.1:9/v1 does not answer") as caught:
        rank_all([question()], model, match)
    assert "word" not in str(caught.value)


def test_a_missing_key_is_told(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(RarError, match="OPENAI_API_KEY is not set"):
        rank_all([question()], handle(), match)


def test_the_key_goes_to_the_endpoint_and_nowhere_else(tmp_path):
    endpoint = Endpoint(statuses=[400])
    model = handle(cache=tmp_path / "a.sqlite")
    answers = rank_all([question(), question("q2", "another")], model, match, transport=endpoint.transport)
    assert endpoint.headers[0]["authorization"] == "Bearer sk-secret"
    assert "secret" not in repr(model) + repr(answers)
    assert not any(b"secret" in file.read_bytes() for file in tmp_path.iterdir())
    local = Endpoint()
    rank_all(
        [question()],
        LanguageModelHandle("http://127.0.0.1:9/v1", "m", key_from_environment=False),
        match,
        transport=local.transport,
    )
    assert local.headers[0]["authorization"] == "Bearer none"


def test_parameters_that_an_endpoint_refuses_are_left_out():
    endpoint = Endpoint(refuse=("response_format", "temperature", "max_completion_tokens"))
    told = []
    answer = rank_all([question()], handle(), match, transport=endpoint.transport, on_abilities=lambda a: told.append(a.told()))[
        0
    ]
    assert answer.status == "answered" and told == ["plain text, no structured output, its own temperature"]
    assert "max_tokens" in endpoint.asked[0] and "temperature" not in endpoint.asked[0]


def test_an_endpoint_without_forced_text_is_told_for_likelihood():
    with pytest.raises(RarError, match=r"mode likelihood needs .*RAR_LLM_MODE=generate"):
        rank_all([question()], handle(mode="likelihood", retries=0), match, transport=Endpoint(refuse=("logprobs",)).transport)


def test_it_works_inside_a_running_event_loop_and_reports_as_it_goes():
    seen = []

    async def inside():
        return rank_all([question(), question("q2")], handle(), match, transport=Endpoint().transport, on_answer=seen.append)

    assert [a.question_id for a in asyncio.run(inside())] == ["q1", "q2"]
    assert {a.question_id for a in seen} == {"q1", "q2"}


def test_shuffling_is_by_seed_and_question():
    def order(seed):
        endpoint = Endpoint()
        rank_all([question()], handle(), match, transport=endpoint.transport, shuffle=seed)
        return [
            line[3:7] for line in endpoint.asked[0]["messages"][1]["content"].splitlines() if line[:3] in ("1. ", "2. ", "3. ")
        ]

    assert order(1) == order(1)
    assert len({tuple(order(seed)) for seed in range(8)}) > 2


def test_a_killed_writer_loses_no_answer(tmp_path):
    path = tmp_path / "a.sqlite"
    code = (
        "import os, signal, sys; from pathlib import Path; from rar_pipeline.generation.cache import AnswerCache\n"
        f"cache = AnswerCache(Path({str(path)!r}))\n"
        "[cache.put(str(i), 'm', 'generate', {'raw': str(i)}) for i in range(50)]\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == -9
    with AnswerCache(path) as cache, AnswerCache(path) as other:
        assert [cache.get(str(i)) for i in range(50)] == [{"raw": str(i)} for i in range(50)]
        other.put("new", "m", "generate", {"raw": "x"})
        assert cache.get("new") == {"raw": "x"}


def test_the_cache_key_tells_models_modes_and_prompts_apart(tmp_path):
    keys = {content_key(m, k, {"prompt": p, "n": n}) for m in "ab" for k in ("label", "generate") for p in "xy" for n in (1, 2)}
    assert len(keys) == 16
    assert content_key("m", "k", {"a": 1, "b": 2}) == content_key("m", "k", {"b": 2, "a": 1})
    broken = tmp_path / "broken.sqlite"
    broken.write_text("this is no database, and long enough to be read as one" * 20)
    with pytest.raises(RarError, match=r"broken\.sqlite"):
        AnswerCache(broken)
    with AnswerCache(tmp_path / "a.sqlite") as cache:
        cache.put("k", "m", "generate", {"raw": "x"})
        with sqlite3.connect(tmp_path / "a.sqlite") as other:
            other.execute("update answers set answer = '{cut'")
        assert cache.get("k") is None
