"""Compiles one CUDA source in a disposable process: ``python -I cuda_build_child.py ROOT < job``.

NVRTC and nvdisasm read hostile input, so neither runs in a process that matters. Job: {"source", "arch",
"include", "nvdisasm", "scratch"}. Result: one JSON line {"ok", "log", "cubin" (base64), "sass"} on the result
descriptor. No GPU, driver or toolkit is needed.
"""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

SASS_BYTES = 64 << 20


def main() -> None:
    """Read the job, compile, disassemble, write the result."""
    job = json.load(sys.stdin)
    result = _compile(job)
    with os.fdopen(int(os.environ["KFORGE_RESULT_FD"]), "w") as out:
        json.dump(result, out)


def _compile(job: dict[str, Any]) -> dict[str, object]:
    from cuda.core import Program, ProgramOptions

    options = ProgramOptions(name="candidate.cu", arch=job["arch"], std="c++17", include_path=job["include"])
    log = io.StringIO()
    try:
        code = bytes(Program(job["source"], "c++", options).compile("cubin", logs=log).code)
    except Exception as error:  # noqa: BLE001 - the sandbox border: whatever the compiler raises is the source's
        return {"ok": False, "log": str(error).partition("compilation log:")[2].strip() or str(error)}
    cubin = Path(job["scratch"]) / "module.cubin"
    cubin.write_bytes(code)
    shown = subprocess.run([job["nvdisasm"], "-c", str(cubin)], capture_output=True, text=True, check=False)
    if shown.returncode != 0:
        return {"ok": False, "log": f"error: nvdisasm refuses the compiled code: {shown.stderr[-2000:]}"}
    sass = shown.stdout
    if len(sass) > SASS_BYTES:
        return {"ok": False, "log": f"error: the machine code has over {SASS_BYTES >> 20} MiB of text"}
    return {"ok": True, "log": log.getvalue(), "cubin": base64.b64encode(code).decode(), "sass": sass}


if __name__ == "__main__":
    main()
