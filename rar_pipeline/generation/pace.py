"""How fast an endpoint may be asked: requests and tokens a minute, and a pause for everybody where it asks for one.

Both limits are kept by pyrate-limiter's generic cell rate algorithm, evenly: no minute, wherever it begins, holds more than the limit. Tokens are
taken before a call as they are expected (bytes of the prompt and the mean answer, as this endpoint counted them so far); where it then counts
others, the next call takes the difference along. Limits hold within one process.
"""

from __future__ import annotations

import asyncio
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyrate_limiter import Limiter

MINUTE = 60_000  # milliseconds
_BYTES_A_TOKEN = 4.0  # of English, until the endpoint has counted


class Pace:
    """The limits of one endpoint and model; 0 is no limit. Used by all clients of this process, each in its own event loop."""

    def __init__(self, requests: int = 0, tokens: int = 0) -> None:
        self._requests = _limiter(requests, 1) if requests else None
        self._share = max(tokens // 60, 1)  # tokens that may be taken at once: a second's
        self._tokens = _limiter(max(tokens - self._share, 1), self._share) if tokens else None
        self._owed = 0
        self._resumes = 0.0
        self._seen = [0, 0, 0, 0]  # calls, bytes, prompt tokens, answer tokens

    def expected(self, prompt_bytes: int, answer_tokens: int) -> tuple[int, int]:
        """(prompt tokens, answer tokens) of a call whose body has so many bytes and whose answer may have so many tokens."""
        calls, seen_bytes, prompt, answer = self._seen
        if not calls or not prompt:
            return round(prompt_bytes / _BYTES_A_TOKEN) + 1, answer_tokens
        return round(prompt_bytes * prompt / seen_bytes) + 1, min(round(answer / calls) + 1, answer_tokens)

    async def admit(self, tokens: int) -> None:
        """Wait until a call of about `tokens` tokens may go out. Callers take turns: tokens of a large call are gathered bit by bit."""
        now = asyncio.get_running_loop().time
        while (left := self._resumes - now()) > 0:
            await asyncio.sleep(left)
        if self._tokens is not None:
            due, self._owed = tokens + self._owed, 0
            if due <= 0:
                self._owed = due
            while due > 0:
                await self._tokens.try_acquire_async("tokens", weight=min(due, self._share))
                due -= self._share
        if self._requests is not None:
            await self._requests.try_acquire_async("requests")

    def counted(self, expected: int, prompt_bytes: int, prompt_tokens: int, answer_tokens: int) -> None:
        """What a call that was admitted with `expected` tokens came to."""
        self._owed += prompt_tokens + answer_tokens - expected
        seen = (1, prompt_bytes, prompt_tokens, answer_tokens)
        self._seen = [old + new for old, new in zip(self._seen, seen, strict=True)]

    def returned(self, expected: int) -> None:
        """A call that was admitted with `expected` tokens was refused, which counts none."""
        self._owed -= expected

    def pause(self, seconds: float) -> None:
        """Let nobody ask before so many seconds are over: the endpoint wants it."""
        self._resumes = max(self._resumes, asyncio.get_running_loop().time() + seconds)


@lru_cache(maxsize=64)
def pace_of(base_url: str, model: str, requests: int, tokens: int) -> Pace:
    """The one pace at which this process asks a model of an endpoint."""
    return Pace(requests, tokens)


def _limiter(a_minute: int, burst: int) -> Limiter:
    """Admits `a_minute` units a minute, evenly, and at most `burst` at once."""
    from pyrate_limiter import Limiter, Rate, SingleBucketFactory, StateBucket

    bucket = StateBucket([Rate(a_minute, MINUTE, burst)])
    return Limiter(SingleBucketFactory(bucket, schedule_leak=False), buffer_ms=0)
