"""What may be spent on an endpoint: calls, tokens and money, reserved before a call and settled after it.

A call is made only where the most that it can cost still fits beside what was spent and what other calls in flight may yet cost. So a limit is
never passed, and some of it may be left over: a prompt counts as many tokens as it has bytes (a token is at least one) until the answer says how
many there were.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Literal


class BudgetSpentError(Exception):
    """The budget does not cover the next call; the message says what was spent of what."""


@dataclass(frozen=True)
class Amount:
    """Calls, tokens (prompts and answers together), and money in the currency of the prices."""

    calls: int = 0
    tokens: int = 0
    cost: float = 0.0

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.calls + other.calls, self.tokens + other.tokens, self.cost + other.cost)

    def __sub__(self, other: Amount) -> Amount:
        return Amount(self.calls - other.calls, self.tokens - other.tokens, self.cost - other.cost)


class Budget:
    """Shared by everybody who holds this object, also between threads. A limit of 0 is no limit; `spent` was spent before."""

    def __init__(self, calls: int = 0, tokens: int = 0, cost: float = 0.0, spent: Amount | None = None) -> None:
        self.limit = Amount(calls, tokens, cost)
        self.spent = spent or Amount()
        self._reserved = Amount()
        self._lock = threading.Lock()

    def reserve(self, most: Amount) -> Literal["held", "later", "never"]:
        """Hold `most` back for a call. `later`: it would fit if calls in flight cost less than they may; `never`: not even then."""
        with self._lock:
            if not self._covers(self.spent + most):
                return "never"
            if not self._covers(self.spent + self._reserved + most):
                return "later"
            self._reserved += most
            return "held"

    def settle(self, most: Amount, spent: Amount) -> None:
        """Give back what was held for a call and count what it cost."""
        with self._lock:
            self._reserved -= most
            self.spent += spent

    def _covers(self, amount: Amount) -> bool:
        limit = self.limit
        return (
            (not limit.calls or amount.calls <= limit.calls)
            and (not limit.tokens or amount.tokens <= limit.tokens)
            # sums of fractions are not exact
            and (not limit.cost or amount.cost <= limit.cost * (1 + 1e-9))
        )

    def told(self) -> str:
        """One line: what was spent of what."""
        pairs = (
            (self.limit.calls, f"{self.spent.calls:,} of {self.limit.calls:,} calls"),
            (self.limit.tokens, f"{self.spent.tokens:,} of {self.limit.tokens:,} tokens"),
            (self.limit.cost, f"{self.spent.cost:.4f} of {self.limit.cost:g} in money"),
        )
        return ", ".join(text for limit, text in pairs if limit)
