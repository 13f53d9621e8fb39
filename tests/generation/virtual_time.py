"""An event loop whose clock jumps to the next thing that is due: minutes of waiting are over at once, and exactly as long as they should be."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from pyrate_limiter.clocks import AbstractClock


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        really = self._selector.select

        def select(timeout: float | None) -> list[Any]:
            events = really(0)
            if not events and timeout:
                self.now += timeout
            return events

        self._selector.select = select

    def time(self) -> float:
        return self.now

    def run_in_executor(self, executor: Any, function: Callable[..., Any], *arguments: Any) -> Any:
        # a thread takes real time, in which ours would run away
        done = self.create_future()
        done.set_result(function(*arguments))
        return done


@pytest.fixture
def in_virtual_time(monkeypatch: pytest.MonkeyPatch) -> Callable[[Coroutine[Any, Any, Any]], Any]:
    def run(work: Coroutine[Any, Any, Any]) -> Any:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            monkeypatch.setattr(AbstractClock, "_get_monotonic_ms", staticmethod(lambda: int(runner.get_loop().time() * 1000)))
            return runner.run(work)

    return run
