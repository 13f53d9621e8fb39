"""A version of a retriever on disk: weights as safetensors, everything else as JSON, moved into place together."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rar_pipeline.errors import RarError
from rar_pipeline.files import maker, sha256_of, write_json, writing
from rar_pipeline.retriever.rescoring import FEATURES

if TYPE_CHECKING:
    from rar_pipeline.retriever.network import Retriever


@dataclass(frozen=True)
class Version:
    """What is on record of a version beside its weights.

    `fingerprint`: hash of everything that it was made from; the same fingerprint means the same version. `parent`: name of the version that
    training began with, None for round 0. `figures`: validation metrics and sizes; `curve`: one record an epoch.
    """

    name: str
    dataset: str
    fingerprint: str
    parent: str | None
    network: dict[str, Any]
    training: dict[str, Any]
    known: list[str]
    figures: dict[str, float]
    curve: list[dict[str, float]] = field(default_factory=list)
    weights_sha256: str = ""


WEIGHTS, RECORD = "retriever.safetensors", "retriever.json"
# what versions of before do not have, or of features only the first; as zeros they change nothing
LATER = {"named", "feature_weights"}


def save(folder: Path, retriever: Retriever, version: Version) -> Version:
    """Write weights and record beside the folder, then move both into place. Returns the record with the weights' hash."""
    from safetensors.torch import save_file

    part = folder.with_name(f".{folder.name}.{maker()}.part")
    shutil.rmtree(part, ignore_errors=True)
    with writing(folder):
        try:
            part.mkdir(parents=True)
            save_file({name: value.detach().cpu().contiguous() for name, value in retriever.state_dict().items()}, part / WEIGHTS)
            version = Version(**{**vars(version), "weights_sha256": sha256_of(part / WEIGHTS)})
            write_json(part / RECORD, vars(version))
            old = folder.with_name(f".{folder.name}.{maker()}.old")
            if folder.exists():
                folder.rename(old)
            part.rename(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)
    return version


def read_record(folder: Path) -> Version:
    """The record of the version in a folder. Raises RarError where there is none or it cannot be read."""
    path = folder / RECORD
    try:
        return Version(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise RarError(f"{path}: no retriever there yet; materialise the asset first") from None
    except (ValueError, TypeError) as error:
        raise RarError(f"{path}: damaged ({error}); materialise the asset again") from None


def unchanged(folder: Path, fingerprint: str) -> Version | None:
    """The version in a folder, where it is whole and of this fingerprint: what is damaged counts as not there, so that it is made again."""
    try:
        version = read_record(folder)
        whole = version.fingerprint == fingerprint and sha256_of(folder / WEIGHTS) == version.weights_sha256
    except (RarError, OSError):
        return None
    return version if whole else None


def load(folder: Path, device: str = "cpu") -> tuple[Retriever, Version]:
    """The retriever of a folder with its record. Raises RarError where the weights are missing, changed or damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file
    from torch.nn.functional import pad

    from rar_pipeline.retriever.network import NetworkConfig, Retriever

    version = read_record(folder)
    retriever = Retriever(NetworkConfig(**version.network))
    try:
        if sha256_of(folder / WEIGHTS) != version.weights_sha256:
            raise RuntimeError("its content is not what was saved")
        weights = load_file(folder / WEIGHTS)
        if (first := weights.get("feature_weights")) is not None:
            weights["feature_weights"] = pad(first, (0, max(0, len(FEATURES) - len(first))))
        missing, unexpected = retriever.load_state_dict(weights, strict=False)
        if wrong := [*(set(missing) - LATER), *unexpected]:
            raise RuntimeError(f"it does not fit the network: {', '.join(sorted(wrong)[:3])}")
    except (FileNotFoundError, SafetensorError, RuntimeError) as error:
        raise RarError(
            f"{folder / WEIGHTS}: cannot be loaded ({str(error).splitlines()[0]}); materialise the asset again"
        ) from None
    return retriever.to(device).eval(), version
