"""A judge learns from training cases alone, in an order that says nothing; what it learnt is served, and nothing else is taken for it."""

import json
import pickle
from pathlib import Path

import httpx
import numpy as np
import polars as pl
import pytest
import torch

from rar_pipeline.errors import RarError
from rar_pipeline.files import sha256_of
from rar_pipeline.generation import adapter, label, prompts
from rar_pipeline.generation.embedded import EmbeddedServer
from rar_pipeline.generation.network import Network
from rar_pipeline.generation.questions import Candidate, LanguageModelHandle, Question
from rar_pipeline.generation.rank import rank_all
from rar_pipeline.preference import tuned_judge
from rar_pipeline.preference.tuned_judge import Example, Tuner, build_examples, held_out, keep, tune
from rar_pipeline.resources import LanguageModel
from rar_pipeline.retriever.rounds import pretrain, supervised_round
from rar_pipeline.settings import Settings
from rar_pipeline.tables import MOVIES

from ..retriever.conftest import World, world  # noqa: F401  (a fixture)

SETTINGS = Settings(_env_file=None, candidates=8)
FILMS = [Candidate(f"m{number}", title, 1990 + number, "") for number, title in enumerate(("Alien", "Big", "Coco", "Up"))]


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """A transformers folder of a model that is small and knows nothing: four Llama blocks over bytes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("models") / "tiny"
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: number for number, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|end|>",
        chat_template="{% for message in messages %}{{ message.content }}\n{% endfor %}",
    ).save_pretrained(folder)
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=257, eos_token_id=256, max_position_embeddings=4096, **shape)).save_pretrained(folder)
    return folder


def example(number: int, place: int = 1) -> Example:
    """A conversation of its own whose target always stands in the same place, so that a few steps can learn it."""
    films = tuple(FILMS[film] for film in np.random.default_rng(number).permutation(4))
    return Example(Question(f"{number}:1", f"Seeker: film {number} please", films), str(number), place)


@pytest.fixture(scope="module")
def tuned(base, tmp_path_factory) -> Path:
    """The folder of an adapter of the small model that has learnt to say B."""
    folder = tmp_path_factory.mktemp("adapter")
    settings = SETTINGS.model_copy(update={"judge_training_epochs": 3})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tuned_judge, "LEARNING_RATE", 0.02)
        keep(folder, base.name, tune(base, [example(number) for number in range(40)], settings, lambda line: None), settings)
    return folder


@pytest.fixture(scope="module")
def round_0(world: World, tmp_path_factory) -> Path:  # noqa: F811
    folder = tmp_path_factory.mktemp("retrievers")
    settings = Settings(
        _env_file=None, hidden=16, pretraining_epochs=1, epochs=1, batch=32, learning_rate=0.01, negatives=8, neighbours=5
    )
    made_of = world.catalogue, world.encode, settings, lambda line: None
    pretrain(folder / "pretrained", folder / "attempts", world.cases, world.mentions, *made_of)
    supervised_round(folder / "round_0", folder / "attempts", "redial", world.cases, folder / "pretrained", *made_of)
    return folder / "round_0"


def built(world: World, round_0: Path, count: int = 1000, cases: pl.DataFrame | None = None, **changes) -> list[Example]:  # noqa: F811
    films = [{"movie_id": m, "title": m, "genres": [], "directors": [], "cast": []} for m in world.catalogue.movie_ids]
    settings = SETTINGS.model_copy(update=changes)
    known = world.cases if cases is None else cases
    return build_examples(known, MOVIES.frame(films), world.catalogue, round_0, world.encode, settings, count)


def test_examples_are_training_cases_alone_each_with_its_target_among_its_candidates(world, round_0) -> None:  # noqa: F811
    cases = {case["case_id"]: case for case in world.cases.iter_rows(named=True)}
    examples = built(world, round_0)
    assert len(examples) == 180, "every training case, whether the retriever proposes the target or not"
    for question, dialogue_id, place in examples:
        case, shown = cases[question.question_id], [film.movie_id for film in question.candidates]
        assert case["split"] == "train" and case["dialogue_id"] == dialogue_id
        assert shown[place] in case["targets"] and len(set(shown) & set(case["targets"])) == 1
        assert len(set(shown)) == len(shown) == 8 and not set(shown) & set(case["history"])
    with pytest.raises(RarError, match="no training case"):
        built(world, round_0, cases=world.cases.filter(pl.col("split") != "train"))


def test_the_order_of_candidates_is_drawn_by_seed_and_says_nothing_of_the_target(world, round_0) -> None:  # noqa: F811
    examples, again, other = built(world, round_0), built(world, round_0), built(world, round_0, seed=1)
    assert examples == again != other
    counts = np.bincount([one.place for one in examples], minlength=8)
    # 180 draws of eight places: 22.5 expected of each, standard deviation 4.4
    assert counts.min() >= 7 and counts.max() <= 41
    assert [one.question.question_id for one in built(world, round_0, count=5)] == [
        one.question.question_id for one in examples[:5]
    ]


def test_what_the_curve_is_drawn_on_is_of_dialogues_that_are_not_learnt_from() -> None:
    examples = [example(number)._replace(dialogue_id=str(number // 3)) for number in range(60)]
    learning, other = held_out(examples, 200)
    assert other and len(learning) + len(other) <= 60
    assert not {one.dialogue_id for one in learning} & {one.dialogue_id for one in other}


def test_an_untrained_adapter_changes_nothing(base) -> None:
    tuner, plain = Tuner(base, SETTINGS), Network(base, 1)
    text = plain.text("any words")
    assert plain.read([text], [0])[0][0][1:] == pytest.approx(tuner.model.read([text], [0])[0][0][1:])


def test_a_few_steps_lower_the_loss_below_chance_on_dialogues_not_learnt_from(tuned) -> None:
    record = json.loads((tuned / adapter.RECORD).read_text())
    first, *_, last = record["curve"]
    assert last["held_out_loss"] < first["held_out_loss"] and record["kept_held_out_loss"] < record["chance_loss"] - 0.3
    assert record["chance_loss"] == pytest.approx(np.log(4)) and record["cases"] + record["held_out_cases"] == 40
    assert record["prompts_hash"] == prompts.prompts_hash("label")


def test_the_prompt_that_is_learnt_is_the_prompt_that_is_asked(base) -> None:
    tuner, one = Tuner(base, SETTINGS), example(0)
    shown = "\n".join(message["content"] for message in label.parts(one.question, tuner.handle)[0]["messages"])
    assert tuner.model.tokenizer.decode(tuner.asked(one).ids).strip() == shown
    assert [tuner.model.tokenizer.decode([token]) for token in tuner.asked(one).letters] == list("ABCD")


def test_a_served_adapter_answers_otherwise_than_its_base_and_under_another_name(base, tuned, tmp_path) -> None:
    one = example(99)
    with EmbeddedServer(base, store=tmp_path, adapter=tuned, threads=1, log=tmp_path / "log") as server:
        record = adapter.read(tuned)
        assert server.model == record.model_name("tiny") != "tiny"
        named = httpx.get(f"{server.base_url}/models", timeout=60).json()["data"]
        assert [model["id"] for model in named] == [server.model]
        handle = LanguageModelHandle(server.base_url, server.model, "label", key_from_environment=False)
        answer = rank_all([one.question], handle, lambda title, year: None)[0]
        body = {"prompt": "any words", "echo": True, "logprobs": 1, "max_tokens": 0}
        told = httpx.post(f"{server.base_url}/completions", json=body, timeout=60).json()["choices"][0]["logprobs"]
    assert answer.ranking[0] == one.question.candidates[1].movie_id, "it has learnt to say B"
    plain = Network(base, 1)
    assert told["token_logprobs"][1:] != pytest.approx(plain.read([plain.text("any words")], [0])[0][0][1:], abs=0.05)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda folder: (folder / adapter.WEIGHTS).write_bytes((folder / adapter.WEIGHTS).read_bytes()[:-8]), "damaged"),
        (lambda folder: (folder / adapter.WEIGHTS).unlink(), "cannot be read"),
        (lambda folder: (folder / adapter.RECORD).unlink(), "cannot be read"),
        (lambda folder: (folder / adapter.RECORD).write_text("{"), "no record of an adapter"),
        (lambda folder: changed(folder, base_model="another"), "an adapter of another, not of tiny"),
        (lambda folder: changed(folder, prompts_hash="0" * 64), "another prompt"),
        (lambda folder: changed(folder, rank=0), "rank"),
    ],
)
def test_a_damaged_or_foreign_adapter_is_refused_in_one_line(base, tuned, tmp_path, harm, said) -> None:
    folder = copied(tuned, tmp_path / "copy")
    harm(folder)
    with pytest.raises(RarError, match=said) as refused, EmbeddedServer(base, store=tmp_path, adapter=folder):
        pass
    assert "\n" not in str(refused.value) and "RAR_JUDGE_ADAPTER" in str(refused.value)


class Trap:
    """Leaves a file behind where it is unpickled."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self):
        return Path.touch, (self.place,)


def test_weights_are_never_unpickled_and_those_of_another_shape_are_refused(base, tuned, tmp_path) -> None:
    folder, sprung = copied(tuned, tmp_path / "copy"), tmp_path / "sprung"
    (folder / adapter.WEIGHTS).write_bytes(pickle.dumps(Trap(sprung)))
    changed(folder, weights_sha256=sha256_of(folder / adapter.WEIGHTS))
    with pytest.raises(RarError, match="no safetensors"):
        Network(base, 1, folder)
    assert not sprung.exists()
    known = json.loads((tuned / adapter.RECORD).read_text())
    tensors = {
        "model.layers.3.mlp.up_proj.lora_A.weight": torch.ones(8, 5),
        "model.layers.3.mlp.up_proj.lora_B.weight": torch.ones(64, 8),
    }
    adapter.write(folder, tensors, {name: value for name, value in known.items() if name != "weights_sha256"})
    with pytest.raises(RarError, match=r"model\.layers\.3\.mlp\.up_proj.* does not fit"):
        Network(base, 1, folder)


def test_the_black_box_stays_the_judge_until_an_adapter_is_named(tuned) -> None:
    places = {"cache": "answers", "models": "models"}
    assert Settings(_env_file=None).judge_adapter == ""
    assert LanguageModel(**places).ranking_mode == "likelihood"
    assert LanguageModel(**places, adapter=str(tuned)).ranking_mode == "label"
    elsewhere = LanguageModel(**places, adapter=str(tuned), base_url="http://127.0.0.1:1/v1", model="any")
    with pytest.raises(RarError, match="RAR_JUDGE_ADAPTER"), elsewhere.open():
        pass


def copied(source: Path, folder: Path) -> Path:
    folder.mkdir()
    for file in source.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def changed(folder: Path, **values: object) -> None:
    record = json.loads((folder / adapter.RECORD).read_text())
    (folder / adapter.RECORD).write_text(json.dumps(record | values))
