"""Round 0: the retriever trained by supervision, one partition a data set."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import dagster as dg

from rar_pipeline.defs.conversations import cases, mentions
from rar_pipeline.defs.shell import DATASET, told
from rar_pipeline.metadata import retriever_metadata
from rar_pipeline.resources import Lake
from rar_pipeline.settings import Settings
from rar_pipeline.tables import CASES, ITEM_EMBEDDINGS, MENTIONS, MOVIES

if TYPE_CHECKING:
    import numpy as np

    from rar_pipeline.retriever.catalogue import Catalogue
    from rar_pipeline.retriever.version import Version


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


def described(lake: Lake, version: "Version", trained: bool) -> dg.MaterializeResult:
    """What the UI shows of a version."""
    from rar_pipeline.evaluation.inputs import curves
    from rar_pipeline.evaluation.plots import markdown_image, training_curves

    plot = markdown_image(
        training_curves(curves([version], "recall_20"), "validation R@20"), f"{version.name}: validation R@20 by epoch"
    )
    return dg.MaterializeResult(
        metadata=retriever_metadata(
            {
                "config": {"network": version.network, "training": version.training},
                "metrics": version.figures,
                "curve": version.curve,
                "parent": version.parent or "none",
                "fingerprint": version.fingerprint,
                "weights_sha256": version.weights_sha256,
                "trained_now": trained,
            },
            path=lake.folder("retriever", version.name, version.dataset),
            extra={"curve_plot": dg.MetadataValue.md(plot)},
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
        description="LRURec trained by supervision on what recommenders recommended and on what was mentioned after what.",
    )
    @told
    def trained(context: dg.AssetExecutionContext, lake: Lake) -> dg.MaterializeResult:
        from rar_pipeline.retriever.rounds import supervised_round

        dataset = context.partition_key
        version, now = supervised_round(
            lake.folder("retriever", "round_0", dataset),
            lake.folder("retriever", "attempts", dataset),
            dataset,
            lake.read(CASES, dataset),
            lake.read(MENTIONS, dataset),
            read_catalogue(lake),
            encoder(settings, context.log.info),
            settings,
            context.log.info,
        )
        return described(lake, version, now)

    return trained
