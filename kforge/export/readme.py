"""The words of an export: its ``__init__.py`` and its README."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_INIT = '''# SPDX-License-Identifier: Apache-2.0 (written by kforge export)
"""A drop-in for the ``Model`` of {task}, size {size}: ``ModelNew`` runs kernels that kforge exported.

{facts}
"""

from .model_new import ModelNew
from .reference import Model, get_init_inputs, get_inputs

__all__ = ["Model", "ModelNew", "get_init_inputs", "get_inputs"]
'''

_README = """# {name}: a drop-in for {task}, size {size}

```python
import torch
from {name} import ModelNew, get_init_inputs, get_inputs

model = ModelNew(*get_init_inputs()){to_device}
# model.load_state_dict(old.state_dict())
with torch.no_grad():
    y = model(*[{value}])
print(model.fast_path.counts)  # kernels: 1
```

{facts}

Needs torch, {needs}. kforge is not needed.

| file | what it is |
|---|---|
| `model_new.py` | `ModelNew` |
| `reference.py` | the task's own `Model`, which also runs where the kernels do not apply |
| `{source}`, `{image}` | the device code, to read; and compiled, as it is loaded |
| `plan.json` | what is launched, and for which shapes |
| `candidate.py` | the candidate as it was proposed |
| `export.json` | where all of it comes from; the hash of every file |
| `test_export.py` | `python test_export.py`, or pytest |
| `timing.py` | `python -m {name}.timing`, from the folder above |

What `ModelNew` does:

- It computes what `Model` computes. With other shapes, types, strides, constructor arguments, mode or device
  than those it was built for, `Model` itself runs, and one RuntimeWarning for each kind of reason says why.
  `model.fast_path.strict = True` raises instead; `.counts`, `.reasons` and `.last_reason` tell what happened.
- It computes no gradients: an input that requires one is refused where gradients are enabled; parameters that
  do make `Model` run, with a warning. Use `torch.no_grad()` or `torch.inference_mode()`.
- Attributes that are changed after construction, and hooks on inner modules, are not seen by the kernels.
- Under `torch.compile` it is `Model`.

{notes}Licences: `reference.py`, `candidate.py` and `{source}` are their authors'; every other Python file is
kforge's, under Apache-2.0.
"""
_NEEDS = {
    "cuda": "an NVIDIA driver (libcuda.so.1) and a torch with CUDA; the kernels are code of one architecture",
    "sycl": "`pip install intel-sycl-rt intel-opencl-rt`, g++ once; the kernels are for one CPU and driver",
}
_SOURCE = {"cuda": "device_code.cu", "sycl": "device_code.cpp"}


def facts(provenance: Mapping[str, Any]) -> str:
    """Where a kernel comes from and what was measured, a fact a line."""
    run = provenance["run"]
    origin = f"candidate {provenance['candidate']} of run {run}" if run else "a candidate file"
    lines = [
        f"Origin: {origin} ({provenance['candidate_hash'][:12]}), exported {provenance['exported']} by "
        f"kforge {provenance['kforge']}.",
        f"Built for: {provenance['device']} ({provenance['arch']}, driver {provenance['driver']}), "
        f"precision {provenance['precision']}.",
    ]
    measured = provenance["measured"]
    if measured is None:
        lines.append("Measured by kforge: nothing; it was exported from a file.")
    else:
        low, high = measured["speedup_interval"]
        lines.append(
            f"Measured by kforge in that run on {measured['device']}: {measured['speedup']:.2f}x "
            f"({low:.2f}..{high:.2f}) {measured['verdict']}, {measured['latency_us']:.0f} us against "
            f"{measured['baseline_us']:.0f} us eager."
        )
    return "\n".join(lines)


def init_text(provenance: Mapping[str, Any]) -> str:
    """The package's ``__init__.py``."""
    safe = facts(provenance).replace("\\", "/").replace('"""', "'''")
    return _INIT.format(task=provenance["task"], size=provenance["size"], facts=safe)


def readme_text(name: str, provenance: Mapping[str, Any], notes: Sequence[str]) -> str:
    """The folder's README."""
    cuda = provenance["language"] == "cuda"
    return _README.format(
        name=name,
        task=provenance["task"],
        size=provenance["size"],
        facts="  \n".join(facts(provenance).splitlines()),
        needs=_NEEDS[provenance["language"]],
        source=_SOURCE[provenance["language"]],
        image=provenance["image"],
        to_device=".cuda()" if cuda else "",
        value="x.cuda() for x in get_inputs()" if cuda else "x for x in get_inputs()",
        notes="".join(f"- {note}\n" for note in notes) + ("\n" if notes else ""),
    )
