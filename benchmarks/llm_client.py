"""`python -m benchmarks.llm_client`: the language model client against a bare load generator on one server, and the replay of kept answers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks.measure import PROJECT, python, run
from benchmarks.report import Row, command_line, show
from rar_pipeline.errors import RarError

BARE = "a bare httpx2 client: posts the same bodies and reads the JSON; no prompts made, no record, nothing kept, nothing read out of the answers"
ROWS = "sqlite3 alone: the same rows one by one, their JSON parsed; no prompts, no keys, no titles"


def compare(*, seconds: float, slots: int, calls: int, answers: int, runs: int) -> list[Row]:
    """Rows of the benchmark: seconds for all calls beside the bare client, processor time of a call, and seconds for the replay."""
    taken: dict[tuple[str, int], list[dict[str, float]]] = defaultdict(list)
    peak = 0.0
    with TemporaryDirectory(prefix="rar-bench-") as scratch:
        folder = Path(scratch)
        server = subprocess.Popen(  # noqa: S603 - a module of this package
            python("benchmarks.llm_client_server", seconds, slots),
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert server.stdin is not None and server.stdout is not None
            plan = {"url": server.stdout.readline().strip()}

            def turn(system: str, in_flight: int, count: int, cache: str) -> float:
                told = folder / "told.json"
                todo = plan | {"system": system, "in_flight": in_flight, "count": count, "cache": str(folder / cache)}
                (folder / "plan.json").write_text(json.dumps(todo), encoding="utf-8")
                usage = run(python("benchmarks.llm_client_run", folder / "plan.json", told))
                taken[system, in_flight].append(json.loads(told.read_text(encoding="utf-8")))
                return usage.peak_mb

            for number in range(runs):
                for in_flight in (2 * slots, slots):
                    peak = max(peak, turn("ours", in_flight, calls, f"{number}-{in_flight}.sqlite"))
                    turn("bare", in_flight, calls, "")
            turn("fill", 1, answers, "kept.sqlite")
            replay_peak = 0.0
            for _ in range(runs):
                replay_peak = max(replay_peak, turn("replay", 1, answers, "kept.sqlite"))
                turn("rows", 1, answers, "kept.sqlite")
        finally:
            server.stdin.close()
            server.wait()

    def figure(system: str, in_flight: int, clock: str) -> float:
        return median(told[clock] for told in taken[system, in_flight])

    own = f"{calls} calls of about 1,200 tokens; the server works on {slots} at once, {seconds:g} s each: {calls / slots * seconds:g} s at best"
    found = [
        Row.of(
            f"{name}, {in_flight} in flight",
            figure("ours", in_flight, "seconds"),
            figure("bare", in_flight, "seconds"),
            peak,
            runs,
            unit="s",
            goal=goal,
            against=BARE,
            work=own,
        )
        for name, in_flight, goal in (("saturated", 2 * slots, "ratio < 1.05"), ("as many as it works on", slots, "-"))
    ]
    found.append(
        Row.of(
            "processor time of a call",
            figure("ours", slots, "cpu") / calls * 1000,
            figure("bare", slots, "cpu") / calls * 1000,
            peak,
            runs,
            unit="ms",
            goal="-",
            against=BARE,
            work=own,
        )
    )
    found += [
        Row.of(
            f"replay of {answers} answers{named}",
            figure("replay", 1, clock),
            figure("rows", 1, clock),
            replay_peak,
            runs,
            unit="s",
            goal="< 10 s",
            against=ROWS,
            work="answers of 20 titles to questions of 20 candidates: prompts, keys, look-up, reading, grounding in the candidates",
        )
        for named, clock in (("", "seconds"), (", processor time", "cpu"))
    ]
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = command_line(
        "The language model client, against a bare load generator on the same server, and the replay of kept answers."
    )
    parser.add_argument("--seconds", type=float, default=1.0, help="what the server takes for an answer")
    parser.add_argument("--slots", type=int, default=16, help="calls that the server works on at once")
    parser.add_argument("--calls", type=int, default=320, help="calls of a turn")
    parser.add_argument("--answers", type=int, default=10_000, help="answers that are replayed")
    options = parser.parse_args(arguments)
    if min(options.slots, options.calls, options.answers) < 1 or options.seconds < 0:
        parser.error("--slots, --calls and --answers: expected 1 or more; --seconds: 0 or more")
    try:
        rows = compare(
            seconds=options.seconds, slots=options.slots, calls=options.calls, answers=options.answers, runs=options.runs
        )
    except RarError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    show(rows, as_json=options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
