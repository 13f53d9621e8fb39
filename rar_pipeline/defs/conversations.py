"""Raw conversations -> turns, mentions linked to the corpus, cases; one partition a data set."""

import dagster as dg
import polars as pl

from rar_pipeline.defs.corpus import CONVERSATION_PUBLISHERS, title_index
from rar_pipeline.defs.shell import DATASET, checks, publish, told
from rar_pipeline.resources import Lake
from rar_pipeline.settings import Settings
from rar_pipeline.tables import CASES, DIALOGUES, MENTIONS, RAW_FILES, TITLES


def dialogues(settings: Settings) -> dg.AssetsDefinition:
    """The asset `dialogues`."""

    @dg.asset(
        name="dialogues",
        deps=[dg.AssetKey(["raw", publisher]) for publisher in CONVERSATION_PUBLISHERS],
        partitions_def=DATASET,
        group_name="conversations",
        kinds={"polars"},
        check_specs=checks("dialogues", DIALOGUES),
        description="Turns of all conversations of a data set, read from the publisher's files; splits are the publisher's where it has them.",
    )
    @told
    def read(context: dg.AssetExecutionContext, lake: Lake) -> dg.MaterializeResult:
        from rar_pipeline.conversations import READERS
        from rar_pipeline.conversations.reading import tables_of
        from rar_pipeline.sources import paths

        dataset = context.partition_key
        found = READERS[dataset](paths(lake.read(RAW_FILES, dataset)), settings.validation_share)
        turns, named = tables_of(dataset, found.conversations)
        lake.write(MENTIONS, named, dataset, "unlinked_mentions")
        context.log.info(
            f"{dataset}: {len(found.conversations):,} conversations, {len(turns):,} turns, {len(named):,} mentions of movies"
        )
        figures = {"conversations": len(found.conversations), "mentions": len(named)}
        return publish(lake, DIALOGUES, turns, part=dataset, dropped=found.dropped, figures=figures)

    return read


@dg.asset(
    deps=["dialogues", title_index],
    partitions_def=DATASET,
    group_name="conversations",
    kinds={"polars"},
    check_specs=checks("mentions", MENTIONS),
)
@told
def mentions(context: dg.AssetExecutionContext, lake: Lake) -> dg.MaterializeResult:
    """Mentions of movies, linked to the corpus where that is safe, each with its score and reason."""
    from rar_pipeline.corpus.link import Linker

    dataset = context.partition_key
    named = lake.read(MENTIONS, dataset, "unlinked_mentions")
    frame = Linker(lake.read(TITLES)).link_mentions(named)
    linked = int(frame["movie_id"].count())
    reasons = frame.filter(pl.col("movie_id").is_null())["reason"].value_counts(sort=True)
    context.log.info(f"{dataset}: {linked:,} of {len(frame):,} mentions linked ({linked / max(len(frame), 1):.1%})")
    return publish(
        lake,
        MENTIONS,
        frame,
        part=dataset,
        dropped={f"unlinked: {reason}": count for reason, count in reasons.iter_rows()},
        figures={"linked_share": linked / max(len(frame), 1), "movies": frame["movie_id"].n_unique()},
    )


@dg.asset(
    deps=["dialogues", mentions],
    partitions_def=DATASET,
    group_name="conversations",
    kinds={"polars"},
    check_specs=checks("cases", CASES),
)
@told
def cases(context: dg.AssetExecutionContext, lake: Lake) -> dg.MaterializeResult:
    """Questions with known answers for training, validation and test: a conversation so far, and the new movies of the next turn."""
    from rar_pipeline.conversations.cases import build_cases

    dataset = context.partition_key
    frame = build_cases(lake.read(DIALOGUES, dataset), lake.read(MENTIONS, dataset))
    sizes = dict(frame["split"].value_counts().iter_rows())
    context.log.info(
        f"{dataset}: " + ", ".join(f"{sizes.get(split, 0):,} {split}" for split in ("train", "validation", "test")) + " cases"
    )
    figures = {f"{split}_cases": count for split, count in sizes.items()}
    return publish(lake, CASES, frame, part=dataset, figures=figures | {"unlinked_targets": int(frame["unlinked_targets"].sum())})


def conversation_assets(settings: Settings) -> list[dg.AssetsDefinition]:
    """All assets of the conversations."""
    return [dialogues(settings), mentions, cases]
