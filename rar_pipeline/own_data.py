"""Your own data set, or another domain (books, music): two tables in, a retriever out that can be talked to.

You bring items, in the columns of the table MOVIES as far as they fit, and conversations (`conversations.reading.Conversation`) that name them as
people do. The rest is the pipeline's: titles are indexed, mentions linked, texts embedded, cases made, two rounds of supervision trained. What comes
out lies in the lake like everything else, so that `rar chat` and `rar serve` find it. docs/own-data.md shows it on made-up books.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

import polars as pl

from rar_pipeline.conversations.reading import Conversation
from rar_pipeline.errors import RarError
from rar_pipeline.files import write_json
from rar_pipeline.settings import Settings
from rar_pipeline.tables import ALL, CASES, DIALOGUES, ITEM_EMBEDDINGS, MENTIONS, MOVIES, SPLITS, TITLES

if TYPE_CHECKING:
    from rar_pipeline.resources import Lake
    from rar_pipeline.retriever.version import Version

Log = Callable[[str], None]


def items_table(items: Iterable[Mapping[str, object]]) -> pl.DataFrame:
    """The table MOVIES of items; every item needs `movie_id` (unique) and `title`, all other columns may be left out.

    What they mean elsewhere is up to you: `directors` are authors or artists, `plot` is the blurb, `votes` say how well known an item is (readers,
    listeners): by a bare title, without its year, people mean items with a thousand or more. Raises RarError naming the item that will not do.
    """
    rows = [{"genres": [], "directors": [], "cast": [], "sources": ["own"], **item} for item in items]
    seen: set[object] = set()
    for number, row in enumerate(rows, 1):
        if not row.get("movie_id") or not row.get("title") or row["movie_id"] in seen:
            raise RarError(f"item {number} ({row.get('title')!r}): expected a title and a movie_id of its own")
        if unknown := sorted(row.keys() - MOVIES.schema.keys()):
            raise RarError(
                f"item {number} ({row['title']!r}): no such column {unknown[0]!r}; there are {', '.join(MOVIES.schema)}"
            )
        seen.add(row["movie_id"])
    try:
        return MOVIES.frame(rows).sort("movie_id")
    except (TypeError, pl.exceptions.PolarsError) as error:
        raise RarError(
            f"items: a value has the wrong type ({str(error).splitlines()[0]}); see the table movies in docs/data-dictionary.md"
        ) from None


def learn(
    settings: Settings, dataset: str, items: pl.DataFrame, conversations: Iterable[Conversation], log: Log = print
) -> Version:
    """Train a retriever of a data set of your own and make it the champion; gives its record.

    `settings.root` is where everything is written: name a world of its own (`sources`), for it has a corpus of its own. What was embedded and trained
    of the same tables before is kept. Raises RarError where training or validation has no case, as where no mention can be linked.
    """
    from rar_pipeline.corpus.titles import build_title_index
    from rar_pipeline.resources import Lake

    lake = Lake(root=str(settings.root))
    lake.write(MOVIES, items)
    lake.write(TITLES, build_title_index(items))
    _embed(lake, settings, items, log)
    _converse(lake, dataset, conversations, log)
    return _train(lake, settings, dataset, log)


def _embed(lake: Lake, settings: Settings, items: pl.DataFrame, log: Log) -> None:
    from rar_pipeline.corpus.cards import item_texts
    from rar_pipeline.corpus.encoder import embed
    from rar_pipeline.retriever.rounds import pick_device

    store, device = settings.lake / "embeddings", pick_device(settings.device)
    texts = item_texts(items, settings.plot_characters)
    hashes, vectors, _ = embed(texts, settings.encoder, store, batch=settings.encoder_batch, device=device, log=log)
    lake.write(ITEM_EMBEDDINGS, items.select("movie_id").with_columns(text_hash=pl.Series(hashes), embedding=pl.Series(vectors)))


def _converse(lake: Lake, dataset: str, conversations: Iterable[Conversation], log: Log) -> None:
    from rar_pipeline.conversations.cases import build_cases
    from rar_pipeline.conversations.reading import tables_of
    from rar_pipeline.corpus.link import Linker

    dialogues, unlinked = tables_of(dataset, conversations)
    mentions = Linker(lake.read(TITLES)).link_mentions(unlinked)
    cases = build_cases(dialogues, mentions)
    counts = dict(cases["split"].value_counts().iter_rows())
    log(
        f"{dialogues['dialogue_id'].n_unique():,} conversations, {mentions['movie_id'].count():,} of {len(mentions):,} mentions linked, cases: "
        + ", ".join(f"{counts.get(split, 0):,} {split}" for split in SPLITS)
    )
    for split in ("train", "validation"):
        if not counts.get(split):
            raise RarError(f"{dataset}: no case of split {split!r}; a conversation's split is train, validation or test")
    for table, frame in ((DIALOGUES, dialogues), (MENTIONS, mentions), (CASES, cases)):
        lake.write(table, frame, dataset)


def _train(lake: Lake, settings: Settings, dataset: str, log: Log) -> Version:
    from rar_pipeline.defs.retriever import encoder, read_catalogue
    from rar_pipeline.retriever.rounds import PRETRAINED, pretrain, supervised_round

    catalogue, encode = read_catalogue(lake), encoder(settings, log)
    before, first = lake.folder("retriever", PRETRAINED, ALL), lake.folder("retriever", "round_0", dataset)
    attempts, logs = (lake.folder("retriever", name, dataset) for name in ("attempts", "logs"))
    cases, mentions = lake.read(CASES, dataset), lake.read(MENTIONS, dataset)
    pretrain(before, attempts, cases, mentions, catalogue, encode, settings, log, logs)
    version, _ = supervised_round(first, attempts, dataset, cases, before, catalogue, encode, settings, log, logs)
    choice = {"dataset": dataset, "version": version.name, "llm_weight": 0.0, "why": "the only version", "trials": []}
    write_json(
        lake.folder("evaluation", "champion", dataset) / "champion.json", choice | {"weights_sha256": version.weights_sha256}
    )
    return version
