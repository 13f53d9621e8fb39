"""The sample world as raw files: one call writes a whole mirror in the publishers' layouts, for the usual readers."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from rar_pipeline.errors import RarError
from rar_pipeline.files import maker
from rar_pipeline.sample.corpus_files import write_corpus_files
from rar_pipeline.sample.films import load_films
from rar_pipeline.sample.inspired_files import write_inspired
from rar_pipeline.sample.reddit_files import write_reddit
from rar_pipeline.sample.redial_files import write_redial
from rar_pipeline.sample.simulator import Simulator
from rar_pipeline.sample.taste import build_landscape

MARK = "sample_world.json"
"""File by which a folder is known to be a sample world that may be replaced; it holds the seed and the sizes."""


@dataclass(frozen=True)
class Sizes:
    """Numbers of conversations; Reddit's in threads, with two cases each on average."""

    redial_train: int = 900
    redial_test: int = 200
    inspired_train: int = 250
    inspired_dev: int = 60
    inspired_test: int = 60
    reddit_threads: int = 150


def write_sample_world(folder: Path, seed: int = 0, sizes: Sizes | None = None) -> None:
    """Write the sample world to `folder`; the same seed and sizes give the same bytes.

    It is made beside `folder` and moved into place when it is complete; an older sample world there is replaced.
    Raises RarError where `folder` holds anything else.
    """
    sizes = sizes or Sizes()
    folder = Path(folder)
    if folder.exists() and not (folder / MARK).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise RarError(f"{folder}: is not a sample world and will not be overwritten; name an empty or new folder")
    making = folder.with_name(f".{folder.name}.{maker()}.making")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(parents=True)
    try:
        _write(making, seed, sizes)
        if folder.exists():
            shutil.rmtree(folder)
        making.rename(folder)
    finally:
        shutil.rmtree(making, ignore_errors=True)


def _write(folder: Path, seed: int, sizes: Sizes) -> None:
    films = load_films()
    # one stream of chance a publisher: another size of one leaves the others as they are
    landscape = build_landscape(films, np.random.default_rng([seed, 0]))
    redial, inspired, reddit = (Simulator(landscape, np.random.default_rng([seed, stream])) for stream in (2, 3, 4))
    write_corpus_files(folder, films, np.random.default_rng([seed, 1]))
    write_redial(folder / "redial", redial, sizes.redial_train, sizes.redial_test)
    write_inspired(folder / "inspired", inspired, sizes.inspired_train, sizes.inspired_dev, sizes.inspired_test)
    write_reddit(folder / "reddit", reddit, sizes.reddit_threads)
    (folder / MARK).write_text(json.dumps({"seed": seed, "films": len(films), **asdict(sizes)}, indent=2) + "\n")
