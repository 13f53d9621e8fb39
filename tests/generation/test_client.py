"""One call: when it is tried again, how fast, for how much, and what stays on record. Time is virtual."""

import asyncio
import json
import sqlite3

import httpx2
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rar_pipeline.errors import RarError
from rar_pipeline.generation.budget import Amount, Budget, BudgetSpentError
from rar_pipeline.generation.cache import AnswerCache, Call
from rar_pipeline.generation.client import Client, on_record
from rar_pipeline.generation.questions import LanguageModelHandle
from rar_pipeline.generation.rank import rank_all
from rar_pipeline.generation.retries import LONGEST_WAIT
from rar_pipeline.resources import LanguageModel
from tests.generation.endpoint import Endpoint, match, question
from tests.generation.virtual_time import in_virtual_time  # noqa: F401 - a fixture


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")


class Clocked:
    """Answers from a list of (status, headers, error) and then 200, taking `seconds`; notes when it was asked, in the loop's time."""

    def __init__(self, first=(), seconds=0.0, usage=(40, 10)):
        self.first, self.seconds, self.usage = list(first), seconds, usage
        self.asked: list[float] = []

    @property
    def transport(self):
        return httpx2.MockTransport(self.answer)

    async def answer(self, request):
        self.asked.append(asyncio.get_running_loop().time())
        await asyncio.sleep(self.seconds)
        status, headers, error = self.first.pop(0) if self.first else (200, {}, {})
        if status != 200:
            return httpx2.Response(status, headers=headers, json={"error": error})
        prompt, answer = self.usage
        usage = {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer}
        return httpx2.Response(200, json={"choices": [{"index": 0, "message": {"content": "yes"}}], "usage": usage})


def chat(endpoint, times=1, name="m", tokens=16, calls=None, **more):
    """Chat so many times at once; the results, errors in place of answers."""

    async def work():
        async with Client(LanguageModelHandle("https://llm.example/v1", name, **more), endpoint.transport) as client:

            async def one():
                call = Call("generate")
                (calls if calls is not None else []).append(call)
                return await client.chat(call, [{"role": "user", "content": "Say yes."}], max_tokens=tokens)

            return await asyncio.gather(*(one() for _ in range(times)), return_exceptions=True)

    return work()


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 529])
def test_what_passes_is_tried_again_and_later_each_time(in_virtual_time, status):  # noqa: F811
    endpoint = Clocked([(status, {}, {})] * 3)
    (answer,) = in_virtual_time(chat(endpoint, retries=3))
    assert answer["choices"] and len(endpoint.asked) == 4
    gaps = [later - earlier for earlier, later in zip(endpoint.asked, endpoint.asked[1:], strict=False)]
    assert all(least <= gap <= least + 0.5 for least, gap in zip((0.5, 1.0, 2.0), gaps, strict=True))


@pytest.mark.parametrize(
    ("status", "headers", "error"),
    [
        (400, {}, {}),
        (401, {}, {}),
        (403, {}, {}),
        (404, {}, {}),
        (422, {}, {}),
        (429, {}, {"code": "insufficient_quota", "message": "pay"}),
        (429, {"retry-after": str(LONGEST_WAIT + 1)}, {}),
        (503, {"x-should-retry": "false"}, {}),
    ],
)
def test_what_does_not_pass_is_not_tried_again(in_virtual_time, status, headers, error):  # noqa: F811
    endpoint = Clocked([(status, headers, error)])
    (failed,) = in_virtual_time(chat(endpoint, retries=4))
    assert isinstance(failed, openai.APIStatusError) and len(endpoint.asked) == 1


@pytest.mark.parametrize("headers", [{"retry-after": "17"}, {"retry-after-ms": "17000"}])
def test_nobody_asks_before_the_endpoint_wants_it(in_virtual_time, headers):  # noqa: F811
    endpoint = Clocked([(429, headers, {})])

    async def work():
        first = asyncio.create_task(chat(endpoint, name=f"wait {headers}"))
        await asyncio.sleep(3)
        return await asyncio.gather(first, chat(endpoint, name=f"wait {headers}"))

    in_virtual_time(work())
    first, *later = endpoint.asked
    assert len(later) == 2 and all(moment - first >= 17 for moment in later)


def test_an_answer_that_does_not_come_is_given_up_tried_again_and_paid_for(in_virtual_time):  # noqa: F811
    endpoint, budget, calls = Clocked(seconds=60), Budget(), []
    (failed,) = in_virtual_time(chat(endpoint, name="silent", retries=2, timeout=5, budget=budget, calls=calls))
    assert isinstance(failed, TimeoutError) and len(endpoint.asked) == 3
    assert budget.spent.calls == 3 and budget.spent.tokens > 3 * 16  # it may have been written and billed
    assert (calls[0].attempts, calls[0].tokens) == (3, budget.spent.tokens)


def busiest_minute(moments, weights):
    return max(sum(w for m, w in zip(moments, weights, strict=True) if start <= m < start + 60) for start in moments)


def test_no_minute_holds_more_requests_than_the_limit_retries_included(in_virtual_time):  # noqa: F811
    endpoint = Clocked([(503, {}, {})] * 5)
    answers = in_virtual_time(chat(endpoint, times=60, name="rpm", requests_per_minute=20, concurrency=60))
    assert not any(isinstance(answer, Exception) for answer in answers) and len(endpoint.asked) == 65
    assert busiest_minute(endpoint.asked, [1] * 65) <= 20
    assert endpoint.asked[-1] - endpoint.asked[0] < 64 * 3 + 1  # and it is used


def test_no_minute_holds_more_tokens_than_the_limit_once_the_endpoint_has_counted(in_virtual_time):  # noqa: F811
    endpoint = Clocked(usage=(900, 100))
    in_virtual_time(chat(endpoint, times=1, name="tpm", tokens_per_minute=10_000))
    counted = len(endpoint.asked)
    in_virtual_time(chat(endpoint, times=40, name="tpm", tokens_per_minute=10_000, tokens=500, concurrency=40))
    moments = endpoint.asked[counted:]
    assert busiest_minute(moments, [1000] * 40) <= 10_000
    assert moments[-1] - moments[0] < 40 * 6 * 1.15


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 400), st.integers(0, 60), st.integers(1, 12), st.sampled_from(["calls", "tokens", "cost"]))
def test_no_limit_is_ever_passed_and_none_stops_early(limit, answer_tokens, concurrency, kind):
    """The prompt's bytes bound its tokens and `max_tokens` the answer's, so with 12 in flight nothing is passed; alone, little is left over."""
    endpoint = Clocked(usage=(30, min(answer_tokens, 16)), seconds=1.0)
    most = {"calls": float(limit), "tokens": limit * 10.0, "cost": limit / 100}[kind]
    budget = Budget(**{kind: most if kind == "cost" else int(most)})

    async def work():
        return await chat(
            endpoint, times=15, concurrency=concurrency, budget=budget, prompt_price=100.0, answer_price=900.0, name="budget"
        )

    from tests.generation.virtual_time import VirtualLoop

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        answers = runner.run(work())
    spent = getattr(budget.spent, kind)
    assert spent <= most + 1e-9
    assert budget.spent.calls == len(endpoint.asked) == sum(isinstance(a, dict) for a in answers)
    assert all(isinstance(a, dict | BudgetSpentError) for a in answers)
    dearest = {"calls": 1, "tokens": 110 + 16, "cost": (110 * 100 + 16 * 900) / 1e6}[kind]
    assert len(endpoint.asked) == 15 or spent + dearest > most


def test_every_call_is_on_record_with_what_it_cost_and_what_came(tmp_path):
    path = tmp_path / "a.sqlite"
    handle = LanguageModelHandle(
        "https://user:word@llm.example/v1?key=word",
        "m",
        cache=path,
        retries=1,
        concurrency=1,
        prompt_price=2.0,
        answer_price=10.0,
    )
    endpoint = Endpoint(statuses=[503, 200, 400])
    first, second = rank_all([question(), question("q2", "another")], handle, match, transport=endpoint.transport)
    with sqlite3.connect(path) as people:
        people.row_factory = sqlite3.Row
        probe, *calls = people.execute("select * from calls order by id").fetchall()
    assert probe["kind"] == "probe" and json.loads(probe["parameters"])["response_format"]
    told = {call["prompt_hash"]: call for call in calls}
    good = told[first.prompt_hash]
    assert good["endpoint"] == "https://llm.example/v1"
    assert (good["model"], good["kind"], good["prompt_version"], good["status"]) == (
        "m",
        "generate",
        "generate.v1.txt",
        "answered",
    )
    assert (good["prompt_tokens"], good["answer_tokens"], good["raw_answer"]) == (7, 3, "1. Jaws (1975)")
    assert json.loads(good["parameters"])["temperature"] == 0
    assert good["cost"] == pytest.approx((7 * 2 + 3 * 10) / 1e6) and first.cost == good["cost"]
    bad = told[second.prompt_hash]
    assert (bad["status"], bad["error"], bad["raw_answer"]) == ("failed", "BadRequestError (HTTP 400)", None)
    assert good["attempts"] + bad["attempts"] == 3 and second.status == "failed"
    assert on_record(path, handle.base_url, "m") == Amount(4, 20, pytest.approx(2 * good["cost"]))
    assert not any(b"word" in file.read_bytes() or b"secret" in file.read_bytes() for file in tmp_path.iterdir())


def test_a_likelihood_call_is_one_row_that_holds_all_its_answers(tmp_path):
    path = tmp_path / "a.sqlite"
    handle = LanguageModelHandle("https://llm.example/v1", "m", "likelihood", cache=path)
    rank_all([question()], handle, match, transport=Endpoint().transport)
    with sqlite3.connect(path) as people:
        rows = people.execute("select raw_answer from calls where kind = 'likelihood'").fetchall()
    assert len(rows) == 1 and len(json.loads(rows[0][0])) == 3


def test_a_file_from_before_calls_were_on_record_keeps_its_answers(tmp_path):
    path = tmp_path / "old.sqlite"
    with sqlite3.connect(path) as old:
        old.execute(
            "create table answers (key text primary key, model text not null, kind text not null, answer text not null, "
            "asked_at text not null default 'then') without rowid"
        )
        kept = json.dumps({"raw": "1. Up (2009)", "prompt_tokens": 5, "answer_tokens": 2, "seconds": 1.5})
        old.execute("insert into answers (key, model, kind, answer) values ('k', 'm', 'generate', ?)", (kept,))
    with AnswerCache(path) as cache:
        assert cache.get("k")["raw"] == "1. Up (2009)"
        cache.record("e", "m", Call("generate", attempts=1, status="answered"), {"new": {"raw": "x"}})
    with AnswerCache(path) as again, sqlite3.connect(path) as people:
        assert again.get("new") == {"raw": "x"}
        assert people.execute("select asked_at, raw_answer from calls where raw_answer like '%Up%'").fetchall() == [
            ("then", "1. Up (2009)")
        ]


def test_the_endpoint_is_asked_once_for_what_it_can_do():
    endpoint = Endpoint(refuse=("temperature",))
    handle = LanguageModelHandle("https://llm.example/v1", "m")
    for name in ("q1", "q2", "q3"):
        rank_all([question(name, name)], handle, match, transport=endpoint.transport)
    assert len(endpoint.headers) == 1 + 2 + 3  # who are you, two tries of what it takes, three questions


def test_a_model_that_thinks_gets_room_and_its_thoughts_are_no_answer():
    thoughts = "<think>\n1. Heat (1995)\n</think>\n1. Up (2009)"
    endpoint = Endpoint(lambda body: thoughts if body["max_completion_tokens"] > 4000 else "")
    handle = LanguageModelHandle("https://llm.example/v1", "m", thinking_tokens=4000, reasoning_effort="low")
    (answer,) = rank_all([question()], handle, match, transport=endpoint.transport)
    assert answer.ranking == ("tt3",) and endpoint.asked[0]["reasoning_effort"] == "low"
    (empty,) = rank_all(
        [question()], LanguageModelHandle("https://llm.example/v1", "m"), match, transport=Endpoint(lambda body: "").transport
    )
    assert empty.status == "unparsed" and "RAR_LLM_THINKING_TOKENS" in empty.error


def test_where_answers_cannot_be_kept_nothing_more_is_paid_for(tmp_path):
    path = tmp_path / "a.sqlite"
    AnswerCache(path).close()
    with sqlite3.connect(path) as disk:
        disk.execute("create trigger full before insert on answers begin select raise(abort, 'database or disk is full'); end")
    endpoint = Endpoint()
    handle = LanguageModelHandle("https://llm.example/v1", "m", cache=path, concurrency=1)
    with pytest.raises(RarError, match=r"a\.sqlite: database or disk is full; make room"):
        rank_all([question(f"q{i}", f"wish {i}") for i in range(9)], handle, match, transport=endpoint.transport)
    assert len(endpoint.asked) == 1


def test_the_budget_of_a_run_goes_on_from_what_all_runs_have_spent(tmp_path):
    setting = {"base_url": "https://llm.example/v1", "model": "m", "cache": str(tmp_path / "a.sqlite"), "models": str(tmp_path)}
    prices = {"prompt_price": 2.0, "answer_price": 8.0}
    with pytest.raises(RarError, match="RAR_LLM_MAX_COST is set, but no price"), LanguageModel(**setting, max_cost=1.0).open():
        pass
    with LanguageModel(**setting, **prices, max_calls=4).open() as first:
        rank_all([question()], first, match, transport=Endpoint().transport)
    with LanguageModel(**setting, **prices, max_calls=4).open() as second:
        assert second.budget.spent == first.budget.spent and second.budget.spent.calls == 2
        answers = rank_all([question(f"q{i}", f"wish {i}") for i in range(5)], second, match, transport=Endpoint().transport)
    assert [answer.status for answer in answers].count("answered") == 1  # a probe, and one more
    assert "4 of 4 calls" in answers[-1].error
