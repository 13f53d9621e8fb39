"""What is told of a failed run, and the way it goes out: job, run, step and one line, no secrets, to one address.

The body is JSON with `text`, which chat services show, and the same as fields of their own.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

import httpx
import tenacity

from rar_pipeline.errors import RarError
from rar_pipeline.politeness import shown  # which also keeps httpx from logging whole addresses

LONGEST = 300  # characters of an error
SECONDS = 10.0  # for one attempt
ATTEMPTS = 3

_SECRET = re.compile(r"(?i)key|token|secret|password|passwd|credential|webhook")
_ADDRESS = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://[^\s'\"<>]+")
_SHORT = 6  # what is shorter is a word, not a secret


def notice(job: str, run: str, step: str, error: str, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What is posted of a failed run."""
    line = one_line(error, environment)
    return {"text": f"{job} failed at {step}: {line} (run {run})", "job": job, "run": run, "step": step, "error": line}


def one_line(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """The first line that says something, without secrets, cut to LONGEST."""
    said = next((line.strip() for line in text.splitlines() if line.strip()), "no reason given")
    line = redacted(said, environment)
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"


def redacted(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """The text without the values of variables that are named like secrets, and with addresses as they may be shown."""
    text = _ADDRESS.sub(lambda found: shown(found[0]), text)
    secrets = {value for name, value in environment.items() if _SECRET.search(name) and len(value) >= _SHORT}
    for value in sorted(secrets, key=len, reverse=True):
        text = text.replace(value, "***")
    return text


def post(address: str, body: Mapping[str, str]) -> None:
    """Send the body as JSON, again after a fault that may pass. Raises RarError, which does not hold the address: it may be a secret."""
    if not address.lower().startswith(("http://", "https://")):
        raise RarError("RAR_WEBHOOK: not an http(s) address")
    try:
        _posted(address, body)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        status = f" (HTTP {error.response.status_code})" if isinstance(error, httpx.HTTPStatusError) else ""
        raise RarError(f"RAR_WEBHOOK: the notice did not arrive: {type(error).__name__}{status}; check the address") from None


def _passing(error: BaseException) -> bool:
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code == 429 or error.response.status_code >= 500
    return isinstance(error, httpx.TransportError)


@tenacity.retry(
    retry=tenacity.retry_if_exception(_passing),
    stop=tenacity.stop_after_attempt(ATTEMPTS),
    wait=tenacity.wait_exponential(max=4),
    reraise=True,
)
def _posted(address: str, body: Mapping[str, str]) -> None:
    httpx.post(address, json=dict(body), timeout=SECONDS).raise_for_status()
