"""The pipeline as a library: versions on record by name, loaded and asked from Python.

    from rar_pipeline import load_retriever
    retriever = load_retriever("redial", "round_2")
    retriever.search("Seeker: something like Alien, but funny", history=["tt0078748"], k=5)

The lake is that of the settings (`RAR_LAKE`, `RAR_SOURCES`), or the folder of a world that `lake` names. Nothing here trains, writes or calls an LLM.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import polars as pl

from rar_pipeline.errors import RarError
from rar_pipeline.settings import load_settings

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from rar_pipeline.retriever.catalogue import Catalogue
    from rar_pipeline.retriever.examples import Encode
    from rar_pipeline.retriever.search import Index
    from rar_pipeline.retriever.version import Version

SPOKEN = re.compile(r"(Seeker|Recommender): ")


class Found(NamedTuple):
    """A movie that a search found; `score` is a logit and compares within one search only."""

    movie_id: str
    title: str
    year: int | None
    score: float


@dataclass(frozen=True)
class LoadedRetriever:
    """A version laid out for search. `version`: its record, with parent, settings, figures and the hash of its weights."""

    version: Version
    catalogue: Catalogue
    index: Index
    encode: Encode
    names: dict[str, tuple[str, int | None]]

    def search(self, context: str | Sequence[tuple[str, str]], history: Sequence[str] = (), k: int = 20) -> list[Found]:
        """The k best movies for a conversation, best first; those of the history are left out.

        context: turns, one a line, `Seeker:` or `Recommender:` first (else the seeker speaks), or pairs (speaker, words). history: movie_ids
        mentioned so far, in order. Raises RarError for a movie that the corpus does not hold and for k below 1.
        """
        from rar_pipeline.retriever.examples import build_queries
        from rar_pipeline.retriever.search import search
        from rar_pipeline.tables import CASES

        unknown = [movie for movie in history if movie not in self.catalogue.index]
        if unknown:
            raise RarError(f"history: {unknown[0]!r} is no movie_id of the corpus; look titles up in the table title_index")
        if k < 1:
            raise RarError(f"k: {k} movies cannot be found; ask for at least 1")
        case: dict[str, object] = {"case_id": "asked", "context": spoken(context), "history": list(dict.fromkeys(history))}
        made_of = self.version.training
        window = {"turns": int(made_of.get("context_turns", 6)), "max_history": int(made_of.get("max_history", 50))}
        queries = build_queries(CASES.frame([case]), self.catalogue, self.encode, **window)
        rows, scores = search(self.index, queries, k)
        ids = [(self.catalogue.movie_ids[row], float(score)) for row, score in zip(rows[0], scores[0], strict=True) if row >= 0]
        return [Found(movie, *self.names[movie], score) for movie, score in ids]


def spoken(context: str | Sequence[tuple[str, str]]) -> str:
    """A conversation as cases hold it: one turn a line, `Seeker:` or `Recommender:` first."""
    if not isinstance(context, str):
        lines = [f"{speaker.strip().capitalize()}: {' '.join(words.split())}" for speaker, words in context]
    else:
        lines = [line.strip() for line in context.splitlines() if line.strip()]
    return "\n".join(line if SPOKEN.match(line) else f"Seeker: {line}" for line in lines)


def load_retriever(
    dataset: str, version: str, *, lake: str | Path | None = None, encode: Encode | None = None, device: str = "cpu"
) -> LoadedRetriever:
    """A version (`round_0`, `round_1`, `round_1_odds`, ...) of a data set's retriever, ready to search; takes some seconds on 300,000 movies.

    lake: the folder of a world, as `lake/sample`; by default the settings'. encode: texts to unit-length embeddings (n, E), in place of the encoder
    that the version was trained with. Raises RarError where the version is not there or its weights were changed.
    """
    from rar_pipeline.retriever.catalogue import build_catalogue
    from rar_pipeline.retriever.search import build_index
    from rar_pipeline.retriever.version import load
    from rar_pipeline.tables import ITEM_EMBEDDINGS, MOVIES

    root, place = _root(lake), _folder(_root(lake), dataset, version)
    retriever, record = load(place, device)
    movies = _read(root, MOVIES.stage, MOVIES.name)
    catalogue = build_catalogue(movies, _read(root, ITEM_EMBEDDINGS.stage, ITEM_EMBEDDINGS.name))
    names = {movie: (title, year) for movie, title, year in movies.select("movie_id", "title", "year").iter_rows()}
    index = build_index(retriever, catalogue, record.known)
    return LoadedRetriever(record, catalogue, index, encode or _encoder(record, device), names)


def versions(dataset: str, *, lake: str | Path | None = None) -> list[Version]:
    """Records of all rounds of a data set, oldest first, and after round 1 those of its other objectives; empty where there is none."""
    from rar_pipeline.retriever.version import RECORD, read_record

    found = [read_record(path.parent) for path in _root(lake).glob(f"retriever/round_*/dataset={dataset}/{RECORD}")]
    return sorted(found, key=lambda record: (int(record.name.split("_")[1]), record.name))


def compare(dataset: str, one: str, other: str, *, lake: str | Path | None = None) -> pl.DataFrame:
    """Figures on record of two versions, those that both have: `figure`, a column named after each version, `difference` (other - one).

    They are of the validation cases and without intervals: what decides who serves is the paired bootstrap of the asset `champion`. Raises RarError
    where a version is not there.
    """
    from rar_pipeline.retriever.version import read_record

    first, second = (read_record(_folder(_root(lake), dataset, name)).figures for name in (one, other))
    rows = [(name, first[name], second[name], second[name] - first[name]) for name in first if name in second]
    labels = (one, other) if one != other else (one, f"{other} again")
    schema = {"figure": pl.String, labels[0]: pl.Float64, labels[1]: pl.Float64, "difference": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _root(lake: str | Path | None) -> Path:
    return load_settings().root if lake is None else Path(lake)


def _folder(root: Path, dataset: str, version: str) -> Path:
    folder = root / "retriever" / version / f"dataset={dataset}"
    if not folder.is_dir():
        there = ", ".join(record.name for record in versions(dataset, lake=root))
        raise RarError(f"{root}: no version {version!r} of {dataset!r}; there are {there or 'none: run the pipeline first'}")
    return folder


def _read(root: Path, stage: str, name: str) -> pl.DataFrame:
    path = root / stage / name / "data.parquet"
    if not path.is_file():
        raise RarError(f"{path}: not there; materialise the asset {name} first")
    return pl.read_parquet(path)


def _encoder(version: Version, device: str) -> Encode:
    """The text encoder of a version, loaded when the first text comes."""
    import numpy as np

    from rar_pipeline.corpus.encoder import load_encoder

    name = str(version.training.get("encoder", "minilm"))
    loaded: list[SentenceTransformer] = []

    def encode(texts: Sequence[str]) -> np.ndarray:
        if not loaded:
            loaded.append(load_encoder(name, device))
        vectors = loaded[0].encode(list(texts), normalize_embeddings=True, show_progress_bar=False, convert_to_tensor=True)
        return vectors.float().cpu().numpy().astype(np.float16)

    return encode
