"""One run of a plan under NVIDIA's compute-sanitizer: ``compute-sanitizer ... sanitize_child.py ROOT``.

Every storage is an allocation of its own and of its exact size, so that an access beyond one is an error of
the tool's and not the next buffer. Job on standard input: {"plan", "module", "trusted", "device_index",
"sm_count", "precision", "off", "values"}; ``values`` is a file of the given tensors in the plan's order,
inputs first. Exit code 0: the plan ran; what the tool found is in its own output and exit code.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, sys.argv[1])

import torch

from kforge.eval import cuda_driver
from kforge.eval.cuda_clock import DeviceClock
from kforge.eval.cuda_driver import call, driver
from kforge.eval.cuda_layout import lay_out_plan
from kforge.eval.plan import GIVEN_ROLES
from kforge.eval.runner_cuda import CudaSession

POISON = 0xFF


class SanitizedSession(CudaSession):
    """The trusted runner with one allocation per storage, unconfined: the tool would not survive that."""

    def __init__(self, job: dict[str, Any]) -> None:
        self._device = cuda_driver.use_device(int(job["device_index"]))
        self._clock = DeviceClock(self._device, Path(job["trusted"]).read_bytes())
        self._read_plan(job)
        outputs = [self._by_id[i]["storage"] for i in self._plan["outputs"]]
        self._layout = lay_out_plan(self._plan["storages"], outputs)
        for storage in self._layout.offsets:
            size = max(1, int(self._plan["storages"][storage]["bytes"]))
            address = int(call(driver().cuMemAlloc(size), f"allocating {size} bytes"))
            call(driver().cuMemsetD8(address, POISON, size), "poisoning")
            whole = cuda_driver.DeviceMemory(address, size).bytes(self._device)
            self._regions[storage] = whole[: int(self._plan["storages"][storage]["bytes"])]
            self._bases[storage] = address
        self._look()
        self._give(torch.load(job["values"], weights_only=True))
        self._bind(job)

    def _give(self, values: list[torch.Tensor]) -> None:
        given = [s for s in self._plan["storages"] if s["role"] in GIVEN_ROLES]
        for storage, value in zip(given, values, strict=True):
            if value.numel():
                flat = self._regions[storage["id"]].view(value.dtype)
                flat.as_strided(value.shape, value.stride()).copy_(value)

    def run_once(self) -> None:
        """The plan, once."""
        torch.cuda.synchronize(self._device)
        self._clock.plain(self._submit)


def main() -> None:
    """Read the job and run the plan."""
    SanitizedSession(json.load(sys.stdin)).run_once()


if __name__ == "__main__":
    main()
