"""Raw conversations -> turns, mentions linked to the corpus, cases; one partition a data set."""

import dagster as dg
import polars as pl

from rar_pipeline.defs.corpus import CONVERSATION_PUBLISHERS, title_index
from rar_pipeline.defs.shell import DATASET, Beside, Made, checks, code_of, publish_if_changed, told
from rar_pipeline.resources import Lake
from rar_pipeline.settings import Settings
from rar_pipeline.tables import CASES, DIALOGUES, MENTIONS, RAW_FILES, TITLES

UNLINKED = "unlinked_mentions"


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
        raw = lake.read(RAW_FILES, dataset)

        def make() -> Made:
            found = READERS[dataset](paths(raw), settings.validation_share)
            turns, named = tables_of(dataset, found.conversations)
            context.log.info(
                f"{dataset}: {len(found.conversations):,} conversations, {len(turns):,} turns, {len(named):,} mentions of movies"
            )
            figures = {"conversations": len(found.conversations), "mentions": len(named)}
            return Made(turns, found.dropped, figures, [Beside(MENTIONS, named, UNLINKED)])

        inputs = [code_of("conversations"), settings.validation_share, raw.select("file", "sha256").rows()]
        return publish_if_changed(context, lake, DIALOGUES, inputs, make, part=dataset, beside=[(MENTIONS, UNLINKED)])

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

    def make() -> Made:
        frame = Linker(lake.read(TITLES)).link_mentions(lake.read(MENTIONS, dataset, UNLINKED))
        linked = int(frame["movie_id"].count())
        reasons = frame.filter(pl.col("movie_id").is_null())["reason"].value_counts(sort=True)
        context.log.info(f"{dataset}: {linked:,} of {len(frame):,} mentions linked ({linked / max(len(frame), 1):.1%})")
        return Made(
            frame,
            {f"unlinked: {reason}": count for reason, count in reasons.iter_rows()},
            {"linked_share": linked / max(len(frame), 1), "movies": frame["movie_id"].n_unique()},
        )

    inputs = [code_of("corpus"), lake.stamp(TITLES).content, lake.stamp(MENTIONS, dataset, UNLINKED).content]
    return publish_if_changed(context, lake, MENTIONS, inputs, make, part=dataset)


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

    def make() -> Made:
        frame = build_cases(lake.read(DIALOGUES, dataset), lake.read(MENTIONS, dataset))
        sizes = dict(frame["split"].value_counts().iter_rows())
        context.log.info(
            f"{dataset}: " + ", ".join(f"{sizes.get(split, 0):,} {split}" for split in ("train", "validation", "test")) + " cases"
        )
        figures = {f"{split}_cases": count for split, count in sizes.items()}
        return Made(frame, figures=figures | {"unlinked_targets": int(frame["unlinked_targets"].sum())})

    inputs = [code_of("conversations"), lake.stamp(DIALOGUES, dataset).content, lake.stamp(MENTIONS, dataset).content]
    return publish_if_changed(context, lake, CASES, inputs, make, part=dataset)


def conversation_assets(settings: Settings) -> list[dg.AssetsDefinition]:
    """All assets of the conversations."""
    return [dialogues(settings), mentions, cases]
