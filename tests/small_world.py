"""What tests of the whole need: a cut-down sample world as raw files, settings that run on it in seconds, a port nobody uses."""

import socket
from pathlib import Path

import dagster as dg

from rar_pipeline.definitions import build_defs
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
        "feedback_contexts": 4,
        "asked_sets": "holding",  # else what is asked, if anything, depends on how the machine rounds
        "judged_cases": 2,
        "judge_check_cases": 3,
        "force_feedback": True,
        "epochs": 4,
        "average": 0,  # of so few steps the mean lags, and asks nothing here
        "learning_rate": 1e-2,
        "batch": 32,
        "preference_epochs": 1,
        "candidates": 6,
        "pool": 20,
        "plot_characters": 0,
        "negatives": 256,
        "device": "cpu",
    }
    return Settings(_env_file=None, sources=str(sources), lake=lake, **(few | changes))


def small_encoder(folder: Path) -> Path:
    """The packaged text encoder with its first layer alone: the same interface and width at a sixth of the time."""
    from rar_pipeline.corpus.encoder import load_encoder

    encoder = load_encoder("minilm", "cpu")
    network = encoder[0].auto_model
    network.encoder.layer = network.encoder.layer[:1]
    network.config.num_hidden_layers = 1
    encoder.save(str(folder))
    return folder


def free_port() -> int:
    """A port of loopback on which nobody listens."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def materialise(settings: Settings, *keys: str) -> dg.ExecuteInProcessResult:
    """Some assets of the data set, in this process."""
    with dg.DagsterInstance.ephemeral() as instance:
        job = build_defs(settings=settings).resolve_implicit_global_asset_job_def()
        return job.execute_in_process(
            instance=instance,
            partition_key="redial",
            raise_on_error=False,
            asset_selection=[dg.AssetKey(key.split("/")) for key in keys],
        )
