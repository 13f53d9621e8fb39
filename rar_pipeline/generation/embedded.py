"""The embedded language model: our own small server on loopback in a process of its own, started and stopped from here.

The server lives in its own process so that a crash in native code costs a question and not the run. It must also die with its parent, however
that ends: it watches a pipe that only the parent holds (closed by the kernel even on kill -9) and its parent's process id.
`PR_SET_PDEATHSIG` would not do: it fires when the *thread* that started the child ends, and Dagster starts resources in threads.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import IO

from rar_pipeline.errors import RarError
from rar_pipeline.generation import adapter as adapters
from rar_pipeline.generation.weights import name_of, packaged_weights

START_SECONDS = 300.0


class EmbeddedServer:
    """An OpenAI-compatible server on 127.0.0.1 for one model, running inside the `with` block.

    `weights`: a GGUF file or a transformers folder with safetensors (None: the packaged GGUF file). `adapter`: folder of an adapter of them
    (None: as they are). `store`: folder in which a GGUF file is kept dequantised, made on the first start. `threads`: CPU threads (None: one
    a core, at most four). `log`: file that the server's own messages are appended to (None: dropped).

    Attributes inside the block: `base_url` (ends in /v1), `model` (the file's stem or the folder's name, and which adapter) and `slots`, the
    calls that are worked on side by side. Raises RarError where the weights are missing, the adapter is none of theirs, or the server does
    not come up.
    """

    slots = 1

    def __init__(
        self,
        weights: Path | None = None,
        *,
        store: Path,
        adapter: Path | None = None,
        threads: int | None = None,
        log: Path | None = None,
    ) -> None:
        self.weights = weights
        self.adapter = adapter
        self.store = store
        self.threads = threads or min(os.cpu_count() or 1, 4)
        self.log = log
        self.base_url = ""
        self.model = ""
        self.process: subprocess.Popen[str] | None = None

    def __enter__(self) -> EmbeddedServer:
        weights = self.weights or packaged_weights()
        if not weights.exists():
            raise RarError(f"embedded model: no file {weights}; name an existing GGUF file or transformers folder")
        self.model = weights.name if weights.is_dir() else weights.stem
        command = [sys.executable, "-m", "rar_pipeline.generation.server", str(weights.resolve())]
        if self.adapter:
            # read here too, where what is wrong with it can be told
            self.model = adapters.read(self.adapter, name_of(weights)).model_name(self.model)
            command += ["--adapter", str(self.adapter.resolve())]
        command += ["--store", str(self.store.resolve()), "--threads", str(self.threads), "--parent", str(os.getpid())]
        project = str(Path(__file__).resolve().parents[2])
        environment = {name: value for name, value in os.environ.items() if name != "OPENAI_API_KEY"}
        environment["PYTHONPATH"] = os.pathsep.join([project, *filter(None, [os.environ.get("PYTHONPATH")])])
        environment["HF_HUB_OFFLINE"] = "1"
        # waiting threads sleep: where they spin, a busy machine makes two threads several times slower than one
        environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        log = self._open_log()
        try:
            # a session of its own: Ctrl-C goes to the parent alone, which then stops the server in order
            self.process = subprocess.Popen(  # noqa: S603 - our own module and numbers
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment,
                start_new_session=True,
            )
        finally:
            log.close()
        try:
            self.base_url = self._await_address()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Stop the server and wait until its process is gone; harmless when it is gone already."""
        process, self.process = self.process, None
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()

    def _open_log(self) -> IO[bytes]:
        if self.log is None:
            return Path(os.devnull).open("ab")
        self.log.parent.mkdir(parents=True, exist_ok=True)
        return self.log.open("ab")

    def _await_address(self) -> str:
        assert self.process is not None and self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], START_SECONDS)
        line = self.process.stdout.readline().strip() if ready else ""
        if line.startswith("http://"):
            return f"{line}/v1"
        state = "did not start in time" if not ready else f"ended with status {self.process.wait(timeout=10)}"
        hint = f"its messages are in {self.log}" if self.log else "give it a log file to see its messages"
        raise RarError(f"embedded model: the server for {self.model} {state}; {hint}")
