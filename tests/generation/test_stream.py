"""An answer that people read along: the same pace, budget, retries and record as any other call, also where it breaks off. Time is virtual."""

import asyncio
import json
import sqlite3
from contextlib import aclosing

import httpx2
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rar_pipeline.errors import RarError
from rar_pipeline.generation.budget import Amount, Budget, BudgetSpentError
from rar_pipeline.generation.cache import AnswerCache, Call
from rar_pipeline.generation.client import Client, on_record
from rar_pipeline.generation.questions import LanguageModelHandle
from rar_pipeline.generation.redaction import Hidden
from tests.generation.test_client import busiest_minute
from tests.generation.virtual_time import in_virtual_time  # noqa: F401 - a fixture

BROKEN = ""  # stands in a list of words where the connection breaks
URL = "https://llm.example/v1"
WORDS = ["Try ", "Heat ", "(1995)", ", a ", "heist."]
ASKED = {"messages": [{"role": "user", "content": "A heist, please."}], "max_tokens": 50}


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")


class Streaming:
    """Streams words, one a chunk, `seconds` apart. `first`: what the first requests get instead, a status or other words.

    `usage`: told at the end where it was asked for; None: never. `refuse`: a parameter that is answered with HTTP 400.
    """

    def __init__(self, words=WORDS, first=(), usage=(40, 10), seconds=0.0, refuse=None, whole=True):
        self.words, self.first, self.usage, self.seconds, self.refuse, self.whole = (
            words,
            list(first),
            usage,
            seconds,
            refuse,
            whole,
        )
        self.asked: list[dict] = []
        self.moments: list[float] = []
        self.open = 0

    @property
    def transport(self):
        return httpx2.MockTransport(self.answer)

    async def answer(self, request):
        body = json.loads(request.content)
        self.asked.append(body)
        self.moments.append(asyncio.get_running_loop().time())
        if self.refuse in body:
            return httpx2.Response(400, json={"error": {"message": f"unknown parameter {self.refuse}"}})
        given = self.first.pop(0) if self.first else self.words
        if isinstance(given, int):
            return httpx2.Response(given, json={"error": {"message": "sk-secret"}})
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=self.chunks(body, given))

    async def chunks(self, body, words):
        def event(choices, **more):
            value = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices, **more}
            return f"data: {json.dumps(value)}\n\n".encode()

        self.open += 1
        try:
            for word in words:
                await asyncio.sleep(self.seconds)
                if word == BROKEN:
                    raise httpx2.ReadError("gone")
                yield event([{"index": 0, "delta": {"content": word}, "finish_reason": None}])
            if self.whole:
                yield event([{"index": 0, "delta": {}, "finish_reason": "stop"}])
            if self.usage and body.get("stream_options"):
                prompt, answer = self.usage
                usage = {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer}
                yield event([], usage=usage)
            yield b"data: [DONE]\n\n"
        finally:
            self.open -= 1


def handle(**more):
    return LanguageModelHandle(URL, more.pop("name", "m"), prompt_price=2.0, answer_price=10.0, **more)


async def read(client, call=None, stop_after=None, **more):
    """Pieces of a stream, left after so many of them."""
    pieces = []
    async with aclosing(client.stream(call or Call("chat"), ASKED, max_tokens=50, **more)) as words:
        async for piece in words:
            pieces.append(piece)
            if len(pieces) == stop_after:
                break
    return pieces


def streamed(endpoint, model, times=1, **more):
    """That many streams, one after another; errors in place of pieces."""

    async def work():
        found = []
        async with Client(model, endpoint.transport) as client:
            for _ in range(times):
                try:
                    found.append(await read(client, **more))
                except (openai.OpenAIError, TimeoutError, BudgetSpentError, RarError) as error:
                    found.append(error)
        return found

    return work()


def rows(path):
    with sqlite3.connect(path) as people:
        people.row_factory = sqlite3.Row
        return [dict(row) for row in people.execute("select * from calls order by id")]


def test_words_come_as_they_are_written_and_the_call_is_paid_for_as_the_endpoint_counts(in_virtual_time, tmp_path):  # noqa: F811
    endpoint, model = Streaming(), handle(cache=tmp_path / "a.sqlite", budget=Budget(tokens=1000))
    (pieces,) = in_virtual_time(streamed(endpoint, model))
    assert pieces == WORDS
    (call,) = rows(model.cache)
    assert (call["kind"], call["status"], call["raw_answer"], call["attempts"]) == ("chat", "answered", "".join(WORDS), 1)
    assert (call["prompt_tokens"], call["answer_tokens"], call["tokens"]) == (40, 10, 50)
    assert call["cost"] == pytest.approx((40 * 2 + 10 * 10) / 1e6)
    assert json.loads(call["parameters"]) == {"max_tokens": 50, "stream": True, "stream_options": {"include_usage": True}}
    assert model.budget.spent == on_record(model.cache, URL, "m") == Amount(1, 50, pytest.approx(call["cost"]))


def test_the_same_again_is_replayed_as_a_stream_and_costs_nothing(in_virtual_time, tmp_path):  # noqa: F811
    endpoint, model = Streaming(), handle(cache=tmp_path / "a.sqlite")
    first, again = in_virtual_time(streamed(endpoint, model, times=2))
    assert "".join(again) == "".join(first) and len(again) > 3
    assert len(endpoint.asked) == len(rows(model.cache)) == model.budget.spent.calls == 1


@pytest.mark.parametrize("refuse", [None, "stream_options"])
def test_where_no_usage_is_told_tokens_are_reckoned_from_what_came(in_virtual_time, tmp_path, refuse):  # noqa: F811
    endpoint = Streaming(usage=None, refuse=refuse)
    model = handle(cache=tmp_path / "a.sqlite", name=f"uncounted {refuse}")
    in_virtual_time(streamed(endpoint, model))
    (call,) = rows(model.cache)
    assert call["status"] == "answered" and call["attempts"] == (2 if refuse else 1)
    assert call["answer_tokens"] == max(len(WORDS), len("".join(WORDS)) // 4)
    assert 10 < call["prompt_tokens"] < 100  # about a fourth of the request's bytes
    assert model.budget.spent == Amount(call["attempts"], call["tokens"], pytest.approx(call["cost"]))
    in_virtual_time(streamed(endpoint, model, keep=False))
    assert len(endpoint.asked) == call["attempts"] + 1  # what it refuses is not sent again
    assert ("stream_options" in endpoint.asked[-1]) is not bool(refuse)


def test_what_fails_before_the_first_word_is_tried_again(in_virtual_time, tmp_path):  # noqa: F811
    endpoint, model = Streaming(first=[503, [BROKEN]]), handle(cache=tmp_path / "a.sqlite", retries=2)
    assert in_virtual_time(streamed(endpoint, model)) == [WORDS]
    (call,) = rows(model.cache)
    assert (call["attempts"], call["status"], call["error"]) == (3, "answered", "")
    gaps = [later - earlier for earlier, later in zip(endpoint.moments, endpoint.moments[1:], strict=False)]
    assert gaps[0] >= 0.5 and gaps[1] >= 1.0
    assert model.budget.spent == Amount(3, call["tokens"], pytest.approx(call["cost"]))


@pytest.mark.parametrize("ending", ["broken", "without an end"])
def test_an_answer_that_breaks_off_is_told_kept_and_never_taken_for_an_answer(in_virtual_time, tmp_path, ending):  # noqa: F811
    half = [*WORDS[:3], BROKEN] if ending == "broken" else WORDS[:3]
    endpoint = Streaming(first=[half], whole=ending == "broken", usage=None)
    model = handle(cache=tmp_path / "a.sqlite", retries=3, name=ending)
    failed, after = in_virtual_time(streamed(endpoint, model, times=2))
    assert isinstance(failed, openai.APIConnectionError)
    first, second = rows(model.cache)
    assert (first["status"], first["error"], first["attempts"]) == ("failed", "APIConnectionError", 1)
    assert first["raw_answer"] == "".join(WORDS[:3]) and first["answer_tokens"] == 3
    assert len(endpoint.asked) == 2
    if ending == "broken":
        assert after == WORDS and second["status"] == "answered"
    assert model.budget.spent.tokens == first["tokens"] + second["tokens"]


def test_whoever_stops_reading_pays_for_what_came_and_frees_the_place(in_virtual_time, tmp_path):  # noqa: F811
    endpoint = Streaming()
    room = 50 + 400  # tokens that one call may come to, and what one that was left came to
    model = handle(cache=tmp_path / "a.sqlite", concurrency=1, budget=Budget(tokens=room), name="left")
    left, whole = in_virtual_time(streamed(endpoint, model, stop_after=2)), in_virtual_time(streamed(endpoint, model))
    assert (left, whole) == ([WORDS[:2]], [WORDS]) and endpoint.open == 0
    first, second = rows(model.cache)
    assert (first["status"], first["raw_answer"], first["error"]) == ("cancelled", "".join(WORDS[:2]), "")
    assert first["answer_tokens"] == 2 and second["status"] == "answered"
    assert model.budget.spent == Amount(2, first["tokens"] + second["tokens"], pytest.approx(first["cost"] + second["cost"]))


def test_a_reader_who_goes_before_the_first_word_is_counted_as_expected(in_virtual_time, tmp_path):  # noqa: F811
    endpoint, model = Streaming(seconds=60), handle(cache=tmp_path / "a.sqlite", name="early", concurrency=1)

    async def work():
        async with Client(model, endpoint.transport) as client:
            task, waiting = (asyncio.create_task(read(client)) for _ in range(2))
            await asyncio.sleep(5)
            task.cancel(), waiting.cancel()  # the second had not been let out yet
            await asyncio.gather(task, waiting, return_exceptions=True)

    in_virtual_time(work())
    (call,) = rows(model.cache)
    assert (call["status"], call["raw_answer"], call["attempts"]) == ("cancelled", None, 1)
    assert call["tokens"] > 50  # it may have been written, and billed
    assert model.budget.spent == Amount(1, call["tokens"], pytest.approx(call["cost"]))


def test_a_stream_that_falls_silent_is_given_up(in_virtual_time):  # noqa: F811
    endpoint = Streaming(seconds=10)
    (failed,) = in_virtual_time(streamed(endpoint, handle(timeout=35, name="silent")))
    assert isinstance(failed, TimeoutError) and len(endpoint.asked) == 1  # three words were told


def test_nothing_is_asked_for_that_the_budget_does_not_cover(in_virtual_time):  # noqa: F811
    endpoint, model = Streaming(), handle(budget=Budget(tokens=100))
    (failed,) = in_virtual_time(streamed(endpoint, model))
    assert isinstance(failed, BudgetSpentError) and "0 of 100 tokens" in str(failed) and not endpoint.asked
    calls = handle(budget=Budget(calls=2))
    assert [type(found) for found in in_virtual_time(streamed(endpoint, calls, times=3))] == [list, list, BudgetSpentError]


def test_streams_share_the_pace_with_all_other_calls(in_virtual_time):  # noqa: F811
    endpoint = Streaming()
    model = handle(requests_per_minute=20, name="paced")
    in_virtual_time(asyncio.wait_for(streamed(endpoint, model, times=45), 1e6))
    assert busiest_minute(endpoint.moments, [1] * 45) <= 20


@pytest.mark.parametrize("keep", [True, False])
def test_a_key_that_is_repeated_in_two_pieces_is_neither_shown_nor_kept(in_virtual_time, tmp_path, keep):  # noqa: F811
    endpoint, model = Streaming(["The key is sk-", "sec", "ret, and sk-", "s"]), handle(cache=tmp_path / "a.sqlite")
    (pieces,) = in_virtual_time(streamed(endpoint, model, keep=keep))
    assert "".join(pieces) == "The key is ***, and sk-s"
    assert [row["raw_answer"] for row in rows(model.cache)] == ["The key is ***, and sk-s" if keep else None]
    assert not any(b"secret" in file.read_bytes() for file in tmp_path.iterdir())


@given(st.lists(st.text("abc"), max_size=12), st.lists(st.text("abc", min_size=1, max_size=4), max_size=3))
def test_secrets_are_hidden_in_pieces_as_in_the_whole(pieces, secrets):
    hidden = Hidden(secrets)
    shown = "".join([*map(hidden.more, pieces), hidden.rest()])
    assert not any(secret in shown for secret in secrets)
    if len(secrets) == 1:
        assert shown == "".join(pieces).replace(secrets[0], "***")


def test_a_conversation_that_is_not_to_be_kept_leaves_its_cost_alone(in_virtual_time, tmp_path):  # noqa: F811
    endpoint, model = Streaming(), handle(cache=tmp_path / "a.sqlite")
    in_virtual_time(streamed(endpoint, model, times=2, keep=False))
    calls = rows(model.cache)
    assert len(endpoint.asked) == len(calls) == 2  # nothing is looked up either
    assert [(call["raw_answer"], call["tokens"]) for call in calls] == [(None, 50)] * 2


def test_what_could_not_be_put_on_record_is_written_before_anything_more_is_asked(in_virtual_time, tmp_path):  # noqa: F811
    path = tmp_path / "a.sqlite"
    AnswerCache(path).close()
    endpoint, model = Streaming(), handle(cache=path)

    def disk(statement):
        with sqlite3.connect(path) as people:
            people.execute(statement)

    async def work():
        async with Client(model, endpoint.transport) as client:
            disk("create trigger full before insert on answers begin select raise(abort, 'database or disk is full'); end")
            for _ in range(2):
                with pytest.raises(RarError, match="disk is full; make room"):
                    await read(client)
            assert len(endpoint.asked) == 1
            disk("drop trigger full")
            return await read(client)

    assert "".join(in_virtual_time(work())) == "".join(WORDS)
    assert [row["status"] for row in rows(path)] == ["answered", "answered"] and len(endpoint.asked) == 2
