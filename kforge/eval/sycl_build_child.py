"""Compiles one SYCL source in a disposable process: ``python -I sycl_build_child.py ROOT < job``.

The compiler can crash, loop or eat memory on hostile source: it never runs in a process that matters.
Job: {"shim", "selector", "source", "options"}. Result: one JSON line {"ok", "log", "object", "image"} with
base64 contents on the result descriptor.
"""

from __future__ import annotations

import base64
import ctypes
import json
import os
import sys
from pathlib import Path


def main() -> None:
    """Read the job, compile, write the result."""
    sys.path.insert(0, sys.argv[1])
    from kforge.eval.sycl_runtime import import_dpctl, load_shim, take_bytes, take_text

    job = json.load(sys.stdin)
    dpctl = import_dpctl()
    device = dpctl.SyclDevice(job["selector"])
    queue = dpctl.SyclQueue(device)
    shim = load_shim(Path(job["shim"]))
    options = [option.encode() for option in job["options"]]
    array = (ctypes.c_char_p * max(1, len(options)))(*options)
    objects, image, log = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_void_p()
    object_size, image_size = ctypes.c_size_t(), ctypes.c_size_t()
    context = queue.sycl_context.addressof_ref()
    failed = shim.kf_build(
        context, device.addressof_ref(), job["source"].encode(), array, len(options),
        ctypes.byref(objects), ctypes.byref(object_size), ctypes.byref(image), ctypes.byref(image_size),
        ctypes.byref(log),
    )  # fmt: skip
    result: dict[str, object] = {"ok": not failed, "log": take_text(shim, log)}
    if not failed:
        result["object"] = base64.b64encode(take_bytes(shim, objects, object_size)).decode()
        result["image"] = base64.b64encode(take_bytes(shim, image, image_size)).decode()
    with os.fdopen(int(os.environ["KFORGE_RESULT_FD"]), "w") as out:
        json.dump(result, out)


if __name__ == "__main__":
    main()
