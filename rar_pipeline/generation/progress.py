"""Asking with a voice: how far, how fast, how many answers were on disk already, how many failed."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence

from rar_pipeline.generation.generate import Match
from rar_pipeline.generation.questions import Answer, LanguageModelHandle, Question
from rar_pipeline.generation.rank import rank_all

EVERY = 15.0  # seconds between two lines


def asking(questions: Sequence[Question], model: LanguageModelHandle, match: Match, log: Callable[[str], None]) -> list[Answer]:
    """`rank_all` with a line about every 15 seconds and one at the end."""
    if not questions:
        return []
    started = said = time.monotonic()
    seen: Counter[str] = Counter()

    def heard(answer: Answer) -> None:
        nonlocal said
        seen["cached" if answer.cached else answer.status] += 1
        seen["all"] += 1
        now = time.monotonic()
        fresh = seen["all"] - seen["cached"]
        if now - said >= EVERY and fresh:
            said = now
            left = (now - started) / fresh * (len(questions) - seen["all"])
            log(
                f"{model.model}: {seen['all']} of {len(questions)} questions, {seen['failed']} failed, about {left / 60:.1f} min left"
            )

    log(f"{len(questions)} questions for {model.model}, mode {model.mode}")
    answers = rank_all(questions, model, match, on_answer=heard, on_abilities=lambda abilities: log(abilities.told()))
    tokens = sum(answer.prompt_tokens for answer in answers)
    log(
        f"{len(answers)} answers in {time.monotonic() - started:.0f} s: {seen['cached']} known before, {seen['failed']} failed, "
        f"{seen['unparsed']} unparsed, {tokens:,} prompt tokens"
    )
    if failed := next((answer for answer in answers if answer.status == "failed"), None):
        log(f"first failure: {failed.error}")
    return answers
