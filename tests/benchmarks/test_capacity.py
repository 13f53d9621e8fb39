"""What a lake cost, as Dagster's record has it."""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from benchmarks.capacity import made


def test_the_cost_is_of_the_last_time_that_something_was_made_in_that_world(tmp_path: Path) -> None:
    def asset(rows: int, made_now: bool, world: str) -> dg.AssetsDefinition:
        @dg.asset(name="movies")
        def movies() -> dg.MaterializeResult:
            path = str(tmp_path / world / "corpus" / "movies")
            return dg.MaterializeResult(
                metadata={"dagster/row_count": rows, "bytes": 10 * rows, "path": path, "made_now": made_now}
            )

        return movies

    with dg.DagsterInstance.ephemeral() as instance:
        for rows, made_now, world in ((5, True, "mine"), (7, True, "mine"), (7, False, "mine"), (9, True, "other")):
            assert dg.materialize([asset(rows, made_now, world)], instance=instance).success
        (cost,) = made(instance, tmp_path / "mine")
    assert (cost.name, cost.unit, cost.units, cost.size) == ("movies", "row", 7, 70)
    assert cost.bytes_each == 10
    assert cost.seconds is not None
    assert cost.each == 1000 * cost.seconds / 7
