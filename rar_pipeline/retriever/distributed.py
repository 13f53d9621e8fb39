"""What the processes of one training have in common, where several devices train together.

Lightning starts the others by executing the command line of the first again, so that command must do nothing but train
(`rar_pipeline/defs/training_process.py`). Only the first process, rank 0, speaks to the outside and writes versions; the others do all that
comes before training alike, since it depends on the same files and the same seed, and end when training ends.
"""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

# all processes run on this machine, so that none of them needs to be reached from elsewhere
LOOPBACK = "lo0" if sys.platform == "darwin" else "lo"
LOOPBACK_ONLY = {"MASTER_ADDR": "127.0.0.1", "GLOO_SOCKET_IFNAME": LOOPBACK, "NCCL_SOCKET_IFNAME": LOOPBACK}
MEETING_PLACE = "RAR_TRAINING_MEETING_PLACE"  # set by the first process for the others: the file in which they find each other


def own_rank() -> int:
    """Number of this process among those that train together; 0 where it is the first or the only one."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def strategy(devices: int, device: str) -> Any:  # noqa: ANN401  (Lightning's union of what may be handed to it)
    """How Lightning trains on so many devices: data-parallel, gradients averaged after each step; NCCL between GPUs, else Gloo."""
    if devices == 1:
        return "auto"
    import torch.distributed
    from lightning.pytorch.strategies import DDPStrategy

    backend = "nccl" if device == "cuda" else "gloo"
    if MEETING_PLACE not in os.environ:
        folder = tempfile.mkdtemp(prefix="rar-training-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        os.environ[MEETING_PLACE] = str(Path(folder) / "processes")

    class DataParallel(DDPStrategy):
        """Its processes meet in a file: torch's usual meeting place is a port on which it listens to the whole network."""

        def setup_distributed(self) -> None:
            """Make the group of processes, which Lightning then takes as it is."""
            self.set_world_ranks()
            torch.distributed.init_process_group(
                backend,
                init_method=f"file://{os.environ[MEETING_PLACE]}",
                rank=self.global_rank,
                world_size=self.world_size,
                device_id=self.root_device if device == "cuda" else None,
            )
            super().setup_distributed()

    return DataParallel(process_group_backend=backend, broadcast_buffers=False, gradient_as_bucket_view=True)


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
