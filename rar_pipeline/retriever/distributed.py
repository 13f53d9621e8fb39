"""What the processes of one training have in common, where several devices train together.

Lightning starts the others by executing the command line of the first again, so that command must do nothing but train
(`rar_pipeline/defs/training_process.py`). Only the first process, rank 0, speaks to the outside and writes versions; the others do all that
comes before training alike, since it depends on the same files and the same seed, and end when training ends.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import Any

import numpy as np

# where the processes meet: all of them run on this machine, so nothing of it needs to be reached from elsewhere
LOOPBACK = "lo0" if sys.platform == "darwin" else "lo"
MEETING_PLACE = {"MASTER_ADDR": "127.0.0.1", "GLOO_SOCKET_IFNAME": LOOPBACK, "NCCL_SOCKET_IFNAME": LOOPBACK}


def own_rank() -> int:
    """Number of this process among those that train together; 0 where it is the first or the only one."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def strategy(devices: int, device: str) -> Any:  # noqa: ANN401  (Lightning's union of what may be handed to it)
    """How Lightning trains on so many devices: data-parallel, gradients averaged after each step; NCCL between GPUs, else Gloo."""
    if devices == 1:
        return "auto"
    from lightning.pytorch.strategies import DDPStrategy

    backend = "nccl" if device == "cuda" else "gloo"
    return DDPStrategy(process_group_backend=backend, broadcast_buffers=False, gradient_as_bucket_view=True)


def gathered(part: np.ndarray) -> np.ndarray:
    """Rows that were dealt out to the processes in turn (rank, rank + processes, ...), whole again and the same in each process."""
    import torch.distributed

    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return part
    parts: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(parts, part)
    whole = np.zeros((sum(len(rows) for rows in parts), *part.shape[1:]), part.dtype)
    for rank, rows in enumerate(parts):
        whole[rank :: len(parts)] = rows
    return whole


def end_with_parent(seconds: float = 1.0) -> None:
    """End this process soon after the one that started it has died, so that no training goes on that nobody asked for.

    Otherwise it would write into the same attempt as the training that takes its place.
    """
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(seconds)
        os._exit(1)

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()
