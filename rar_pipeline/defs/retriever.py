"""The retriever trained by supervision: once on all data sets, then on from there for each of them, which is round 0."""

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import dagster as dg
import polars as pl
from dagster._core.errors import DagsterPipesExecutionError  # what a dead child raises has no public name

from rar_pipeline.defs.conversations import cases, mentions
from rar_pipeline.defs.corpus import RATING_PUBLISHER
from rar_pipeline.defs.shell import DATASET, Made, code_of, publish_if_changed, told
from rar_pipeline.errors import RarError
from rar_pipeline.metadata import retriever_metadata
from rar_pipeline.resources import Lake
from rar_pipeline.settings import Settings
from rar_pipeline.tables import (
    ALL,
    CASES,
    CHAT,
    DATASETS,
    ITEM_EMBEDDINGS,
    MENTIONS,
    MOVIES,
    PLACEMENTS,
    RATING_SEQUENCES,
    RAW_FILES,
)

if TYPE_CHECKING:
    import numpy as np

    from rar_pipeline.retriever.catalogue import Catalogue
    from rar_pipeline.retriever.version import Version


PRETRAINED = "pretrained"
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


def train_supervised(lake: Lake, settings: Settings, dataset: str | None, log: Callable[[str], None]) -> "tuple[Version, bool]":
    """Round 0 of a data set, or without one the version of all of them that it begins with, from the lake's tables into its folder.

    Gives the version's record, and whether it was trained now.
    """
    from rar_pipeline.retriever.rounds import pretrain, supervised_round

    before = lake.folder("retriever", PRETRAINED, ALL)
    attempts, logs = (lake.folder("retriever", name, dataset or ALL) for name in ("attempts", "logs"))
    made_of = read_catalogue(lake), encoder(settings, log), settings, log, logs
    if dataset is not None:
        folder = lake.folder("retriever", "round_0", dataset)
        return supervised_round(folder, attempts, dataset, lake.read(CASES, dataset), before, *made_of)
    there = [name for name in (*DATASETS, CHAT) if lake.file(CASES, name).is_file() and lake.file(MENTIONS, name).is_file()]
    if absent := sorted(set(DATASETS) - set(there)):
        log(f"no conversations of {', '.join(absent)} yet: learning from {', '.join(there) or 'none'}")
    all_cases, all_mentions = (
        pl.concat([table.empty(), *(lake.read(table, name) for name in there)]) for table in (CASES, MENTIONS)
    )
    ratings = lake.read(RATING_SEQUENCES) if settings.rating_epochs else None
    return pretrain(before, attempts, all_cases, all_mentions, *made_of, ratings=ratings)


def train_in_its_own_process(
    context: dg.AssetExecutionContext, lake: Lake, settings: Settings, dataset: str | None
) -> "tuple[Version, bool]":
    """`train_supervised` on several devices.

    Lightning starts a process for every further device by executing the command line again, which must not be Dagster's.
    """
    from rar_pipeline.retriever.distributed import LOOPBACK_ONLY
    from rar_pipeline.retriever.version import read_record

    client = dg.PipesSubprocessClient(env=LOOPBACK_ONLY)
    extras = {"lake": lake.root, "dataset": dataset, "settings": settings.model_dump(mode="json")}
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
    version = read_record(lake.folder("retriever", "round_0", dataset) if dataset else lake.folder("retriever", PRETRAINED, ALL))
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


def materialised(context: dg.AssetExecutionContext, lake: Lake, settings: Settings, dataset: str | None) -> dg.MaterializeResult:
    """Train a supervised version where training runs, and describe it."""
    if settings.devices > 1:
        version, now = train_in_its_own_process(context, lake, settings, dataset)
    else:
        version, now = train_supervised(lake, settings, dataset, context.log.info)
    return described(lake, version, now)


@dg.asset(deps=[dg.AssetKey(["raw", RATING_PUBLISHER]), "movies"], group_name="retriever", kinds={"polars"})
@told
def rating_sequences(context: dg.AssetExecutionContext, lake: Lake) -> dg.MaterializeResult:
    """What people rated one after another, in movies of the corpus; empty where the sources have no such file."""
    from rar_pipeline.retriever.ratings import rating_sequences as read
    from rar_pipeline.sources import paths

    raw = lake.read(RAW_FILES, RATING_PUBLISHER)

    def make() -> Made:
        file = paths(raw).get(f"{RATING_PUBLISHER}/ml-1m.tsv")
        if file is None:
            context.log.info("no rating sequences among the sources")
            return Made(RATING_SEQUENCES.empty())
        frame, dropped = read(file, lake.read(PLACEMENTS))
        figures = {"users": frame["user"].n_unique(), "movies": frame["movie_id"].n_unique()}
        return Made(frame, dropped, figures)

    inputs = [code_of("retriever"), lake.stamp(PLACEMENTS).content, raw.select("file", "sha256").rows()]
    return publish_if_changed(context, lake, RATING_SEQUENCES, inputs, make, checked=False)


def chat_cases(settings: Settings) -> dg.AssetsDefinition:
    """The asset `chat_cases`."""

    @dg.asset(
        name="chat_cases",
        deps=["movies"],
        group_name="retriever",
        kinds={"polars"},
        description="Conversations of the chat in which somebody rated a movie, as training cases (partition `chat` of dialogues, mentions, cases).",
    )
    @told
    def gathered(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        from rar_pipeline.service.lake import gather_feedback

        said = gather_feedback(settings)
        context.log.info(said)
        return dg.MaterializeResult(metadata={"gathered": said})

    return gathered


def supervised_retrievers(settings: Settings) -> list[dg.AssetsDefinition]:
    """The assets `rating_sequences`, `chat_cases`, `pretrained/retriever` and `round_0/retriever`."""
    chat = chat_cases(settings)

    @dg.asset(
        key=[PRETRAINED, "retriever"],
        deps=[mentions, cases, "item_embeddings", rating_sequences, chat],
        description="LRURec trained by supervision on rating sequences (RAR_RATING_EPOCHS) and the training dialogues of all data sets: what was "
        "recommended, what was mentioned after what. Logs: `tensorboard --logdir <lake>/<world>/retriever/logs`.",
        group_name="retriever",
        kinds={"pytorch"},
        pool="accelerator",
    )
    @told
    def pretrained(context: dg.AssetExecutionContext, lake: Lake) -> dg.MaterializeResult:
        return materialised(context, lake, settings, None)

    @dg.asset(
        key=["round_0", "retriever"],
        deps=[pretrained, cases],
        partitions_def=DATASET,
        description="The pre-trained retriever, trained on with the dialogues of one data set.",
        group_name="retriever",
        kinds={"pytorch"},
        pool="accelerator",
    )
    @told
    def trained(context: dg.AssetExecutionContext, lake: Lake) -> dg.MaterializeResult:
        return materialised(context, lake, settings, context.partition_key)

    return [rating_sequences, chat, pretrained, trained]
