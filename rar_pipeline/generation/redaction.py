"""What must not be shown or kept of an endpoint's address and answers: keys, users and passwords. An endpoint may repeat what it was sent."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from urllib.parse import unquote, urlsplit, urlunsplit

_SHORTEST_SECRET = 6  # characters; what is shorter is a word


def shown_url(url: str) -> str:
    """The address without user, password, query and fragment."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    return urlunsplit((parts.scheme, f"{host}:{parts.port}" if parts.port else host, parts.path, "", ""))


def secrets_of(base_url: str, key: str) -> list[str]:
    """What is sent with a call and must not be kept: the key, and user and password of the address, also as HTTP's basic scheme sends them."""
    parts = urlsplit(base_url)
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    basic = base64.b64encode(f"{user}:{password}".encode()).decode() if password else ""
    return [secret for secret in (key, basic, password) if len(secret) >= _SHORTEST_SECRET]


def hide(text: str, secrets: Sequence[str]) -> str:
    """A text with `***` in the place of each secret."""
    for secret in secrets:
        text = text.replace(secret, "***")
    return text


class Hidden:
    """A text that comes in pieces, with secrets hidden as they are in a whole one: the end of a piece waits where a secret may begin there."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._secrets = secrets
        self._held = ""

    def more(self, piece: str) -> str:
        """What of all that came can be shown now."""
        text = hide(self.rest() + piece, self._secrets)
        longest = max((len(secret) for secret in self._secrets), default=1)
        beginnings = (at for at in range(max(len(text) - longest + 1, 0), len(text)) if self._may_begin(text[at:]))
        cut = next(beginnings, len(text))
        self._held = text[cut:]
        return text[:cut]

    def rest(self) -> str:
        """What was held back."""
        held, self._held = self._held, ""
        return held

    def _may_begin(self, end: str) -> bool:
        return any(secret.startswith(end) for secret in self._secrets)
