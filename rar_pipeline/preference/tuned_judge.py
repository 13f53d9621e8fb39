"""A judge made competent: the embedded model fine-tuned to name the letter of the movie that a training conversation recommended.

As LlamaRec does (Yue et al., 2023): the retriever's candidates bear letters in the prompt of mode label, and the loss is the cross-entropy of the
target's letter, here the first token of the answer. Low-rank adapters (LoRA, Hu et al., ICLR 2022) beside frozen weights learn it. Unlike there,
candidates stand in a drawn order, so that no order can be copied, and the retriever's says nothing of the target: it knows training cases by heart.
Left out: dropout, since every example is seen once or twice. The layer is our own: peft would double the time that the model takes to
load and bring two packages along; the files are peft's.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl
import torch  # noqa: TID253  (this module is imported only where training happens)
from torch import Tensor, nn  # noqa: TID253
from torch.nn import functional as F  # noqa: TID253

from rar_pipeline.errors import RarError
from rar_pipeline.files import digest
from rar_pipeline.generation import adapter, label, prompts
from rar_pipeline.generation.candidates import candidates_of
from rar_pipeline.generation.network import Network
from rar_pipeline.generation.questions import LanguageModelHandle, Question
from rar_pipeline.preference.feedback import choose_contexts
from rar_pipeline.retriever.catalogue import Catalogue
from rar_pipeline.retriever.examples import Encode, build_queries
from rar_pipeline.retriever.search import build_index, search
from rar_pipeline.retriever.version import load
from rar_pipeline.settings import Settings

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")  # the linear layers of a Llama block
RANK, ALPHA = 8, 16.0
UPPER = 0.5  # share of the blocks that get adapters, the last ones: no gradient has to go through the others
CONTEXT_CHARACTERS = 300  # of a conversation's end
STEP = 8  # examples a step
LEARNING_RATE = 1e-3
WARM_UP, DECAY = 4, 0.6  # steps in which the rate rises; share of all after which it falls
HELD_OUT = 200  # training cases of other dialogues at most, on which the curve is drawn; never more than a tenth
LOOKS = 4  # at those, beside the first
SPARE = 5  # candidates searched beyond k: other targets of a case are no wrong answers, and make room


class Example(NamedTuple):
    """A training case as a question, candidates in a drawn order, and the place of its target among them."""

    question: Question
    dialogue_id: str
    place: int


def build_examples(
    cases: pl.DataFrame, movies: pl.DataFrame, catalogue: Catalogue, folder: Path, encode: Encode, settings: Settings, count: int
) -> list[Example]:
    """At most `count` examples from training cases, in an order drawn by seed; candidates are of the retriever in `folder`.

    A target that it does not propose takes the last one's place. Raises RarError where no training case has a target in the corpus.
    """
    chosen = choose_contexts(cases, catalogue, len(cases), settings.seed, 0).filter(pl.col("context") != "")
    order = np.random.default_rng([settings.seed, 8]).permutation(len(chosen))[:count]
    chosen = chosen[order.tolist()]
    if not len(chosen):
        raise RarError("no training case has a conversation and a target in the corpus, so that no judge can be tuned")
    retriever, version = load(folder)
    queries = build_queries(chosen, catalogue, encode, turns=settings.context_turns, max_history=settings.max_history)
    found, _ = search(build_index(retriever, catalogue, version.known), queries, settings.candidates + SPARE)
    known = set(catalogue.movie_ids)
    drawn: list[tuple[list[str], str]] = []
    for number, case in enumerate(chosen.iter_rows(named=True)):
        generator = np.random.default_rng([settings.seed, 8, number])
        targets = sorted(set(case["targets"]) - set(case["disliked"]) & known)
        target = targets[int(generator.integers(len(targets)))]
        others = [catalogue.movie_ids[row] for row in found[number].tolist() if row >= 0]
        others = [movie for movie in others if movie not in case["targets"]][: settings.candidates - 1]
        drawn.append((generator.permutation([target, *others]).tolist(), target))
    cards = candidates_of(movies, sorted({movie for shown, _ in drawn for movie in shown}))
    return [
        Example(
            Question(case["case_id"], case["context"], tuple(cards[movie] for movie in shown), tuple(case["history"])),
            case["dialogue_id"],
            shown.index(target),
        )
        for case, (shown, target) in zip(chosen.iter_rows(named=True), drawn, strict=True)
    ]


class LowRank(nn.Module):
    """A frozen linear layer with a trained one of low rank beside it: W x + (alpha / rank) B A x; B begins as zero, so that nothing changes."""

    def __init__(self, linear: nn.Linear, rank: int, alpha: float, generator: torch.Generator) -> None:
        super().__init__()
        self.linear, self.scale = linear, alpha / rank
        bound = 1 / math.sqrt(linear.in_features)
        first = (torch.rand(rank, linear.in_features, generator=generator) * 2 - 1) * bound
        self.down = nn.Parameter(first.to(linear.weight.device))  # A: (rank, in), float32 beside weights of bfloat16
        self.up = nn.Parameter(torch.zeros(linear.out_features, rank, device=linear.weight.device))  # B: (out, rank)

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        beside: Tensor = F.linear(F.linear(x, self.down.to(x.dtype)), self.up.to(x.dtype) * self.scale)
        return self.linear(x) + beside


def adapt(network: PreTrainedModel, seed: int) -> dict[str, LowRank]:
    """Freeze a network and put a low-rank layer in place of each of the `TARGETS` in its `UPPER` blocks, by name."""
    network.requires_grad_(False)
    first = int((1 - UPPER) * network.config.num_hidden_layers)
    generator = torch.Generator().manual_seed(seed)
    layers: dict[str, LowRank] = {}
    for name, module in list(network.named_modules()):
        parent, _, own = name.rpartition(".")
        block = next((int(word) for word in parent.split(".") if word.isdecimal()), -1)
        if own in TARGETS and block >= first and isinstance(module, nn.Linear):
            layers[name] = LowRank(module, RANK, ALPHA, generator)
            setattr(network.get_submodule(parent), own, layers[name])
    return layers


class Asked(NamedTuple):
    """A prompt as tokens, and the token of the right letter."""

    ids: list[int]
    letters: list[int]
    place: int


class Tuner:
    """The model of a folder with fresh adapters, asked as mode label asks."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.model = Network(folder, torch.get_num_threads())
        self.layers = adapt(self.model.network, settings.seed)
        self.parameters = [one for layer in self.layers.values() for one in (layer.down, layer.up)]
        self.handle = LanguageModelHandle(
            "", "", card_characters=settings.judge_card_characters, context_characters=CONTEXT_CHARACTERS
        )

    def asked(self, example: Example) -> Asked:
        """Tokens of an example's prompt; the letters are those that the answer would begin with."""
        messages = label.parts(example.question, self.handle)[0]["messages"]
        letters = [self.model.text(letter, special=False).ids for letter in label.LABELS[: len(example.question.candidates)]]
        return Asked(self.model.chat(messages).ids, [ids[0] for ids in letters], example.place)

    def losses(self, batch: Sequence[Asked]) -> tuple[Tensor, Tensor, Tensor]:
        """Of every prompt: cross-entropy (b,) of the right letter among all tokens, among the letters alone, and whether it is the likeliest letter.

        The first is learnt, since a server tells only of the likeliest tokens; the second can be compared with chance, log k.
        """
        longest = max(len(one.ids) for one in batch)
        # padding stands behind the text, where causal attention cannot see it
        ids = torch.tensor([one.ids + [0] * (longest - len(one.ids)) for one in batch], device=self.model.device)
        hidden = self.model.network.base_model(input_ids=ids, use_cache=False).last_hidden_state  # (b, t, h)
        last = hidden[torch.arange(len(batch)), [len(one.ids) - 1 for one in batch]]
        logits = self.model.network.get_output_embeddings()(last).float()  # (b, vocabulary)
        whole = logits.logsumexp(1)
        chosen = [row[one.letters] for row, one in zip(logits, batch, strict=True)]
        right = torch.stack([row[one.place] for row, one in zip(chosen, batch, strict=True)])
        among = torch.stack([row.logsumexp(0) for row in chosen])
        best = torch.tensor([float(int(row.argmax()) == one.place) for row, one in zip(chosen, batch, strict=True)])
        return whole - right, among - right, best

    def batches(self, examples: Sequence[Asked]) -> Iterator[Sequence[Asked]]:
        """As many at once as the device takes well: one on a CPU, where more are no faster."""
        size = STEP if self.model.device == "cuda" else 1
        return (examples[start : start + size] for start in range(0, len(examples), size))

    def step(self, examples: Sequence[Asked], optimiser: torch.optim.Optimizer) -> float:
        """One step on the mean loss of some examples; gives that mean among the letters alone."""
        optimiser.zero_grad()
        total = 0.0
        for batch in self.batches(examples):
            learnt, among, _ = self.losses(batch)
            (learnt.sum() / len(examples)).backward()
            total += float(among.detach().sum())
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        optimiser.step()
        return total / len(examples)

    @torch.no_grad()
    def look(self, examples: Sequence[Asked]) -> tuple[float, float]:
        """Mean cross-entropy among the letters in nats, and share of right answers."""
        found = [self.losses(batch)[1:] for batch in self.batches(examples)]
        loss, right = (torch.cat([one[part].cpu() for one in found]).mean() for part in range(2))
        return float(loss), float(right)

    def tensors(self) -> dict[str, Tensor]:
        """The adapters as `generation.adapter` keeps them."""
        parts = [(f"{name}.lora_A.weight", layer.down) for name, layer in self.layers.items()]
        parts += [(f"{name}.lora_B.weight", layer.up) for name, layer in self.layers.items()]
        return {name: tensor.detach().cpu().clone() for name, tensor in parts}


class Tuned(NamedTuple):
    """Adapters and what is on record of their making."""

    tensors: dict[str, Tensor]
    figures: dict[str, Any]


def held_out(examples: Sequence[Example], most: int) -> tuple[list[Example], list[Example]]:
    """Examples to learn from, and at most `most` and a tenth of other dialogues, the first in their order."""
    dialogues = {example.dialogue_id for example in examples[: min(most, math.ceil(len(examples) / 10))]}
    kept = [example for example in examples if example.dialogue_id in dialogues][:most]
    return [example for example in examples if example.dialogue_id not in dialogues], kept


def tune(folder: Path, examples: Sequence[Example], settings: Settings, log: Callable[[str], None]) -> Tuned:
    """Fine-tune the model in `folder` for the epochs or the minutes of the settings, whichever end first.

    What did best on held-out training cases is kept, the start included. Raises RarError where there are too few examples.
    """
    tuner = Tuner(folder, settings)
    learning, other = held_out(examples, HELD_OUT)
    if not other:
        raise RarError(f"{len(examples)} training cases are too few to tune a judge; raise RAR_JUDGE_TRAINING_CASES")
    asked, unseen = [tuner.asked(one) for one in learning], [tuner.asked(one) for one in other]
    epochs = settings.judge_training_epochs
    order = np.concatenate([np.random.default_rng([settings.seed, 9, epoch]).permutation(len(asked)) for epoch in range(epochs)])
    steps = math.ceil(len(order) / STEP)
    optimiser = torch.optim.AdamW(tuner.parameters, lr=LEARNING_RATE, weight_decay=0.0)
    began = time.monotonic()

    def done(step: int) -> float:
        """Share of the epochs or of the minutes that is over, whichever is further."""
        return max(step / steps, (time.monotonic() - began) / (60 * settings.judge_training_minutes))

    curve: list[dict[str, float]] = []
    best, kept = math.inf, tuner.tensors()
    recent: list[float] = []
    for step in range(steps + 1):
        over = done(step)
        if over >= len(curve) / LOOKS:
            loss, right = tuner.look(unseen)
            seconds = round(time.monotonic() - began, 1)
            point = {"examples": min(step * STEP, len(order)), "seconds": seconds, "held_out_loss": loss, "held_out_right": right}
            point |= {"training_loss": float(np.mean(recent))} if recent else {}
            curve.append(point)
            log(", ".join(f"{name} {value:.4g}" for name, value in point.items()) + f" (chance: {chance(learning):.3f})")
            recent = []
            if loss < best:
                best, kept = loss, tuner.tensors()
        if over >= 1:
            break
        for group in optimiser.param_groups:  # rises, then falls to zero at the end, whatever ends it
            group["lr"] = LEARNING_RATE * min((step + 1) / WARM_UP, (1 - over) / (1 - DECAY), 1.0)
        recent.append(tuner.step([asked[place] for place in order[step * STEP : (step + 1) * STEP]], optimiser))
    return Tuned(kept, _figures(learning, other, curve, best, tuner))


def chance(examples: Sequence[Example]) -> float:
    """Mean cross-entropy of guessing, log k, in nats."""
    return float(np.mean([math.log(len(example.question.candidates)) for example in examples]))


def _figures(
    learning: Sequence[Example], other: Sequence[Example], curve: list[dict[str, float]], best: float, tuner: Tuner
) -> dict[str, Any]:
    return {
        "cases": len(learning),
        "cases_seen": int(min(curve[-1]["examples"], len(learning))),
        "cases_hash": digest([example.question.question_id for example in learning]),
        "held_out_cases": len(other),
        "chance_loss": chance(other),
        "kept_held_out_loss": best,
        "learning_rate": LEARNING_RATE,
        "examples_a_step": STEP,
        "device": tuner.model.device,
        "curve": curve,
    }


def keep(folder: Path, base_model: str, tuned: Tuned, settings: Settings) -> adapter.Record:
    """Write the adapters and the record of them into `folder`."""
    return adapter.write(
        folder,
        tuned.tensors,
        {
            "base_model": base_model,
            "prompts_hash": prompts.prompts_hash("label"),
            "rank": RANK,
            "alpha": ALPHA,
            "targets": TARGETS,
            "card_characters": settings.judge_card_characters,
            "context_characters": CONTEXT_CHARACTERS,
            "candidates": settings.candidates,
            "seed": settings.seed,
            **tuned.figures,
        },
    )
