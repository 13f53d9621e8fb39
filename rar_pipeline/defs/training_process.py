"""The process that trains supervised versions on several devices, as Dagster Pipes starts it: `python -m rar_pipeline.defs.training_process`.

Lightning executes this command again for every further device, so it does nothing but train. Each process reads what to train from
Pipes; only the first writes to Pipes. An error that a user is meant to read is handed over as a message, so that the asset can tell it.
"""

import sys

from dagster_pipes import PipesDefaultContextLoader, PipesEnvVarParamsLoader, open_dagster_pipes

from rar_pipeline.defs.retriever import train_supervised
from rar_pipeline.errors import RarError
from rar_pipeline.resources import Lake
from rar_pipeline.settings import Settings


def main() -> None:
    """Train, tell how it goes, report what was made."""
    from rar_pipeline.retriever.distributed import end_with_parent, own_rank

    from_dagster = PipesEnvVarParamsLoader()
    if not from_dagster.is_dagster_pipes_process():
        sys.exit("error: this is started by the assets pretrained/retriever and round_0/retriever, where RAR_DEVICES is above 1")
    end_with_parent()
    if own_rank() > 0:
        with PipesDefaultContextLoader().load_context(from_dagster.load_context_params()) as data:
            extras = data["extras"] or {}
        train_supervised(Lake(root=extras["lake"]), Settings(_env_file=None, **extras["settings"]), extras["dataset"], _silent)
        return
    with open_dagster_pipes() as pipes:
        extras = pipes.extras
        lake, settings = Lake(root=extras["lake"]), Settings(_env_file=None, **extras["settings"])
        try:
            version, now = train_supervised(lake, settings, extras["dataset"], pipes.log.info)
        except RarError as error:
            pipes.report_custom_message({"error": str(error)})
            return
        except Exception as error:
            pipes.log.error(f"{type(error).__name__}: {error}")
            raise
        pipes.report_asset_materialization(metadata={"trained_now": now, "weights_sha256": version.weights_sha256})


def _silent(line: str) -> None:
    """What the first process says already."""


if __name__ == "__main__":
    main()
