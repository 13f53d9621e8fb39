"""Asking with a voice: how far, how fast, how many answers were on disk already, how many failed, what it cost so far and how long it will take."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rar_pipeline.generation.questions import Answer, LanguageModelHandle, Match, Question
from rar_pipeline.generation.rank import rank_all

EVERY = 15.0  # seconds between two lines
_BAR = 20  # characters


@dataclass
class Progress:
    """How far the asking of `total` questions has come. Times are seconds of any one clock."""

    total: int
    started: float
    counts: Counter[str] = field(default_factory=Counter)

    def heard(self, answer: Answer) -> None:
        """Count one answer."""
        self.counts["cached" if answer.cached else answer.status] += 1
        self.counts["all"] += 1

    def line(self, now: float, cost: float) -> str:
        """A bar and its figures; the time left is that of the questions left at the rate of those that were really asked."""
        done, cached = self.counts["all"], self.counts["cached"]
        full = round(_BAR * done / self.total)
        rate = (done - cached) / max(now - self.started, 1e-9)
        parts = [f"[{'#' * full}{'.' * (_BAR - full)}] {done:,} of {self.total:,}"]
        parts += [f"{rate:.3g}/s"] if rate else []
        parts += [f"{cached:,} known before"]
        parts += [f"{self.counts[kind]:,} {kind}" for kind in ("failed", "unparsed") if self.counts[kind]]
        parts += [f"cost {cost:.4f}"] if cost else []
        parts += [f"{(self.total - done) / rate / 60:.1f} min left"] if rate and done < self.total else []
        return ", ".join(parts)


def asking(
    questions: Sequence[Question],
    model: LanguageModelHandle,
    match: Match,
    log: Callable[[str], None],
    shuffle: int | None = None,
) -> list[Answer]:
    """`rank_all` with a line about every 15 seconds and one at the end; `shuffle` as there."""
    if not questions:
        return []
    said = time.monotonic()
    progress = Progress(len(questions), said)
    before = model.budget.spent

    def heard(answer: Answer) -> None:
        nonlocal said
        progress.heard(answer)
        now = time.monotonic()
        if now - said >= EVERY:
            said = now
            log(f"{model.model}: {progress.line(now, (model.budget.spent - before).cost)}")

    log(f"{len(questions):,} questions for {model.model}, mode {model.mode}")
    answers = rank_all(
        questions, model, match, shuffle=shuffle, on_answer=heard, on_abilities=lambda abilities: log(abilities.told())
    )
    now, spent = time.monotonic(), model.budget.spent - before
    log(
        f"{model.model}: {progress.line(now, spent.cost)}, in {now - progress.started:.0f} s; "
        f"{spent.calls:,} calls and {spent.tokens:,} tokens were spent"
    )
    if failed := next((answer for answer in answers if answer.status == "failed"), None):
        log(f"first failure: {failed.error}")
    return answers
