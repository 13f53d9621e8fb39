"""The project's definitions with one more job: the turns of a data set, and then a run waits as long as a test says so."""

import os
import time
from pathlib import Path

import dagster as dg

from rar_pipeline.definitions import build_defs
from rar_pipeline.defs.shell import DATASET


@dg.asset(partitions_def=DATASET, deps=["dialogues"])
def patience(context: dg.AssetExecutionContext) -> None:
    """Nothing, but only when the file is gone that SCALE_OUT_WAIT names; who waits says so beside it."""
    file = Path(os.environ["SCALE_OUT_WAIT"])
    while file.exists():
        file.with_name(f"{context.partition_key}-waits").touch()
        time.sleep(0.1)


turns = dg.define_asset_job("turns", dg.AssetSelection.assets("dialogues", patience))
defs = dg.Definitions.merge(build_defs(), dg.Definitions(assets=[patience], jobs=[turns]))
