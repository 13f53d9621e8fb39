"""The embedded model's network: how likely given texts are, token by token, and what it would write next. Knows nothing of HTTP."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rar_pipeline.generation import adapter as adapters

if TYPE_CHECKING:
    import torch

CONTEXT = 8192  # tokens of prompt and answer, where the model itself takes more
_LOGITS = 2**27  # logits that one forward pass may make: 256 MiB in bfloat16
_FULL = 512  # tokens from which on a larger batch is no faster on CPUs


@dataclass(frozen=True)
class Text:
    """A tokenised text: token ids and the character at which each begins."""

    ids: list[int]
    offsets: list[int]


@dataclass(frozen=True)
class Token:
    """One written token: text, log-probability in nats before temperature, and the likeliest alternatives, best first."""

    text: str
    logprob: float
    top: list[tuple[str, float]]


@dataclass
class Written:
    """What was written: `text` up to a stop word, its `tokens`, and why it ended (`stop` or `length`)."""

    text: str = ""
    tokens: list[Token] = field(default_factory=list)
    reason: str = "length"


class Network:
    """A causal language model of a transformers folder, with an adapter where one is named, on the GPU where there is one.

    bfloat16 on GPUs and on CPUs that multiply it, else float32. Of bfloat16's log-probabilities a mean over a text is good to some hundredths
    of a nat, that of a single, very unlikely token to half a nat. Not to be used from two threads at once.
    """

    def __init__(self, folder: Path, threads: int, adapter: Path | None = None) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()
        torch.set_num_threads(threads)
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        dtype = torch.bfloat16 if self.device == "cuda" or torch.cpu._is_avx512_bf16_supported() else torch.float32
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        # merged in float32: to bfloat16's weights small steps would be lost
        first = torch.float32 if adapter else dtype
        network = AutoModelForCausalLM.from_pretrained(folder, dtype=first, use_safetensors=True)
        if adapter:
            adapters.merge(network, adapter, adapters.read(adapter))
        self.network: Any = network.eval().to(self.device, dtype)
        self.context = min(getattr(network.config, "max_position_embeddings", None) or CONTEXT, CONTEXT)
        ends = network.generation_config.eos_token_id
        self.ends = set(ends if isinstance(ends, list) else [ends])

    def text(self, text: str, special: bool = True) -> Text:
        """Tokens of `text`; `special`: with those that the model wants before every text."""
        found = self.tokenizer(text, add_special_tokens=special, return_offsets_mapping=True)
        return Text(found["input_ids"], [start for start, _ in found["offset_mapping"]])

    def chat(self, messages: Sequence[dict[str, str]]) -> Text:
        """Tokens of a conversation up to where the assistant speaks. Raises ValueError where the model's template does not take it."""
        from jinja2 import TemplateError

        try:
            shown = self.tokenizer.apply_chat_template(list(messages), add_generation_prompt=True, tokenize=False)
        except TemplateError as error:
            raise ValueError(str(error)) from None
        return self.text(shown, special=False)

    def read(self, texts: Sequence[Text], starts: Sequence[int]) -> list[tuple[list[float | None], torch.Tensor]]:
        """For each text, its tokens' log-probabilities in nats given those before, and the logits (vocabulary,) of what would follow.

        Tokens before `starts` (and the first, before which nothing is) are not scored: None. What is read together is decided by lengths and
        contents alone, so that results do not depend on the order of the texts.
        """
        found: dict[int, tuple[list[float | None], torch.Tensor]] = {}
        for batch in self._batches(texts):
            found |= self._read(batch, texts, starts)
        return [found[place] for place in range(len(texts))]

    def _batches(self, texts: Sequence[Text]) -> Iterator[list[int]]:
        """Places of texts of about the same length, as many as one forward pass may take."""
        most = _LOGITS // self.network.config.get_text_config().vocab_size
        batch: list[int] = []
        for place in sorted(range(len(texts)), key=lambda place: (len(texts[place].ids), texts[place].ids)):
            length = len(texts[place].ids)
            padded = length * len(batch)
            wasteful = padded > _FULL and len(texts[batch[0]].ids) < 0.8 * length
            if batch and (padded + length > most or wasteful):
                yield batch
                batch = []
            batch.append(place)
        if batch:
            yield batch

    def _read(
        self, batch: list[int], texts: Sequence[Text], starts: Sequence[int]
    ) -> dict[int, tuple[list[float | None], torch.Tensor]]:
        import torch

        longest = max(len(texts[place].ids) for place in batch)
        # padding stands behind the text, where causal attention cannot see it: no mask is needed
        rows = [texts[place].ids + [0] * (longest - len(texts[place].ids)) for place in batch]
        first = min(max(min(starts[place], len(texts[place].ids)), 1) for place in batch) - 1
        with torch.inference_mode():
            kept = torch.arange(first, longest, device=self.device)
            ids = torch.tensor(rows, device=self.device)
            logits = self.network(input_ids=ids, use_cache=False, logits_to_keep=kept).logits  # (batch, kept, vocabulary)
            found = {}
            for place, row, given in zip(batch, logits, ids, strict=True):
                end, start = len(texts[place].ids), max(starts[place], 1)
                # one text at a time: all at once in float32 would be the largest thing in memory
                scored = row[start - 1 - first : end - 1 - first].float()
                chosen = scored.gather(1, given[start:end, None])[:, 0] - scored.logsumexp(1) if end > start else scored[:, 0]
                found[place] = ([None] * min(start, end) + chosen.tolist(), row[end - 1 - first].float())
        return found

    def write(self, text: Text, most: int, **how: Any) -> Written:  # noqa: ANN401 - as `writing` takes it
        """Go on from `text`: what `writing` comes to."""
        return reduce(lambda _, so_far: so_far, self.writing(text, most, **how), Written())

    def writing(
        self,
        text: Text,
        most: int,
        *,
        temperature: float,
        seed: int | None = None,
        stop: Sequence[str] = (),
        top: int = 0,
        logits: torch.Tensor | None = None,
    ) -> Iterator[Written]:
        """Go on from `text` for at most `most` tokens; temperature 0 takes the likeliest. `logits`: of the first token, where known.

        Gives, after each token, the same object with what was written so far.
        """
        import torch

        generator = torch.Generator(self.device)
        generator.manual_seed(seed) if seed is not None else generator.seed()
        written, pending = Written(), list(text.ids)
        chosen: list[int] = []
        cache: Any = None
        while len(chosen) < most:
            with (
                torch.inference_mode()
            ):  # not around the whole: the mode is of a thread, and the next token may be asked for by another
                if logits is None:
                    given = torch.tensor([pending], device=self.device)
                    answer = self.network(input_ids=given, past_key_values=cache, use_cache=True, logits_to_keep=1)
                    logits, cache, pending = answer.logits[0, -1].float(), answer.past_key_values, []
                logprobs = logits.log_softmax(0)
                drawn = (
                    (logits / temperature).softmax(0).multinomial(1, generator=generator) if temperature > 0 else logits.argmax()
                )
                token = int(drawn)
                best = logprobs.topk(min(top, len(logprobs)))
                pairs = list(zip(map(self._word, best.indices.tolist()), best.values.tolist(), strict=True))
                written.tokens.append(Token(self._word(token), float(logprobs[token]), pairs))
            chosen.append(token)
            if token in self.ends:
                written.reason = "stop"
                yield written
                break
            pending.append(token)
            logits = None
            written.text = self.tokenizer.decode(chosen)
            cut = min((at for word in stop if (at := written.text.find(word)) >= 0), default=-1)
            if cut >= 0:
                written.text, written.reason = written.text[:cut], "stop"
            yield written
            if cut >= 0:
                break

    def _word(self, token: int) -> str:
        return str(self.tokenizer.decode([token]))
