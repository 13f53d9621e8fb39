"""Which failures of an endpoint pass by themselves, how long to wait before another try, and how a failure is told.

Transient: no connection, no answer in time, HTTP 408, 409, 429 and 5xx; not a spent quota (429 too, but waiting does not help), and not where
the endpoint itself says `x-should-retry: false` or wants a longer wait than `LONGEST_WAIT`.
"""

from __future__ import annotations

import email.utils
import time
from collections.abc import Callable, Mapping

from tenacity import RetryCallState, wait_exponential_jitter

LONGEST_WAIT = 120.0  # seconds; an endpoint that wants more is not waited for
_FIRST_WAIT = 0.5  # seconds before the second attempt, doubled for each further one, and up to as much again by chance
_MOST_WAIT = 30.0
_PASSING = frozenset({408, 409, 429})


def told(error: BaseException) -> str:
    """Class and HTTP status of an error, without its message, which may repeat parts of a key or of a prompt."""
    status = getattr(error, "status_code", None)
    return f"{type(error).__name__} (HTTP {status})" if status else type(error).__name__


def is_transient(error: BaseException) -> bool:
    """Whether another attempt may end better."""
    import openai

    if isinstance(error, TimeoutError | openai.APIConnectionError):
        return True
    if not isinstance(error, openai.APIStatusError) or error.code == "insufficient_quota":
        return False
    if asked_wait(error) > LONGEST_WAIT or error.response.headers.get("x-should-retry") == "false":
        return False
    return error.status_code in _PASSING or error.status_code >= 500


def asked_wait(error: BaseException | None) -> float:
    """Seconds that the endpoint asks to wait (`retry-after-ms`, `Retry-After` as a number or a date); 0 where it asks for nothing."""
    headers: Mapping[str, str] = getattr(getattr(error, "response", None), "headers", {})
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            return max(float(headers[name]) * unit, 0.0)
        except (KeyError, ValueError):
            continue
    date = email.utils.parsedate_tz(headers.get("retry-after"))
    return max(email.utils.mktime_tz(date) - time.time(), 0.0) if date else 0.0


def pause() -> Callable[[RetryCallState], float]:
    """Seconds before the next attempt: growing, with jitter, and never less than the endpoint asks for."""
    growing = wait_exponential_jitter(initial=_FIRST_WAIT, max=_MOST_WAIT, jitter=_FIRST_WAIT)

    def seconds(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        return max(growing(state), asked_wait(error))

    return seconds
