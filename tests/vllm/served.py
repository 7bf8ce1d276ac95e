"""A vLLM process that serves a folder on a free port of this machine, and ends with its test."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

READY_S = 240.0
KEY = "sk-of-this-test"
_QUIET = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_HOST_IP": "127.0.0.1",
    "TORCHDYNAMO_DISABLE": "1",
}


def free_port() -> int:
    """A port of the loopback that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Served:
    """``python -m vllm...`` with the options of ``docs/vllm.md``; asks for ``KEY``."""

    def __init__(self, python: str, model: Path, port: int, log: Path) -> None:
        self.port = port
        self._log = log
        command = [
            python, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model),
            "--served-model-name", "tiny", "--host", "127.0.0.1", "--port", str(port),
            "--enforce-eager", "--max-model-len", "32768", "--max-num-seqs", "16",
            "--kv-cache-memory-bytes", "134217728", "--no-enable-chunked-prefill",
            "--reasoning-parser", "deepseek_r1",
        ]  # fmt: skip
        env = {key: value for key, value in os.environ.items() if not key.startswith("KFORGE_")}
        with log.open("ab") as out:
            # A group of its own: vLLM is several processes, and all of them end together.
            self._process = subprocess.Popen(
                command, env={**env, **_QUIET, "VLLM_API_KEY": KEY}, stdin=subprocess.DEVNULL, stdout=out,
                stderr=out, cwd=log.parent, start_new_session=True,
            )  # fmt: skip

    @property
    def url(self) -> str:
        """Where it listens, without ``/v1``."""
        return f"http://127.0.0.1:{self.port}"

    def wait(self) -> None:
        """Until it answers; its log is shown if it does not."""
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            assert self._process.poll() is None, self._log.read_text()[-4000:]
            try:
                with urllib.request.urlopen(f"{self.url}/health", timeout=5):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.5)
        raise AssertionError(f"not ready after {READY_S:.0f} s: {self._log.read_text()[-4000:]}")

    def kill(self) -> None:
        """End it as a crash does; safe to call twice."""
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        finally:
            self._process.wait(timeout=30)
