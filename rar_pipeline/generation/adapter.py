"""Low-rank adapters of the embedded model: their files, what is checked before one is believed, and how one becomes part of the weights.

An adapter adds (alpha / rank) B A to the weights of some linear layers (LoRA, Hu et al., ICLR 2022). Weights and configuration lie in a folder as
peft writes them, so that other servers take them too; beside them a record of our own says of which model and prompt they are. All of it is
safetensors and JSON: nothing is ever unpickled. The record is written last and names the hash of the weights, so that half a folder is seen.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rar_pipeline.errors import RarError
from rar_pipeline.files import replacing, sha256_of, write_json
from rar_pipeline.generation import prompts

if TYPE_CHECKING:
    from torch import Tensor, nn

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"  # peft's
RECORD = "adapter.json"  # ours
_PREFIX = "base_model.model."
_AGAIN = "materialise the asset tuned_judge again, or unset RAR_JUDGE_ADAPTER"


class Record(BaseModel):
    """What is known of an adapter; the trainer's figures come on top. `base_model`: `weights.name_of` of what it was trained on."""

    model_config = ConfigDict(extra="allow", frozen=True)

    base_model: str
    prompts_hash: str
    weights_sha256: str
    rank: Annotated[int, Field(ge=1)]
    alpha: Annotated[float, Field(gt=0)]
    targets: tuple[str, ...]
    card_characters: Annotated[int, Field(ge=0)]
    context_characters: Annotated[int, Field(ge=80)]

    def model_name(self, model: str) -> str:
        """What the model with this adapter is called: another name than without, so that no answer of the one is taken for the other's."""
        return f"{model}+{self.weights_sha256[:12]}"


def write(folder: Path, tensors: dict[str, Tensor], record: dict[str, Any]) -> Record:
    """Write an adapter: `<layer>.lora_A.weight` (rank, in) and `<layer>.lora_B.weight` (out, rank) by name; `record` without the hash."""
    from safetensors.torch import save_file

    with replacing(folder / WEIGHTS) as temporary:
        save_file({_PREFIX + name: tensor.contiguous() for name, tensor in tensors.items()}, temporary)
    full = Record(**record, weights_sha256=sha256_of(folder / WEIGHTS))
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": full.base_model,
        "r": full.rank,
        "lora_alpha": full.alpha,
        "target_modules": list(full.targets),
        "layers_to_transform": sorted({int(word) for name in tensors for word in name.split(".") if word.isdecimal()}),
        "bias": "none",
        "inference_mode": True,
    }
    write_json(folder / CONFIG, config)
    write_json(folder / RECORD, full.model_dump())
    return full


def read(folder: Path, base_model: str | None = None) -> Record:
    """The record of an adapter that is whole, asks with today's prompt and, where named, belongs to `base_model`. Raises RarError in one line."""
    try:
        record = Record.model_validate_json((folder / RECORD).read_bytes())
        found = sha256_of(folder / WEIGHTS)
    except OSError as error:
        raise RarError(f"{error.filename}: cannot be read ({error.strerror}), so that {folder} is no adapter; {_AGAIN}") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise RarError(f"{folder / RECORD}: no record of an adapter ({place}: {first['msg']}); {_AGAIN}") from None
    if found != record.weights_sha256:
        raise RarError(f"{folder / WEIGHTS}: damaged, not what {RECORD} beside it tells of; {_AGAIN}")
    if base_model is not None and record.base_model != base_model:
        raise RarError(f"{folder}: an adapter of {record.base_model}, not of {base_model}; {_AGAIN}")
    if record.prompts_hash != prompts.prompts_hash("label"):
        raise RarError(f"{folder}: the adapter has learnt another prompt than today's {prompts.FILES['label'][0]}; {_AGAIN}")
    return record


def merge(network: nn.Module, folder: Path, record: Record) -> None:
    """Add the adapter in `folder` to the weights of `network`, in place. Raises RarError where they do not fit."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(folder / WEIGHTS)
    except SafetensorError as error:
        raise RarError(f"{folder / WEIGHTS}: no safetensors ({error}); {_AGAIN}") from None
    names = {name.removeprefix(_PREFIX).rpartition(".lora_")[0] for name in tensors}
    for name in sorted(names):
        down, up = (tensors.pop(f"{_PREFIX}{name}.lora_{part}.weight", torch.empty(0, 0)) for part in "AB")
        weight = getattr(dict(network.named_modules()).get(name), "weight", torch.empty(0))
        if weight.shape != (up.shape[0], down.shape[1]) or up.shape[1] != down.shape[0]:
            raise RarError(f"{folder / WEIGHTS}: {name!r} does not fit the model; {_AGAIN}")
        with torch.no_grad():
            weight += (record.alpha / record.rank) * (up.to(weight) @ down.to(weight))
