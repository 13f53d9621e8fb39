"""Round 0: the retriever trained by supervision, one partition a data set."""

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import dagster as dg
from dagster._core.errors import DagsterPipesExecutionError  # what a dead child raises has no public name

from rar_pipeline.defs.conversations import cases, mentions
from rar_pipeline.defs.shell import DATASET, told
from rar_pipeline.errors import RarError
from rar_pipeline.metadata import retriever_metadata
from rar_pipeline.resources import Lake
from rar_pipeline.settings import Settings
from rar_pipeline.tables import CASES, ITEM_EMBEDDINGS, MENTIONS, MOVIES

if TYPE_CHECKING:
    import numpy as np

    from rar_pipeline.retriever.catalogue import Catalogue
    from rar_pipeline.retriever.version import Version


CURVES = (("curve_plot", "recall_20", "validation R@20"), ("loss_plot", "loss", "training loss, nats"))


def read_catalogue(lake: Lake) -> "Catalogue":
    """The catalogue that retrievers search."""
    from rar_pipeline.retriever.catalogue import build_catalogue

    return build_catalogue(lake.read(MOVIES), lake.read(ITEM_EMBEDDINGS))


def encoder(settings: Settings, log: Callable[[str], None]) -> "Callable[[Sequence[str]], np.ndarray]":
    """Texts to embeddings, looked up in the store where they were embedded before."""
    from rar_pipeline.corpus.encoder import embed
    from rar_pipeline.retriever.rounds import pick_device

    device = pick_device(settings.device)
    return lambda texts: embed(
        texts, settings.encoder, settings.lake / "embeddings", batch=settings.encoder_batch, device=device, log=log
    )[1]


def train_supervised(lake: Lake, settings: Settings, dataset: str, log: Callable[[str], None]) -> "tuple[Version, bool]":
    """Round 0 of a data set, from the lake's tables into its folder: the version's record, and whether it was trained now."""
    from rar_pipeline.retriever.rounds import supervised_round

    return supervised_round(
        lake.folder("retriever", "round_0", dataset),
        lake.folder("retriever", "attempts", dataset),
        dataset,
        lake.read(CASES, dataset),
        lake.read(MENTIONS, dataset),
        read_catalogue(lake),
        encoder(settings, log),
        settings,
        log,
        logs=lake.folder("retriever", "logs", dataset),
    )


def train_in_its_own_process(context: dg.AssetExecutionContext, lake: Lake, settings: Settings) -> "tuple[Version, bool]":
    """`train_supervised` on several devices.

    Lightning starts a process for every further device by executing the command line again, which must not be Dagster's.
    """
    from rar_pipeline.retriever.distributed import LOOPBACK_ONLY
    from rar_pipeline.retriever.version import read_record

    client = dg.PipesSubprocessClient(env=LOOPBACK_ONLY)
    extras = {"lake": lake.root, "dataset": context.partition_key, "settings": settings.model_dump(mode="json")}
    try:
        ended = client.run(context=context, command=[sys.executable, "-m", "rar_pipeline.defs.training_process"], extras=extras)
    except DagsterPipesExecutionError as error:
        raise RarError(
            f"training on {settings.devices} devices broke off ({error}); what it said stands above and in the step's output. "
            "Materialise the asset again: it goes on after the last whole epoch"
        ) from None
    for message in ended.get_custom_messages():
        raise RarError(message["error"])
    reported = ended.get_materialize_result(implicit_materialization=False).metadata or {}
    version = read_record(lake.folder("retriever", "round_0", context.partition_key))
    return version, reported["trained_now"] == dg.MetadataValue.bool(True)


def described(lake: Lake, version: "Version", trained: bool) -> dg.MaterializeResult:
    """What the UI shows of a version."""
    from rar_pipeline.evaluation.inputs import curves
    from rar_pipeline.evaluation.plots import markdown_image, training_curves

    plots = {
        name: dg.MetadataValue.md(
            markdown_image(training_curves(curves([version], figure), label), f"{version.name}: {label} by epoch")
        )
        for name, figure, label in CURVES
        if all(figure in record for record in version.curve)
    }
    return dg.MaterializeResult(
        metadata=retriever_metadata(
            {
                "config": {"network": version.network, "training": version.training},
                "metrics": version.figures,
                "curve": version.curve,
                "parent": version.parent or "none",
                "fingerprint": version.fingerprint,
                "trained_now": trained,
            },
            path=lake.folder("retriever", version.name, version.dataset),
            extra={"weights_sha256": dg.MetadataValue.text(version.weights_sha256), **plots},
        )
    )


def supervised_retriever(settings: Settings) -> dg.AssetsDefinition:
    """The asset `round_0/retriever`."""

    @dg.asset(
        key=["round_0", "retriever"],
        deps=[mentions, cases, "item_embeddings"],
        partitions_def=DATASET,
        group_name="retriever",
        kinds={"pytorch"},
        pool="accelerator",
        description="LRURec trained by supervision on what recommenders recommended and on what was mentioned after what. "
        "Logs: `tensorboard --logdir <lake>/<world>/retriever/logs`.",
    )
    @told
    def trained(context: dg.AssetExecutionContext, lake: Lake) -> dg.MaterializeResult:
        if settings.devices > 1:
            version, now = train_in_its_own_process(context, lake, settings)
        else:
            version, now = train_supervised(lake, settings, context.partition_key, context.log.info)
        return described(lake, version, now)

    return trained
