"""From the lake to a champion that can be asked: the one module of the service that knows where tables and versions lie."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rar_pipeline.errors import RarError
from rar_pipeline.settings import Settings
from rar_pipeline.tables import ALL, CASES, CHAT, DIALOGUES, ITEM_EMBEDDINGS, MENTIONS, MOVIES, TITLES

if TYPE_CHECKING:
    import numpy as np

    from rar_pipeline.resources import Lake
    from rar_pipeline.retriever.examples import Encode
    from rar_pipeline.retriever.version import Version
    from rar_pipeline.service.champion import Champion


def lake_of(settings: Settings) -> Lake:
    """The lake of the settings' world."""
    from rar_pipeline.resources import Lake

    return Lake(root=str(settings.root))


def versions(lake: Lake) -> list[Version]:
    """Records of all versions that the lake holds, in the order of data set and round."""
    from rar_pipeline.retriever.version import RECORD, read_record

    found = [read_record(path.parent) for path in sorted((lake.path / "retriever").glob(f"*/dataset=*/{RECORD}"))]
    return sorted(found, key=lambda version: (version.dataset != ALL, version.dataset, len(version.name), version.name))


def choose(lake: Lake, dataset: str, version: str | None) -> tuple[Path, float]:
    """Folder of the version that serves a data set, or of the one that is named, and how much the LLM's order counts by the record of its choice.

    Raises RarError where there is none, naming what there is.
    """
    from rar_pipeline.evaluate import champion_of

    there = [record for record in versions(lake) if record.dataset == dataset]
    if version is None:
        try:
            _, folder, choice = champion_of(lake, dataset)
            return folder, float(choice["llm_weight"])
        except RarError as error:
            if not there:
                datasets = sorted({record.dataset for record in versions(lake)} - {ALL})
                hint = f"there are {', '.join(datasets)}" if datasets else "run `rar run` first"
                raise RarError(f"{lake.path}: no retriever of {dataset!r} yet; {hint}") from None
            raise RarError(f"{error}; or name a version: {', '.join(record.name for record in there)}") from None
    names = [record.name for record in there]
    if version not in names:
        raise RarError(f"{lake.path}: no version {version!r} of {dataset!r}; there are {', '.join(names) or 'none'}")
    return lake.folder("retriever", version, dataset), 0.0


def text_encoder(encoder: str) -> Encode:
    """Texts to unit-length embeddings, as training made them, on the CPU; nothing is stored."""
    import numpy as np
    from transformers.utils import logging

    from rar_pipeline.corpus.encoder import load_encoder

    logging.disable_progress_bar()
    model = load_encoder(encoder, "cpu")

    def encode(texts: Sequence[str]) -> np.ndarray:
        vectors = model.encode(list(texts), normalize_embeddings=True, show_progress_bar=False, convert_to_tensor=True)
        return vectors.float().cpu().numpy().astype(np.float16)

    return encode


def open_champion(settings: Settings, dataset: str, version: str | None = None) -> tuple[Champion, bool]:
    """The champion of a data set (or the named version), warm, and whether the LLM is to re-rank it. Raises RarError where there is none."""
    # waiting threads sleep: where they spin, two requests at once slow each other many times
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    lake = lake_of(settings)
    folder, llm_weight = choose(lake, dataset, version)

    import torch

    from rar_pipeline.evaluate import as_trained
    from rar_pipeline.retriever.version import load
    from rar_pipeline.service.champion import Champion
    from rar_pipeline.service.talk import Said, Talk

    retriever, record = load(folder)
    trained = as_trained(settings, record)
    cores = os.cpu_count() or 1
    champion = Champion.of(
        retriever,
        record,
        lake.read(MOVIES),
        lake.read(TITLES),
        lake.read(ITEM_EMBEDDINGS),
        text_encoder(trained.encoder),
        turns=trained.context_turns,
        history=trained.max_history,
        at_once=cores,
        llm_weight=llm_weight or 1.0,  # who asks for the LLM where it was not shown to help gets its order
    )
    torch.set_num_threads(
        1
    )  # one thread a request, so many requests at once: several threads a request would wait for each other
    champion.recommend(Talk(turns=[Said(text="Hello, what do you recommend?")]))
    return champion, bool(llm_weight)


def kept_in(settings: Settings) -> Path:
    """Folder of the conversations that people left."""
    return settings.root / "conversations"


def gather_feedback(settings: Settings) -> str:
    """Write DIALOGUES, MENTIONS and CASES of the data set chat into the lake; gives a sentence on what they hold."""
    from rar_pipeline.service.feedback import DIALOGUE_PARTS, gather

    lake = lake_of(settings)
    if not (kept_in(settings) / DIALOGUE_PARTS).is_dir():
        return "no conversation of the chat was rated"
    dialogues, mentions, cases, damaged = gather(kept_in(settings))
    for table, frame in ((DIALOGUES, dialogues), (MENTIONS, mentions), (CASES, cases)):
        lake.write(table, frame, CHAT)
    left = f"; {damaged} damaged left out" if damaged else ""
    return f"{dialogues['dialogue_id'].n_unique():,} conversations, {len(mentions):,} mentions, {len(cases):,} cases{left}: {lake.file(CASES, CHAT)}"
