"""All rounds of the search benchmark in one process, since a call takes milliseconds. `python -m benchmarks.search_rounds PLAN TOLD`.

PLAN is JSON: items, hidden, length, seen, rounds, threads, clock, and cases of [batch, k, peer]. TOLD becomes a JSON list, an entry a case: seconds
a call of `ours` and of the peer, one a round, and `told`, what was found out on the way.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch  # noqa: TID253

from rar_pipeline.errors import RarError
from rar_pipeline.retriever.topk import FlatIndex

Lists = tuple[torch.Tensor, torch.Tensor]  # rows and scores, (b, k) each

CALLS = {1: 20, 16: 3}  # calls in a round by size of batch, else 1


def main(plan: Path, told: Path) -> None:
    """Make vectors, take turns, write the times."""
    work = json.loads(plan.read_text(encoding="utf-8"))
    torch.set_num_threads(work["threads"])
    clock = time.process_time if work["clock"] == "cpu" else time.perf_counter
    generator = torch.Generator().manual_seed(0)
    vectors, biases = (
        torch.randn(work["items"], work["hidden"], generator=generator),
        torch.randn(work["items"], generator=generator),
    )
    index = FlatIndex(vectors, biases)
    results = []
    for batch, k, peer in work["cases"]:
        k = min(k, work["items"])
        queries = torch.randn(batch, work["hidden"], generator=generator)
        seen = torch.randint(work["items"], (batch, work["seen"]), generator=generator)
        lists = seen.tolist()
        ours = partial(index.top, queries, k, lists)
        calls: dict[str, Callable[[], object]] = {"ours": ours}
        said = ""
        if peer == "bare":
            calls[peer] = partial(_bare, queries, vectors, k)
        elif peer == "faiss" and importlib.util.find_spec("faiss"):
            calls[peer] = _faiss(vectors, queries, k, work["threads"])
        elif peer == "reference":
            history = torch.randn(batch, work["length"], work["hidden"], generator=generator)
            history[:, -1] = queries
            reference = partial(_reference, history, vectors, biases, seen, k)
            calls[peer], said = reference, _same(reference(), ours())
        elif peer == "approximate":
            from rar_pipeline.retriever.approximate import ApproximateIndex, recall

            other = ApproximateIndex(vectors, biases)
            calls[peer] = partial(other.top, queries, k, lists)
            said = f"recall@{k} of the approximate lists is {recall(other, index, queries, k, lists):.3f}"
        times: dict[str, list[float]] = {name: [] for name in calls}
        for call in calls.values():
            call()
        repeats = CALLS.get(batch, 1)
        for _ in range(work["rounds"]):
            for name, call in calls.items():
                begun = clock()
                for _ in range(repeats):
                    call()
                times[name].append((clock() - begun) / repeats)
        results.append(times | {"told": said})
    told.write_text(json.dumps(results), encoding="utf-8")


def _bare(queries: torch.Tensor, vectors: torch.Tensor, k: int) -> object:
    return (queries @ vectors.T).topk(k)


def _faiss(vectors: torch.Tensor, queries: torch.Tensor, k: int, threads: int) -> Callable[[], object]:
    import faiss

    faiss.omp_set_num_threads(threads)
    flat = faiss.IndexFlatIP(vectors.shape[1])
    flat.add(vectors.numpy())
    asked = queries.numpy()
    return lambda: flat.search(asked, k)


def _reference(history: torch.Tensor, vectors: torch.Tensor, biases: torch.Tensor, seen: torch.Tensor, k: int) -> Lists:
    """What LRURec's evaluation does: the network scores every position of `history` (b, length, H), metrics sort all rows of the last."""
    scores = (history @ vectors.T + biases)[:, -1]
    scores.scatter_(1, seen, -1e9)
    best, rows = scores.sort(dim=1, descending=True)
    return rows[:, :k], best[:, :k]


def _same(reference: Lists, ours: Lists) -> str:
    """How many lists are the same; raises RarError where they differ by more than the reference's rounding to float32 explains."""
    rows, scores = reference
    if not scores.allclose(ours[1], rtol=1e-5, atol=1e-5):
        raise RarError("exact search and the reference do not find the same")
    return f"{int((rows == ours[0]).all(dim=1).sum())} of {len(rows)} lists are identical, movie by movie"


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
