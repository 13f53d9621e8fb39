"""A cut-down sample world as a folder of raw files, and settings under which the whole pipeline runs on it in seconds."""

from pathlib import Path

from rar_pipeline.sample.write import Sizes, write_sample_world
from rar_pipeline.settings import Settings

SIZES = Sizes(redial_train=60, redial_test=12, inspired_train=8, inspired_dev=4, inspired_test=4, reddit_threads=6)


def small_world(folder: Path) -> Path:
    """Raw files of every publisher below `folder`; all films, few conversations."""
    write_sample_world(folder, seed=0, sizes=SIZES)
    return folder


def small_settings(sources: Path, lake: Path, **changes: object) -> Settings:
    """One round, few questions, few epochs; nothing of the shell's environment."""
    few = {
        "rounds": 1,
        "feedback_contexts": 3,
        "judged_cases": 2,
        "epochs": 2,
        "preference_epochs": 1,
        "candidates": 5,
        "pool": 50,
        "plot_characters": 0,
        "negatives": 256,
        "device": "cpu",
    }
    return Settings(_env_file=None, sources=str(sources), lake=lake, **(few | changes))
